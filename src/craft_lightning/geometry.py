"""Angles, poses, polylines and oriented boxes as pure tensor functions: any batch shape, any device, differentiable.

Angles are radians, counter-clockwise; lengths are metres; poses are [..., 3] x, y, yaw; oriented boxes are [..., 5] x,
y (centre), yaw, length, width.
"""

import math

import torch
from torch import Tensor

from craft_lightning.errors import CraftError


def wrap_angle(angle: Tensor) -> Tensor:
    """Return ``angle`` wrapped to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


def to_world(poses: Tensor, origin: Tensor) -> Tensor:
    """Take poses [..., 3] from the frame whose pose is ``origin`` [..., 3] into the frame in which origin is given.

    The yaw is added, not wrapped. Shapes broadcast.
    """
    cos, sin = origin[..., 2].cos(), origin[..., 2].sin()
    x = origin[..., 0] + cos * poses[..., 0] - sin * poses[..., 1]
    y = origin[..., 1] + sin * poses[..., 0] + cos * poses[..., 1]
    return torch.stack([x, y, origin[..., 2] + poses[..., 2]], dim=-1)


def to_local(poses: Tensor, origin: Tensor) -> Tensor:
    """Take poses [..., 3] into the frame whose pose is ``origin`` [..., 3]; the inverse of ``to_world``."""
    cos, sin = origin[..., 2].cos(), origin[..., 2].sin()
    dx, dy = poses[..., 0] - origin[..., 0], poses[..., 1] - origin[..., 1]
    return torch.stack([cos * dx + sin * dy, cos * dy - sin * dx, poses[..., 2] - origin[..., 2]], dim=-1)


def arc_length(points: Tensor) -> Tensor:
    """Arc length [..., N] at each of the points [..., N, 2 or more] of polylines; 0 at the first."""
    steps = (points[..., 1:, :2] - points[..., :-1, :2]).norm(dim=-1)
    return torch.cat([torch.zeros_like(steps[..., :1]), steps.cumsum(-1)], dim=-1)


def project_on_polyline(points: Tensor, polyline: Tensor) -> tuple[Tensor, Tensor]:
    """Project points on the nearest place of a polyline.

    Args:
        points: [..., M, 2].
        polyline: [..., N, 2], N at least 2.

    Returns:
        Arc length [..., M] of the projection and signed offset [..., M], positive to the left of the polyline.

    Raises:
        CraftError: if the polyline has fewer than two points.

    """
    if polyline.shape[-2] < 2:
        raise CraftError("project_on_polyline needs a polyline of two points at least: give a longer one.")
    start, step = polyline[..., :-1, :], polyline[..., 1:, :] - polyline[..., :-1, :]
    length = step.norm(dim=-1)
    direction = step / length.clamp(min=1e-9)[..., None]
    relative = points[..., :, None, :] - start[..., None, :, :]
    along = (relative * direction[..., None, :, :]).sum(-1)
    across = direction[..., None, :, 0] * relative[..., 1] - direction[..., None, :, 1] * relative[..., 0]
    on = along.clamp(min=0.0).minimum(length[..., None, :])
    distance = torch.hypot(along - on, across)
    nearest = distance.argmin(-1, keepdim=True)
    before = arc_length(polyline)[..., None, :-1].expand_as(on)
    arc = (before + on).gather(-1, nearest)[..., 0]
    sign = torch.where(across < 0.0, -1.0, 1.0).to(distance.dtype)
    return arc, (sign * distance).gather(-1, nearest)[..., 0]


def box_corners(boxes: Tensor) -> Tensor:
    """Corners [..., 4, 2] of oriented boxes [..., 5], counter-clockwise from the front left one."""
    signs = boxes.new_tensor([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    local = signs * boxes[..., None, 3:5]
    cos, sin = boxes[..., None, 2].cos(), boxes[..., None, 2].sin()
    x = boxes[..., None, 0] + cos * local[..., 0] - sin * local[..., 1]
    y = boxes[..., None, 1] + sin * local[..., 0] + cos * local[..., 1]
    return torch.stack([x, y], dim=-1)


def boxes_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Whether oriented boxes [..., 5] overlap, bool [...], by the separating axis theorem; touching is not overlapping.

    Shapes broadcast: boxes [B, 1, 5] against [A, 5] answer [B, A].
    """
    dx, dy = second[..., 0] - first[..., 0], second[..., 1] - first[..., 1]
    cos_a, sin_a = first[..., 2].cos(), first[..., 2].sin()
    cos_b, sin_b = second[..., 2].cos(), second[..., 2].sin()
    extents = (first[..., 3] / 2, first[..., 4] / 2, second[..., 3] / 2, second[..., 4] / 2)
    return separating_axis(dx, dy, cos_a, sin_a, cos_b, sin_b, *extents)


def separating_axis(
    dx: Tensor,
    dy: Tensor,
    cos_a: Tensor,
    sin_a: Tensor,
    cos_b: Tensor,
    sin_b: Tensor,
    half_length_a: Tensor,
    half_width_a: Tensor,
    half_length_b: Tensor,
    half_width_b: Tensor,
) -> Tensor:
    """The same test for boxes whose headings are known by cosine and sine.

    Args:
        dx: x from the centre of a to the centre of b.
        dy: likewise.
        cos_a: cosine of the heading of a.
        sin_a: sine.
        cos_b: cosine of the heading of b.
        sin_b: sine.
        half_length_a: half extents.
        half_width_a: likewise.
        half_length_b: likewise.
        half_width_b: likewise.

    Returns:
        bool, True where no axis of either box separates them.

    """
    cos = (cos_a * cos_b + sin_a * sin_b).abs()
    sin = (cos_a * sin_b - sin_a * cos_b).abs()
    return (
        ((dx * cos_a + dy * sin_a).abs() < half_length_a + half_length_b * cos + half_width_b * sin)
        & ((dy * cos_a - dx * sin_a).abs() < half_width_a + half_length_b * sin + half_width_b * cos)
        & ((dx * cos_b + dy * sin_b).abs() < half_length_b + half_length_a * cos + half_width_a * sin)
        & ((dy * cos_b - dx * sin_b).abs() < half_width_b + half_length_a * sin + half_width_a * cos)
    )
