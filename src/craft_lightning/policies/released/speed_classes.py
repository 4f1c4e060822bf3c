"""Classes of target speed: the speed that a model with such classes drives, and what it was trained with."""

import torch
from torch import Tensor


def expected_speed(logits: Tensor, classes: Tensor, brake_above: float | None = None) -> Tensor:
    """Return the released target speed [B]: the mean over speed classes, or 0 where standing is likely enough.

    Args:
        logits: [B, C] of the classes.
        classes: [C] speeds in m/s, the first of them 0.
        brake_above: probability of the first class above which the policy brakes (TransFuser++); None for no such rule.

    """
    probability = logits.softmax(-1)
    speed = (probability * classes).sum(-1)
    return speed if brake_above is None else torch.where(probability[:, 0] > brake_above, 0.0, speed)


def two_hot(speed: Tensor, classes: Tensor) -> Tensor:
    """Return the two-hot encoding [B, C] of speeds [B]: weights on the two neighbouring classes whose mean it is."""
    speed = speed.clamp(classes[0], classes[-1])
    upper = torch.searchsorted(classes, speed).clamp(1, len(classes) - 1)
    low, high = classes[upper - 1], classes[upper]
    share = (speed - low) / (high - low)
    empty = torch.zeros(len(speed), len(classes), device=speed.device, dtype=speed.dtype)
    return empty.scatter(1, (upper - 1)[:, None], (1.0 - share)[:, None]).scatter(1, upper[:, None], share[:, None])
