"""A straight road as a RoadGrid and scenes on it, for tests that want to know every number by hand."""

import dataclasses

import numpy as np
import torch

from craft_lightning.conventions import (
    AGENT_VEHICLE,
    MAX_AGENTS,
    MAX_ROUTE_LANES,
    MAX_STOP_LINES,
    ROUTE_BEHIND,
    ROUTE_POINTS,
)
from craft_lightning.structures import Scene


@dataclasses.dataclass(frozen=True)
class StraightRoad:
    """The fields of ``roads.grid.RoadGrid`` for a straight road along the world's x axis.

    Lane 0 is centred on y = 0 and runs towards +x; lane i lies i widths to its left. See ``straight_road``.
    """

    origin: np.ndarray
    resolution: float
    sdf: np.ndarray
    nearest: np.ndarray
    segments: np.ndarray
    segment_lane: np.ndarray
    lane_kind: np.ndarray
    lane_junction: np.ndarray


def straight_road(
    lanes: int = 2,
    opposite: int = 0,
    width: float = 3.5,
    length: float = 300.0,
    shoulder: float = 0.0,
    resolution: float = 0.5,
    x_start: float = -100.0,
    y_start: float = 0.0,
) -> StraightRoad:
    """Build a straight road whose signed distances are exact.

    Lanes, from right to left (numbered so): the shoulder if there is one (it gets the last index), ``lanes`` towards +x
    with the rightmost centred on ``y_start``, ``opposite`` lanes towards -x. Everything, the shoulder too, is drivable.

    Args:
        lanes: lanes towards +x.
        opposite: lanes towards -x, on the left.
        width: metres a lane.
        length: metres of road from ``x_start``.
        shoulder: metres of shoulder on the right, 0 for none.
        resolution: metres a cell.
        x_start: world x where the road begins.
        y_start: world y of the rightmost lane's centre.

    """
    right = y_start - 0.5 * width - shoulder
    left = y_start + (lanes + opposite - 0.5) * width
    margin = 12.0
    xs = np.arange(x_start - margin, x_start + length + margin + resolution, resolution)
    ys = np.arange(right - margin, left + margin + resolution, resolution)
    # Outside the rectangle the distance is Euclidean, inside it is that to the nearest side.
    dx = np.maximum(x_start - xs, xs - x_start - length)[None, :]
    dy = np.maximum(right - ys, ys - left)[:, None]
    outside = np.hypot(np.maximum(dx, 0.0), np.maximum(dy, 0.0))
    sdf = np.clip(np.where(outside > 0.0, -outside, -np.maximum(dx, dy)), -10.0, 10.0)

    centres = [y_start + i * width for i in range(lanes + opposite)]
    heading = [1.0] * lanes + [-1.0] * opposite
    kind = [1] * (lanes + opposite)
    if shoulder > 0.0:
        centres.append(right + 0.5 * shoulder)
        heading.append(1.0)
        kind.append(2)
    origin = np.array([xs[0], ys[0]])
    # One segment a metre and lane; which of a lane's segments is named does not matter for offsets.
    per_lane = int(length)
    segments = np.array(
        [
            (x_start + (i if sign > 0 else i + 1) - xs[0], y - ys[0], sign, 0.0)
            for y, sign in zip(centres, heading, strict=True)
            for i in range(per_lane)
        ],
        dtype=np.float32,
    )
    distance = np.abs(ys[:, None] - np.array(centres)[None, :])
    lane = distance.argmin(1)
    along = np.clip((xs - x_start).astype(int), 0, per_lane - 1)
    nearest = lane[:, None] * per_lane + along[None, :]
    far = (np.maximum(dx, 0.0) ** 2 + distance.min(1)[:, None] ** 2) > 12.0**2
    return StraightRoad(
        origin=origin.astype(np.float64),
        resolution=resolution,
        sdf=sdf.astype(np.float32),
        nearest=np.where(far, -1, nearest).astype(np.int32),
        segments=segments,
        segment_lane=np.repeat(np.arange(len(centres)), per_lane).astype(np.int32),
        lane_kind=np.array(kind, dtype=np.int32),
        lane_junction=np.zeros(len(centres), dtype=np.int32),
    )


def empty_scene(
    batch: int = 1, speed: float = 8.0, length: float = 4.6, width: float = 1.9, wheelbase: float = 2.8
) -> Scene:
    """Scenes of an ego at the world's origin, heading along +x on a straight route, with nobody else there."""
    route = torch.zeros(batch, ROUTE_POINTS, 2)
    route[..., 0] = torch.arange(ROUTE_POINTS) - ROUTE_BEHIND
    return Scene(
        town=torch.zeros(batch, dtype=torch.int64),
        ego_pose=torch.zeros(batch, 3, dtype=torch.float64),
        ego_motion=torch.tensor([speed, 0.0, 0.0, 0.0]).repeat(batch, 1),
        ego_size=torch.tensor([length, width, wheelbase]).repeat(batch, 1),
        agents=torch.zeros(batch, MAX_AGENTS, 8),
        agent_kind=torch.zeros(batch, MAX_AGENTS, dtype=torch.int64),
        agent_junction=torch.zeros(batch, MAX_AGENTS, dtype=torch.bool),
        route=route,
        route_lanes=torch.full((batch, MAX_ROUTE_LANES), -1, dtype=torch.int64),
        stop_lines=torch.zeros(batch, MAX_STOP_LINES, 4),
        stop_kind=torch.zeros(batch, MAX_STOP_LINES, dtype=torch.int64),
        batch_size=[batch],
    )


def add_agent(
    scene: Scene,
    row: int,
    x: float,
    y: float = 0.0,
    yaw: float = 0.0,
    speed: float = 0.0,
    length: float = 4.6,
    width: float = 1.9,
    acceleration: float = 0.0,
    yaw_rate: float = 0.0,
    kind: int = AGENT_VEHICLE,
) -> Scene:
    """Put the same agent into row ``row`` of every state of ``scene`` (in place) and return the scene."""
    scene.agents[:, row] = torch.tensor([x, y, yaw, speed, length, width, acceleration, yaw_rate])
    scene.agent_kind[:, row] = kind
    return scene


def constant_acceleration_plans(
    speed: float, accelerations: list[float], poses: int = 40, dt: float = 0.1
) -> torch.Tensor:
    """Straight plans [len(accelerations), poses, 3] that start at ``speed`` and never go backwards."""
    time = torch.arange(1, poses + 1) * dt
    plans = torch.zeros(len(accelerations), poses, 3)
    for i, acceleration in enumerate(accelerations):
        end = speed / -acceleration if acceleration < 0.0 else float("inf")
        moving = time.clamp(max=end)
        plans[i, :, 0] = speed * moving + 0.5 * acceleration * moving**2
    return plans
