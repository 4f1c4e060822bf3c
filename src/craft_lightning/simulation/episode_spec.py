"""Plain data round an episode: which one it is, what a decision led to."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.simulation.criteria import Incident
from craft_lightning.simulation.stage import SUMO, TRAFFIC_SOURCES

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """Which episode: equal specifications give equal episodes.

    Args:
        route: the route with its scenarios.
        number: rollout number.
        seed: seed of traffic and scenarios.
        vehicles: vehicles of the background traffic.
        walkers: pedestrians of the background traffic.
        end_on_collision: end at the first collision.
        expert: let the expert plan at every visited state (``StepResult.expert_plan``).
        rules: fields of ``criteria.CriteriaParameters`` that differ from the world's, as a protocol prescribes.
        ignore_stop_sign_at_origin: leave out a stop sign at the map's origin (Town07 has a phantom there).
        clear_blocking_after: seconds of standing after which background vehicles that stand in the ego's way are
            removed; 0 = never.
        record_motion: record the ego's motion of every tick (``StepResult.motion``).
        traffic: who drives the background vehicles, ``sumo`` or ``traffic_manager`` (CARLA's own, which is not
            deterministic: equal specifications then do not give equal episodes).

    """

    route: "RouteConfig"
    number: int = 0
    seed: int = 0
    vehicles: int = 20
    walkers: int = 10
    end_on_collision: bool = True
    expert: bool = False
    rules: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignore_stop_sign_at_origin: bool = False
    clear_blocking_after: float = 0.0
    record_motion: bool = False
    traffic: str = SUMO

    def __post_init__(self) -> None:
        if self.traffic not in TRAFFIC_SOURCES:
            raise CraftError(f"traffic is '{self.traffic}'; choose {' or '.join(TRAFFIC_SOURCES)}")


@dataclasses.dataclass
class StepResult:
    """What a decision led to, numpy only.

    Attributes:
        observation: fields of ``structures.Observation`` at the state reached; ``sensors`` with a rig, until done.
        scene: fields of ``structures.Scene`` at the state reached.
        events: [len(EVENTS)] float32, 0 or 1, what happened during the decision.
        done: whether the episode has ended.
        record: fields of a ``metrics.records.RouteRecord`` where done, else None.
        expert_plan: [40, 3] float32 ego frame, the expert's plan from the state reached, where it was asked for.
        incidents: what went wrong during the decision.
        motion: [ticks, len(recorder.COLUMNS)] where done and asked for, else None.

    """

    observation: dict[str, Any]
    scene: dict[str, np.ndarray]
    events: np.ndarray
    done: bool
    record: dict[str, Any] | None
    expert_plan: np.ndarray | None
    incidents: list[Incident]
    motion: np.ndarray | None = None
