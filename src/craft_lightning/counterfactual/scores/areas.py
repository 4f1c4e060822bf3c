"""Where the ego stands on the road grid, in place of nuPlan's lane and intersection polygons.

A point belongs to one lane, that of the nearest lane-centre segment of its cell (0.5 m), and to none where it is
outside the drivable area or that lane is no driving lane. nuPlan's polygons overlap: a place in an intersection lies in
every connector that crosses it. An intersection is where the nearest lane belongs to a junction, not the whole polygon.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craft_lightning.counterfactual.grids import DRIVING
from craft_lightning.counterfactual.reference import bilinear
from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.parameters import ScoreParameters


@dataclasses.dataclass
class Areas:
    """All [B, K, S].

    Attributes:
        edge: metres of the worst corner to the edge of the drivable area, positive inside.
        several_lanes: corners in two lanes or more (NAVSIM; so is a box that passes from a lane into the next one).
        apart: not all corners in lanes, or those of the left and of the right side in different ones (nuPlan, which
            asks for common or connected lanes: connected ones follow each other, so left and right agree).
        lane: lane of the centre, -1 for none.
        lane_cos: cosine of that lane's direction.
        lane_sin: sine.
        off_route: the centre is in no lane of the route.
        junction: the centre is in a junction.
        rear_junction: the rear axle is.

    """

    edge: Tensor
    several_lanes: Tensor
    apart: Tensor
    lane: Tensor
    lane_cos: Tensor
    lane_sin: Tensor
    off_route: Tensor
    junction: Tensor
    rear_junction: Tensor

    @property
    def off_road(self) -> Tensor:
        """A corner is outside the drivable area."""
        return self.edge < 0.0


@dataclasses.dataclass
class _Grid:
    """One RoadGrid as tensors."""

    sdf: Tensor
    nearest: Tensor
    per_cell: float
    lane: Tensor
    cos: Tensor
    sin: Tensor
    driving: Tensor
    junction: Tensor

    @classmethod
    def of(cls, grid: Any, like: Tensor) -> "_Grid":
        def tensor(values: Any) -> Tensor:
            return torch.as_tensor(np.asarray(values)).to(like.device)

        lane = tensor(grid.segment_lane).long()
        segments = tensor(grid.segments).to(like.dtype)
        return cls(
            tensor(grid.sdf).to(like.dtype),
            tensor(grid.nearest).long(),
            1.0 / float(grid.resolution),
            lane,
            segments[:, 2].contiguous(),
            segments[:, 3].contiguous(),
            tensor(grid.lane_kind)[lane] == DRIVING,
            tensor(grid.lane_junction)[lane] != 0,
        )

    def segment(self, column: Tensor, row: Tensor) -> Tensor:
        """Nearest segment of each place, -1 for none."""
        height, width = self.nearest.shape
        j, i = (column + 0.5).floor(), (row + 0.5).floor()
        inside = (j >= 0) & (i >= 0) & (j < width) & (i < height)
        at = i.clamp(0, height - 1).long() * width + j.clamp(0, width - 1).long()
        return torch.where(inside, self.nearest.reshape(-1)[at], -1)


def road_areas(drive: Drive, grids: Sequence[Any], p: ScoreParameters) -> Areas:
    """Look every pose of a drive up in the grid of its town."""
    scene = drive.scene
    towns = torch.unique(scene.town).tolist()
    if len(towns) == 1:
        return _look_up(drive, slice(None), grids[towns[0]], p)
    parts = [(torch.nonzero(scene.town == town)[:, 0], grids[town]) for town in towns]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    found = [_look_up(drive, rows, grid, p) for rows, grid in parts]
    names = [field.name for field in dataclasses.fields(Areas)]
    return Areas(*(torch.cat([getattr(part, name) for part in found])[order] for name in names))


def _look_up(drive: Drive, rows: Any, source: Any, p: ScoreParameters) -> Areas:
    ego, scene = drive.ego, drive.scene
    grid = _Grid.of(source, ego.x)
    origin = torch.as_tensor(np.asarray(source.origin, np.float64)).to(ego.x.device)
    pose = scene.ego_pose[rows].double()
    ox, oy = ((pose[:, :2] - origin).to(ego.x.dtype) * grid.per_cell).unbind(-1)
    oc, os = pose[:, 2].cos().to(ego.x.dtype), pose[:, 2].sin().to(ego.x.dtype)
    ox, oy, oc, os = (value[:, None, None] for value in (ox, oy, oc, os))
    x, y = ego.x[rows] * grid.per_cell, ego.y[rows] * grid.per_cell
    column, row = ox + oc * x - os * y, oy + os * x + oc * y
    cos, sin = ego.cos[rows], ego.sin[rows]
    cos, sin = oc * cos - os * sin, os * cos + oc * sin
    half = drive.half[rows] * grid.per_cell
    half_length, half_width = half[:, 0, None, None], half[:, 1, None, None]
    # Front left, front right, rear left, rear right.
    ahead, left = half_length * torch.stack([cos, sin]), half_width * torch.stack([-sin, cos])
    corners = torch.stack([ahead + left, ahead - left, left - ahead, -ahead - left])
    corner_columns, corner_rows = column + corners[:, 0], row + corners[:, 1]
    edges = bilinear(grid.sdf, corner_columns, corner_rows)

    def lane_of(columns: Tensor, lines: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        segment = grid.segment(columns, lines)
        at = segment.clamp(min=0)
        return torch.where((segment >= 0) & (edge >= 0.0) & grid.driving[at], grid.lane[at], -1), at

    lanes, _ = lane_of(corner_columns, corner_rows, edges)
    highest = lanes.amax(0)
    several = ((lanes >= 0) & (lanes != highest)).any(0)
    apart = (lanes < 0).any(0) | (lanes[0] != lanes[1]) | (lanes[2] != lanes[3])
    lane, at = lane_of(column, row, bilinear(grid.sdf, column, row))
    lane_cos, lane_sin = grid.cos[at], grid.sin[at]

    permitted = scene.route_lanes[rows]
    restricted = (permitted >= 0).any(-1)[:, None, None]
    table = torch.zeros(len(permitted), len(source.lane_kind) + 1, dtype=torch.bool, device=ego.x.device)
    table.scatter_(1, torch.where(permitted >= 0, permitted, len(source.lane_kind)), True)
    legal = table[torch.arange(len(permitted), device=ego.x.device)[:, None, None], lane.clamp(min=0)]
    against = cos * lane_cos + sin * lane_sin < math.cos(math.radians(p.wrong_way_degrees))
    back = drive.rear[rows][:, None, None] * grid.per_cell
    rear = grid.segment(column - back * cos, row - back * sin)
    junction = grid.junction[at] & (grid.segment(column, row) >= 0)
    return Areas(
        edge=edges.amin(0),
        several_lanes=several,
        apart=apart,
        lane=lane,
        lane_cos=lane_cos,
        lane_sin=lane_sin,
        off_route=(lane < 0) | torch.where(restricted, ~legal, against),
        junction=junction,
        rear_junction=(rear >= 0) & grid.junction[rear.clamp(min=0)],
    )
