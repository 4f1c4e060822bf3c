"""Vocabulary scorers small enough for unit tests: factorised, and with metric heads."""

import torch
from torch import Tensor, nn

from craft_lightning.conventions import EGO_FEATURES
from craft_lightning.policies.factorised_family import FactorisedPolicy
from craft_lightning.policies.metric_family import MetricVocabularyPolicy, zero_readout
from craft_lightning.structures import Context, Observation
from craft_lightning.testing.tiny import random_vocabulary
from craft_lightning.testing.tiny_hierarchical import fan_grid


def _context(trunk: nn.Module, observation: Observation) -> Context:
    ego, route = observation.ego.float(), observation.route.float()
    state = torch.tanh(trunk(torch.cat([ego / 10.0, route[:, [5, 15]].flatten(1) / 20.0], 1)))
    return Context({"state": state, "ego": ego}, batch_size=[len(ego)])


class TinyFactorisedPolicy(FactorisedPolicy):
    """Linear coarse scores over a fan of arcs and a bilinear score of pairs.

    Args:
        keep_paths: paths that pass the filter.
        keep_speeds: speeds that pass the filter.
        seed: seed of the weights.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("pair",),
        "decoder": ("path_head", "speed_head", "pair"),
    }
    free_arguments = FactorisedPolicy.free_arguments | {"seed"}

    def __init__(self, keep_paths: int = 4, keep_speeds: int = 3, seed: int = 0) -> None:
        super().__init__(8, 6, keep_paths, keep_speeds)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Linear(len(EGO_FEATURES) + 4, 8)
            self.path_head, self.speed_head = nn.Linear(8, 8), nn.Linear(8, 6)
            self.pair = nn.Linear(8, 8 * 6)
        self.set_grid(fan_grid(8, 6))

    @classmethod
    def example(cls) -> "TinyFactorisedPolicy":
        """Return an instance; the grid comes with it."""
        return cls()

    def encode(self, observation: Observation) -> Context:
        """Return {"state": [B, 8], "ego": [B, 5]}."""
        return _context(self.trunk, observation)

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return [B, 8] and [B, 1, 6]."""
        return self.path_head(context["state"]), self.speed_head(context["state"]).unsqueeze(1)

    def pair_logits(self, context: Context, ids: Tensor) -> Tensor:
        """Return [B, K]."""
        return self.pair(context["state"]).gather(1, ids[..., 0] * 6 + ids[..., 1])


class TinyMetricPolicy(MetricVocabularyPolicy):
    """Linear metric heads over a random vocabulary.

    Args:
        seed: seed of vocabulary and weights.

    """

    profiles = {"heads": ("metrics",), "decoder": ("embedding", "metrics")}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, seed: int = 0) -> None:
        super().__init__(random_vocabulary(16, seed=seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Linear(len(EGO_FEATURES) + 4, 8)
            self.embedding = nn.Linear(3, 8)
            self.metrics = nn.Linear(8, len(self.formula.heads))

    def encode(self, observation: Observation) -> Context:
        """Return {"state": [B, 8], "ego": [B, 5]}."""
        return _context(self.trunk, observation)

    def raw(self, context: Context) -> dict[str, Tensor]:
        """Return [B, 16] a head."""
        values = self.metrics(self._features(context)).unbind(-1)
        return dict(zip(self.formula.heads, values, strict=True))

    def checkpoint_arguments(self) -> dict[str, object]:
        """Return the constructor's arguments: the seed makes the vocabulary."""
        return dict(self.arguments)

    def _features(self, context: Context) -> Tensor:
        return torch.tanh(context["state"][:, None] + self.embedding(self.table[:, -1] / 20.0))


class TinyReadoutPolicy(TinyMetricPolicy):
    """The same with a dedicated logit head.

    Args:
        seed: seed of vocabulary and weights.

    """

    profiles = {"heads": ("readout",), "decoder": ("readout",)}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.readout = zero_readout(8)

    def logits(self, context: Context) -> Tensor:
        """Return the score plus the readout."""
        return super().logits(context) + self.readout(self._features(context)).squeeze(-1)
