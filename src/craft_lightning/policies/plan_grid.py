"""A grid of plans: path anchors times speed profiles, composed at the ego's own speed."""

import dataclasses
import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError

SPACING = 1.0
"""Metres of arc length between the points of a path."""


@dataclasses.dataclass(frozen=True, eq=False)
class PlanGrid:
    """P paths by arc length and V speed profiles relative to the ego's speed; every pair is a plan.

    A profile says how the mean speed of every step differs from the ego's speed now, so that a handful of them serves
    at all speeds: a trajectory follows from (path, profile, ego speed) alone.

    Args:
        paths: [P, L, 3] x, y, yaw in the ego frame at 1, 2, ... L metres of arc length; they start at the origin.
        speeds: [V, T] metres per second by which the mean speed of step t differs from the ego's speed now.
        top_speed: metres per second that no plan exceeds, unless the ego already does.
        dt: seconds of a step.
        report: how it was made and what it covers, plain values; not part of the hash.

    Raises:
        CraftError: other shapes, or a number that is not finite.

    """

    paths: Tensor
    speeds: Tensor
    top_speed: float
    dt: float = 0.1
    report: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.paths.shape)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise CraftError(f"plan_grid.paths has shape {shape}; give [P, L, 3] with x, y, yaw one metre apart")
        if self.speeds.ndim != 2 or 0 in self.speeds.shape:
            raise CraftError(f"plan_grid.speeds has shape {tuple(self.speeds.shape)}; give [V, T] in m/s")
        if not (torch.isfinite(self.paths).all() and torch.isfinite(self.speeds).all() and self.top_speed > 0.0):
            raise CraftError("plan_grid holds NaN, infinity or no top_speed; build it again from finite trajectories")

    @property
    def hash(self) -> str:
        """SHA-256 of paths, profiles and top speed, as float32, and of ``dt``: what ids mean."""
        numbers = [
            part.detach().to("cpu", torch.float32).contiguous()
            for part in (self.paths, self.speeds, torch.tensor(self.top_speed))
        ]
        header = json.dumps([[list(part.shape) for part in numbers], round(self.dt, 9)])
        return hashlib.sha256(header.encode() + b"".join(part.numpy().tobytes() for part in numbers)).hexdigest()

    def compose(self, ego_speed: Tensor) -> Tensor:
        """Return the plans [B, P, V, T, 3] of states at ``ego_speed`` [B] (see ``compose``)."""
        return compose(self.paths, self.speeds, self.top_speed, self.dt, ego_speed)


def compose(paths: Tensor, speeds: Tensor, top_speed: Tensor | float, dt: float, ego_speed: Tensor) -> Tensor:
    """Return every path driven with every speed profile.

    Args:
        paths: [P, L, 3] as in ``PlanGrid``.
        speeds: [V, T] as in ``PlanGrid``.
        top_speed: m/s.
        dt: seconds of a step.
        ego_speed: [B] m/s.

    Returns:
        [B, P, V, T, 3] x, y, yaw in the ego frame, float32.

    """
    return follow(paths, travelled(speeds, top_speed, dt, ego_speed)).transpose(0, 1)


def travelled(speeds: Tensor, top_speed: Tensor | float, dt: float, ego_speed: Tensor) -> Tensor:
    """Return metres along the path [B, V, T]: s_t = sum of the clipped speeds times ``dt``; never backwards."""
    start = ego_speed.to(speeds)[:, None, None]
    # An ego beyond the top speed may hold it: the bound must not brake by itself.
    bound = torch.maximum(start, torch.as_tensor(top_speed).to(start))
    return torch.minimum((start + speeds).clamp_min(0.0), bound).cumsum(-1) * dt


def follow(paths: Tensor, distance: Tensor) -> Tensor:
    """Return the poses at some metres along every path, straight on beyond its end.

    Args:
        paths: [P, L, 3].
        distance: [...] metres of arc length, not negative.

    Returns:
        [P, ..., 3].

    """
    knots = torch.cat([torch.zeros_like(paths[:, :1]), paths], 1)
    place = distance / SPACING
    index = place.detach().floor().clamp(0, paths.shape[1] - 1).long()
    share = (place - index).unsqueeze(-1)
    start, end = knots[:, index], knots[:, index + 1]
    # The heading turns until the end of the path and stays there.
    share = torch.cat([share, share, share.clamp_max(1.0)], -1)
    return start + share * (end - start)
