"""A small model laid out like HiP-AD: ten groups of anchors, two classification branches, moving detections."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from craft_lightning.policies.released.heads import normed_mlp
from craft_lightning.testing.stand_ins.parts import Trunk, small_mlp

GROUPS = 10


class _Refine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.plan_cls_branch, self.plan_cls_branch_speed = normed_mlp(width), normed_mlp(width)
        self.reg = small_mlp(width, width, 12)

    def forward(self, queries: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        groups = queries.unflatten(1, (GROUPS, -1))
        common = groups[:, :4].sum(1)
        bands = [groups[:, 4 + band] + groups[:, 7 + band] + common for band in range(3)]
        asked = [common] * 4 + bands * 2
        scores = [
            (self.plan_cls_branch if group < 4 else self.plan_cls_branch_speed)(query)
            for group, query in enumerate(asked)
        ]
        moved = torch.cat([0.02 * self.reg(query) for query in asked], 1)
        return anchors + moved, torch.cat(scores, 1)


class _Decoder(nn.Module):
    def __init__(self, modes: int, objects: int, width: int) -> None:
        super().__init__()
        self.modes, self.objects = modes, objects
        self.trunk = Trunk(6 * 36 + 5, GROUPS * modes, width)
        self.plan_refine = nn.ModuleList([_Refine(width) for _ in range(6)])
        self.detect = Trunk(6 * 36, objects, 11 + 9 + 1 + 12)

    def _anchors(self) -> Tensor:
        """Return positions [groups * modes, 6, 2], x right and y forward, of bent paths and speeds on them."""
        bend = torch.linspace(-0.03, 0.03, self.modes)[:, None]
        steps = torch.arange(1.0, 7.0)
        # Metres a step: paths of 2 and 5 m, then 5 Hz and 2 Hz at the speeds of the bands.
        metres = [0.8, 2.0, 2.0, 5.0, 0.02, 0.3, 1.6, 0.05, 0.75, 4.0]
        groups = []
        for size in metres:
            along = (size * steps).expand(self.modes, -1)
            groups.append(torch.stack([bend * along**2 / 2, along], -1))
        return torch.cat(groups)

    def forward(self, images: Tensor, target: Tensor) -> tuple[dict[str, list[Tensor]], ...]:
        queries = self.trunk(images, target)
        places = self._anchors().flatten(1).expand(len(queries), -1, -1)
        predictions, classes = [], []
        for layer in self.plan_refine:
            reached, scores = layer(queries, places)
            points = reached.unflatten(-1, (6, 2))
            steps = points.diff(dim=-2, prepend=torch.zeros_like(points[..., :1, :]))
            predictions.append(steps.unsqueeze(1))
            classes.append(scores.squeeze(-1).unsqueeze(1))
        seen = self.detect(images)
        boxes, kinds, motion_class, motion = seen.split([11, 9, 1, 12], -1)
        # Few of them are sure, so that few bands are vetoed.
        kinds = kinds - 3.0
        # Centres about the ego, sizes as logarithms of metres, a heading of unit length.
        centre = 20.0 * torch.tanh(boxes[..., :2]) + torch.tensor([0.0, 12.0])
        size = torch.tensor([1.8, 4.5, 1.6]).log().expand(*centre.shape[:-1], 3)
        heading = nn.functional.normalize(boxes[..., 6:8], dim=-1)
        boxes = torch.cat([centre, boxes[..., 2:3], size, heading, boxes[..., 8:]], -1)
        none: dict[str, list[Tensor]] = {"classification": [], "prediction": []}
        return (
            {"classification": [kinds], "prediction": [boxes]},
            none,
            none,
            {"classification": classes, "prediction": predictions},
            {"classification": [motion_class], "prediction": [0.1 * motion.unflatten(-1, (1, 6, 2))]},
            none,
        )


class _Head(nn.Module):
    def __init__(self, modes: int, objects: int, width: int) -> None:
        super().__init__()
        self.onedecoder_head = _Decoder(modes, objects, width)

    def forward(self, images: Tensor, target: Tensor) -> tuple[dict[str, list[Tensor]], ...]:
        return self.onedecoder_head(images, target)


class StandInHiPAD(nn.Module):
    """See the module."""

    def __init__(self, modes: int, objects: int, width: int) -> None:
        super().__init__()
        self.head = _Head(modes, objects, width)

    def forward(self, data: Mapping[str, Tensor]) -> tuple[dict[str, list[Tensor]], ...]:
        """Return detections, map, ego, plan, motion and scene outputs, in upstream's order."""
        return self.head(data["img"], data["target_point"])
