"""Fitting one softmax temperature to a wanted probability of the greedy candidate."""

import math
from collections.abc import Callable

from craft_lightning.errors import CraftError


def fit_temperature(greedy: Callable[[float], float], target: float, candidates: int) -> float:
    """Return the temperature at which the mean probability of the greedy candidate is ``target``.

    Args:
        greedy: mean greedy probability at a temperature; it falls as the temperature rises, so bisection in the
            logarithm between 1e-3 and 1e3 is safe.
        target: wanted probability.
        candidates: how many candidates there are.

    Raises:
        CraftError: ``target`` lies outside (1 / candidates, 1).

    """
    if not 1.0 / candidates < target < 1.0:
        raise CraftError(f"target is {target}; give a probability between 1/{candidates} and 1")
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if greedy(math.exp(middle)) > target else (low, middle)
    return math.exp(0.5 * (low + high))
