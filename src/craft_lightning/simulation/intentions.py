"""Where a scenario's vehicles will go, for whoever is privileged to know."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Intention:
    """The way and the pace that one vehicle keeps unless somebody is in front of it; lights do not stop it.

    Attributes:
        path: [N, 4] points one metre apart: x, y, cosine and sine of the direction, world frame.
        pace: [N] m/s that it wants at each point.
        s: metres of path of its centre now.
        left: metres to the left of the path now.

    """

    path: np.ndarray
    pace: np.ndarray
    s: float
    left: float = 0.0


_PULL, _BRAKE = 2.5, 3.0  # m/s2 with which a vehicle takes up the pace it wants


def foresee(
    intentions: "list[Intention]", speed: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Move vehicles along their ways.

    One that stands is taken to stand on: somebody is in front of it.

    Args:
        intentions: H of them.
        speed: [H] m/s now.
        time: [T] seconds, evenly spaced, from 0.

    Returns:
        x, y, cosine and sine of the heading, and speed, each [H, T].

    """
    count, steps = len(intentions), len(time)
    delta = float(time[1] - time[0])
    x, y, cos, sin, pace = (np.zeros((count, steps)) for _ in range(5))
    place = np.array([one.s for one in intentions])
    v = np.maximum(np.asarray(speed, np.float64), 0.0)
    size = np.array([len(one.path) for one in intentions])
    start = np.cumsum(size) - size
    path = np.concatenate([one.path for one in intentions])
    wanted = np.concatenate([one.pace for one in intentions])
    left = np.array([one.left for one in intentions])
    moving = v > 0.3
    for step in range(steps):
        index = np.minimum(np.maximum(place.astype(int), 0), size - 2)
        share = place - index
        here, there = path[start + index], path[start + index + 1]
        inner = np.minimum(np.maximum(share, 0.0), 1.0)[:, None]
        point = here + inner * (there - here)
        beyond = np.maximum(share - 1.0, 0.0) + np.minimum(share, 0.0)
        # Who is beside its way comes back to it within two seconds.
        aside = left * max(1.0 - 0.5 * time[step], 0.0)
        cos[:, step], sin[:, step] = point[:, 2], point[:, 3]
        x[:, step] = point[:, 0] + beyond * point[:, 2] - aside * point[:, 3]
        y[:, step] = point[:, 1] + beyond * point[:, 3] + aside * point[:, 2]
        pace[:, step] = v
        change = np.minimum(np.maximum(wanted[start + index] - v, -_BRAKE * delta), _PULL * delta)
        following = np.where(moving, np.maximum(v + change, 0.0), 0.0)
        place = place + 0.5 * (v + following) * delta
        v = following
    return x, y, cos, sin, pace
