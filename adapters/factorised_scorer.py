"""A factorised scorer (SparseDriveV2's shape): paths and speeds as queries, the best of both rescored in pairs."""

from typing import Self

import torch
from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.factorised_family import FactorisedPolicy
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.structures import Context, Observation

_SAMPLES = 8  # points of a path and of a speed profile that a query is made of


class FactorisedScorer(FactorisedPolicy):
    """P + V queries cross-attend to the state's tokens and get a coarse score each; sums of both are scored as pairs.

    Args:
        paths: number of paths P.
        speeds: number of speed profiles V.
        keep_paths: paths that pass the filter.
        keep_speeds: speeds that pass the filter.
        backbone: name of a timm model.
        pretrained: download timm's weights.
        width: features of tokens and queries.
        layers: cross-attention layers of each decoder.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        dropout: dropout in pre-training.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("path_head", "speed_head", "pair_head"),
        "decoder": (
            *("path_embedding", "speed_embedding", "decoder", "path_head", "speed_head"),
            *("pair_decoder", "pair_head"),
        ),
    }

    def __init__(
        self,
        paths: int = 32,
        speeds: int = 16,
        keep_paths: int = 12,
        keep_speeds: int = 8,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(paths, speeds, keep_paths, keep_speeds)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.path_embedding = embedding_network(3 * _SAMPLES, width)
        self.speed_embedding = embedding_network(_SAMPLES, width)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.path_head, self.speed_head = nn.Linear(width, 1), nn.Linear(width, 1)
        self.pair_decoder = CandidateDecoder(width, 1, heads, feedforward, 0, dropout)
        self.pair_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))

    @classmethod
    def example(cls) -> Self:
        """Return an instance with the grid of random drivable trajectories."""
        policy = cls(paths=8, speeds=6, keep_paths=4, keep_speeds=3, width=32, feedforward=32)
        policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
        return policy

    def encode(self, observation: Observation) -> Context:
        """Return {"tokens": [B, 42, width], "ego": [B, 5]}."""
        tokens = half_rounded(self.trunk(observation)[0])
        return Context({"tokens": tokens, "ego": observation.ego.float()}, batch_size=[len(tokens)])

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return coarse scores of the paths [B, P] and of the speeds [B, 1, V]."""
        path, speed = self._queries(context)
        return self.path_head(path).squeeze(-1), self.speed_head(speed).transpose(1, 2)

    def pair_logits(self, context: Context, ids: Tensor) -> Tensor:
        """Return [B, K]: a pair's query is the sum of its path's and its speed's."""
        path, speed = self._queries(context)
        rows, columns = (index[..., None].expand(-1, -1, path.shape[2]) for index in ids.unbind(-1))
        pairs = path.gather(1, rows) + speed.gather(1, columns)
        return self.pair_head(self.pair_decoder(pairs, full(context["tokens"]))).squeeze(-1)

    def _queries(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return features of paths [B, P, width] and speeds [B, V, width]."""
        points = torch.linspace(0, self.path_table.shape[1] - 1, _SAMPLES + 1).round().long()[1:]
        x, y, yaw = self.path_table[:, points].unbind(-1)
        times = torch.linspace(0, self.speed_table.shape[1] - 1, _SAMPLES).round().long()
        path = self.path_embedding(torch.cat([x / 20.0, y / 5.0, yaw], 1))
        speed = self.speed_embedding(self.speed_table[:, times] / 5.0)
        features = self.decoder(torch.cat([path, speed]).unsqueeze(0), full(context["tokens"]))
        return features.split([len(path), len(speed)], 1)
