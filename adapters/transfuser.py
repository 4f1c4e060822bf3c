"""TransFuser++ (carla_garage) and TFv6 (lead): a regressed path and classes of target speed."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.errors import CraftError
from craft_lightning.policies.anchored import OFFSETS, AnchoredPolicy
from craft_lightning.policies.regressed_plan import RegressedPlan
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.carla_inputs import (
    cameras_and_lidar,
    command,
    lidar_histogram,
    route_point,
    stitched,
)
from craft_lightning.policies.released.frames import CARLA_EGO, approach, turn_axes
from craft_lightning.policies.released.heads import class_logits, zero_linear
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.released.speed_classes import expected_speed
from craft_lightning.rigs import RIGS
from craft_lightning.structures import Context, Observation

ACCELERATION, BRAKING = 2.5, 5.0
"""m/s^2 with which a target speed is taken to be reached; upstream's throttle is a fitted model of CARLA's car."""

_LATERAL: dict[str, float | str] = {
    "lateral_kp": 3.118357247806046,
    "lateral_ki": 0.6406067986034124,
    "lateral_kd": 1.3782508892109167,
    "lateral_window": 6,
    "look_ahead_gain": 0.9755321901954155,
    "look_ahead_offset": 1.9152884533402488,
    "look_ahead_min": 2.4,
    "look_ahead_max": 10.5,
    "brake_ratio": 1.1,
}

CARD_V6 = ModelCard(
    name="TFv6 (lead)",
    source="https://github.com/autonomousvision/lead",
    licence="MIT",
    inputs=(
        ModelInput("rgb", (3, "height", "width"), "cameras stitched, RGB in 0..255", "camera"),
        ModelInput("rasterized_lidar", (1, "height", "width"), "LIDAR histogram", "lidar"),
        ModelInput("speed", (), "m/s", "status"),
        ModelInput("command", ("commands",), "one-hot navigation command", "route"),
        ModelInput("target_point", (2,), "metres in CARLA's ego frame", "route"),
        ModelInput("target_point_next", (2,), "the one after", "route"),
        ModelInput("target_point_previous", (2,), "the one before", "route"),
    ),
    frame=CARLA_EGO,
    horizon=2.0,
    dt=0.25,
    distribution="eight speed classes, trained as two-hot targets, are released; the path is regressed",
    trainable={
        "heads": ("planning_decoder.target_speed_decoder.*",),
        "decoder": ("planning_decoder.target_speed_decoder.*",),
    },
    decision=0.05,
    tracker=TrackerParameters(aim_gain=0.976, aim_offset=1.915, aim_min=2.4, aim_max=10.5, brake_ratio=1.1),
    controller=_LATERAL,
    environment="torch, timm, beartype, jaxtyping; runs on a current torch",
    beside="in process",
    rig=RIGS["tfv6"],
    notes=(
        "Greedy driving takes the mean over the speed classes, as released, not the likeliest class.",
        "The path has 10 points, 1 m apart; a plan that drives farther goes straight on.",
        "In worlds the lidar is one turn of this moment, its ground left out by height (upstream fits a plane), radars "
        "altogether; target points are those of the route at 30 and 38 m, upstream's those of a sparse plan.",
        "The gains are those of an angle in radians on a path of 0.1 m points; the tracker here has its own turn PID.",
    ),
)

CARD_PP = ModelCard(
    name="TransFuser++ (carla_garage)",
    source="https://github.com/autonomousvision/carla_garage",
    licence="MIT",
    inputs=(
        ModelInput("0", (3, 256, 1024), "front camera, RGB in 0..255", "camera"),
        ModelInput("1", (1, 256, 256), "LIDAR histogram", "lidar"),
        ModelInput("2", (2,), "target point, metres in CARLA's ego frame", "route"),
        ModelInput("3", (1,), "speed, m/s", "status"),
        ModelInput("4", (6,), "one-hot navigation command", "route"),
    ),
    frame=CARLA_EGO,
    horizon=2.0,
    dt=0.25,
    distribution="four speed classes (0, 2, 5, 8 m/s) are released; the path is regressed",
    trainable={"heads": ("target_speed_network.*",), "decoder": ("target_speed_network.*",)},
    decision=0.05,
    tracker=TrackerParameters(turn_kp=1.25, turn_ki=0.75, turn_kd=0.3, aim_gain=0.0, aim_offset=2.25, aim_min=2.25),
    controller={"brake_above": 0.5, "aim_slow": 2.25, "aim_fast": 3.0, "aim_threshold": 5.5},
    environment="torch, timm; mmcv 1.x for its box head alone",
    beside="in process",
    rig=RIGS["transfuser"],
    notes=(
        "It brakes where the probability of standing is above 0.5, and takes the mean over the classes elsewhere.",
        "In worlds the lidar is one turn of one tick (upstream joins two half turns), the picture was never a JPEG, "
        "and the target point is that of the route at 30 m.",
        "The forward pass takes five positional inputs; they are named by their numbers.",
    ),
)


class TransFuserV6(ReleasedPolicy, AnchoredPolicy):
    """TFv6 on top of the user's model: the speed head is rebuilt, offsets of the path are new.

    Candidates: lateral offsets times (the released mean speed, then every class).

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        speeds: speed classes in m/s, the first of them 0.
        width: features of the speed query.
        offsets: lateral offsets in metres, beside 0.
        keep_path: probability of the released path at the start.
        keep_speed: probability of the released mean speed at the start.

    """

    card = CARD_V6
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("speed_head", "decision_head", "offset_head"),
        "decoder": ("speed_head", "decision_head", "offset_head"),
    }
    taps = {  # noqa: RUF012
        "feature": "planning_decoder.target_speed_decoder:input.0",
        "speeds": "planning_decoder.target_speed_decoder:output",
        "path": "planning_decoder:output.0",
    }
    head_names = {"speed_head.": "planning_decoder.target_speed_decoder."}  # noqa: RUF012
    brake_above: ClassVar[float | None] = None

    speed_classes: Tensor

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        speeds: tuple[float, ...] = (0.0, 4.0, 8.0, 10.0, 13.88888888, 16.0, 17.77777777, 20.0),
        width: int = 256,
        offsets: tuple[float, ...] = OFFSETS,
        keep_path: float = 0.6,
        keep_speed: float = 0.6,
    ) -> None:
        super().__init__(width, 1 + len(speeds), offsets, keep_path, keep_speed, ahead=self.card.frame.ahead)
        if len(speeds) < 2 or speeds[0] != 0.0:
            raise CraftError(f"speeds={list(speeds)} do not fit; give 0 first and one more at least")
        self.register_buffer("speed_classes", torch.tensor(list(speeds)))
        self.speed_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, len(speeds)))
        self.decision_head = zero_linear(width, 1)
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "TransFuserV6":
        """Return a small one on a stand-in."""
        return cls("stand_in", width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.transfuser import StandInTFv6

        return LocalModel(StandInTFv6(arguments["width"], len(arguments["speeds"])))

    @classmethod
    def sensor_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return three pictures side by side, the histogram of lidar points 32 m behind to 64 m ahead, and so on."""
        cameras, lidar = cameras_and_lidar(cls.card.rig)

        def histogram(observation: Observation) -> Tensor:
            return lidar_histogram(observation, lidar, (-32.0, 64.0), (-40.0, 40.0), 0.2)

        return {
            "rgb": lambda observation: stitched(observation, cameras),
            "rasterized_lidar": histogram,
            "speed": lambda observation: observation.ego[:, 0].float(),
            "command": command,
            "target_point": lambda observation: route_point(observation, 30.0),
            "target_point_next": lambda observation: route_point(observation, 38.0),
            "target_point_previous": lambda observation: route_point(observation, 0.0),
        }

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        sizes = {"speed": 2, "command": 2, "target_point": 2, "target_point_next": 2, "target_point_previous": 2}
        numbers = {name: state_numbers(size) for name, size in sizes.items()}
        return {"rgb": pooled_raster, "rasterized_lidar": pooled_raster, **numbers}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {"feature": (self.offset_head.in_features,), "speeds": self.speed_classes.shape, "path": (None, 2)}

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return path, speeds and the hidden state of the model's own heads."""
        found = self.features(observation)
        # Of the model's own head: the plan that is listed first does not move while the rebuilt one learns.
        released = expected_speed(found["speeds"], self.speed_classes, self.brake_above)
        targets = torch.cat([released.unsqueeze(1), self.speed_classes.expand(len(released), -1)], 1)
        now = observation.ego[:, :1].float().clamp(min=0.0)
        distance = approach(now, targets, ACCELERATION, BRAKING)
        return RegressedPlan(turn_axes(found["path"], self.card.frame.axes), distance, found["feature"])

    def speed_logits(self, context: Context) -> Tensor:
        """Return the logits [B, 1 + C] of the released mean speed and of the classes."""
        feature = self.read(context)
        return class_logits(self.decision_head(feature), self.speed_head(feature), self.keep_speed)


class TransFuserPlusPlus(TransFuserV6):
    """TransFuser++ on top of the user's model; see ``TransFuserV6``.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        speeds: speed classes in m/s, the first of them 0.
        width: features of the speed query.
        offsets: lateral offsets in metres, beside 0.
        keep_path: probability of the released path at the start.
        keep_speed: probability of the released mean speed at the start.

    """

    card = CARD_PP
    call = ("0", "1", "2", "3", "4")
    taps = {  # noqa: RUF012
        "feature": "target_speed_network:input.0",
        "speeds": "target_speed_network:output",
        "path": "checkpoint_decoder:output",
    }
    head_names = {"speed_head.": "target_speed_network."}  # noqa: RUF012
    brake_above = 0.5

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        speeds: tuple[float, ...] = (0.0, 2.0, 5.0, 8.0),
        width: int = 256,
        offsets: tuple[float, ...] = OFFSETS,
        keep_path: float = 0.6,
        keep_speed: float = 0.6,
    ) -> None:
        super().__init__(source, weights, speeds, width, offsets, keep_path, keep_speed)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.transfuser import StandInTransFuserPP

        return LocalModel(StandInTransFuserPP(arguments["width"], len(arguments["speeds"])))

    @classmethod
    def sensor_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the front camera's picture, the histogram of what rises above 0.2 m within 32 m, and so on."""
        cameras, lidar = cameras_and_lidar(cls.card.rig)

        def histogram(observation: Observation) -> Tensor:
            return lidar_histogram(observation, lidar, (-32.0, 32.0), (-32.0, 32.0), 0.2)

        return {
            "0": lambda observation: stitched(observation, cameras),
            "1": histogram,
            "2": lambda observation: route_point(observation, 30.0),
            "3": lambda observation: observation.ego[:, :1].float(),
            "4": command,
        }

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"2": state_numbers(2), "3": state_numbers(1), "4": state_numbers(6)}
        return {"0": pooled_raster, "1": pooled_raster, **numbers}
