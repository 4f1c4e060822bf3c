"""A small model laid out like GTRS' dense Hydra model: keys and a status code in, one score an entry out."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from craft_lightning.testing.stand_ins.parts import Trunk, small_mlp
from craft_lightning.testing.tiny import random_vocabulary

METRICS = (
    "no_at_fault_collisions",
    "drivable_area_compliance",
    "time_to_collision_within_bound",
    "ego_progress",
    "driving_direction_compliance",
    "lane_keeping",
    "traffic_light_compliance",
)


class _Head(nn.Module):
    def __init__(self, size: int, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.vocab = nn.Parameter(random_vocabulary(size, seed=1).trajectories, requires_grad=False)
        layer = nn.TransformerDecoderLayer(width, 2, hidden, 0.0, batch_first=True)
        self.transformer = nn.TransformerDecoder(layer, layers)
        self.heads = nn.ModuleDict({name: small_mlp(width, hidden) for name in METRICS})
        self.heads["imi"] = small_mlp(width, hidden, layers=3)
        self.pos_embed = small_mlp(self.vocab.shape[1] * 3, hidden, width)

    def forward(self, keys: Tensor, status: Tensor) -> dict[str, Tensor]:
        embedded = self.pos_embed(self.vocab.flatten(1))[None].expand(len(keys), -1, -1)
        features = self.transformer(embedded, keys) + status[:, None]
        return {name: head(features).squeeze(-1) for name, head in self.heads.items()}


class StandInGTRS(nn.Module):
    """See the module."""

    def __init__(self, size: int, width: int, hidden: int, layers: int, keys: int) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36, keys, width)
        self._status_encoding = nn.Linear(8, width)
        self._trajectory_head = _Head(size, width, hidden, layers)

    def forward(self, features: Mapping[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
        """Return what the heads say, by name."""
        images, status = features["camera_feature"], features["status_feature"][0]
        keys = self.trunk(torch.as_tensor(images))
        return self._trajectory_head(keys, self._status_encoding(status))
