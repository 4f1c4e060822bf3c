"""Builds a grid of plans from given trajectories: medoids of what is driven, chosen by what they leave uncovered."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.building import capped_strata, split_trajectories
from craft_lightning.policies.coverage import coverage_report
from craft_lightning.policies.feasibility import Limits
from craft_lightning.policies.plan_grid import SPACING, PlanGrid, follow, travelled

EMERGENCY = 6.0
"""Braking of the profile that every grid has, m/s^2."""

_REFERENCES, _POOL = 2000, 500  # trajectories to be covered, and candidates to cover them with
_SHORTEST = 8.0  # metres that a trajectory must travel to say anything about a path
_EVERY = 4  # poses between those that are compared
_SWEEPS = 3
_DISTINCT = 0.05  # metres or m/s by which entries must differ somewhere


def build_plan_grid(
    trajectories: Tensor | np.ndarray,
    paths: int = 16,
    speeds: int = 8,
    seed: int = 0,
    dt: float = 0.1,
    length: int = 40,
    held_out: float = 0.1,
    limits: Limits | None = None,
) -> PlanGrid:
    """Choose paths and relative speed profiles that cover the given trajectories.

    Infeasible trajectories are dropped, a part is held out and strata are capped, as for a vocabulary. Paths are
    medoids under the displacement that a trajectory suffers when it is moved onto them with its own speed; profiles are
    medoids under the distance along the path when a trajectory's own initial speed is changed by them. The straight
    path, the emergency stop and holding the speed are always there.

    Args:
        trajectories: [N, T, 3] x, y, yaw in the ego frame; the speed at their start is that of their first step.
        paths: number of paths.
        speeds: number of speed profiles.
        seed: seed of the split and of the samples.
        dt: seconds between poses.
        length: points of a path, one metre apart.
        held_out: share of the trajectories kept for the coverage report.
        limits: what is feasible.

    Returns:
        The grid: path 0 is straight and the others are sorted from left to right; profiles are sorted from the
        emergency stop to the strongest acceleration. Its ``report`` holds the counts and the coverage of the held-out
        trajectories by composed plans.

    Raises:
        CraftError: a wrong shape, or too few distinct feasible trajectories.

    """
    if paths < 1 or speeds < 2:
        raise CraftError(f"plan grid of {paths} paths and {speeds} profiles; give at least 1 and 2")
    train, test, generator, counts = split_trajectories(trajectories, seed, dt, held_out, limits)
    if not len(train):
        raise CraftError("no feasible trajectory is left to build a plan grid from; give more")
    reference = torch.from_numpy(capped_strata(train, dt, generator)[:_REFERENCES]).float()
    distance, initial = _distance(reference), _initial_speed(reference, dt)
    top_speed = float(_steps(reference).max() / dt)
    chosen_paths = _choose_paths(reference, distance, paths, length)
    chosen_speeds = _choose_speeds(reference, distance, initial, speeds, max(top_speed, 1.0), dt)
    grid = PlanGrid(chosen_paths, chosen_speeds, max(top_speed, 1.0), dt)
    report: dict[str, Any] = {"seed": seed, **counts, "paths": paths, "speeds": speeds}
    if len(test):
        shown = torch.from_numpy(test).float()
        plans = torch.cat([grid.compose(part).flatten(1, 2) for part in _initial_speed(shown, dt).split(256)])
        report["coverage"] = coverage_report(plans, shown, dt)
    return PlanGrid(chosen_paths, chosen_speeds, grid.top_speed, dt, report)


def _choose_paths(reference: Tensor, distance: Tensor, count: int, length: int) -> Tensor:
    far = distance[:, -1] >= _SHORTEST
    straight = torch.zeros(1, length, 3)
    straight[0, :, 0] = SPACING * torch.arange(1, length + 1)
    pool = torch.cat([straight, *(_resampled(one, s, length) for one, s in _pairs(reference[far], distance[far]))])
    poses, goal = distance[:, _EVERY - 1 :: _EVERY], reference[:, _EVERY - 1 :: _EVERY, :2]
    cost = torch.cat([(follow(part, poses)[..., :2] - goal).norm(dim=-1).mean(-1) for part in pool.split(32)])
    chosen = _medoids(cost, count, 1)
    _require_distinct(pool[chosen][..., :2], "paths", count)
    left_first = pool[chosen[1:]][:, length // 2, 1].argsort(descending=True, stable=True)
    return pool[torch.cat([chosen[:1], chosen[1:][left_first]])]


def _choose_speeds(
    reference: Tensor, distance: Tensor, initial: Tensor, count: int, top_speed: float, dt: float
) -> Tensor:
    time = dt * (torch.arange(reference.shape[1]) + 0.5)
    forced = torch.stack([-EMERGENCY * time, torch.zeros_like(time)])
    change = _steps(reference)[:_POOL] / dt - initial[:_POOL, None]
    pool = torch.cat([forced, change])
    cost = torch.cat(
        [(travelled(part, top_speed, dt, initial) - distance[:, None]).abs().mean(-1).T for part in pool.split(32)]
    )
    chosen = pool[_medoids(cost, count, len(forced))]
    _require_distinct(chosen, "speed profiles", count)
    return chosen[chosen.mean(1).argsort(stable=True)]


def _medoids(cost: Tensor, count: int, forced: int) -> Tensor:
    """Return ``count`` rows of ``cost`` [M, N] that leave the least summed squared cost, the first ``forced`` included.

    Greedy choice, then a few rounds in which every row that is not forced is taken out and the best one put in its
    place; squares, so that the tails count.
    """
    if len(cost) < count:
        raise CraftError(f"{len(cost)} trajectories cannot fill {count} entries of a plan grid; give more")
    square = cost.square()
    chosen = list(range(forced))
    while len(chosen) < count:
        chosen.append(_best(square, chosen))
    for _ in range(_SWEEPS):
        before = list(chosen)
        for place in range(forced, count):
            chosen[place] = _best(square, chosen[:place] + chosen[place + 1 :])
        if chosen == before:
            break
    return torch.tensor(chosen)


def _best(square: Tensor, others: list[int]) -> int:
    total = torch.minimum(square, square[others].amin(0)).sum(1) if others else square.sum(1)
    total[others] = torch.inf
    return int(total.argmin())


def _require_distinct(entries: Tensor, what: str, count: int) -> None:
    flat = entries.flatten(1)
    gap = (flat[:, None] - flat[None]).abs().amax(-1) + torch.eye(len(flat)) * _DISTINCT
    if (gap < _DISTINCT).any():
        raise CraftError(f"the trajectories do not hold {count} different {what}; give more varied ones or ask fewer")


def _pairs(reference: Tensor, distance: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(reference[:_POOL], distance[:_POOL], strict=True))


def _resampled(poses: Tensor, distance: Tensor, length: int) -> Tensor:
    """Return one trajectory's path [1, length, 3], straight on beyond its end."""
    along = np.concatenate([[0.0], distance.numpy()])
    points = np.concatenate([np.zeros((1, 2)), poses[:, :2].numpy()])
    last = int(along[-1] / SPACING)
    grid = SPACING * np.arange(last + 1)
    xy = np.stack([np.interp(grid, along, points[:, axis]) for axis in range(2)], -1)[: length + 1]
    missing = length + 1 - len(xy)
    if missing:
        step = (xy[-1] - xy[-2]) / np.linalg.norm(xy[-1] - xy[-2]) * SPACING
        xy = np.concatenate([xy, xy[-1] + step * np.arange(1, missing + 1)[:, None]])
    tangent = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    return torch.from_numpy(np.concatenate([xy, yaw[:, None]], 1)[None, 1:]).float()


def _steps(trajectories: Tensor) -> Tensor:
    return torch.diff(trajectories[..., :2], dim=1, prepend=torch.zeros_like(trajectories[:, :1, :2])).norm(dim=-1)


def _distance(trajectories: Tensor) -> Tensor:
    return _steps(trajectories).cumsum(1)


def _initial_speed(trajectories: Tensor, dt: float) -> Tensor:
    return trajectories[:, 0, :2].norm(dim=-1) / dt
