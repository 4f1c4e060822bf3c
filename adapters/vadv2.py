"""VADv2: a vocabulary of 4096 plans, each scored from features of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import BENCH2DRIVE_LIDAR, waypoints_to_poses
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rigs import BENCH2DRIVE
from craft_lightning.structures import CandidateSet, Context, Factor, Observation

_HEAD = "pts_bbox_head"
_BRANCH = f"{_HEAD}.plan_cls_expert_branch"

CARD = ModelCard(
    name="VADv2",
    source="https://github.com/hustvl/VAD",
    licence="Apache-2.0",
    inputs=(
        ModelInput("img", ("queue", "cameras", 3, "height", "width"), "queue of pictures, normalised", "camera"),
        ModelInput("ego_lcf_feat", (9,), "velocities, accelerations, yaw rate, size, speed, steering", "status"),
        ModelInput("target_point", (2,), "metres, x right and y forward", "route"),
        ModelInput("command", (), "1 to 6, CARLA's order", "route"),
    ),
    frame=BENCH2DRIVE_LIDAR,
    horizon=3.0,
    dt=0.5,
    distribution="softmax of the expert logits over a temperature; they were trained as sigmoids (focal loss)",
    trainable={"heads": (f"{_BRANCH}.*",), "decoder": (f"{_BRANCH}.*",)},
    decision=0.5,
    tracker=TrackerParameters(
        turn_kp=0.75, turn_ki=0.75, turn_kd=0.3, window=40, aim_gain=0.0, aim_offset=4.0, aim_min=4.0, aim_max=4.0
    ),
    controller={"desired_speed": "mean step of the waypoints times 2"},
    environment="mmcv, mmdet3d; only head and configuration are released, the rest is the user's",
    beside="bridge",
    temporal=True,
    rig=BENCH2DRIVE[:3],
    notes=(
        "The released head draws its anchors anew at every pass. In training that is 256 of 4096 and must be off; with "
        "plan_fut_mode 4096 it is an order, which ids undo: a plan is found in the vocabulary by its points.",
        "The head overwrites its first drawn anchor with standing still, so one entry a pass is missing.",
        "The vocabulary is no part of upstream's state: give its .npy file.",
        "Axes are those of the code's own lidar frame; not checked against a checkpoint.",
    ),
)


class VADv2(ReleasedPolicy, ListedPolicy):
    """VADv2 on top of the user's model: the expert branch is rebuilt; the best entries of a state are listed.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        vocabulary: the model's own ``.npy`` file [size, 6, 2], positions; None where the model shows it as a buffer.
        size: entries of the vocabulary.
        kept: entries that a state lists, the best by the released logits.
        width: features of an entry.

    """

    card = CARD
    family = "vocabulary"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("plan_cls_expert_branch",),
        "decoder": ("plan_cls_expert_branch",),
    }
    taps = {  # noqa: RUF012
        "features": f"{_BRANCH}:input.0",
        "scores": f"{_BRANCH}:output",
        "plans": f"{_HEAD}:output.ego_fut_preds",
    }
    head_names = {"plan_cls_expert_branch.": f"{_BRANCH}."}  # noqa: RUF012
    free_arguments = ReleasedPolicy.free_arguments | {"vocabulary"}
    outside_arguments = {**ReleasedPolicy.outside_arguments, "vocabulary": None}  # noqa: RUF012
    stores_geometry = False

    table: Tensor

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        vocabulary: str | None = None,
        size: int = 4096,
        kept: int = 256,
        width: int = 256,
    ) -> None:
        super().__init__((Factor("trajectory", size),), (kept,))
        if not 2 <= kept <= size:
            raise CraftError(f"kept is {kept}; give between 2 and size={size}")
        self.width = width
        self.register_buffer("table", torch.zeros(size, 6, 2))
        self.plan_cls_expert_branch = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True), nn.Linear(width, 1)
        )
        if vocabulary is not None:
            self._fill(read_plans(vocabulary))
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "VADv2":
        """Return a small one on a stand-in."""
        return cls("stand_in", size=40, kept=12, width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.named import StandInVADv2

        return LocalModel(StandInVADv2(arguments["size"], arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"ego_lcf_feat": 9, "target_point": 2, "command": 1}
        return {"img": pooled_raster, **{name: state_numbers(size) for name, size in numbers.items()}}

    def take(self, upstream: Mapping[str, Tensor]) -> None:
        """Fill the branch, and the vocabulary where the model shows it."""
        super().take(upstream)
        if self.source is not None and not self.table.any():
            anchors = self.source.state((f"{_HEAD}.plan_anchors",)).get(f"{_HEAD}.plan_anchors")
            if anchors is None:
                raise CraftError(
                    "VADv2.vocabulary is missing and the model shows none; give the .npy file of its plans"
                )
            self._fill(anchors)

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        size = len(self.table)
        return {"features": (size, self.width), "scores": (size, 1), "plans": (size, 6, 2)}

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` [B, kept, width] in half precision, ``ids`` [B, kept] and ``ego`` [B, 5]."""
        found = self.features(observation)
        best = found["scores"].squeeze(-1).topk(self.count, 1).indices
        rows = torch.arange(len(best), device=best.device)[:, None]
        plans = found["plans"][rows, best]
        distance = torch.cdist(plans.flatten(2), self.table.flatten(1).expand(len(best), -1, -1))
        # The entry that was overwritten with standing still is not among the vocabulary's, if that has none.
        return Context(
            {
                "features": half_rounded(found["features"][rows, best]),
                "ids": distance.argmin(-1).int(),
                "ego": observation.ego.float(),
            },
            batch_size=[len(best)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return the logits [B, kept] of the expert branch."""
        return self.plan_cls_expert_branch(full(context["features"])).squeeze(-1)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best entries; two that are one entry count once."""
        ids = context["ids"].long()
        same = ids[:, :, None] == ids[:, None]
        earlier = torch.ones(self.count, self.count, dtype=torch.bool, device=ids.device).tril(-1)
        return ids.unsqueeze(-1), self._poses(ids), ~(same & earlier).any(-1)

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return [B, K, T, 3] from the ids."""
        return self._poses(candidates.ids[..., 0])

    def _poses(self, ids: Tensor) -> Tensor:
        return waypoints_to_poses(self.table[ids], self.card.dt, self.card.frame)

    def _fill(self, plans: Tensor) -> None:
        if plans.shape != self.table.shape:
            raise CraftError(
                f"the vocabulary of VADv2 is {tuple(plans.shape)}, not {tuple(self.table.shape)}; set size"
            )
        self.table.copy_(plans)


def read_plans(path: str) -> Tensor:
    """Read a ``.npy`` file of numbers; objects in it are refused.

    Raises:
        CraftError: no such file, or one that is no array of numbers.

    """
    try:
        return torch.from_numpy(np.load(Path(path).expanduser(), allow_pickle=False)).float()
    except (OSError, ValueError, TypeError) as error:
        raise CraftError(f"vocabulary: {path} is no .npy file of numbers ({error}); give the model's own") from error
