"""What an adapter of a released policy states about it: licence, inputs, frame, rig, controller, how to install it."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.released.frames import ModelFrame
from craft_lightning.rig import Rig


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One tensor that the policy is given.

    Args:
        name: dotted name: ``camera_feature.imgs`` is the entry ``imgs`` of the mapping ``camera_feature``.
        shape: axes after the batch, with numbers where they are fixed.
        meaning: what it holds, in which units.
        sensor: "camera", "lidar", "objects", "raster", "status", "route" or "text".

    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    sensor: Literal["camera", "lidar", "objects", "raster", "status", "route", "text"]


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A released policy, as its adapter takes it.

    Args:
        name: its name.
        source: where its code is published.
        licence: of code and weights, as far as known; the user's to check.
        inputs: what a forward pass is given.
        frame: frame and reference point of its trajectories.
        horizon: seconds of a trajectory, and ``dt`` between its points as released; both before resampling.
        dt: see ``horizon``.
        distribution: where its probabilities come from, in words.
        trainable: profile -> patterns of parameter names (as upstream spells them) that it trains.
        decision: seconds of a plan that its own agent drives before it plans anew.
        tracker: constants of its own controller for our tracker; None where it is of another kind.
        controller: the same controller as plain data, for what the tracker has no field for.
        environment: what its installation needs.
        beside: "in process" where a current torch runs it, "bridge" where it needs an environment of its own.
        temporal: whether it remembers earlier frames; it is then run on single frames here.
        rig: the sensors that it was trained with.
        notes: what differs from what one would expect.

    """

    name: str
    source: str
    licence: str
    inputs: tuple[ModelInput, ...]
    frame: ModelFrame
    horizon: float
    dt: float
    distribution: str
    trainable: Mapping[str, tuple[str, ...]]
    decision: float
    tracker: TrackerParameters | None
    controller: Mapping[str, float | str]
    environment: str
    beside: Literal["in process", "bridge"]
    temporal: bool = False
    rig: Rig = ()
    notes: tuple[str, ...] = ()

    def sensors(self) -> str:
        """Name what it needs to see, for sentences."""
        kinds: dict[str, list[str]] = {}
        for item in self.inputs:
            kinds.setdefault(item.sensor, []).append(item.name)
        return ", ".join(f"{kind} ({', '.join(names)})" for kind, names in kinds.items())
