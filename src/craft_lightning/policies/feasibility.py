"""Which trajectories a car could drive, and the entries that every vocabulary must have."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Limits:
    """What counts as drivable.

    Args:
        lateral_acceleration: largest |v^2 kappa|, m/s^2.
        acceleration: largest acceleration along the path, m/s^2.
        deceleration: largest braking, m/s^2.
        reverse: largest backward movement in one step, metres (slack for noise at standstill).
        window: seconds over which accelerations are averaged, so that noise of single poses does not count.

    """

    lateral_acceleration: float = 5.0
    acceleration: float = 4.0
    deceleration: float = 8.0
    reverse: float = 0.02
    window: float = 0.5


def feasible(trajectories: np.ndarray, dt: float, limits: Limits) -> np.ndarray:
    """Return which trajectories keep the limits.

    Args:
        trajectories: [N, T, 3] x, y, yaw in the ego frame.
        dt: seconds between poses.
        limits: what counts as drivable.

    Returns:
        [N] bool.

    """
    start = np.zeros((len(trajectories), 1, 3))
    poses = np.concatenate([start, trajectories], 1)
    step = np.diff(poses[..., :2], axis=1)
    heading = poses[:, :-1, 2]
    forward = step[..., 0] * np.cos(heading) + step[..., 1] * np.sin(heading)
    speed = np.linalg.norm(step, axis=-1) / dt
    yaw_step = np.diff(np.unwrap(poses[..., 2], axis=1), axis=1)
    window = max(1, min(round(limits.window / dt), speed.shape[1] - 1))
    acceleration = (speed[:, window:] - speed[:, :-window]) / (window * dt)
    # v^2 kappa = v * yaw rate, averaged over the window.
    cumulative = np.cumsum(np.pad(speed * yaw_step / dt, ((0, 0), (1, 0))), axis=1)
    lateral = (cumulative[:, window:] - cumulative[:, :-window]) / window
    return (
        (forward.min(1) >= -limits.reverse)
        & (acceleration.max(1) <= limits.acceleration)
        & (acceleration.min(1) >= -limits.deceleration)
        & (np.abs(lateral).max(1) <= limits.lateral_acceleration)
    )


def braking_entries(top_speed: float, poses: int, dt: float, deceleration: float = 6.0) -> np.ndarray:
    """Return the stop and straight emergency stops from several initial speeds.

    Args:
        top_speed: fastest speed worth braking from, m/s.
        poses: poses of an entry.
        dt: seconds between poses.
        deceleration: m/s^2.

    Returns:
        [1 + n, poses, 3]: standing still, then stops from 2.5, 5, 7.5, ... m/s up to ``top_speed``.

    """
    speeds = np.concatenate([[0.0], np.arange(2.5, max(top_speed, 2.5) + 1e-9, 2.5)])[:, None]
    # x(t) = v t - a t^2 / 2 until t = v / a.
    time = np.minimum(dt * np.arange(1, poses + 1), speeds / deceleration)
    entries = np.zeros((len(speeds), poses, 3))
    entries[..., 0] = speeds * time - 0.5 * deceleration * time**2
    return entries
