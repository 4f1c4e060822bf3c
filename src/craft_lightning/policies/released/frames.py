"""From the frames, reference points and time steps of released policies to ours: 40 poses, 0.1 s apart, ego frame.

Ours: x forward, y left, yaw counter-clockwise, origin at the centre of the ego's box. All functions are pure and
differentiable in positions, and take any leading shape.
"""

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.geometry import arc_length

STEP, POSES = 0.1, 40
"""Seconds between our poses, and their number."""

STANDSTILL = 0.05
"""Metres; a shorter step between waypoints has no direction of its own."""


@dataclasses.dataclass(frozen=True)
class ModelFrame:
    """The frame in which a released policy speaks.

    Args:
        axes: "forward_left" (NAVSIM, nuPlan), "right_forward" (nuScenes and Bench2Drive: x right, y forward),
            "forward_right" (CARLA's ego: y right, yaw clockwise).
        ahead: metres by which its origin lies ahead of the centre of the ego's box (behind: negative). NAVSIM's rear
            axle of a Pacifica is -1.461 (nuPlan), the LIDAR of the Bench2Drive agents -0.39.

    """

    axes: Literal["forward_left", "right_forward", "forward_right"]
    ahead: float = 0.0


NAVSIM = ModelFrame("forward_left", -1.461)
BENCH2DRIVE_LIDAR = ModelFrame("right_forward", -0.39)
CARLA_EGO = ModelFrame("forward_right")


def turn_axes(poses: Tensor, axes: str) -> Tensor:
    """Turn positions [..., 2] or poses [..., 3] into forward-left axes; the yaw becomes counter-clockwise from forward.

    Raises:
        CraftError: unknown axes.

    """
    first, second, yaw = poses[..., 0], poses[..., 1], poses[..., 2:]
    if axes == "forward_left":
        return poses
    if axes == "right_forward":
        # Their yaw is counter-clockwise from x, which points right; ahead is pi / 2.
        return torch.cat([second[..., None], -first[..., None], yaw - torch.pi / 2], -1)
    if axes == "forward_right":
        return torch.cat([first[..., None], -second[..., None], -yaw], -1)
    raise CraftError(f"axes is {axes!r}; give forward_left, right_forward or forward_right")


def to_ego(poses: Tensor, frame: ModelFrame) -> Tensor:
    """Take poses [..., T, 3] of the model's reference point into the ego frame of the box's centre.

    The reference point is fixed to the vehicle, so the centre lies ``-ahead`` in front of it at every pose: a rear axle
    that turns on the spot moves the centre.
    """
    turned = turn_axes(poses, frame.axes)
    offset = -frame.ahead
    x = turned[..., 0] + offset * turned[..., 2].cos() - offset
    y = turned[..., 1] + offset * turned[..., 2].sin()
    return torch.stack([x, y, turned[..., 2]], -1)


def headings(points: Tensor) -> Tensor:
    """Return the yaw [..., T] of positions [..., T, 2] that begin after the origin, by central differences.

    Where the vehicle stands (a step below 5 cm) the yaw before it goes on; the first is 0.
    """
    start = torch.zeros_like(points[..., :1, :])
    before = torch.cat([start, points[..., :-1, :]], -2)
    after = torch.cat([points[..., 1:, :], points[..., -1:, :]], -2)
    step = after - before
    moving = step.norm(dim=-1) > STANDSTILL
    angle = torch.atan2(step[..., 1], step[..., 0].where(moving, 1.0)).where(moving, 0.0)
    # Index of the last moving step at or before each pose; 0 is the pose of the origin, which looks ahead.
    count = torch.arange(1, points.shape[-2] + 1, device=points.device)
    last = torch.where(moving, count, 0).cummax(-1).values
    return torch.cat([torch.zeros_like(angle[..., :1]), angle], -1).gather(-1, last)


def resample(poses: Tensor, dt: float, num_poses: int = POSES, step: float = STEP) -> Tensor:
    """Resample timed poses to ours.

    Args:
        poses: [..., T, 3] in forward-left axes, the first ``dt`` after the present pose (which is the origin).
        dt: seconds between them.
        num_poses: poses wanted.
        step: seconds between the poses wanted.

    Returns:
        [..., num_poses, 3]: positions and yaw interpolated linearly, the yaw on the shorter way; past the last pose the
        last speed goes on straight along the last yaw.

    """
    poses = torch.cat([torch.zeros_like(poses[..., :1, :]), poses], -2)
    yaw = poses[..., 2]
    turns = _short(yaw.diff(dim=-1))
    yaw = torch.cat([yaw[..., :1], yaw[..., :1] + turns.cumsum(-1)], -1)
    poses = torch.cat([poses[..., :2], yaw[..., None]], -1)
    times = torch.arange(1, num_poses + 1, device=poses.device, dtype=poses.dtype) * (step / dt)
    last = poses.shape[-2] - 1
    # A rounding error below the last pose must not extrapolate.
    times = torch.where((times - last).abs() < 1e-4, torch.full_like(times, last), times)
    low = times.floor().clamp(max=last - 1).long()
    share = (times - low).clamp(max=1.0)[:, None]
    found = poses[..., low, :] * (1 - share) + poses[..., low + 1, :] * share
    beyond = (times - last).clamp(min=0.0)
    pace = (poses[..., -1, :2] - poses[..., -2, :2]).norm(dim=-1)[..., None] * beyond
    end = poses[..., -1:, 2]
    ahead = torch.stack([pace * end.cos(), pace * end.sin(), torch.zeros_like(pace)], -1)
    return found + ahead


def waypoints_to_poses(points: Tensor, dt: float, frame: ModelFrame, num_poses: int = POSES) -> Tensor:
    """Turn timed positions [..., T, 2] in the model's frame into our poses [..., num_poses, 3].

    The yaw is that of the motion.
    """
    turned = turn_axes(points, frame.axes)
    timed = torch.cat([turned, headings(turned)[..., None]], -1)
    return to_ego(resample(timed, dt, num_poses), ModelFrame("forward_left", frame.ahead))


def poses_to_poses(poses: Tensor, dt: float, frame: ModelFrame, num_poses: int = POSES) -> Tensor:
    """Turn timed poses [..., T, 3] in the model's frame into our poses [..., num_poses, 3]."""
    turned = turn_axes(poses, frame.axes)
    return to_ego(resample(turned, dt, num_poses), ModelFrame("forward_left", frame.ahead))


def path_to_poses(path: Tensor, distance: Tensor, frame: ModelFrame) -> Tensor:
    """Place a vehicle on a path by the distance it has driven.

    Args:
        path: [..., P, 2] points in the model's frame, ahead of the origin (which is put in front of them).
        distance: [..., T] metres driven at each of our poses, non-negative.
        frame: the model's frame.

    Returns:
        [..., T, 3] poses of our frame; past the path's end they go on straight. The yaw turns evenly between the
        path's points, from the ego's own at the origin, so that who stands keeps it.

    """
    turned = turn_axes(path, frame.axes)
    turned = torch.cat([torch.zeros_like(turned[..., :1, :]), turned], -2)
    arc = arc_length(turned)
    shape = torch.broadcast_shapes(arc.shape[:-1], distance.shape[:-1])
    arc, turned = arc.expand(*shape, -1), turned.expand(*shape, -1, -1)
    distance = distance.expand(*shape, -1).contiguous()
    index = (torch.searchsorted(arc.contiguous(), distance, right=True) - 1).clamp(0, arc.shape[-1] - 2)
    begin, length = arc.gather(-1, index), arc.diff(dim=-1).gather(-1, index)
    pairs = index[..., None].expand(*index.shape, 2)
    start, step = turned[..., :-1, :].gather(-2, pairs), turned.diff(dim=-2).gather(-2, pairs)
    along = ((distance - begin) / length.clamp(min=1e-6))[..., None]
    point = start + step * along
    node = _node_yaw(turned)
    first, last = node.gather(-1, index), node.gather(-1, index + 1)
    yaw = first + _short(last - first) * along[..., 0].clamp(max=1.0)
    return to_ego(torch.cat([point, yaw[..., None]], -1), ModelFrame("forward_left", frame.ahead))


def _node_yaw(path: Tensor) -> Tensor:
    """Return the yaw [..., P + 1] at the points of a path [..., P + 1, 2] that begins at the ego, which looks ahead."""
    step = path.diff(dim=-2)
    length = step.norm(dim=-1, keepdim=True)
    # Where points coincide the direction is of no consequence, and that of nothing has no gradient.
    ahead = torch.tensor([1.0, 0.0], device=path.device, dtype=path.dtype)
    direction = torch.where(length > 1e-3, step / length.clamp(min=1e-3), ahead)
    both = torch.cat([direction[..., :-1, :] + direction[..., 1:, :], direction[..., -1:, :]], -2)
    yaw = torch.atan2(both[..., 1], both[..., 0])
    return torch.cat([torch.zeros_like(yaw[..., :1]), yaw], -1)


def _short(angle: Tensor) -> Tensor:
    return torch.remainder(angle + torch.pi, 2.0 * torch.pi) - torch.pi


def speeds_to_distance(speeds: Tensor, dt: float, num_poses: int = POSES, step: float = STEP) -> Tensor:
    """Integrate mean speeds [..., S] of pieces of ``dt`` seconds into metres driven [..., num_poses]; the last goes on.

    Source of the reading: SparseDriveV2 composes its table this way.
    """
    speeds = speeds.clamp(min=0.0)
    driven = torch.cat([torch.zeros_like(speeds[..., :1]), speeds.cumsum(-1) * dt], -1)
    times = torch.arange(1, num_poses + 1, device=speeds.device, dtype=speeds.dtype) * (step / dt)
    piece = (times - 1e-4).floor().clamp(min=0, max=speeds.shape[-1] - 1).long()
    return driven[..., piece] + speeds[..., piece] * dt * (times - piece)


def approach(speed: Tensor, target: Tensor, acceleration: float, braking: float, num_poses: int = POSES) -> Tensor:
    """Drive from ``speed`` [...] towards ``target`` [...] at constant acceleration or braking.

    What a policy with a target speed and no profile of speeds is taken to mean.

    Returns:
        Metres driven at each pose [..., num_poses].

    """
    times = torch.arange(1, num_poses + 1, device=speed.device, dtype=speed.dtype) * STEP
    speed, target = torch.broadcast_tensors(speed, target)
    rate = torch.where(target >= speed, acceleration, -braking)[..., None]
    reached = ((target - speed)[..., None] / rate).clamp(min=0.0)
    ramp = torch.minimum(times.expand(*speed.shape, -1), reached)
    return speed[..., None] * ramp + 0.5 * rate * ramp**2 + target[..., None] * (times - ramp)
