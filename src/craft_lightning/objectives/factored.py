"""The mathematics of distributions with several factors: chain rules, ratios by factor, advantages by factor.

A plan is a sequence of factors (path, speed; action tokens) and its log-probability the sum of theirs. A prefix is the
sequence up to some factor; ``FactorLogProbs.tables`` holds the next factor's full distribution at every prefix that the
candidates visit. With one factor everything here is what ``functional`` computes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.objectives.functional import entropy, kl_divergence
from craft_lightning.structures import CandidateSet, FactorLogProbs

RatioLevel = Literal["joint", "factor", "token", "gspo"]
"""Which probability ratio is clipped: that of the whole plan, of every factor on its own (summed or averaged over
factors), or of the whole plan after taking the F-th root."""

LEVELS: tuple[RatioLevel, ...] = ("joint", "factor", "token", "gspo")


def prefix_weights(log_probs: Tensor, prefix: Tensor, mask: Tensor, rows: int) -> Tensor:
    """Return the probability [B, rows] with which a distribution over candidates visits every row of a table.

    Args:
        log_probs: [B, K] normalised over ``mask``.
        prefix: [B, K] row that a candidate visits.
        mask: [B, K] bool.
        rows: rows of the table.

    """
    probabilities = log_probs.masked_fill(~mask, -torch.inf).exp()
    return torch.zeros(len(log_probs), rows).to(log_probs).scatter_add(1, prefix, probabilities)


def factor_divergences(p: FactorLogProbs, q: FactorLogProbs, mask: Tensor) -> Tensor:
    """Return the terms [B, F] of KL(p || q) = sum_f sum_m p(prefix m) KL(p(. | m) || q(. | m)).

    The weights of the prefixes are those of the first argument: branches that p never takes do not count. Where all
    plans are listed this is the enumerated divergence; where plans were sampled it is the expectation over the listed
    prefixes with every factor integrated out (Rao-Blackwellised), which sees what the sample left out.

    Args:
        p: log-probabilities of B states.
        q: the same candidates under another policy, with the same rows in its tables.
        mask: [B, K] bool.

    """
    terms = []
    for log_p, log_q, prefix in zip(p.tables, q.tables, p.prefix, strict=True):
        everything = torch.ones_like(log_p, dtype=torch.bool)
        weights = prefix_weights(p.joint, prefix, mask, log_p.shape[1])
        terms.append((weights * kl_divergence(log_p, log_q, everything)).sum(-1))
    return torch.stack(terms, -1)


def divergence(
    p: FactorLogProbs, q: FactorLogProbs, mask: Tensor, factor_weights: Sequence[float] | None = None
) -> Tensor:
    """Return KL(p || q) [B] over the stored candidates: enumerated for one factor, by the chain rule for several.

    Args:
        p: log-probabilities of B states.
        q: the same candidates under another policy.
        mask: [B, K] bool.
        factor_weights: a coefficient a factor; None for ones, the divergence itself.

    Raises:
        CraftError: another number of coefficients than factors.

    """
    if len(p.tables) == 1:
        terms = kl_divergence(p.joint, q.joint, mask).unsqueeze(-1)
    else:
        terms = factor_divergences(p, q, mask)
    if factor_weights is None:
        return terms.sum(-1)
    if len(factor_weights) != terms.shape[-1]:
        raise CraftError(f"factor_weights has {len(factor_weights)} numbers; the policy has {terms.shape[-1]} factors")
    return (terms * terms.new_tensor(list(factor_weights))).sum(-1)


def factor_entropies(outputs: FactorLogProbs, mask: Tensor) -> Tensor:
    """Return the terms [B, F] of H = sum_f sum_m pi(prefix m) H(pi(. | m)), in nats; see ``factor_divergences``."""
    terms = []
    for table, prefix in zip(outputs.tables, outputs.prefix, strict=True):
        weights = prefix_weights(outputs.joint, prefix, mask, table.shape[1])
        terms.append((weights * entropy(table, torch.ones_like(table, dtype=torch.bool))).sum(-1))
    return torch.stack(terms, -1)


def plan_entropy(outputs: FactorLogProbs, mask: Tensor) -> Tensor:
    """Return the entropy [B] over the stored candidates: enumerated for one factor, by the chain rule for several."""
    return entropy(outputs.joint, mask) if len(outputs.tables) == 1 else factor_entropies(outputs, mask).sum(-1)


def prefix_masses(log_probs: Tensor, ids: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Return the log-probability [B, J, F] of the first 1, 2, ... F factors of some candidates.

    Args:
        log_probs: [B, K] normalised over ``mask``.
        ids: [B, K, F].
        mask: [B, K] bool.
        index: [B, J] candidates asked for; masked ones get 0.

    """
    chosen = ids.gather(1, index.unsqueeze(-1).expand(-1, -1, ids.shape[-1]))
    same = mask.unsqueeze(1).expand(-1, index.shape[1], -1)
    valid = mask.gather(1, index)
    masses = []
    for factor in range(ids.shape[-1]):
        same = same & (chosen[:, :, None, factor] == ids[:, None, :, factor])
        # A masked candidate may have no valid companion, and logsumexp over nothing has a gradient of NaN.
        members = torch.where(same, log_probs.unsqueeze(1), -torch.inf).masked_fill(~valid.unsqueeze(-1), 0.0)
        masses.append(members.logsumexp(-1).masked_fill(~valid, 0.0))
    return torch.stack(masses, -1)


def levelled_log_probs(
    level: RatioLevel, outputs: FactorLogProbs, candidates: CandidateSet, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [B, J, F'] under the student and under the policy that drove, for a ratio at a level.

    F' is 1 for the joint ratio and the number of factors otherwise. A sampling policy may keep the behaviour
    log-probabilities of its factors in ``candidates.latent["factors"]`` [B, K, F]; otherwise both sides are computed
    from the joint distribution over the candidates.

    Args:
        level: see ``RatioLevel``.
        outputs: the student's log-probabilities.
        candidates: the stored support.
        index: [B, J] candidates asked for.

    """
    old, mask = candidates.log_probs, candidates.mask
    if level == "joint" or candidates.ids.shape[-1] == 1:
        return outputs.joint.gather(1, index).unsqueeze(-1), old.gather(1, index).unsqueeze(-1)
    if candidates.latent is not None and "factors" in candidates.latent.keys():  # noqa: SIM118 - not a dictionary
        rows = index.unsqueeze(-1).expand(-1, -1, candidates.ids.shape[-1])
        return outputs.factors.gather(1, rows), candidates.latent["factors"].gather(1, rows)
    new, before = (prefix_masses(log_probs, candidates.ids, mask, index) for log_probs in (outputs.joint, old))
    start = torch.zeros_like(before[..., :1])
    return new.diff(dim=-1, prepend=start), before.diff(dim=-1, prepend=start)


def at_level(
    level: RatioLevel, log_ratio: Tensor, advantage: Tensor, surrogate: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Apply a clipped surrogate to probability ratios at a level.

    joint and gspo (arXiv 2507.18071) clip one ratio, the product and the F-th root of the product; factor and token
    clip every factor's and take the sum and the mean. While the policy has not moved, joint and factor have the
    gradient A grad log pi and the other two 1/F of it.

    Args:
        level: which ratio.
        log_ratio: [..., F] log pi - log pi_old by factor; [..., 1] for the joint one.
        advantage: [...], or [..., F] for one a factor (levels factor and token).
        surrogate: (ratio, advantage) -> objective, element by element.

    Returns:
        [...].

    """
    if level in ("factor", "token"):
        each = surrogate(log_ratio.exp(), advantage if advantage.dim() == log_ratio.dim() else advantage.unsqueeze(-1))
        return each.sum(-1) if level == "factor" else each.mean(-1)
    return surrogate((log_ratio.mean(-1) if level == "gspo" else log_ratio.sum(-1)).exp(), advantage)


def factor_advantages(advantage: Tensor, log_probs: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return A_f = E[A | first f factors] - E[A | first f - 1] [B, K, F] under ``log_probs``; their sum is A.

    The first term keeps the advantage's own baseline: A_1 = E[A | path]. An unbiased reduction of variance where
    factors get ratios of their own.

    Args:
        advantage: [B, K].
        log_probs: [B, K] behaviour log-probabilities over ``mask``.
        ids: [B, K, F].
        mask: [B, K] bool.

    """
    weights = log_probs.masked_fill(~mask, -torch.inf).exp()
    value = advantage.masked_fill(~mask, 0.0)
    same = mask.unsqueeze(1).expand(-1, ids.shape[1], -1)
    means = []
    for factor in range(ids.shape[-1] - 1):
        same = same & (ids[:, :, None, factor] == ids[:, None, :, factor])
        share = torch.where(same, weights.unsqueeze(1), 0.0)
        total = share.sum(-1)
        # Where a prefix has no mass left at all, its members' own advantages stand in.
        means.append(torch.where(total > 0, (share @ value.unsqueeze(-1)).squeeze(-1) / total.clamp_min(1e-30), value))
    means.append(value)
    stacked = torch.stack(means, -1)
    return stacked.diff(dim=-1, prepend=torch.zeros_like(stacked[..., :1])).masked_fill(~mask.unsqueeze(-1), 0.0)


def check_level(level: str, name: str) -> RatioLevel:
    """Return the level of a loss.

    Raises:
        CraftError: there is no such level.

    """
    for known in LEVELS:
        if level == known:
            return known
    raise CraftError(f"losses.{name}: ratio_level is {level!r}; choose {', '.join(LEVELS)}")
