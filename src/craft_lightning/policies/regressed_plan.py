"""Plans of deterministic heads: a path by arc length and a speed a step, shifted sideways and driven otherwise."""

import dataclasses

import torch
from torch import Tensor

from craft_lightning.geometry import arc_length


@dataclasses.dataclass
class RegressedPlan:
    """What a deterministic head answers for B states.

    path [B, P, 2] points ahead of the origin, in forward-left axes of the head's reference point; distance [B, V, T]
    metres driven at each of our poses by every speed, the regressed one first; feature [B, H] the last hidden state
    before the heads; speed_scores [B, V - 1] log-probabilities of the other speeds where the head has some.
    """

    path: Tensor
    distance: Tensor
    feature: Tensor
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


def changed_speeds(speed: Tensor, change: Tensor, dt: float, push: float, brake: float) -> Tensor:
    """Return ``speed`` [B, T] raised or lowered by ``change`` [V] m/s at ``push`` or ``brake`` m/s^2, [B, V, T]."""
    time = dt * (torch.arange(speed.shape[1], device=speed.device) + 0.5)
    limit = torch.where(change > 0, push, brake)[:, None] * time
    return (speed[:, None] + change.sign()[:, None] * torch.minimum(change.abs()[:, None], limit)).clamp_min(0.0)


def shifted_paths(path: Tensor, offset: Tensor, reach: float) -> Tensor:
    """Return the paths [B, O, P, 2] that lie ``offset`` [O] metres to the left of ``path`` [B, P, 2].

    The shift grows from nothing at the ego to all of it ``reach`` metres of path on, by a smooth step. No shift returns
    the path's very numbers.
    """
    with torch.no_grad():
        whole = torch.cat([torch.zeros_like(path[:, :1]), path], 1)
        step = whole.diff(dim=1)
        length = step.norm(dim=-1, keepdim=True)
        # Where points coincide the ego stands; any direction will do, and ahead is one.
        ahead = path.new_tensor([1.0, 0.0])
        direction = torch.where(length > 1e-3, step / length.clamp(min=1e-3), ahead)
        left = torch.stack([-direction[..., 1], direction[..., 0]], -1)
        share = (arc_length(whole)[:, 1:] / reach).clamp(max=1.0)
        ramp = share * share * (3.0 - 2.0 * share)
        shift = offset[:, None, None] * (ramp[..., None] * left).unsqueeze(1)
    return path.unsqueeze(1) + shift
