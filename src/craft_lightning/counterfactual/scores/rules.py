"""Staying on the road, in its direction, in one's lane, behind red lines and within the speed limit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craft_lightning.conventions import LINE_RED
from craft_lightning.counterfactual.scores.areas import Areas
from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.parameters import ScoreParameters
from craft_lightning.errors import CraftError
from craft_lightning.geometry import separating_axis


def drivable_area(areas: Areas, tolerance: float = 0.0) -> Tensor:
    """DAC [B, K]: 0 where a corner is ever outside the drivable area by more than a tolerance, else 1.

    Args:
        areas: where the ego stands.
        tolerance: metres; 0 as in NAVSIM. Of nuPlan's 0.3 m, 0.3 m itself is too much.

    """
    outside = areas.edge < 0.0 if tolerance == 0.0 else areas.edge <= -tolerance
    return 1.0 - outside.any(-1).to(areas.edge.dtype)


def _graded(metres: Tensor, p: ScoreParameters) -> Tensor:
    """1, 0.5 or 0 for metres driven in the wrong direction."""
    half = torch.where(metres < p.direction_violation, 0.5, 0.0).to(metres.dtype)
    return torch.where(metres < p.direction_compliance, 1.0, half)


def _windows(values: Tensor, drive: Drive, p: ScoreParameters) -> Tensor:
    """Sums [B, K, S] of each value with those of the window before it."""
    number = int(p.direction_window / drive.dt + 1e-6)
    total = values.double().cumsum(-1)
    before = torch.nn.functional.pad(total, (number + 1, 0))[..., : values.shape[-1]]
    return (total - before).to(values.dtype)


def navsim_direction(drive: Drive, areas: Areas, p: ScoreParameters) -> Tensor:
    """NAVSIM's DDC [B, K]: by the metres moved within a second off the lanes of the route, junctions apart.

    Where a scene names no route lanes, a lane counts as off the route if it runs against the ego's heading by more than
    ``p.wrong_way_degrees``.
    """
    moved = torch.hypot(drive.ego.x.diff(dim=-1), drive.ego.y.diff(dim=-1))
    wrong = (areas.off_route & ~areas.junction)[..., 1:]
    metres = torch.nn.functional.pad(torch.where(wrong, moved, 0.0), (1, 0))
    return _graded(_windows(metres, drive, p).amax(-1), p)


def nuplan_direction(drive: Drive, areas: Areas, p: ScoreParameters) -> Tensor:
    """NuPlan's driving direction score [B, K]: by the metres moved within a second against the lane that one is in.

    The first two instants in a new lane count nothing (nuPlan measures from the second on), nor do places in no lane.
    """
    lane = areas.lane
    ahead, left = drive.ego.x.diff(dim=-1), drive.ego.y.diff(dim=-1)
    heading = drive.scene.ego_pose[:, 2].to(ahead.dtype)[:, None, None]
    cos, sin = heading.cos(), heading.sin()
    dx, dy = cos * ahead - sin * left, sin * ahead + cos * left
    gained = dx * areas.lane_cos[..., 1:] + dy * areas.lane_sin[..., 1:]
    same = (lane[..., 1:] == lane[..., :-1]) & (lane[..., 1:] >= 0)
    settled = torch.cat([same[..., :1], same[..., 1:] & same[..., :-1]], dim=-1)
    metres = torch.nn.functional.pad(torch.where(settled, gained, 0.0), (1, 0))
    return _graded(_windows(metres, drive, p).amin(-1).abs(), p)


def lane_keeping(drive: Drive, areas: Areas, offset: Tensor, p: ScoreParameters) -> Tensor:
    """NAVSIM's LK [B, K]: 0 after ``p.lane_seconds`` in a row beyond ``p.lane_deviation`` from the route, else 1.

    Steps in junctions neither count nor begin the row anew.

    Args:
        drive: the drive.
        areas: where the ego stands.
        offset: [B, K, S] metres from the route.
        p: thresholds.

    """
    beyond = (offset > p.lane_deviation) & ~areas.junction
    kept = (offset <= p.lane_deviation) & ~areas.junction
    count = beyond.long().cumsum(-1)
    row = count - torch.where(kept, count, 0).cummax(-1).values
    needed = int(np.ceil(p.lane_seconds / drive.dt - 1e-6))
    return 1.0 - (row >= needed).any(-1).to(offset.dtype)


def red_lights(drive: Drive) -> Tensor:
    """TLC [B, K]: 0 where the ego's box ever lies across a red stop line, else 1.

    NAVSIM asks for the connectors behind a red light, which begin at that line; an ego that stands on the line in the
    visited state loses in both. The light stays as it is in the visited state.
    """
    ego, scene = drive.ego, drive.scene
    red = scene.stop_kind == LINE_RED
    score = torch.ones_like(ego.x[..., 0])
    state, line = torch.nonzero(red, as_tuple=True)
    if len(state) == 0:
        return score
    x0, y0, x1, y1 = scene.stop_lines[state, line].to(ego.x.dtype).unbind(-1)
    length = torch.hypot(x1 - x0, y1 - y0).clamp(min=1e-6)
    cos, sin = (x1 - x0) / length, (y1 - y0) / length

    def each(values: Tensor) -> Tensor:
        return values[:, None, None]

    across = separating_axis(
        each(0.5 * (x0 + x1)) - ego.x[state],
        each(0.5 * (y0 + y1)) - ego.y[state],
        ego.cos[state],
        ego.sin[state],
        each(cos),
        each(sin),
        each(drive.half[state, 0]),
        each(drive.half[state, 1]),
        each(0.5 * length),
        each(torch.zeros_like(length)),
    ).any(-1)
    return score.scatter_reduce(0, state[:, None].expand_as(across), 1.0 - across.to(score.dtype), "amin")


def speed_compliance(drive: Drive, areas: Areas, limits: Sequence[Any] | Tensor, p: ScoreParameters) -> Tensor:
    """NuPlan's speed compliance [B, K]: max(0, 1 - sum of overspeed * dt / (2.23 m/s * duration)).

    The limit is that of the lane in which the centre is; in no lane there is none. (nuPlan takes for a connector the
    highest limit of the lanes before and behind it.)

    Args:
        drive: the drive.
        areas: where the ego stands.
        limits: [B] m/s, one limit a state; or the limits of every town's lanes, ``RoadNetwork.lane_speed`` each.
        p: thresholds.

    """
    speed = drive.ego.speed
    if isinstance(limits, Tensor):
        if limits.shape != speed.shape[:1]:
            raise CraftError(f"limits has the shape {list(limits.shape)}: give one speed limit a state [{len(speed)}].")
        limit = limits.to(speed)[:, None, None].expand_as(speed)
    else:
        limit = torch.zeros_like(speed)
        for town, values in enumerate(limits):
            rows = torch.nonzero(drive.scene.town == town)[:, 0]
            table = torch.as_tensor(np.asarray(values)).to(speed)
            limit[rows] = table[areas.lane[rows].clamp(min=0)]
    over = torch.where(areas.lane >= 0, (speed - limit).clamp(min=0.0), 0.0)
    duration = drive.dt * (speed.shape[-1] - 1)
    return (1.0 - over.sum(-1) * drive.dt / (p.overspeed * duration)).clamp(min=0.0)
