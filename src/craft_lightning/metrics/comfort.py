"""Driving smoothness: the share of one-second pieces of a route whose motion stays within nuPlan's comfort bounds.

Source: Thinklab-SJTU/Bench2Drive@7ec25d1, tools/efficiency_smoothness_benchmark.py. With ``strict`` its results come
out, quirks included: degrees a second are held against bounds in radians (a gentle turn fails), the "yaw acceleration"
is the smoothed yaw rate once more, yaw rates are unwrapped as if they were angles, and jerks are halved because samples
0.05 s apart are taken as 0.1 s apart. Without it these four are put right; what is measured (chunks, window, bounds)
stays.
"""

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.metrics.motion import Motion
from craft_lightning.smoothing import savgol_matrix

CHUNK, WINDOW, ORDER = 20, 7, 2
STRICT_DELTA = 0.1
# Open intervals, m/s2, m/s3, rad/s2, rad/s.
LONGITUDINAL = (-4.05, 2.40)
LATERAL, JERK, LONGITUDINAL_JERK, YAW_ACCELERATION, YAW_RATE = 4.89, 8.37, 4.13, 1.93, 0.95


def savgol(values: np.ndarray, derivative: int = 0, delta: float = 1.0) -> np.ndarray:
    """Filter the last axis of [..., N] values with the benchmark's window, shortened where there are fewer samples.

    Args:
        values: samples.
        derivative: 0 or 1.
        delta: spacing of the samples, seconds.

    """
    length = values.shape[-1]
    return values @ savgol_matrix(length, min(WINDOW, length), ORDER, derivative).T / delta**derivative


def comfortable(motion: Motion, strict: bool = True, delta: float = 0.05) -> np.ndarray:
    """Return for each piece of 20 samples whether it is comfortable.

    Args:
        motion: the route's motion; a last short piece is left out, a route of at most 20 samples is one piece.
        strict: reproduce the official tool.
        delta: seconds between samples where not ``strict``.

    Returns:
        [C] bool.

    Raises:
        CraftError: fewer than three samples, which no parabola smooths.

    """
    count = len(motion)
    if count <= ORDER:
        raise CraftError(f"driving smoothness needs at least {ORDER + 1} samples of a route, there are {count}")
    size = CHUNK if count > CHUNK else count
    pieces = count // size

    def cut(values: np.ndarray) -> np.ndarray:
        return values[: pieces * size].reshape(pieces, size)

    forward, right = motion.forward_vector[:, :2], motion.right_vector[:, :2]
    yaw_rate = motion.angular_velocity[:, 2]
    if not strict:
        forward, right = (vector / np.linalg.norm(vector, axis=1, keepdims=True) for vector in (forward, right))
        yaw_rate = np.radians(yaw_rate)
    acceleration = motion.acceleration[:, :2]
    longitudinal = savgol(cut((acceleration * forward).sum(axis=1)))
    lateral = savgol(cut((acceleration * right).sum(axis=1)))
    magnitude = savgol(cut(np.hypot(acceleration[:, 0], acceleration[:, 1])))
    rate = cut(yaw_rate)
    if strict:
        rate = savgol(_unwrapped(rate))
        yaw_acceleration = rate
    else:
        rate = savgol(rate)
        yaw_acceleration = savgol(rate, 1, delta)
    step = STRICT_DELTA if strict else delta
    within = (longitudinal > LONGITUDINAL[0]) & (longitudinal < LONGITUDINAL[1])
    for values, bound in (
        (lateral, LATERAL),
        (savgol(magnitude, 1, step), JERK),
        (savgol(longitudinal, 1, step), LONGITUDINAL_JERK),
        (yaw_acceleration, YAW_ACCELERATION),
        (rate, YAW_RATE),
    ):
        within &= np.abs(values) < bound
    return np.asarray(within.all(axis=1))


def smoothness(motion: Motion, strict: bool = True, delta: float = 0.05) -> float:
    """Return the share of a route's pieces that are comfortable, in [0, 1]; arguments as for ``comfortable``."""
    return float(comfortable(motion, strict, delta).mean())


def _unwrapped(values: np.ndarray) -> np.ndarray:
    """Take whole turns out of the steps between samples, as the official tool does with yaw rates."""
    turns = np.cumsum(np.round(np.diff(values, axis=-1) / (2.0 * np.pi)), axis=-1)
    return values - 2.0 * np.pi * np.concatenate([np.zeros_like(values[..., :1]), turns], axis=-1)
