"""Steering and acceleration held over the horizon, as trajectories: the bicycle of ``control`` in vectorised torch."""

import torch
from torch import Tensor

from craft_lightning.control import BicycleParameters


def held_trajectories(
    action: Tensor, speed: Tensor, poses: int, dt: float, wheelbase: float, p: BicycleParameters | None = None
) -> Tensor:
    """Roll actions out with a kinematic bicycle that starts at the origin (``control.bicycle_step``).

    Args:
        action: [..., 2] steer (positive left) and acceleration in [-1, 1]: throttle where positive, else brake.
        speed: [...] m/s now, broadcast against the actions; reversing counts as standing.
        poses: poses of a trajectory.
        dt: seconds between them.
        wheelbase: metres between the axles.
        p: constants of the bicycle.

    Returns:
        [..., poses, 3] x, y, yaw in the ego frame.

    """
    p = p or BicycleParameters()
    steer, push = action.clamp(-1.0, 1.0).unbind(-1)
    half_tan = 0.5 * torch.tan(steer * p.max_steer)
    cos_slip = (1.0 + half_tan.square()).rsqrt()
    sin_slip = half_tan * cos_slip
    force = torch.where(push > 0.0, push * p.throttle_acceleration, push * p.brake_deceleration)
    now = speed.clamp_min(0.0).expand_as(steer)
    x, y, yaw = (torch.zeros_like(steer) for _ in range(3))
    track = []
    for _ in range(poses):
        faster = (now + (force - p.drag * now) * dt).clamp_min(0.0)
        mean = 0.5 * (now + faster)
        limit = p.max_lateral_acceleration / mean.clamp_min(0.1)
        rate = torch.minimum(torch.maximum(mean * 2.0 * sin_slip / wheelbase, -limit), limit)
        middle = yaw + 0.5 * rate * dt
        x = x + mean * dt * (middle.cos() * cos_slip - middle.sin() * sin_slip)
        y = y + mean * dt * (middle.sin() * cos_slip + middle.cos() * sin_slip)
        yaw, now = yaw + rate * dt, faster
        track.append(torch.stack([x, y, yaw], -1))
    return torch.stack(track, -2)
