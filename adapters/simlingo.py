"""SimLingo: a vision-language model that regresses a route and waypoints; a distribution is put around them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.anchored import OFFSETS, AnchoredPolicy
from craft_lightning.policies.regressed_plan import RegressedPlan
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import CARLA_EGO, speeds_to_distance, turn_axes
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rigs import RIGS
from craft_lightning.structures import Observation

SCALES = (1.0, 0.0, 0.5, 0.75, 1.25)
"""Factors on the released speed, the released one first."""

_HEAD = "adaptors.driving.route_head"

CARD = ModelCard(
    name="SimLingo",
    source="https://github.com/RenzKa/simlingo",
    licence="the repository holds a non-commercial data licence (Wayve) and no other; check before use",
    inputs=(
        ModelInput("camera_images", (1, "tiles", 3, 448, 448), "front camera as InternVL2 tiles", "camera"),
        ModelInput("vehicle_speed", (1,), "m/s", "status"),
        ModelInput("target_point", (2, 2), "two target points, metres in CARLA's ego frame", "route"),
        ModelInput("prompt", ("tokens",), "ids of the prompt's tokens", "text"),
    ),
    frame=CARLA_EGO,
    horizon=2.5,
    dt=0.25,
    distribution="none over trajectories: route and waypoints are regressed after the language tokens",
    trainable={"heads": (), "decoder": ()},
    decision=0.05,
    tracker=TrackerParameters(aim_gain=0.976, aim_offset=1.915, aim_min=2.4, aim_max=10.5),
    controller={"desired_speed": "twice the distance between the waypoints of half a second and of one second"},
    environment="torch 2.2, transformers 4.46 with trust_remote_code, flash-attn, deepspeed 0.16",
    beside="bridge",
    rig=RIGS["simlingo"],
    notes=(
        "What is trained are new layers on the route queries' hidden states; no layer of upstream's is.",
        "Training its LoRA needs the model in this process, with gradients; this adapter does not do that.",
        "The factory builds the driving input of named tensors and lets the model speak before it drives, as released.",
    ),
)


class SimLingo(ReleasedPolicy, AnchoredPolicy):
    """SimLingo on top of the user's model: offsets of its route times factors on its speed.

    Args:
        source: see ``ReleasedPolicy``.
        weights: not used: no layer of upstream's is trained.
        width: features of a hidden state.
        offsets: lateral offsets in metres, beside 0.
        keep_path: probability of the released route at the start.
        keep_speed: probability of the released speed at the start.

    """

    card = CARD
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("speed_head", "offset_head"),
        "decoder": ("speed_head", "offset_head"),
    }
    taps = {"feature": f"{_HEAD}:input.0", "waypoints": ":output.0", "path": ":output.1"}  # noqa: RUF012

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        width: int = 896,
        offsets: tuple[float, ...] = OFFSETS,
        keep_path: float = 0.6,
        keep_speed: float = 0.6,
    ) -> None:
        super().__init__(width, len(SCALES), offsets, keep_path, keep_speed, ahead=self.card.frame.ahead)
        self.attach(source)
        self.eval()

    @classmethod
    def example(cls) -> "SimLingo":
        """Return a small one on a stand-in."""
        return cls("stand_in", width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.named import StandInSimLingo

        return LocalModel(StandInSimLingo(arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"vehicle_speed": 9, "target_point": 4, "prompt": 3}
        return {"camera_images": pooled_raster, **{name: state_numbers(size) for name, size in numbers.items()}}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {"feature": (20, self.offset_head.in_features), "waypoints": (None, 2), "path": (20, 2)}

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return path, speeds and the hidden state of the model's own heads."""
        found = self.features(observation)
        points = found["waypoints"]
        speed = points.diff(dim=1, prepend=torch.zeros_like(points[:, :1])).norm(dim=-1) / self.card.dt
        scales = torch.tensor(SCALES, device=speed.device)
        distance = speeds_to_distance(speed.unsqueeze(1) * scales[:, None], self.card.dt)
        return RegressedPlan(turn_axes(found["path"], self.card.frame.axes), distance, found["feature"].mean(1))
