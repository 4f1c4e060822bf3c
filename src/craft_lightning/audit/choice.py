"""Which candidates of a state are branched: few, spread over good and bad, and yet fair to all."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Choice:
    """Candidates that were drawn without replacement.

    Attributes:
        index: [n] candidates, in ascending order.
        inclusion: [n] probability with which each was to be drawn; 1 / inclusion undoes the draw in sums over all.

    """

    index: np.ndarray
    inclusion: np.ndarray


def choose(
    probability: np.ndarray, valid: np.ndarray, score: np.ndarray, count: int, rng: np.random.Generator
) -> Choice:
    """Draw ``count`` candidates, half by the policy and half evenly, spread over the predicted scores.

    Systematic sampling with unequal probabilities (Madow 1949): candidates stand in the order of their scores, each as
    long as its inclusion probability, and a comb with a random offset picks those that its teeth meet. Neighbours in
    score are not drawn twice while others are left out, and sums weighted by 1 / inclusion are unbiased.

    Args:
        probability: [K] the policy's probabilities.
        valid: [K] bool.
        score: [K] predicted returns.
        count: how many to draw; all valid ones where there are no more.
        rng: source of the one random number.

    """
    candidates = np.flatnonzero(valid)
    if len(candidates) <= count:
        return Choice(candidates, np.ones(len(candidates)))
    policy = probability[candidates] / probability[candidates].sum()
    inclusion = inclusion_probabilities(0.5 * policy + 0.5 / len(candidates), count)
    order = np.argsort(score[candidates], kind="stable")
    ends = np.cumsum(inclusion[order])
    teeth = rng.random() + np.arange(count)
    # Rounding must not push the last tooth past the end.
    drawn = order[np.searchsorted(ends, np.minimum(teeth, ends[-1] - 1e-9), side="right")]
    drawn = np.unique(drawn)
    return Choice(candidates[drawn], inclusion[drawn])


def inclusion_probabilities(size: np.ndarray, count: int) -> np.ndarray:
    """Return probabilities proportional to ``size``, at most 1, that add up to ``count``."""
    inclusion = np.zeros(len(size))
    certain = np.zeros(len(size), bool)
    while True:
        rest = ~certain
        inclusion[certain] = 1.0
        inclusion[rest] = size[rest] * ((count - certain.sum()) / size[rest].sum())
        over = rest & (inclusion >= 1.0)
        if not over.any():
            return inclusion
        certain |= over


def weights(values: np.ndarray, choice_inclusion: np.ndarray) -> np.ndarray:
    """Return [n] weights, adding up to 1, with which drawn candidates stand for all (Hajek's estimator of a mean).

    Args:
        values: [n] what each candidate counts in the whole: the policy's probability, or ones.
        choice_inclusion: [n] inclusion probabilities.

    """
    raw = values / choice_inclusion
    total = raw.sum()
    return raw / total if total > 0.0 else np.full(len(raw), 1.0 / len(raw))
