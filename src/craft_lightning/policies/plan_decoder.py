"""A decoder for paths and the speed profiles on them: what a hierarchical policy's two tables of logits come from."""

import torch
from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, CrossAttentionLayer, embedding_network

_SAMPLES = 8  # points of a path and moments of a profile that describe it


class PlanDecoder(nn.Module):
    """Path queries and speed queries that cross-attend to a state's tokens; a small network joins every pair.

    Where the state has a raster, paths read it piece by piece, and a pair reads the pieces that it reaches at
    ``_SAMPLES`` moments. Queries never see each other.

    Args:
        width: features of tokens and queries.
        layers: cross-attention layers of the paths; speeds have one.
        heads: attention heads.
        feedforward: hidden features of the feed-forward blocks.
        pieces: pieces of a path at which raster features are read; 0 without a raster.
        channels: raster features of a piece.
        dropout: dropout in pre-training.

    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        pieces: int = 0,
        channels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pieces = pieces
        self.path_embedding = embedding_network(_SAMPLES * 4, width)
        self.paths = CandidateDecoder(width, layers, heads, feedforward, pieces * channels, dropout)
        self.speed_embedding = embedding_network(_SAMPLES * 2, width)
        self.speeds = CrossAttentionLayer(width, heads, feedforward, dropout)
        self.speed_norm = nn.LayerNorm(width)
        self.on_path = nn.Linear(width, width)
        self.at_speed = nn.Linear(width, width, bias=False)
        self.along = nn.Linear(_SAMPLES * channels, width, bias=False) if pieces else None

    def forward(self, tokens: Tensor, paths: Tensor, speeds: Tensor, distance: Tensor, raster: Tensor | None) -> tuple:
        """Return features of the paths [B, P, width] and of the pairs [B, P, V, width].

        Args:
            tokens: [B, S, width] of the states.
            paths: [P, L, 3] of the grid.
            speeds: [V, T] of the grid.
            distance: [B, V, T] metres travelled with each profile.
            raster: [B, P, pieces, channels] features along the paths, or None.

        """
        described = self.path_embedding(path_features(paths)).unsqueeze(0)
        path = self.paths(described, tokens, None if raster is None else raster.flatten(2))
        moments = sample_moments(speeds.shape[1])
        reached = distance[..., moments] / 20.0
        profile = (speeds[:, moments] / 5.0).expand(len(tokens), -1, -1)
        queries = self.speed_embedding(torch.cat([profile, reached], -1))
        speed = self.speed_norm(self.speeds(queries, tokens))
        pairs = self.on_path(path).unsqueeze(2) + self.at_speed(speed).unsqueeze(1)
        if raster is not None and self.along is not None:
            weights = piece_weights(distance[..., moments], paths.shape[1] / self.pieces, self.pieces)
            read = torch.einsum("bvmn,bpnc->bpvmc", weights, raster).flatten(3)
            pairs = pairs + self.along(read)
        return path, pairs.relu()


def path_features(paths: Tensor) -> Tensor:
    """Describe every path [P, L, 3] by ``_SAMPLES`` points: [P, 32] numbers near one."""
    x, y, yaw = paths[:, sample_moments(paths.shape[1])].unbind(-1)
    return torch.cat([x / 20.0, y / 10.0, yaw.cos(), yaw.sin()], 1)


def sample_moments(count: int) -> list[int]:
    """Return ``_SAMPLES`` evenly spaced indices below ``count``, ending with the last."""
    return [(number * count) // _SAMPLES - 1 for number in range(1, _SAMPLES + 1)]


def piece_weights(distance: Tensor, metres: float, pieces: int) -> Tensor:
    """Return linear weights [..., pieces] that read a path's pieces at ``distance`` [...] metres.

    Piece n stands for the place in its middle; beyond the first and the last middle those two hold.
    """
    place = (distance / metres - 0.5).clamp(0.0, pieces - 1.0)
    number = torch.arange(pieces, device=distance.device)
    return (1.0 - (place.unsqueeze(-1) - number).abs()).clamp_min(0.0)
