"""HiP-AD: 48 path modes, three speed bands on each, decoded as the released agent does."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.factored import joint_logits, plan_ids
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import (
    BENCH2DRIVE_LIDAR,
    path_to_poses,
    speeds_to_distance,
    turn_axes,
)
from craft_lightning.policies.released.heads import normed_mlp
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.released.vetoes import collides
from craft_lightning.rigs import BENCH2DRIVE
from craft_lightning.structures import CandidateSet, Context, Factor, Observation

GROUPS = (
    ("temp", "5hz"),
    ("spat", "2m"),
    ("temp", "2hz"),
    ("spat", "5m"),
    *(("speed", f"5hz {band}") for band in range(3)),
    *(("speed", f"2hz {band}") for band in range(3)),
)
"""Order of the ten groups of anchors in upstream's answer; bands are 0-0.4, 0.4-3 and above 3 m/s."""

_PATH_2M, _PATH_5M = GROUPS.index(("spat", "2m")), GROUPS.index(("spat", "5m"))
_BANDS_5HZ, _BANDS_2HZ = 4, 7
_BANDS = 3
_CONFIDENT = 0.15
_EGO_SIZE = (4.89, 1.84)

_HEAD = "head.onedecoder_head"
_REFINE = f"{_HEAD}.plan_refine.5"

CARD = ModelCard(
    name="HiP-AD",
    source="https://github.com/nullmax-vision/HiP-AD",
    licence="Apache-2.0",
    inputs=(
        ModelInput("img", (6, 3, 352, 640), "six cameras, resized and normalised", "camera"),
        ModelInput("projection_mat", (6, 4, 4), "LIDAR to pixels of the resized pictures", "camera"),
        ModelInput("image_wh", (6, 2), "width and height of the resized pictures", "camera"),
        ModelInput("timestamp", (), "seconds", "status"),
        ModelInput("target_point", (2,), "metres, x right and y forward", "route"),
        ModelInput("gt_ego_fut_cmd", (6,), "one-hot command", "route"),
    ),
    frame=BENCH2DRIVE_LIDAR,
    horizon=3.0,
    dt=0.5,
    distribution="softmax of the path logits times softmax of a path's three band logits; both trained as sigmoids",
    trainable={
        "heads": (f"{_REFINE}.plan_cls_branch.*", f"{_REFINE}.plan_cls_branch_speed.*"),
        "decoder": (f"{_REFINE}.plan_cls_branch.*", f"{_REFINE}.plan_cls_branch_speed.*"),
    },
    decision=0.05,
    tracker=TrackerParameters(
        turn_kp=1.0,
        turn_ki=0.75,
        turn_kd=0.0,
        window=10,
        aim_gain=1.0,
        aim_offset=0.0,
        aim_min=0.5,
        aim_max=10.0,
        speed_window=1.2,
        max_throttle=0.75,
    ),
    controller={"path": "spat 2m", "speed": "mean speed of the 5 Hz band trajectory", "aim": "1.0 s times the speed"},
    environment="Python 3.8, torch 1.13, mmcv-full 1.7.1, mmdet 2.28.2, flash-attn 2.7.0, a compiled CUDA operator",
    beside="bridge",
    temporal=True,
    rig=BENCH2DRIVE,
    notes=(
        "The released mode is the best of the 2 m path logits; the collision veto acts on bands alone, since that of "
        "modes is written to another group's logits.",
        "Where all bands of a path collide the released agent clears the veto and stops: here the three bands become "
        "one plan that stands still.",
        "The agent's own factory has to answer the six outputs of head.onedecoder_head and pack its data containers.",
        "Instance banks remember earlier frames inside the model; with several worlds a bridge each is needed.",
    ),
)


class HiPAD(ReleasedPolicy, ListedPolicy):
    """HiP-AD on top of the user's model: both classification branches of the last layer are rebuilt.

    Candidate (mode, band): the mode's path, driven at the speeds of its band.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        modes: path modes.
        width: features of a query.
        rescore: leave out bands that collide with the model's own forecast, as the released agent does.

    """

    card = CARD
    family = "hierarchical"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("plan_cls_branch", "plan_cls_branch_speed"),
        "decoder": ("plan_cls_branch", "plan_cls_branch_speed"),
    }
    taps = {  # noqa: RUF012
        "features": f"{_REFINE}.plan_cls_branch:input.0@0",
        **{f"band{band}": f"{_REFINE}.plan_cls_branch_speed:input.0@{band}" for band in range(_BANDS)},
        "prediction": f"{_HEAD}:output.3.prediction.-1",
        "boxes": f"{_HEAD}:output.0.prediction.-1",
        "classes": f"{_HEAD}:output.0.classification.-1",
        "motion": f"{_HEAD}:output.4.prediction.-1",
        "motion_classes": f"{_HEAD}:output.4.classification.-1",
    }
    head_names = {  # noqa: RUF012
        "plan_cls_branch.": f"{_REFINE}.plan_cls_branch.",
        "plan_cls_branch_speed.": f"{_REFINE}.plan_cls_branch_speed.",
    }

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        modes: int = 48,
        width: int = 256,
        rescore: bool = True,
    ) -> None:
        super().__init__((Factor("path", modes), Factor("band", _BANDS)), (modes, _BANDS))
        self.width, self.rescore = width, rescore
        self.plan_cls_branch, self.plan_cls_branch_speed = normed_mlp(width), normed_mlp(width)
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "HiPAD":
        """Return a small one on a stand-in."""
        return cls("stand_in", modes=8, width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.hipad import StandInHiPAD

        return LocalModel(StandInHiPAD(arguments["modes"], 7, arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        sizes = {"projection_mat": 2, "image_wh": 2, "timestamp": 1, "target_point": 5, "gt_ego_fut_cmd": 6}
        return {"img": pooled_raster, **{name: state_numbers(size) for name, size in sizes.items()}}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        modes, width = self.listed[0], self.width
        return {
            **dict.fromkeys(("features", *(f"band{band}" for band in range(_BANDS))), (modes, width)),
            "prediction": (1, len(GROUPS) * modes, 6, 2),
            "boxes": (None, 11),
            "classes": (None, None),
            "motion": (None, None, None, 2),
            "motion_classes": (None, None),
        }

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` [B, modes, width] and ``bands`` [B, modes, 3, width] in half precision, and geometry.

        ``path`` [B, modes, 6, 2] (5 m apart), ``speed`` [B, modes, 3, 6] mean speeds of half a second, ``stops``
        [B, modes] paths on which every band collides, ``vetoed`` [B, modes, 3].
        """
        found = self.features(observation)
        groups = found["prediction"][:, 0].unflatten(1, (len(GROUPS), -1)).cumsum(-2)
        points = turn_axes(groups, self.card.frame.axes)
        # The two sets of path points together: every 2 m as far as they go, then every 5 m.
        path = torch.cat([points[:, _PATH_2M], points[:, _PATH_5M, :, 2:]], -2)
        bands = points[:, _BANDS_2HZ:].transpose(1, 2)
        speed = bands.diff(dim=-2, prepend=torch.zeros_like(bands[..., :1, :])).norm(dim=-1) / self.card.dt
        vetoed = torch.zeros_like(speed[..., 0], dtype=torch.bool)
        if self.rescore:
            vetoed = self._collisions(found, points[:, _BANDS_5HZ:_BANDS_2HZ].transpose(1, 2))
        stops = vetoed.all(-1)
        return Context(
            {
                "features": half_rounded(found["features"]),
                "bands": half_rounded(torch.stack([found[f"band{band}"] for band in range(_BANDS)], 2)),
                "path": path,
                "speed": speed.masked_fill(stops[..., None, None], 0.0),
                "vetoed": vetoed & ~stops.unsqueeze(-1),
                "ego": observation.ego.float(),
            },
            batch_size=[len(path)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return the joint at temperature 1."""
        return self.joint(context, 1.0)

    def joint(self, context: Context, temperature: Tensor | float) -> Tensor:
        """Return log pi(mode) + log pi(band | mode), [B, modes * 3]; a vetoed band leaves its mode to the others."""
        mode = self.plan_cls_branch(full(context["features"])).squeeze(-1)
        band = self.plan_cls_branch_speed(full(context["bands"])).squeeze(-1)
        return joint_logits(mode, band.masked_fill(context["vetoed"], -1e4), temperature)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return every mode's path at the speeds of its bands; a path that always collides is one plan that stands."""
        distance = speeds_to_distance(context["speed"], self.card.dt)
        frame = type(self.card.frame)("forward_left", self.card.frame.ahead)
        plans = path_to_poses(context["path"].unsqueeze(2), distance, frame).flatten(1, 2)
        ids = plan_ids(self.listed[0], self.listed[1], plans.device).expand(len(plans), -1, -1)
        return ids, plans, ~context["vetoed"].flatten(1)

    def act(self, candidates: CandidateSet, greedy: bool = False, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose by ``noise``, or in the released order where ``greedy``: the likeliest mode, then its likeliest band.

        The likeliest pair may be another one.
        """
        if not greedy:
            return super().act(candidates, greedy, noise)
        log_probs = candidates.log_probs.masked_fill(~candidates.mask, -torch.inf)
        mode = candidates.ids[..., 0]
        mass = torch.zeros(len(mode), self.listed[0], device=mode.device).scatter_add(1, mode, log_probs.exp())
        index = log_probs.masked_fill(mode != mass.argmax(1, keepdim=True), -torch.inf).argmax(1)
        return index, self.trajectories(candidates)[torch.arange(len(index), device=index.device), index]

    def _collisions(self, found: Mapping[str, Tensor], bands: Tensor) -> Tensor:
        """Return [B, modes, 3]: bands that meet a forecast at 0.6 or 1.2 s; upstream takes its 0.5 and 1.0 s for it."""
        boxes = found["boxes"]
        centre = turn_axes(boxes[..., :2], self.card.frame.axes)
        # The answer's columns: x, y, z, log width, log length, log height, sin yaw, cos yaw, velocities.
        yaw = torch.atan2(boxes[..., 6], boxes[..., 7]) - torch.pi / 2
        extent = boxes[..., [4, 3]].exp()
        seen = torch.cat([centre, yaw.unsqueeze(-1), extent], -1)
        best = found["motion_classes"].argmax(-1)
        motion = turn_axes(found["motion"].cumsum(-2), self.card.frame.axes)
        motion = motion.gather(2, best[..., None, None, None].expand(-1, -1, 1, *motion.shape[3:])).squeeze(2)
        confident = found["classes"].sigmoid().amax(-1) >= _CONFIDENT
        early = bands[..., [2, 5], :]
        hit = collides(early.flatten(1, 2), seen, motion[..., [0, 1], :], confident, _EGO_SIZE)
        return hit.unflatten(1, early.shape[1:3])
