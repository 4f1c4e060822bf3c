"""What really happened, as a loss: clipped returns of the events of executed decisions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner, LossCallback, require_finite
from craft_lightning.objectives.factored import RatioLevel, check_level, levelled_log_probs
from craft_lightning.objectives.returns import EventPenalties, event_reward, grounded_returns
from craft_lightning.objectives.surrogates import grounded_residual_loss
from craft_lightning.structures import CandidateSet, FactorLogProbs, Transition


class GroundedResidual(LossCallback):
    """The grounded residual of CRAFT (section 5 of arXiv 2605.04470): PPO with a dual clip on event returns.

    A_t = clip(G_t / scale, low, high) with G_t = r_t + discount u_t G_{t+1}; no critic, no baseline, no replay. Only
    executed candidates are touched, and transitions without an event count as zeros in the mean.

    Args:
        weight: factor of the term in the objective.
        discount: discount a decision.
        scale: return that makes an advantage of 1.
        low: lower bound of the advantage.
        high: upper bound of the advantage.
        clip: half-width of PPO's clip range.
        dual_clip: bound on the probability ratio of bad decisions.
        penalties: what each kind of event costs; None for the paper's numbers.
        ratio_level: which probability ratio is clipped; see ``factored.at_level``. All are one with one factor.
        name: name in logs and checkpoints.

    """

    free = True

    def __init__(
        self,
        weight: float = 0.5,
        discount: float = 0.8,
        scale: float = 8.0,
        low: float = -1.0,
        high: float = 1.0,
        clip: float = 0.2,
        dual_clip: float = 2.0,
        penalties: EventPenalties | None = None,
        ratio_level: RatioLevel = "joint",
        name: str | None = None,
    ) -> None:
        super().__init__(weight, name)
        if not (0.0 <= discount <= 1.0 and scale > 0.0 and low < high and 0.0 < clip < 1.0 and dual_clip > 1.0):
            raise CraftError(
                f"losses.{self.name}: discount={discount}, scale={scale}, low={low}, high={high}, clip={clip}, "
                f"dual_clip={dual_clip} do not fit; need 0 <= discount <= 1, scale > 0, low < high, 0 < clip < 1 and "
                "dual_clip > 1"
            )
        self.discount, self.scale, self.low, self.high = discount, scale, low, high
        self.clip, self.dual_clip = clip, dual_clip
        self.penalties = penalties or EventPenalties()
        self.ratio_level = check_level(ratio_level, self.name)

    def annotate(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> None:
        """Write ``transitions.residual`` [N].

        Raises:
            CraftError: an event or ``continues`` is not finite, or a step of a rollout appears twice.

        """
        require_finite(self.name, "events", transitions.events, transitions)
        require_finite(self.name, "continues", transitions.continues, transitions)
        reward = event_reward(transitions.events, self.penalties)
        returns = grounded_returns(reward, transitions.continues, transitions.rollout, transitions.step, self.discount)
        transitions.residual = (returns / self.scale).clamp(self.low, self.high)
        self.report_iteration(
            module,
            {
                "reward": reward.mean(),
                "advantage_magnitude": transitions.residual.abs().mean(),
                "touched_share": (transitions.residual != 0).float().mean(),
            },
        )

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return L_gr of the mini-batch.

        Raises:
            CraftError: a transition without an executed candidate.

        """
        chosen = candidates.chosen[:, None]
        if (chosen < 0).any():
            row = int((chosen < 0).flatten().nonzero()[0])
            raise CraftError(
                f"losses.{self.name}: candidates.chosen is -1 in rollout {int(batch.rollout[row])}; "
                "record the executed index when collecting"
            )
        log_prob, old = (part.squeeze(1) for part in levelled_log_probs(self.ratio_level, outputs, candidates, chosen))
        ratio = (log_prob.detach() - old).exp()
        self.report(
            module,
            {"ratio_largest_change": (ratio - 1).abs().amax(), "clipped_share": _clipped(ratio, self.clip)},
        )
        return grounded_residual_loss(log_prob, old, batch.residual, self.clip, self.dual_clip, self.ratio_level)


def _clipped(ratio: Tensor, clip: float) -> Tensor:
    return ((ratio - 1).abs() > clip).to(torch.float32).mean()
