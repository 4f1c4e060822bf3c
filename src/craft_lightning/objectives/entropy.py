"""An entropy bonus against collapse."""

from torch import Tensor

from craft_lightning.objectives.base import Learner, LossCallback
from craft_lightning.objectives.factored import plan_entropy
from craft_lightning.structures import CandidateSet, Demonstration, FactorLogProbs, Transition


class Entropy(LossCallback):
    """Minus the mean entropy of the student over its candidates, in nats; by the chain rule for several factors.

    Where candidates are drawn from a density, the differential entropy of that density: the weights over drawn samples
    are uniform when they are drawn, whatever the density, so their entropy would only pull back to the old policy.

    Args:
        weight: factor of the bonus in the objective.
        name: name in logs and checkpoints.

    """

    batches = (Transition, Demonstration)
    free = True

    def __init__(self, weight: float = 0.01, name: str | None = None) -> None:
        super().__init__(weight, name)

    def term(
        self, module: Learner, batch: Transition | Demonstration, candidates: CandidateSet, outputs: FactorLogProbs
    ) -> Tensor:
        """Return minus the mean entropy of the mini-batch."""
        law = outputs.law
        value = (plan_entropy(outputs, candidates.mask) if law is None else module.adapter.law_entropy(law)).mean()
        self.report(module, {"nats": value.detach()})
        return -value
