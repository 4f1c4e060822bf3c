"""Builds a vocabulary from given trajectories: furthest points for the tails, medoids of k-means for the rest."""

import itertools

import numpy as np
import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.coverage import SPEED_BINS, coverage_report, mean_speed
from craft_lightning.policies.feasibility import Limits, braking_entries, feasible
from craft_lightning.policies.vocabulary import Vocabulary

YAW_METRES = 3.0
"""Metres that one radian of heading counts for when trajectories are compared."""

_TURN = 0.25  # radians of final heading from which a trajectory counts as a turn
_MOST_SAMPLES = 20_000  # k-means gains nothing from more


def build_vocabulary(
    trajectories: Tensor | np.ndarray,
    size: int = 256,
    seed: int = 0,
    dt: float = 0.1,
    tail_share: float = 0.25,
    duplicate_rms: float = 0.1,
    held_out: float = 0.1,
    limits: Limits | None = None,
) -> Vocabulary:
    """Choose ``size`` trajectories that cover the given ones.

    Infeasible trajectories are dropped and a part is held out. Strata of speed and turn are capped, so that cruising
    straight does not fill the vocabulary. The stop and emergency stops come first; then furthest-point sampling for the
    tails and medoids of k-means for the bulk; entries nearer than ``duplicate_rms`` to another are replaced by furthest
    points. All but the braking entries are given trajectories.

    Args:
        trajectories: [N, T, 3] x, y, yaw in the ego frame; rows with NaN are dropped.
        size: number of entries.
        seed: seed of the split and of k-means.
        dt: seconds between poses.
        tail_share: share of the entries chosen by furthest-point sampling.
        duplicate_rms: smallest root-mean-square distance of two entries' positions, metres.
        held_out: share of the trajectories kept for the coverage report.
        limits: what is feasible.

    Returns:
        The vocabulary: entry 0 stands still, the braking entries follow, the others are sorted by mean speed. Its
        ``report`` holds the counts and the coverage of the held-out trajectories.

    Raises:
        CraftError: a wrong shape, or fewer distinct feasible trajectories than entries.

    """
    train, test, generator, counts = split_trajectories(trajectories, seed, dt, held_out, limits)
    braking = braking_entries(_top_speed(train, dt), train.shape[1], dt)
    if len(braking) >= size or len(train) < size - len(braking):
        raise CraftError(
            f"{len(train)} feasible trajectories cannot fill {size} entries ({len(braking)} of them for braking); "
            "give more trajectories or another size"
        )
    pool = np.concatenate([braking, capped_strata(train, dt, generator)])
    chosen = _choose(pool, len(braking), size, tail_share, duplicate_rms, generator)
    order = np.argsort(mean_speed(pool[chosen[len(braking) :]], dt), kind="stable") + len(braking)
    chosen = np.concatenate([chosen[: len(braking)], chosen[order]])
    entries = torch.from_numpy(pool[chosen].astype(np.float32))
    report = {
        "seed": seed,
        **counts,
        "braking_entries": len(braking),
        "coverage": coverage_report(entries, torch.from_numpy(test).float(), dt) if len(test) else {},
    }
    return Vocabulary(entries, dt, report)


def split_trajectories(
    trajectories: Tensor | np.ndarray, seed: int, dt: float, held_out: float, limits: Limits | None
) -> tuple[np.ndarray, np.ndarray, np.random.Generator, dict[str, int]]:
    """Return the feasible trajectories to build from, those held out, the generator that split them, and counts.

    Args:
        trajectories: [N, T, 3] x, y, yaw in the ego frame; rows with NaN are dropped.
        seed: seed of the generator.
        dt: seconds between poses.
        held_out: share that is held out.
        limits: what is feasible; None for the defaults.

    Raises:
        CraftError: a wrong shape.

    """
    given = np.asarray(trajectories, dtype=np.float64)
    if given.ndim != 3 or given.shape[2] != 3 or given.shape[1] < 2:
        raise CraftError(f"trajectories has shape {given.shape}; give [N, T, 3] with x, y, yaw and T of at least 2")
    finite = given[np.isfinite(given).all((1, 2))]
    real = finite[feasible(finite, dt, limits or Limits())]
    generator = np.random.default_rng(seed)
    real = real[generator.permutation(len(real))]
    test_count = int(held_out * len(real))
    counts = {"given": len(given), "not_finite": len(given) - len(finite), "infeasible": len(finite) - len(real)}
    return real[test_count:], real[:test_count], generator, counts


def _top_speed(trajectories: np.ndarray, dt: float) -> float:
    return float(mean_speed(trajectories, dt).max()) if len(trajectories) else 0.0


def capped_strata(trajectories: np.ndarray, dt: float, generator: np.random.Generator) -> np.ndarray:
    """Keep at most twice an even share of every (speed, turn) stratum."""
    speed = np.digitize(mean_speed(trajectories, dt), SPEED_BINS)
    turn = np.digitize(trajectories[:, -1, 2], (-_TURN, _TURN))
    stratum = speed * 3 + turn
    present = np.unique(stratum)
    cap = max(1, 2 * min(len(trajectories), _MOST_SAMPLES) // len(present))
    # Trajectories were shuffled, so the first of a stratum are a random part of it.
    kept = [np.flatnonzero(stratum == value)[:cap] for value in present]
    index = generator.permutation(np.concatenate(kept))[:_MOST_SAMPLES]
    return trajectories[np.sort(index)]


def _choose(
    pool: np.ndarray, forced: int, size: int, tail_share: float, duplicate_rms: float, generator: np.random.Generator
) -> np.ndarray:
    """Return the indices of ``size`` distinct trajectories of the pool, the first ``forced`` included."""
    features = np.concatenate([pool[..., :2], YAW_METRES * pool[..., 2:]], -1).reshape(len(pool), -1)
    features /= np.sqrt(pool.shape[1])
    positions = pool[..., :2].reshape(len(pool), -1) / np.sqrt(pool.shape[1])
    taken = list(range(forced))
    distance = np.full(len(pool), np.inf)  # to the nearest chosen entry
    far = np.ones(len(pool), bool)  # no chosen entry is a near-duplicate

    def take(index: int) -> None:
        distance[:] = np.minimum(distance, np.linalg.norm(features - features[index], axis=1))
        far[:] &= np.linalg.norm(positions - positions[index], axis=1) >= duplicate_rms

    for index in taken:
        take(index)
    tails = round(tail_share * (size - forced))
    medoids = _medoids(features[forced:], size - forced - tails, generator) + forced
    for index in medoids:
        if far[index]:
            taken.append(int(index))
            take(int(index))
    while len(taken) < size:
        index = int(np.argmax(np.where(far, distance, -1.0)))
        if not far[index]:
            raise CraftError(
                f"only {len(taken)} of the trajectories differ by {duplicate_rms} m; give more varied ones "
                f"or a vocabulary size below {size}"
            )
        taken.append(index)
        take(index)
    return np.array(taken)


def _medoids(features: np.ndarray, count: int, generator: np.random.Generator, iterations: int = 15) -> np.ndarray:
    """Return indices of the real samples nearest to the centres of k-means (k-means++ seeding, Lloyd's steps)."""
    count = min(count, len(features))
    squared = (features**2).sum(1)

    def to_centre(centre: np.ndarray) -> np.ndarray:
        return np.maximum(squared - 2.0 * features @ centre + centre @ centre, 0.0)

    centres = [features[generator.integers(len(features))]]
    nearest = to_centre(centres[0])
    for _ in itertools.repeat(None, count - 1):
        total = nearest.sum()
        weights = nearest / total if total > 0 else None
        centres.append(features[generator.choice(len(features), p=weights)])
        nearest = np.minimum(nearest, to_centre(centres[-1]))
    table = np.stack(centres)
    for _ in range(iterations):
        label = (squared[:, None] - 2.0 * features @ table.T + (table**2).sum(1)).argmin(1)
        members = np.bincount(label, minlength=count)
        sums = np.zeros_like(table)
        np.add.at(sums, label, features)
        table = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], table)
    return (squared[:, None] - 2.0 * features @ table.T).argmin(0)
