"""Densities that continuous policies draw candidates from: ratios, divergences and entropies in closed form.

Laws are rows of numbers [..., L], so that they can be stored, indexed and handed through losses that know none of them:
a Gaussian is its means and the logarithms of its deviations, a Beta its two concentrations, D numbers each.
"""

import math
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

_EDGE = 1e-6  # a uniform number of exactly 0 or 1 has no finite quantile


def self_normalised(log_ratio: Tensor, mask: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """Return log-probabilities [B, K] of a policy on samples that an older one drew.

    Sample k was drawn from q(. | m_k), so under pi its weight is pi(m_k) pi(z_k | m_k) / q(z_k | m_k), divided by the
    sum of all weights (self-normalised importance sampling; Owen, Monte Carlo theory, chapter 9.2). Where pi is q the
    weights are exactly the prior's, uniform without one. The gradient of log p_k is then that of log pi(z_k) minus its
    mean under p: the score function of the true density with a baseline. For K independent samples the expected
    gradient of sum_k p_k A_k is (1 - 1 / K) times the gradient of E_pi[A]; an executed sample's ratio and the
    second-order size of a divergence carry the same factor, so it changes the length of a step of the whole objective
    and not its direction.

    Args:
        log_ratio: [B, K] log pi(z_k) - log q(z_k), differentiable; exactly 0 where the policy has not moved.
        mask: [B, K] samples that count.
        log_prior: [B, K] log pi(m_k) of a discrete part that is enumerated; None for none.

    """
    weight = log_ratio if log_prior is None else log_ratio + log_prior
    return weight.masked_fill(~mask, -torch.inf).log_softmax(-1)


def normal_quantile(uniform: Tensor) -> Tensor:
    """Return standard normal numbers (float32) from uniform ones in [0, 1]."""
    return torch.special.ndtri(uniform.double().clamp(_EDGE, 1.0 - _EDGE)).float()


def gaussian_log_density(law: Tensor, value: Tensor) -> Tensor:
    """Return log N(value; mu, sigma) summed over the last axis; law [..., 2 D] = mu, log sigma; value [..., D]."""
    mean, log_deviation = law.chunk(2, -1)
    standard = (value - mean) * (-log_deviation).exp()
    return -(0.5 * standard.square() + log_deviation + 0.5 * math.log(2.0 * math.pi)).sum(-1)


def gaussian_log_ratio(law: Tensor, old: Tensor, value: Tensor) -> Tensor:
    """Return log N(value; law) - log N(value; old), subtracted coordinate by coordinate before the sum.

    So rounding is relative to what has changed: equal laws give exactly 0, and a law that differs in its last bits
    (another batch size) gives as little.
    """
    mean, log_deviation = law.chunk(2, -1)
    old_mean, old_log_deviation = old.chunk(2, -1)
    standard = (value - mean) * (-log_deviation).exp()
    old_standard = (value - old_mean) * (-old_log_deviation).exp()
    moved = 0.5 * (old_standard - standard) * (old_standard + standard)
    return (moved + old_log_deviation - log_deviation).sum(-1)


def gaussian_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return KL(N_1 || N_2) = sum (exp(2 r) - 1 - 2 r + d^2) / 2, r = log(s_1 / s_2), d = (m_1 - m_2) / s_2.

    Written so that equal laws have exactly no divergence and no gradient.
    """
    mean, log_deviation = first.chunk(2, -1)
    other_mean, other_log_deviation = second.chunk(2, -1)
    ratio = 2.0 * (log_deviation - other_log_deviation)
    distance = (mean - other_mean) * (-other_log_deviation).exp()
    return 0.5 * (torch.expm1(ratio) - ratio + distance.square()).sum(-1)


def gaussian_entropy(law: Tensor) -> Tensor:
    """Return the differential entropy in nats, sum of log sigma + (1 + log 2 pi) / 2."""
    log_deviation = law.chunk(2, -1)[1]
    return (log_deviation + 0.5 * (1.0 + math.log(2.0 * math.pi))).sum(-1)


def beta_quantile(law: Tensor, uniform: Tensor) -> Tensor:
    """Return Beta-distributed numbers in (0, 1), float32, from uniform ones; law [..., 2 D] = alpha, beta."""
    alpha, beta = (part.detach().double().cpu().numpy() for part in law.chunk(2, -1))
    probability = np.clip(uniform.double().cpu().numpy(), _EDGE, 1.0 - _EDGE)
    value = torch.from_numpy(special.betaincinv(alpha, beta, probability)).float()
    return value.clamp(_EDGE, 1.0 - _EDGE).to(law.device)


def beta_log_density(law: Tensor, action: Tensor) -> Tensor:
    """Return the log-density of actions in (-1, 1), summed over the last axis.

    With u = (action + 1) / 2 Beta-distributed, p(action) = Beta(u; alpha, beta) / 2: a change of variables costs log 2
    a coordinate, which cancels in every ratio and divergence and counts in the entropy alone.
    """
    alpha, beta = law.chunk(2, -1)
    share = 0.5 * (action + 1.0)
    density = (alpha - 1.0) * share.log() + (beta - 1.0) * torch.log1p(-share) - _log_beta(alpha, beta)
    return (density - math.log(2.0)).sum(-1)


def beta_log_ratio(law: Tensor, old: Tensor, action: Tensor) -> Tensor:
    """Return log p(action; law) - log p(action; old), subtracted coordinate by coordinate."""
    alpha, beta = law.chunk(2, -1)
    old_alpha, old_beta = old.chunk(2, -1)
    share = 0.5 * (action + 1.0)
    moved = (alpha - old_alpha) * share.log() + (beta - old_beta) * torch.log1p(-share)
    return (moved - (_log_beta(alpha, beta) - _log_beta(old_alpha, old_beta))).sum(-1)


def beta_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return KL(Beta_1 || Beta_2) summed over coordinates, with exactly no gradient where both are equal."""
    alpha, beta = first.chunk(2, -1)
    other_alpha, other_beta = second.chunk(2, -1)
    return _BetaDivergence.apply(alpha, beta, other_alpha, other_beta).sum(-1)


def beta_entropy(law: Tensor) -> Tensor:
    """Return the differential entropy in nats of actions in (-1, 1)."""
    alpha, beta = law.chunk(2, -1)
    total = alpha + beta
    entropy = _log_beta(alpha, beta) - (alpha - 1.0) * alpha.digamma() - (beta - 1.0) * beta.digamma()
    return (entropy + (total - 2.0) * total.digamma() + math.log(2.0)).sum(-1)


def _log_beta(alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha.lgamma() + beta.lgamma() - (alpha + beta).lgamma()


class _BetaDivergence(torch.autograd.Function):
    """The Bregman divergence of log B, KL = phi(e_2) - phi(e_1) - <grad phi(e_1), e_2 - e_1> with e = alpha, beta.

    By hand, since rounding in automatic differentiation would leave a gradient where both are equal, and Adam divides
    a gradient by its own size.
    """

    @staticmethod
    def forward(ctx: Any, *laws: Tensor) -> Tensor:
        """Return KL [...] of alpha, beta, alpha', beta' [...]."""
        ctx.save_for_backward(*laws)
        alpha, beta, other_alpha, other_beta = (law.double() for law in laws)
        total = (alpha + beta).digamma()
        linear = (alpha - other_alpha) * (alpha.digamma() - total) + (beta - other_beta) * (beta.digamma() - total)
        return (_log_beta(other_alpha, other_beta) - _log_beta(alpha, beta) + linear).to(laws[0].dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients with respect to the four arguments."""
        alpha, beta, other_alpha, other_beta = (law.double() for law in ctx.saved_tensors)
        down, right, total = alpha - other_alpha, beta - other_beta, alpha + beta
        common = torch.polygamma(1, total) * (down + right)
        first = (torch.polygamma(1, alpha) * down - common, torch.polygamma(1, beta) * right - common)
        mean, other_mean = total.digamma(), (other_alpha + other_beta).digamma()
        second = (
            (other_alpha.digamma() - other_mean) - (alpha.digamma() - mean),
            (other_beta.digamma() - other_mean) - (beta.digamma() - mean),
        )
        return tuple(gradients[0] * part.to(gradients[0].dtype) for part in (*first, *second))
