"""A small model laid out like DiffusionDrive: anchors, two decoder layers, run twice with noise."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from craft_lightning.policies.released.heads import normed_mlp
from craft_lightning.testing.stand_ins.parts import Trunk, small_mlp


class _Task(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.plan_cls_branch = normed_mlp(width)
        self.plan_reg_branch = small_mlp(width, width, 24, layers=3)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.plan_reg_branch(features).unflatten(-1, (8, 3)), self.plan_cls_branch(features).squeeze(-1)


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.task_decoder = _Task(width)

    def forward(self, features: Tensor, points: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        moved = points.mean((-2, -1))[..., None] / 20.0
        poses, scores = self.task_decoder(torch.tanh(self.mix(features + state) + moved))
        return torch.cat([poses[..., :2] + points, poses[..., 2:].tanh() * torch.pi], -1), scores


class _Decoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(width), _Layer(width)])

    def forward(self, features: Tensor, points: Tensor, state: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        poses, scores = [], []
        for layer in self.layers:
            pose, score = layer(features, points, state)
            points = pose[..., :2]
            poses.append(pose)
            scores.append(score)
        return poses, scores


class _Head(nn.Module):
    def __init__(self, modes: int, width: int) -> None:
        super().__init__()
        along = torch.linspace(0.0, 10.0, modes)[:, None] * torch.arange(1, 9) * 0.5
        side = torch.linspace(-0.1, 0.1, modes)[:, None] * along
        self.plan_anchor = nn.Parameter(torch.stack([along, side], -1), requires_grad=False)
        self.plan_anchor_encoder = small_mlp(16, width, width)
        self.diff_decoder = _Decoder(width)

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        points = self.plan_anchor.expand(len(state), -1, -1, -1)
        points = points + 0.05 * torch.randn(points.shape)
        for _ in range(2):
            features = self.plan_anchor_encoder(points.flatten(2) / 20.0)
            poses, scores = self.diff_decoder(features, points, state)
            points = poses[-1][..., :2]
        best = scores[-1].argmax(1)
        return {"trajectory": poses[-1][torch.arange(len(best)), best]}


class StandInDiffusionDrive(nn.Module):
    """See the module."""

    def __init__(self, modes: int, width: int) -> None:
        super().__init__()
        self._backbone = Trunk(6 * 36 * 2 + 8, 1, width)
        self._trajectory_head = _Head(modes, width)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the chosen trajectory."""
        names = ("camera_feature", "lidar_feature", "status_feature")
        return self._trajectory_head(self._backbone(*(features[name] for name in names)))
