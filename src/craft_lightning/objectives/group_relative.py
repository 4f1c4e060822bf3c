"""GRPO over a policy's candidates, as an exact expectation."""

from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner
from craft_lightning.objectives.factored import RatioLevel, check_level, factor_advantages, levelled_log_probs
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.surrogates import group_relative_loss
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
        ratio_level: which probability ratio is clipped; see ``factored.at_level``. All are one with one factor.
        factor_advantage: give every factor the part of the advantage that it decides, A_path = E[A | path] and
            A_speed = A - A_path under the policy that drove; with ``ratio_level`` factor or token.
        arguments: arguments of ``CounterfactualProxy``.

    """

    def __init__(
        self,
        weight: float = 1.0,
        clip: float = 0.2,
        ratio_level: RatioLevel = "joint",
        factor_advantage: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(weight, **arguments)
        if not 0.0 < clip < 1.0:
            raise CraftError(f"losses.{self.name}: clip is {clip}; give a number between 0 and 1")
        self.clip, self.ratio_level = clip, check_level(ratio_level, self.name)
        if factor_advantage and self.ratio_level not in ("factor", "token"):
            raise CraftError(f"losses.{self.name}: factor_advantage needs a ratio a factor; set ratio_level: factor")
        self.factor_advantage = factor_advantage

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return the clipped group objective of the mini-batch."""
        mask, old = candidates.mask, candidates.log_probs
        everyone = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        new_parts, old_parts = levelled_log_probs(self.ratio_level, outputs, candidates, everyone)
        advantage = batch.advantage
        if self.factor_advantage:
            advantage = factor_advantages(advantage, old, candidates.ids, mask)
        return group_relative_loss(new_parts, old_parts, old, advantage, mask, self.clip, self.ratio_level)
