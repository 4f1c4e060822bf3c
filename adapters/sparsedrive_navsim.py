"""SparseDriveV2 as released for NAVSIM: paths times speed profiles, filtered twice, chosen by predicted metrics."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import NAVSIM, ModelFrame, poses_to_poses
from craft_lightning.policies.released.heads import score_mlp
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rig import Camera
from craft_lightning.structures import Context, Factor, Observation

MULTIPLIED = {
    "v1": ("no_at_fault_collisions", "drivable_area_compliance"),
    "v2": (
        "no_at_fault_collisions",
        "drivable_area_compliance",
        "driving_direction_compliance",
        "traffic_light_compliance",
    ),
}
"""Metrics whose probabilities multiply the score, for NAVSIM v1 and v2."""

AVERAGED = {
    "v1": {"time_to_collision_within_bound": 5.0, "ego_progress": 5.0, "comfort": 2.0},
    "v2": {
        "time_to_collision_within_bound": 5.0,
        "ego_progress": 5.0,
        "lane_keeping": 2.0,
        "history_comfort": 2.0,
    },
}
"""Metrics whose weighted probabilities are added in the score's other factor."""

_LAST = "_trajectory_head.decoder.layers.1"

CARD = ModelCard(
    name="SparseDriveV2 (NAVSIM)",
    source="https://github.com/swc-17/SparseDriveV2",
    licence="Apache-2.0",
    inputs=(
        ModelInput("camera_feature.imgs", (3, 3, 256, 512), "left, front, right camera, ImageNet-normalised", "camera"),
        ModelInput("camera_feature.projection_mat", (3, 4, 4), "rear axle to pixels of the resized picture", "camera"),
        ModelInput("camera_feature.image_wh", (3, 2), "width and height of the resized picture", "camera"),
        ModelInput("status_feature", (8,), "one-hot command (4), velocity x y, acceleration x y", "status"),
    ),
    frame=NAVSIM,
    horizon=4.0,
    dt=0.5,
    distribution="softmax of the logarithm of the released score over a temperature, on the 200 candidates kept",
    trainable={
        "heads": (f"{_LAST}.metric_heads.*",),
        "decoder": (f"{_LAST}.metric_heads.*", f"{_LAST}.t_ffn.*", f"{_LAST}.t_norm2.*"),
    },
    decision=0.5,
    tracker=None,
    controller={"kind": "LQR and kinematic bicycle of NAVSIM's scorer"},
    environment="Python 3.9, nuplan-devkit, a compiled CUDA operator (deformable aggregation)",
    beside="in process",
    rig=tuple(Camera(name, width=1920, height=1080) for name in ("cam_l0", "cam_f0", "cam_r0")),
    notes=(
        "The filters (path_mlp, vel_mlp of both layers) are frozen: the support is the same for student and teacher.",
        "The released choice does not look at the mask of composed trajectories; neither does this adapter.",
        "The imitation score (traj_mlp) takes no part in the released choice.",
        "The CUDA operator has no CPU version upstream: behind a bridge, or with a replacement of one's own.",
    ),
)


class SparseDriveNavsim(ReleasedPolicy, ListedPolicy):
    """SparseDriveV2 (NAVSIM) on top of the user's model: the last feed-forward block and the metric heads are rebuilt.

    Context of a state: features of the kept candidates in half precision (0.1 MB at 200), their poses and ids.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        version: the NAVSIM version whose score chooses.
        paths: paths of the vocabulary.
        speeds: speed profiles of the vocabulary.
        kept_paths: paths that the second filter keeps.
        kept_speeds: speed profiles that the second filter keeps.
        width: features of a candidate.
        hidden: hidden features of heads and feed-forward blocks.
        ahead: metres from the centre of the ego's box to the rear axle (negative: behind).

    """

    card = CARD
    family = "factorised (metric heads)"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("metric_heads",),
        "decoder": ("t_ffn", "t_norm2", "metric_heads"),
    }
    prefixes = ("agent.", "_sparsedrive_model.")
    call = ("*", None)
    taps = {  # noqa: RUF012
        "features": f"{_LAST}.t_ffn:input.0",
        "paths": f"{_LAST}:output.0.2",
        "speeds": f"{_LAST}:output.0.3",
        "plans": f"{_LAST}:output.0.4",
    }
    head_names = {  # noqa: RUF012
        "t_ffn.": f"{_LAST}.t_ffn.",
        "t_norm2.": f"{_LAST}.t_norm2.",
        "metric_heads.": f"{_LAST}.metric_heads.",
        "path_table": "_trajectory_head.path_vocab",
        "speed_table": "_trajectory_head.vel_vocab",
    }

    path_table: Tensor
    speed_table: Tensor

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        version: Literal["v1", "v2"] = "v2",
        paths: int = 1024,
        speeds: int = 256,
        kept_paths: int = 20,
        kept_speeds: int = 10,
        width: int = 256,
        hidden: int = 1024,
        ahead: float = NAVSIM.ahead,
    ) -> None:
        super().__init__((Factor("path", paths), Factor("speed", speeds)), (kept_paths, kept_speeds))
        if version not in MULTIPLIED:
            raise CraftError(f"version is {version!r}; give v1 or v2, the NAVSIM score that the model was trained for")
        self.version, self.frame = version, ModelFrame(NAVSIM.axes, ahead)
        self.t_ffn = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.t_norm2 = nn.LayerNorm(width)
        metrics = (*MULTIPLIED[version], *AVERAGED[version])
        self.metric_heads = nn.ModuleDict({name: score_mlp(width, hidden) for name in metrics})
        self.register_buffer("path_table", torch.zeros(paths, 50, 3))
        self.register_buffer("speed_table", torch.zeros(speeds, 8))
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "SparseDriveNavsim":
        """Return a small one on a stand-in."""
        return cls("stand_in", paths=12, speeds=8, kept_paths=5, kept_speeds=3, width=12, hidden=16)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.sparsedrive import StandInSparseDrive

        paths, speeds, width, hidden = (arguments[name] for name in ("paths", "speeds", "width", "hidden"))
        keep, version = (arguments["kept_paths"], arguments["kept_speeds"]), arguments["version"]
        metrics = (*MULTIPLIED[version], *AVERAGED[version])
        return LocalModel(StandInSparseDrive(paths, speeds, width, hidden, keep, *metrics))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        camera = dict.fromkeys((f"camera_feature.{name}" for name in ("projection_mat", "image_wh")), state_numbers(2))
        return {"camera_feature.imgs": pooled_raster, "status_feature": state_numbers(8), **camera}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        (paths, speeds), width = self.listed, self.t_norm2.normalized_shape[0]
        return {
            "features": (paths * speeds, width),
            "paths": (paths, *self.path_table.shape[1:]),
            "speeds": (speeds, *self.speed_table.shape[1:]),
            "plans": (paths, speeds, 8, 3),
        }

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` [B, K, width] in half precision, ``plans`` [B, K, 8, 3], ``path`` and ``speed`` ids."""
        found = self.features(observation)
        return Context(
            {
                "features": half_rounded(found["features"]),
                "plans": found["plans"].flatten(1, 2),
                "path": _which(found["paths"], self.path_table, "path_vocab"),
                "speed": _which(found["speeds"], self.speed_table, "vel_vocab"),
                "ego": observation.ego.float(),
            },
            batch_size=[len(observation.ego)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return the logarithm of the score [B, K] that the released model chooses by."""
        features = full(context["features"])
        features = self.t_norm2(features + self.t_ffn(features))
        return log_score({name: head(features).squeeze(-1) for name, head in self.metric_heads.items()}, self.version)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the filters kept."""
        path, speed = context["path"].long(), context["speed"].long()
        ids = torch.stack(
            [path.repeat_interleave(speed.shape[1], 1), speed.repeat(1, path.shape[1])],
            -1,
        )
        plans = poses_to_poses(context["plans"], self.card.dt, self.frame)
        return ids, plans, torch.ones_like(ids[..., 0], dtype=torch.bool)


def log_score(heads: Mapping[str, Tensor], version: str) -> Tensor:
    """Return the logarithm of SparseDriveV2's score (released code) from the logits [B, K] of its metric heads."""
    product = torch.stack([functional.logsigmoid(heads[name]) for name in MULTIPLIED[version]]).sum(0)
    return (
        product
        + torch.stack([weight * heads[name].sigmoid() for name, weight in AVERAGED[version].items()]).sum(0).log()
    )


def _which(entries: Tensor, table: Tensor, name: str) -> Tensor:
    """Return the index [B, K] (int32) of the table's entry that each of the kept ones [B, K, ...] is."""
    distance = torch.cdist(entries.flatten(2), table.flatten(1).expand(len(entries), -1, -1))
    nearest, index = distance.min(-1)
    # cdist rounds: entries of a hundred metres are found again to a few millimetres.
    if (nearest > 0.1).any():
        raise CraftError(f"the model keeps entries that its {name} does not hold; load the head from the same model")
    return index.int()
