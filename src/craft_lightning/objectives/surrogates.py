"""Losses on clipped probability ratios, at the level of plans or of their factors."""

import functools

import torch
from torch import Tensor

from craft_lightning.objectives.factored import RatioLevel, at_level
from craft_lightning.objectives.functional import clipped_surrogate


def grounded_residual_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    clip: float = 0.2,
    dual_clip: float = 2.0,
    level: RatioLevel = "joint",
) -> Tensor:
    """Return L_gr, minus the mean dual-clipped surrogate over all transitions; event-free ones count as zeros.

    Args:
        log_prob: [B, F] log pi of the executed candidates by factor ([B, 1] for the joint one), differentiable.
        old_log_prob: [B, F] the same under the policy that drove.
        advantage: [B] clipped event returns of the executed decisions.
        clip: half-width of PPO's clip range.
        dual_clip: bound on the ratio where the advantage is negative.
        level: which ratio is clipped.

    Returns:
        A scalar.

    """
    clipped = functools.partial(clipped_surrogate, clip=clip, dual_clip=dual_clip)
    return -at_level(level, log_prob - old_log_prob, advantage, clipped).mean()


def group_relative_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    clip: float = 0.2,
    level: RatioLevel = "joint",
) -> Tensor:
    """Return GRPO's clipped objective over all candidates, to be minimised: an exact expectation under pi_old.

    -(1/B) sum_i sum_g pi_old_ig min(rho_ig A_ig, clip(rho_ig, 1 - clip, 1 + clip) A_ig), eq. (3) of arXiv 2402.03300
    with the group of all candidates. Where the policy has not moved, the gradient is ``expected_advantage_loss``'s.

    Args:
        log_probs: [B, K, F] log pi of the student by factor ([B, K, 1] for the joint one), differentiable.
        old_log_probs: [B, K, F] the same under the policy that drove.
        behaviour: [B, K] joint log pi_old.
        advantage: [B, K] group-normalised advantages, or [B, K, F] for one a factor.
        mask: [B, K] bool, True for valid candidates.
        clip: half-width of the clip range.
        level: which ratio is clipped.

    """
    empty = ~mask | behaviour.isneginf()
    hidden = empty.unsqueeze(-1)
    log_ratio = log_probs.masked_fill(hidden, 0.0) - old_log_probs.masked_fill(hidden, 0.0)
    value = advantage.masked_fill(hidden if advantage.dim() == 3 else empty, 0.0)
    clipped = functools.partial(clipped_surrogate, clip=clip, dual_clip=None)
    objective = at_level(level, log_ratio, value, clipped)
    return -(behaviour.masked_fill(empty, -torch.inf).exp() * objective).sum(-1).mean()
