"""The family of metric-head scorers: predicted metrics of a vocabulary, read as one distribution (Hydra-MDP)."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.errors import CraftError
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context

IMITATION = "imitation"
"""Name of the head that is a softmax over the vocabulary; all others are sigmoids."""


@dataclasses.dataclass(frozen=True)
class ScoreFormula:
    """How released planners put their metric heads together.

    score = imitation log softmax(imitation) + sum_m gates[m] log sigmoid(m) + mean_weight log(weighted mean sigmoid)

    The default is Hydra-MDP's as released with GTRS (NAVSIM): what must hold is a product, what should be much a mean.

    Args:
        imitation: weight of the imitation head.
        gates: metric -> weight of its logarithm.
        mean: metric -> weight in the mean.
        mean_weight: weight of the mean's logarithm.

    """

    imitation: float = 0.03
    gates: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"no_collision": 0.1, "drivable_area": 0.9, "direction": 0.2, "traffic_light": 0.1}
    )
    mean: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"time_to_collision": 7.0, "progress": 7.0, "lane_keeping": 3.0}
    )
    mean_weight: float = 6.0

    def __post_init__(self) -> None:
        weights = (self.imitation, self.mean_weight, *self.gates.values(), *self.mean.values())
        if not all(0.0 <= weight < float("inf") for weight in weights) or (self.mean and sum(self.mean.values()) <= 0):
            raise CraftError(f"the score formula {self} needs finite weights of at least 0, in the mean not all 0")

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of all heads, the imitation head first."""
        return (IMITATION, *self.gates, *self.mean)

    def score(self, raw: Mapping[str, Tensor]) -> Tensor:
        """Return the score [B, K] of raw head outputs [B, K] by name."""
        score = self.imitation * raw[IMITATION].log_softmax(-1)
        for name, weight in self.gates.items():
            score = score + weight * functional.logsigmoid(raw[name])
        if self.mean:
            total = sum(self.mean.values())
            # In the logarithm, so that sigmoids that underflow together keep a gradient.
            parts = [
                functional.logsigmoid(raw[name]) + math.log(weight / total)
                for name, weight in self.mean.items()
                if weight > 0.0
            ]
            score = score + self.mean_weight * torch.stack(parts).logsumexp(0)
        return score


class MetricVocabularyPolicy(VocabularyPolicy):
    """The released score as an energy: pi = softmax(score / temperature) over the vocabulary.

    Greedy driving is the released planner's. Fine-tuning moves the metric heads through the score, so they become what
    makes good plans likely and stop being predictions of the metrics. A subclass implements ``encode`` and ``raw``.
    """

    family = "metric vocabulary"

    formula: ScoreFormula = ScoreFormula()

    @abstractmethod
    def raw(self, context: Context) -> dict[str, Tensor]:
        """Return the raw outputs [B, size] of the heads that ``formula.heads`` names."""

    def logits(self, context: Context) -> Tensor:
        """Return the released score [B, size]."""
        return self.formula.score(self.raw(context))


def zero_readout(width: int) -> nn.Linear:
    """Return a dedicated logit head that starts at zero: added to the released score, it changes nothing at first.

    The other way to fine-tune a metric scorer (ZTRS): the metric heads rest and stay what they were, and the head
    learns what to prefer beside them.
    """
    layer = nn.Linear(width, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
