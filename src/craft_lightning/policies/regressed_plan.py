"""Plans of deterministic heads: a path by arc length and a speed a step, shifted sideways and driven otherwise."""

import dataclasses

import torch
from torch import Tensor

_SPACING = 1.0  # metres between the points of a regressed path, as in SimLingo, PlanT 2 and TF++


@dataclasses.dataclass
class RegressedPlan:
    """What a deterministic head answers for B states.

    path [B, L, 2] points in the ego frame at 1, 2, ... L metres of arc length; speed [B, T] mean speed of every step in
    m/s; hidden [B, H] the last hidden state before the heads; speed_scores [B, C] log-probabilities of target speeds
    where the head has some.
    """

    path: Tensor
    speed: Tensor
    hidden: Tensor
    speed_scores: Tensor | None = None


def waypoint_speeds(waypoints: Tensor, spacing: float, poses: int, dt: float) -> Tensor:
    """Return the mean speed [B, T] of every step from timed waypoints.

    Args:
        waypoints: [B, N, 2] positions every ``spacing`` seconds, the ego at the origin before them.
        spacing: seconds between waypoints.
        poses: steps T wanted; the last speed is held beyond the waypoints.
        dt: seconds of a step.

    """
    step = torch.diff(waypoints, dim=1, prepend=torch.zeros_like(waypoints[:, :1]))
    speed = (step.square().sum(-1) + 1e-12).sqrt() / spacing  # finite gradient where the ego stands
    # Middle of every step, so that rounding cannot choose a neighbour.
    index = ((torch.arange(poses, device=speed.device) + 0.5) * dt / spacing).long().clamp_max(speed.shape[1] - 1)
    return speed[:, index]


def ramped_speeds(ego_speed: Tensor, target: Tensor, poses: int, dt: float, push: float, brake: float) -> Tensor:
    """Return speeds [B, V, T] that leave ``ego_speed`` [B] for ``target`` [B, V] at ``push`` or ``brake`` m/s^2."""
    time = dt * (torch.arange(poses, device=target.device) + 0.5)
    gap = target - ego_speed[:, None]
    limit = torch.where(gap > 0, push, brake)[..., None] * time
    bounded = gap.sign()[..., None] * torch.minimum(gap.abs()[..., None], limit)
    return (ego_speed[:, None, None] + bounded).clamp_min(0.0)


def changed_speeds(speed: Tensor, change: Tensor, dt: float, push: float, brake: float) -> Tensor:
    """Return ``speed`` [B, T] raised or lowered by ``change`` [V] m/s at ``push`` or ``brake`` m/s^2, [B, V, T]."""
    time = dt * (torch.arange(speed.shape[1], device=speed.device) + 0.5)
    limit = torch.where(change > 0, push, brake)[:, None] * time
    return (speed[:, None] + change.sign()[:, None] * torch.minimum(change.abs()[:, None], limit)).clamp_min(0.0)


def shifted_paths(path: Tensor, offset: Tensor, reach: float) -> Tensor:
    """Return the paths [B, O, L, 2] that lie ``offset`` [O] metres to the left of ``path`` [B, L, 2].

    The shift grows from nothing at the ego to all of it ``reach`` metres on, by a smooth step. No shift returns the
    path's very numbers.
    """
    previous = torch.cat([torch.zeros_like(path[:, :1]), path[:, :-1]], 1)
    with torch.no_grad():
        step = path - previous
        normal = torch.stack([-step[..., 1], step[..., 0]], -1)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        share = (_SPACING * torch.arange(1, path.shape[1] + 1, device=path.device) / reach).clamp_max(1.0)
        smooth = share.square() * (3.0 - 2.0 * share)
        shift = offset[:, None, None] * (smooth[:, None] * normal).unsqueeze(1)
    return path.unsqueeze(1) + shift


def driven(path: Tensor, speed: Tensor, dt: float) -> Tensor:
    """Return poses [B, O, V, T, 3] of every path [B, O, L, 2] driven at every speed [B, V, T].

    Straight on past a path's end. The points of a path count as one metre apart. Headings carry no gradient.
    """
    states, paths, points = path.shape[:3]
    place = (speed.cumsum(-1) * (dt / _SPACING)).flatten(1)
    index = place.detach().floor().clamp(0, points - 1).long()
    share = (place - index).unsqueeze(1).unsqueeze(-1)
    knots = torch.cat([torch.zeros_like(path[:, :, :1]), path], 2)
    where = index[:, None, :, None].expand(-1, paths, -1, 2)
    start, end = knots.gather(2, where), knots.gather(2, where + 1)
    place_xy = start + share * (end - start)
    step = (end - start).detach()
    yaw = torch.atan2(step[..., 1], step[..., 0])
    return torch.cat([place_xy, yaw.unsqueeze(-1)], -1).view(states, paths, *speed.shape[1:], 3)
