"""A policy small enough for unit tests of anything that needs one."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.conventions import BEV_CHANNELS, EGO_FEATURES, ROUTE_FEATURE_POINTS
from craft_lightning.policies.vocabulary import Vocabulary
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context, Observation

_GRID = 6  # cells a side of the pooled raster


class TinyVocabularyPolicy(VocabularyPolicy):
    """A linear trunk and a two-layer scorer over a random vocabulary; about 2,000 parameters.

    Args:
        size: entries of the vocabulary.
        num_poses: poses of an entry, 0.1 s apart.
        width: size of the context.
        seed: seed of the vocabulary and of the weights; the global generator is left alone.
        dropout: dropout in front of the head, to show that it cannot change a score in fine-tuning.

    """

    profiles = {"heads": ("head",), "decoder": ("embedding", "head")}  # noqa: RUF012 - ClassVar of the base
    free_arguments = VocabularyPolicy.free_arguments | {"seed"}

    def __init__(
        self, size: int = 16, num_poses: int = 40, width: int = 8, seed: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__(random_vocabulary(size, num_poses, seed))
        inputs = len(BEV_CHANNELS) * _GRID**2 + len(EGO_FEATURES) + ROUTE_FEATURE_POINTS * 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
            self.embedding = nn.Linear(9, width)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(width, 1)

    def encode(self, observation: Observation) -> Context:
        """Return the context {"state": [B, width], "ego": [B, 5]}."""
        bev = functional.adaptive_avg_pool2d(observation.bev.float() / 255.0, _GRID).flatten(1)
        ego, route = observation.ego.float(), observation.route.float()
        state = self.trunk(torch.cat([bev, ego / 10.0, route.flatten(1) / 20.0], 1))
        return Context({"state": state, "ego": ego}, batch_size=[len(state)])

    def logits(self, context: Context) -> Tensor:
        """Return [B, size] logits from state + entry embeddings."""
        poses = self.table[:, [self.table.shape[1] // 4, self.table.shape[1] // 2, -1]].flatten(1) / 20.0
        hidden = torch.tanh(context["state"][:, None] + self.embedding(poses))
        return self.head(self.dropout(hidden)).squeeze(-1) * 4.0


def random_vocabulary(size: int, num_poses: int = 40, seed: int = 0, dt: float = 0.1) -> Vocabulary:
    """Return arcs of random speed and curvature, the first one standing still; entries are distinct."""
    generator = torch.Generator().manual_seed(seed)
    speed = torch.linspace(0.0, 12.0, size)[:, None]
    curvature = (torch.rand(size, 1, generator=generator) - 0.5) * 0.1
    distance = speed * dt * torch.arange(1, num_poses + 1)
    yaw = (curvature * distance).clamp(-math.pi, math.pi)
    # The chord of an arc: exact, and finite for any curvature.
    chord = distance * torch.sinc(yaw / (2 * math.pi))
    return Vocabulary(torch.stack([chord * torch.cos(yaw / 2), chord * torch.sin(yaw / 2), yaw], -1), dt)
