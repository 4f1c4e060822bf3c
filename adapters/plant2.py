"""PlanT 2: object tokens in, a path and either waypoints or classes of target speed out; no cameras."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.errors import CraftError
from craft_lightning.policies.anchored import OFFSETS, AnchoredPolicy
from craft_lightning.policies.regressed_plan import RegressedPlan
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import CARLA_EGO, approach, turn_axes
from craft_lightning.policies.released.heads import class_logits, zero_linear
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.released.speed_classes import expected_speed
from craft_lightning.structures import Context, Observation

ACCELERATION, BRAKING = 2.5, 5.0
"""m/s^2 with which a target speed is taken to be reached; upstream's throttle is a fitted model of CARLA's car."""

CLASSES = (0.0, 4.0, 8.0, 10.0, 13.88888888, 16.0, 17.77777777, 20.0)
"""Speed classes of the variant path+2hot, m/s."""

CHANGES = (-100.0, -4.0, -2.0, 2.0)
"""Changes of the released target speed in m/s that the variant path+wps is offered beside it; the first is to stop."""

CARD = ModelCard(
    name="PlanT 2",
    source="https://github.com/autonomousvision/plant2",
    licence="MIT",
    inputs=(
        ModelInput("x_objs", (7,), "rows of class and six attributes; row 0 is padding", "objects"),
        ModelInput("idxs", ("objects",), "int32, the rows of x_objs that belong to each state", "objects"),
        ModelInput("route_original", (20, 2), "route points, metres in CARLA's ego frame", "route"),
        ModelInput("speed_limit", (), "int32 class: 50, 80, 100, 120 km/h", "route"),
        ModelInput(
            "BEV", (3, "height", "width"), "coloured map picture, where the model was trained with it", "raster"
        ),
    ),
    frame=CARLA_EGO,
    horizon=2.0,
    dt=0.25,
    distribution="none (path+wps, the default), or eight speed classes (path+2hot); the path is regressed",
    trainable={"heads": ("speed_classifier.*",), "decoder": ("speed_classifier.*",)},
    decision=0.05,
    tracker=TrackerParameters(aim_gain=0.976, aim_offset=1.915, aim_min=2.4, aim_max=10.5),
    controller={
        "lateral_kp": 3.118357247806046,
        "lateral_ki": 0.6406067986034124,
        "lateral_kd": 1.3782508892109167,
        "lateral_window": 6,
        "look_ahead_gain": 0.9755321901954155,
        "look_ahead_offset": 1.9152884533402488,
        "brake_below": 0.05,
    },
    environment="torch 2.6, transformers 4.49, timm, lightning; runs on a current torch",
    beside="in process",
    notes=(
        "The variant path+wps has no probabilities: its target speed is four times the step from the third to the "
        "fourth waypoint, and other speeds are offered around it.",
        "Upstream's creep rule (a standing ego drives at no more than 0.1 m/s at first) is its controller's and left "
        "out: it would keep every plan of a standing ego where it is.",
    ),
)


class PlanT2(ReleasedPolicy, AnchoredPolicy):
    """PlanT 2 on top of the user's model.

    Candidates: lateral offsets times speeds, the released target speed first. With ``path+2hot`` the others are the
    classes and the classifier is rebuilt; with ``path+wps`` they are changes of it, and their head is new.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        representation: what the model was trained to answer.
        width: features of a token.
        offsets: lateral offsets in metres, beside 0.
        keep_path: probability of the released path at the start.
        keep_speed: probability of the released target speed at the start.

    """

    card = CARD
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("speed_classifier", "speed_head", "offset_head"),
        "decoder": ("speed_classifier", "speed_head", "offset_head"),
    }
    prefixes = ("model.",)
    blank = ("y_objs",)

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        representation: Literal["path+wps", "path+2hot"] = "path+wps",
        width: int = 512,
        offsets: tuple[float, ...] = OFFSETS,
        keep_path: float = 0.6,
        keep_speed: float = 0.6,
    ) -> None:
        if representation not in ("path+wps", "path+2hot"):
            raise CraftError(f"representation is {representation!r}; give path+wps or path+2hot, as it was trained")
        self.two_hot = representation == "path+2hot"
        choices = CLASSES if self.two_hot else CHANGES
        super().__init__(width, 1 + len(choices), offsets, keep_path, keep_speed, ahead=self.card.frame.ahead)
        self.register_buffer("choices", torch.tensor(choices), persistent=False)
        if self.two_hot:
            self.speed_head = zero_linear(width, 1)
            self.speed_classifier = nn.Linear(width, len(choices))
        self.attach(source, weights)
        self.eval()

    @property
    def taps(self) -> dict[str, str]:  # type: ignore[override]
        """What is listened to, which depends on the variant."""
        path = {"path": ":output.2.0"}
        if self.two_hot:
            feature = {"feature": "speed_classifier:input.0", "speeds": "speed_classifier:output"}
        else:
            feature = {"feature": "path_generator:input.0", "waypoints": ":output.2.1"}
        return {**path, **feature}

    @property
    def head_names(self) -> dict[str, str]:  # type: ignore[override]
        """The classifier of path+2hot; path+wps has no head of upstream's."""
        return {"speed_classifier.": "speed_classifier."} if self.two_hot else {}

    @classmethod
    def example(cls) -> "PlanT2":
        """Return a small one on a stand-in."""
        return cls("stand_in", representation="path+2hot", width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.transfuser import StandInPlanT

        return LocalModel(
            StandInPlanT(arguments["width"], len(CLASSES), arguments["representation"] == "path+2hot"),
        )

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"x_objs": 7, "idxs": 2, "speed_limit": 1, "route_original": 40}
        return {"BEV": pooled_raster, **{name: state_numbers(size) for name, size in numbers.items()}}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        width = self.offset_head.in_features
        if self.two_hot:
            return {"path": (20, 2), "feature": (width,), "speeds": (len(CLASSES),)}
        return {"path": (20, 2), "feature": (None, width), "waypoints": (8, 2)}

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return path, speeds and the hidden state of the model's own heads."""
        found = self.features(observation)
        choices = self.get_buffer("choices")
        if self.two_hot:
            feature = found["feature"]
            released = expected_speed(found["speeds"], choices)
            others = choices.expand(len(released), -1)
        else:
            feature = found["feature"].mean(1)
            step = found["waypoints"][:, 3] - found["waypoints"][:, 2]
            released = 4.0 * step.norm(dim=-1)
            others = (released.unsqueeze(1) + choices).clamp(min=0.0)
        targets = torch.cat([released.unsqueeze(1), others], 1)
        distance = approach(observation.ego[:, :1].float().clamp(min=0.0), targets, ACCELERATION, BRAKING)
        return RegressedPlan(turn_axes(found["path"], self.card.frame.axes), distance, feature)

    def speed_logits(self, context: Context) -> Tensor:
        """Return the logits of the released target speed and of the others; of ``path+2hot`` whatever the offset."""
        if not self.two_hot:
            return super().speed_logits(context)
        feature = self.read(context)
        return class_logits(self.speed_head(feature), self.speed_classifier(feature), self.keep_speed)
