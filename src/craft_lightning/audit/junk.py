"""How much bad candidates that nobody would choose move the proxy's gradient."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from craft_lightning.counterfactual.advantage import group_advantage
from craft_lightning.objectives.functional import expected_advantage_loss

SHARES = (10, 50)  # per cent of the whole group that are junk
STATISTICS: tuple[Literal["uniform", "policy"], ...] = ("uniform", "policy")


def junk_sensitivity(
    log_probs: Tensor, returns: Tensor, mask: Tensor, parameters: Sequence[Any], floor: float
) -> dict[str, float]:
    """Return cosines and norms of the proxy's gradient once junk joins every group, against the gradient without.

    Junk has the return of its state's worst candidate and no probability: it can move the group's mean and standard
    deviation alone. Statistics that weigh candidates by the policy cannot feel it.

    Args:
        log_probs: [B, K] of the student, with a live graph.
        returns: [B, K] counterfactual returns.
        mask: [B, K] bool.
        parameters: what the gradient is taken by.
        floor: smallest standard deviation that divides.

    Returns:
        ``junk/STATISTICS/SHARE/cosine`` and ``junk/STATISTICS/SHARE/norm`` (a ratio), STATISTICS uniform or policy and
        SHARE in per cent; ``junk/policy~uniform``, the cosine between the two without junk.

    """
    probabilities = log_probs.detach().masked_fill(~mask, -torch.inf).exp()
    worst = returns.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    found: dict[str, float] = {}
    clean: dict[str, Tensor] = {}
    for statistics in STATISTICS:
        for share in (0, *SHARES):
            count = _junk(mask.shape[1], share)
            advantage = _advantage(returns, mask, probabilities, worst, count, statistics, floor)
            loss = expected_advantage_loss(log_probs, advantage, mask)
            parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            gradient = torch.cat([part.flatten() for part in parts])
            if share == 0:
                clean[statistics] = gradient
                continue
            found[f"junk/{statistics}/{share}/cosine"] = _cosine(gradient, clean[statistics])
            found[f"junk/{statistics}/{share}/norm"] = float(gradient.norm() / clean[statistics].norm())
    found["junk/policy~uniform"] = _cosine(clean["policy"], clean["uniform"])
    return found


def _junk(candidates: int, share: int) -> int:
    """How many junk candidates make up ``share`` per cent of the group that they join; at least one where any."""
    return max(1, round(candidates * share / (100 - share))) if share else 0


def _advantage(
    returns: Tensor, mask: Tensor, probabilities: Tensor, worst: Tensor, count: int, statistics: str, floor: float
) -> Tensor:
    size = (len(mask), count)
    wide = torch.cat([returns, worst.expand(size)], 1)
    valid = torch.cat([mask, mask.new_ones(size)], 1)
    weights = torch.cat([probabilities, probabilities.new_zeros(size)], 1) if statistics == "policy" else None
    return group_advantage(wide, valid, floor, weights)[:, : mask.shape[1]]


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))
