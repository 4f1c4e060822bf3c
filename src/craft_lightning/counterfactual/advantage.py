"""Group-normalised advantages of counterfactual returns, equations (38-39) of CRAFT (arXiv 2605.04470)."""

import torch
from torch import Tensor

from craft_lightning.errors import CraftError


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and population variance [B, 1] along the last axis; 0 where all weights are 0."""
    total = weights.sum(-1, keepdim=True)
    share = weights / torch.where(total > 0, total, 1.0)
    mean = (share * values).sum(-1, keepdim=True)
    return mean, (share * (values - mean).square()).sum(-1, keepdim=True)


def group_advantage(returns: Tensor, mask: Tensor, floor: float = 5.0, weights: Tensor | None = None) -> Tensor:
    """Normalise the returns of each state's candidates: A = (R - mean) / max(population std, floor), (38-39).

    The floor keeps states where all candidates do about equally well from being blown up to full size.

    Args:
        returns: [B, K] counterfactual returns; masked entries may hold anything.
        mask: [B, K] bool; candidates that count. Masked ones get 0, and so does a state without any.
        floor: smallest divisor, in units of the return.
        weights: [B, K] weights of the statistics, such as the policy's probabilities, so that candidates that nobody
            would choose do not move them; None weighs all valid candidates alike (the paper).

    Returns:
        [B, K] advantages.

    Raises:
        CraftError: if shapes differ, the floor is not positive or a weight is negative or not finite.

    """
    if mask.shape != returns.shape or mask.dtype != torch.bool:
        raise CraftError(f"mask is {mask.dtype} of shape {list(mask.shape)}: give bool of shape {list(returns.shape)}.")
    if not floor > 0:
        raise CraftError(f"floor is {floor}: give a number above 0 (5 in the paper).")
    values = torch.where(mask, returns, 0.0)
    counted = mask.to(values.dtype)
    if weights is not None:
        if weights.shape != returns.shape:
            raise CraftError(f"weights has the shape {list(weights.shape)}: give {list(returns.shape)}.")
        counted = torch.where(mask, weights.to(values.dtype), 0.0)
        if not bool((torch.isfinite(counted) & (counted >= 0)).all()):
            raise CraftError("weights holds a negative, NaN or infinite entry: give probabilities.")
    mean, variance = _moments(values, counted)
    return torch.where(mask, (values - mean) / variance.sqrt().clamp(min=floor), 0.0)


def explained_variance(part: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Share of the returns' variance within a group that a part of them explains: the squared correlation.

    With ``Rollout.first_returns`` it says how much of the advantage is decided in the 0.5 s that are executed before
    the next decision.

    Args:
        part: [B, K].
        returns: [B, K].
        mask: [B, K] bool; candidates that count.

    Returns:
        [B] in [0, 1]; NaN for a state where either has no variance.

    """
    counted = mask.to(returns.dtype)
    part, returns = torch.where(mask, part, 0.0), torch.where(mask, returns, 0.0)
    mean_part, variance_part = _moments(part, counted)
    mean, variance = _moments(returns, counted)
    total = counted.sum(-1).clamp(min=1.0)
    covariance = (counted * (part - mean_part) * (returns - mean)).sum(-1) / total
    product = (variance_part * variance)[..., 0]
    return torch.where(product > 1e-12, covariance.square() / product.clamp(min=1e-12), torch.nan)
