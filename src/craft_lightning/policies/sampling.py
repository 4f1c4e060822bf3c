"""Random drivable trajectories: what a demonstration set lacks (recoveries, hard braking, odd speeds)."""

import numpy as np


def sample_trajectories(
    count: int, seed: int = 0, poses: int = 40, dt: float = 0.1, top_speed: float = 14.0
) -> np.ndarray:
    """Roll a point along random smooth speed and curvature profiles.

    Three kinds, drawn per trajectory: holding or approaching a speed on a road of slowly changing curvature, turning at
    an intersection, and braking; all may carry a lateral shift (lane change or recovery).

    Args:
        count: trajectories.
        seed: seed of everything.
        poses: poses of a trajectory, the first ``dt`` after now.
        dt: seconds between poses.
        top_speed: fastest initial and wanted speed, m/s.

    Returns:
        [count, poses, 3] x, y, yaw in the ego frame; the lateral acceleration stays below 4.5 m/s^2.

    """
    generator = np.random.default_rng(seed)
    kind = generator.choice(3, count, p=(0.5, 0.3, 0.2))
    speed = generator.uniform(0.0, top_speed, count)
    speed = np.where(kind == 1, np.minimum(speed, generator.uniform(0.0, 9.0, count)), speed)
    wanted = np.where(kind == 2, 0.0, np.clip(speed + generator.normal(0.0, 3.0, count), 0.0, top_speed))
    wanted = np.where(kind == 1, np.minimum(wanted, 8.0), wanted)
    # Turns keep one curvature between radii of 6 and 40 m; roads drift about a small one.
    turn = generator.choice((-1.0, 1.0), count) / generator.uniform(6.0, 40.0, count)
    base = np.where(kind == 1, turn, generator.normal(0.0, 0.006, count))
    braking = np.where(kind == 2, generator.uniform(1.0, 7.5, count), generator.uniform(1.0, 4.0, count))
    push = generator.uniform(0.8, 3.0, count)
    shift = generator.normal(0.0, 0.8, count) * (generator.random(count) < 0.5)
    begin = generator.uniform(0.0, 2.0, count)
    curvature, x, y, yaw = base.copy(), np.zeros(count), np.zeros(count), np.zeros(count)
    result = np.empty((count, poses, 3))
    for step in range(poses):
        speed = np.clip(wanted, speed - braking * dt, speed + push * dt)
        # Ornstein-Uhlenbeck noise on the curvature, 1.5 s of memory.
        curvature += (base - curvature) * dt / 1.5 + generator.normal(0.0, 0.004, count) * np.sqrt(dt)
        # One period of a sine steers to a parallel line and back: a lateral shift over 2 s.
        phase = (step * dt - begin) / 2.0
        weave = np.where((phase >= 0) & (phase <= 1), np.sin(2 * np.pi * phase), 0.0)
        total = curvature + weave * shift * 1.57 / np.maximum(speed, 2.0) ** 2
        limit = np.minimum(4.5 / np.maximum(speed, 0.5) ** 2, 0.18)
        turned = speed * dt * np.clip(total, -limit, limit)
        x += speed * dt * np.cos(yaw + turned / 2)
        y += speed * dt * np.sin(yaw + turned / 2)
        yaw += turned
        result[:, step] = np.stack([x, y, yaw], -1)
    return result
