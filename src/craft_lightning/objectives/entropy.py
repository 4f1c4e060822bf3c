"""An entropy bonus against collapse."""

from torch import Tensor

from craft_lightning.objectives.base import Learner, LossCallback
from craft_lightning.objectives.factored import plan_entropy
from craft_lightning.structures import CandidateSet, Demonstration, FactorLogProbs, Transition


class Entropy(LossCallback):
    """Minus the mean entropy of the student over its candidates, in nats; by the chain rule for several factors.

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
        value = plan_entropy(outputs, candidates.mask).mean()
        self.report(module, {"nats": value.detach()})
        return -value
