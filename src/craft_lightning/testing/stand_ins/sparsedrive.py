"""A small model laid out like SparseDriveV2's NAVSIM model: two filtering layers, metric heads in the second."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.testing.stand_ins.parts import Trunk, small_mlp

_CELLS, _BINS, _POINTS = 8, 8, 50


def vocabularies(paths: int, speeds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return paths [P, 50, 3] a metre apart, speeds [V, 8] m/s and composed poses [P, V, 8, 3] at 0.5 s (NAVSIM)."""
    curvature = torch.linspace(-0.05, 0.05, paths)[:, None]
    arc = torch.arange(1.0, _POINTS + 1)
    yaw = curvature * arc
    chord = arc * torch.sinc(yaw / (2 * torch.pi))
    path = torch.stack([chord * (yaw / 2).cos(), chord * (yaw / 2).sin(), yaw], -1)
    speed = torch.linspace(0.0, 12.0, speeds)[:, None] + torch.linspace(0.0, 1.0, _BINS)
    driven = (speed * 0.5).cumsum(-1)
    yaw = curvature[:, None] * driven
    chord = driven * torch.sinc(yaw / (2 * torch.pi))
    return path, speed, torch.stack([chord * (yaw / 2).cos(), chord * (yaw / 2).sin(), yaw], -1)


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int, keep: tuple[int, int], metrics: tuple[str, ...]) -> None:
        super().__init__()
        self.keep = keep
        self.path_mlp, self.vel_mlp = small_mlp(width, hidden), small_mlp(width, hidden)
        if metrics:
            self.t_norm1, self.t_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.t_ffn = small_mlp(width, hidden, width)
            self.traj_mlp = small_mlp(width, hidden)
            self.metric_heads = nn.ModuleDict({name: small_mlp(width, hidden) for name in metrics})

    def forward(self, *parts: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor], dict[str, Tensor]]:
        path, speed, paths, speeds, plans, valid, state = parts
        # Upstream attends to pictures here; a product makes the ranking depend on the state as that does.
        path, speed = (part * (1.0 + state[:, None]) + state[:, None] for part in (path, speed))
        rows = torch.arange(len(path))[:, None]
        best_path = self.path_mlp(path).squeeze(-1).topk(self.keep[0], 1).indices
        best_speed = self.vel_mlp(speed).squeeze(-1).topk(self.keep[1], 1).indices
        path, paths, plans, valid = (part[rows, best_path] for part in (path, paths, plans, valid))
        speed, speeds = (part[rows, best_speed] for part in (speed, speeds))
        plans, valid = (part.transpose(1, 2)[rows, best_speed].transpose(1, 2) for part in (plans, valid))
        answer = {}
        if hasattr(self, "metric_heads"):
            joint = self.t_norm1((path[:, :, None] + speed[:, None]).flatten(1, 2))
            joint = self.t_norm2(joint + self.t_ffn(joint))
            answer = {name: head(joint).squeeze(-1) for name, head in self.metric_heads.items()}
            answer["imitation"] = self.traj_mlp(joint).squeeze(-1)
        return (path, speed, paths, speeds, plans, valid), answer, {}


class _Decoder(nn.Module):
    def __init__(self, layers: list[_Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _Head(nn.Module):
    def __init__(
        self, paths: int, speeds: int, width: int, hidden: int, keep: tuple[int, int], metrics: tuple[str, ...]
    ) -> None:
        super().__init__()
        path, speed, plans = vocabularies(paths, speeds)
        self.path_vocab, self.vel_vocab, self.traj_vocab, self.traj_mask = (
            nn.Parameter(part, requires_grad=False) for part in (path, speed, plans, torch.ones(plans.shape[:3]))
        )
        self.path_pos_embed = small_mlp(_POINTS * 3, hidden, width)
        self.vel_pos_embed = small_mlp(_BINS, hidden, width)
        coarse = (min(paths, 2 * keep[0]), min(speeds, 2 * keep[1]))
        self.decoder = _Decoder([_Layer(width, hidden, coarse, ()), _Layer(width, hidden, keep, metrics)])

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        def many(part: Tensor) -> Tensor:
            return part.expand(len(state), *part.shape)

        embedded = self.path_pos_embed(self.path_vocab.flatten(1) / 50.0), self.vel_pos_embed(self.vel_vocab / 12.0)
        tables = (self.path_vocab, self.vel_vocab, self.traj_vocab, self.traj_mask)
        parts, answer = tuple(many(part) for part in (*embedded, *tables)), {}
        for layer in self.decoder.layers:
            parts, answer, _ = layer(*parts, state)
        return answer


class StandInSparseDrive(nn.Module):
    """See the module."""

    def __init__(self, paths: int, speeds: int, width: int, hidden: int, keep: tuple[int, int], *metrics: str) -> None:
        super().__init__()
        self._backbone = Trunk(6 * 36 + 8, 1, width)
        self._trajectory_head = _Head(paths, speeds, width, hidden, keep, metrics)

    def forward(self, features: Mapping[str, Any], targets: None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what the heads say, and no losses."""
        state = self._backbone(features["camera_feature"]["imgs"], features["status_feature"])[:, 0]
        return self._trajectory_head(state), {}
