"""SparseDriveV2 as released for Bench2Drive: composed candidates, classified, vetoed by predicted collisions."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import BENCH2DRIVE_LIDAR, waypoints_to_poses
from craft_lightning.policies.released.heads import zero_linear
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rigs import BENCH2DRIVE
from craft_lightning.structures import Context, Factor, Observation

CARD = ModelCard(
    name="SparseDriveV2 (Bench2Drive)",
    source="https://github.com/swc-17/SparseDriveV2",
    licence="Apache-2.0",
    inputs=(
        ModelInput("img", (6, 3, 384, 704), "six cameras, normalised", "camera"),
        ModelInput("projection_mat", (6, 4, 4), "LIDAR to pixels of the resized pictures", "camera"),
        ModelInput("ego_status", (10,), "accelerations, rotation rates, velocities, steering", "status"),
        ModelInput("target_point", (2,), "metres, x right and y forward", "route"),
    ),
    frame=BENCH2DRIVE_LIDAR,
    horizon=3.0,
    dt=0.5,
    distribution="softmax of 1024 composed logits over a temperature; they were trained as sigmoids (focal loss)",
    trainable={"heads": (), "decoder": ()},
    decision=0.1,
    tracker=TrackerParameters(
        turn_kp=1.0,
        turn_ki=0.75,
        turn_kd=0.4,
        window=10,
        aim_gain=0.5,
        aim_offset=2.5,
        aim_min=4.0,
        aim_max=8.0,
        speed_window=0.5,
        brake_speed=0.2,
        clip_delta=1.0,
    ),
    controller={"desired_speed": "first bin of the velocity profile", "steer_error_while_braking": 0.0},
    environment="mmcv-full 1.7.1, mmdet 2.28.2, torch 2.0.1, a compiled CUDA operator",
    beside="bridge",
    temporal=True,
    rig=BENCH2DRIVE,
    notes=(
        "Only the first half second of a plan's speed is driven before the next plan; scoring looks at all of it.",
        "What is trained is a new head added to the released logits. The factory answers features, traj_cls, plans "
        "(positions), path_ids, velocity_ids and collision by these names; the code's own names were not at hand.",
        "Candidates with a predicted collision are left out, as released; where all have one none is.",
    ),
)


class SparseDriveBench2Drive(ReleasedPolicy, ListedPolicy):
    """SparseDriveV2 (Bench2Drive) on top of the user's model: a residual head on the composed candidates.

    Args:
        source: see ``ReleasedPolicy``.
        weights: not used: no layer of upstream's is trained.
        paths: paths of the vocabulary.
        speeds: speed profiles of the vocabulary.
        kept_paths: paths kept for composition.
        kept_speeds: speed profiles kept for composition.
        width: features of a candidate.
        hidden: hidden features of the residual head.
        rescore: leave out candidates with a predicted collision.

    """

    card = CARD
    family = "factorised"
    profiles = {"heads": ("residual",), "decoder": ("residual",)}  # noqa: RUF012 - ClassVar of the base
    taps = {  # noqa: RUF012
        name: f":output.{name}" for name in ("features", "traj_cls", "plans", "path_ids", "velocity_ids", "collision")
    }

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        paths: int = 1024,
        speeds: int = 256,
        kept_paths: int = 64,
        kept_speeds: int = 16,
        width: int = 256,
        hidden: int = 256,
        rescore: bool = True,
    ) -> None:
        super().__init__((Factor("path", paths), Factor("speed", speeds)), (kept_paths, kept_speeds))
        self.width, self.rescore = width, rescore
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), zero_linear(hidden, 1))
        self.attach(source)
        self.eval()

    @classmethod
    def example(cls) -> "SparseDriveBench2Drive":
        """Return a small one on a stand-in."""
        return cls("stand_in", paths=12, speeds=8, kept_paths=6, kept_speeds=3, width=12, hidden=8)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.named import StandInSparseDriveB2D

        kept = (arguments["kept_paths"], arguments["kept_speeds"])
        return LocalModel(StandInSparseDriveB2D(kept, arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"projection_mat": 2, "ego_status": 9, "target_point": 2}
        return {"img": pooled_raster, **{name: state_numbers(size) for name, size in numbers.items()}}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {
            "features": (self.count, self.width),
            "traj_cls": (self.count,),
            "plans": (self.count, 6, 2),
            "path_ids": (self.listed[0],),
            "velocity_ids": (self.listed[1],),
            "collision": (self.count,),
        }

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` in half precision, ``logits`` and ``mask`` [B, K], ``plans`` [B, K, 6, 2], ids."""
        found = self.features(observation)
        hits = found["collision"] > 0.5
        mask = ~hits | hits.all(1, keepdim=True) if self.rescore else torch.ones_like(hits)
        return Context(
            {
                "features": half_rounded(found["features"]),
                "logits": found["traj_cls"],
                "plans": found["plans"],
                "path": found["path_ids"].int(),
                "speed": found["velocity_ids"].int(),
                "mask": mask,
                "ego": observation.ego.float(),
            },
            batch_size=[len(mask)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return the released logits [B, K], moved by what was learnt."""
        return context["logits"] + self.residual(full(context["features"])).squeeze(-1)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return the composed candidates; those that collide do not count."""
        path, speed = context["path"].long(), context["speed"].long()
        ids = torch.stack([path.repeat_interleave(speed.shape[1], 1), speed.repeat(1, path.shape[1])], -1)
        return ids, waypoints_to_poses(context["plans"], self.card.dt, self.card.frame), context["mask"]
