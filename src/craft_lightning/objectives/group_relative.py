"""GRPO over a policy's candidates, as an exact expectation."""

from typing import Any

from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner
from craft_lightning.objectives.functional import group_relative_loss
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.structures import CandidateSet, FactorLogProbs, Transition


class GroupRelative(CounterfactualProxy):
    """GRPO (eq. (3) of arXiv 2402.03300) on the group of all candidates: a clipped ratio, no critic.

    -(1/B) sum_i sum_g pi_old(tau_g | s_i) min(rho_ig A_ig, clip(rho_ig, 1 - clip, 1 + clip) A_ig). A group of sampled
    answers becomes the exact expectation under the policy that drove, since every candidate is scored in the
    counterfactual world anyway; the advantages are those of ``CounterfactualProxy``, and what really happened to the
    executed candidate is ignored. While the policy has not moved, the gradient is that of the proxy loss; later passes
    leave alone what has moved by more than the clip range.

    Args:
        weight: factor of the term in the objective.
        clip: half-width of the clip range.
        arguments: arguments of ``CounterfactualProxy``.

    """

    def __init__(self, weight: float = 1.0, clip: float = 0.2, **arguments: Any) -> None:
        super().__init__(weight, **arguments)
        if not 0.0 < clip < 1.0:
            raise CraftError(f"losses.{self.name}: clip is {clip}; give a number between 0 and 1")
        self.clip = clip

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return the clipped group objective of the mini-batch."""
        return group_relative_loss(outputs.joint, candidates.log_probs, batch.advantage, candidates.mask, self.clip)
