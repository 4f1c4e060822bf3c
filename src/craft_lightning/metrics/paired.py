"""Paired bootstrap over routes: how far a difference between two drivers on the same routes could be chance."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True)
class PairedInterval:
    """A mean difference b - a with its confidence interval.

    Args:
        difference: mean of b - a over routes.
        low: lower end of the interval.
        high: upper end.
        confidence: confidence level, e.g. 0.95.
        routes: number of routes.

    """

    difference: float
    low: float
    high: float
    confidence: float
    routes: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0.0 or self.high < 0.0


def paired_interval(
    a: ArrayLike, b: ArrayLike, seed: int = 0, resamples: int = 10_000, confidence: float = 0.95
) -> PairedInterval:
    """Return the mean of b - a and its percentile bootstrap interval over routes.

    Routes are resampled with replacement, both drivers' values of a route together (Efron and Tibshirani 1993, chapter
    13), so that what is hard for both drops out.

    Args:
        a: values of the first driver [R], one a route (or the mean over its seeds).
        b: values of the second driver [R] on the same routes in the same order.
        seed: seed of the resampling; the same seed gives the same interval.
        resamples: bootstrap resamples.
        confidence: two-sided confidence level.

    Raises:
        CraftError: different lengths, no routes, values that are not finite, or a nonsensical setting.

    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise CraftError(
            f"paired interval needs two equally long lists of routes, got {first.shape} and {second.shape}"
        )
    if resamples < 1 or not 0.0 < confidence < 1.0:
        raise CraftError(f"resamples={resamples} must be at least 1 and confidence={confidence} within (0, 1)")
    differences = second - first
    if not np.isfinite(differences).all():
        raise CraftError(f"paired interval: value {int(np.argmin(np.isfinite(differences)))} is not a finite number")
    count = len(differences)
    # How often each route is drawn, [resamples, R]: one matrix product instead of a gather.
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    means = draws @ differences / count
    low, high = np.quantile(means, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return PairedInterval(float(differences.mean()), float(low), float(high), confidence, count)
