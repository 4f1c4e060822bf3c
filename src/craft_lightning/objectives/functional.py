"""The mathematics of the loss terms as pure functions of log-probabilities; eq. numbers are those of arXiv 2605.04470.

Log-probabilities are normalised over ``mask``; masked candidates may hold anything, -inf included, and neither their
value nor their gradient reaches a result.
"""

import torch
from torch import Tensor


def expected_advantage_loss(log_probs: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Return the counterfactual proxy loss L_cp = -(1/B) sum_i sum_g pi(tau_g | s_i) A_ig, eq. (7).

    An exact expectation over the candidates: no sampling, no ratio, no clip. Its gradient with respect to a logit is
    -pi_g (A_g - sum_h pi_h A_h) / B.

    Args:
        log_probs: [B, K] log pi of the student, differentiable.
        advantage: [B, K] group-normalised advantages.
        mask: [B, K] bool, True for valid candidates.

    Returns:
        A scalar.

    """
    return -(_probabilities(log_probs, mask) * advantage.masked_fill(~mask, 0.0)).sum(-1).mean()


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float = 0.2, dual_clip: float | None = 2.0) -> Tensor:
    """Return PPO's surrogate objective with a dual clip, to be maximised, one value a transition.

    o = min(rho A, clip(rho, 1 - clip, 1 + clip) A), and o = max(o, dual_clip A) where A < 0; by Prop. A.2 it lies in
    [-dual_clip |A|, (1 + clip) |A|]. The gradient vanishes where A > 0 and rho > 1 + clip, where A < 0 and
    rho < 1 - clip, and where A < 0 and rho > dual_clip.

    Args:
        ratio: [B] probability ratios, differentiable.
        advantage: [B].
        clip: half-width of PPO's clip range.
        dual_clip: bound on the ratio of bad decisions, above 1; None for plain PPO.

    Returns:
        [B].

    """
    clipped = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
    if dual_clip is None:
        return clipped
    return torch.where(advantage < 0, torch.maximum(clipped, dual_clip * advantage), clipped)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float = 0.2) -> Tensor:
    """Return PPO's clipped value loss [B] with the smooth L1 error in place of the square.

    max(l(V - target), l(V_old + clamp(V - V_old, -clip, clip) - target)), l the smooth L1 function, its corner at 1.

    Args:
        value: [B] values, differentiable.
        old_value: [B] values before the iteration.
        target: [B] returns.
        clip: how far a value may move before the loss stops pulling it.

    """
    kept = old_value + (value - old_value).clamp(-clip, clip)
    loss = torch.nn.functional.smooth_l1_loss
    return torch.maximum(loss(value, target, reduction="none"), loss(kept, target, reduction="none"))


def kl_divergence(log_p: Tensor, log_q: Tensor, mask: Tensor) -> Tensor:
    """Return KL(p || q) as an exact sum over candidates, one value a state; differentiable in both arguments.

    Summed as p (log p - log q) - p + q. For normalised distributions that is the same number, but where p equals q
    every summand and every derivative is exactly zero, not merely small: Adam divides by the gradient's own size and
    would turn rounding noise into full steps.

    Args:
        log_p: [B, K].
        log_q: [B, K].
        mask: [B, K] bool.

    Returns:
        [B], non-negative; infinite where p has mass on a candidate that q excludes.

    """
    p, q = _probabilities(log_p, mask), _probabilities(log_q, mask)
    # A candidate without mass under p contributes q alone; filling first keeps 0 * -inf out of the backward pass.
    empty = ~mask | log_p.isneginf()
    log_ratio = log_p.masked_fill(empty, 0.0) - log_q.masked_fill(empty, 0.0)
    return (p * log_ratio - p + q).sum(-1)


def kl_student_teacher(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the reverse KL(pi || pi_T) [B] from log-probabilities [B, K]: mode-seeking, the heavier of the two."""
    return kl_divergence(student, teacher, mask)


def kl_teacher_student(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return the forward KL(pi_T || pi) [B] from log-probabilities [B, K]: mass-covering."""
    return kl_divergence(teacher, student, mask)


def kl_behaviour(student: Tensor, behaviour: Tensor, mask: Tensor) -> Tensor:
    """Return KL(pi_old || pi) [B]: how far the student has left the policy that drove."""
    return kl_divergence(behaviour, student, mask)


def entropy(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Return the entropy [B] in nats of log-probabilities [B, K] over ``mask`` [B, K]."""
    empty = ~mask | log_probs.isneginf()
    return -(_probabilities(log_probs, mask) * log_probs.masked_fill(empty, 0.0)).sum(-1)


def logit_range(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Return the largest minus the smallest log-probability [B] over ``mask``; its growth warns of a collapse."""
    largest = log_probs.masked_fill(~mask, -torch.inf).amax(-1)
    return largest - log_probs.masked_fill(~mask, torch.inf).amin(-1)


def candidate_distance(trajectories: Tensor, expert: Tensor) -> Tensor:
    """Return the root-mean-square distance in metres of every candidate to the expert's trajectory.

    Args:
        trajectories: [B or 1, K, T, >=2] poses in the ego frame; a leading 1 is shared by all states.
        expert: [B, T, >=2] in the same frame at the same time step.

    Returns:
        [B, K].

    """
    poses = trajectories.shape[-2]
    flat = trajectories[..., :2].flatten(2)
    target = expert[..., :2].flatten(1)
    # Shared candidates need one product instead of a [B, K, T, 2] difference.
    distance = torch.cdist(target, flat[0]) if flat.shape[0] == 1 else (flat - target[:, None]).norm(dim=-1)
    return distance / poses**0.5


def imitation_targets(distance: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Return the target distribution [B, K] over candidates for an expert at ``distance`` [B, K] metres.

    Proportional to exp(-d^2 / sigma) over ``mask``; with ``sigma`` 0 it is one on the nearest valid candidate.
    """
    squared = distance.square().masked_fill(~mask, torch.inf)
    if sigma > 0:
        return torch.softmax(-squared / sigma, dim=-1)
    return torch.zeros_like(distance).scatter_(-1, squared.argmin(-1, keepdim=True), 1.0)


def cross_entropy(targets: Tensor, log_probs: Tensor, mask: Tensor) -> Tensor:
    """Return -sum_g target_g log pi_g [B] over ``mask``, from targets and log-probabilities [B, K]."""
    empty = ~mask | (targets == 0)
    return -(targets * log_probs.masked_fill(empty, 0.0)).sum(-1)


def _probabilities(log_probs: Tensor, mask: Tensor) -> Tensor:
    return log_probs.masked_fill(~mask, -torch.inf).exp()
