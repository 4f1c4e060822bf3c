"""Where the ego is on the road: off the drivable area, off the route, on a shoulder, against the traffic."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from craft_lightning.simulation.criteria_parameters import CriteriaParameters as Defaults

if TYPE_CHECKING:
    from craft_lightning.roads.grid import RoadGrid
    from craft_lightning.roads.routing import Route

_DRIVING, _SHOULDER = 1, 2  # RoadGrid.lane_kind


class LaneFlags(NamedTuple):
    """What one tick shows about the ego and the lanes; definitions in :class:`LaneCriteria`."""

    offroad: bool
    offroute: bool
    emergency_lane: bool
    opposite_lane: bool
    outside: bool


class GridProbe:
    """Scalar look-ups in a :class:`RoadGrid`, a few microseconds each.

    Args:
        grid: the town's grid.

    """

    def __init__(self, grid: "RoadGrid") -> None:
        self.grid = grid
        self._x0, self._y0 = (float(value) for value in grid.origin)
        self._scale = 1.0 / float(grid.resolution)
        self._rows, self._columns = grid.sdf.shape

    def sdf(self, x: float, y: float) -> float:
        """Return metres to the edge of the drivable area, positive inside, bilinear; -10 outside the grid."""
        u, v = (x - self._x0) * self._scale, (y - self._y0) * self._scale
        column, row = math.floor(u), math.floor(v)
        if not (0 <= row < self._rows - 1 and 0 <= column < self._columns - 1):
            return -10.0
        u, v = u - column, v - row
        table = self.grid.sdf
        low = table.item(row, column) * (1.0 - u) + table.item(row, column + 1) * u
        high = table.item(row + 1, column) * (1.0 - u) + table.item(row + 1, column + 1) * u
        return low * (1.0 - v) + high * v

    def segment(self, x: float, y: float) -> int:
        """Return the index of the lane-centre segment nearest to the cell of (x, y), -1 where there is none."""
        column, row = round((x - self._x0) * self._scale), round((y - self._y0) * self._scale)
        if not (0 <= row < self._rows and 0 <= column < self._columns):
            return -1
        return self.grid.nearest.item(row, column)

    def junction(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return [N] bool: whether the nearest lane of each point is a junction lane."""
        grid = self.grid
        column = np.rint((x - self._x0) * self._scale).astype(np.int64)
        row = np.rint((y - self._y0) * self._scale).astype(np.int64)
        inside = (row >= 0) & (row < self._rows) & (column >= 0) & (column < self._columns)
        segment = np.where(inside, grid.nearest[row.clip(0, self._rows - 1), column.clip(0, self._columns - 1)], -1)
        lane = grid.segment_lane[segment]
        return (segment >= 0) & (grid.lane_junction[lane] != 0)


class LaneCriteria:
    """Lane flags of craft-method section 9 (executed, a tick at a time); the counterfactual world's rules alike.

    - offroad: a corner of the ego box is outside the drivable area by more than ``offroad_margin``.
    - opposite_lane: the nearest lane's direction differs from the ego's by more than ``opposite_angle`` outside
      junctions.
    - offroute: the centre is more than ``offroute_distance`` from the route, or its nearest driving lane, outside
      junctions, is none that the route may use.
    - emergency_lane: the centre is on a shoulder, stop or parking lane.
    - outside: for the leaderboard's OutsideRouteLanes: the centre is more than 0.5 m outside the road, or against
      the traffic.

    Args:
        grid: the town's grid.
        route: the route (its ``legal_lanes``; empty = no restriction).
        offroad_margin: metres.
        opposite_angle: radians.
        offroute_distance: metres.

    """

    def __init__(
        self,
        grid: "RoadGrid",
        route: "Route",
        offroad_margin: float = Defaults.offroad_margin,
        opposite_angle: float = math.radians(120.0),
        offroute_distance: float = Defaults.offroute_distance,
    ) -> None:
        self.probe = GridProbe(grid)
        self.legal = frozenset(int(lane) for lane in route.legal_lanes)
        self.offroad_margin, self.offroute_distance = offroad_margin, offroute_distance
        self._opposite_cosine = math.cos(opposite_angle)

    def update(self, pose: tuple[float, float, float], length: float, width: float, distance: float) -> LaneFlags:
        """Return the flags of one tick.

        Args:
            pose: world pose of the ego's centre.
            length: metres of the ego's box; ``width`` likewise.
            width: metres.
            distance: metres of the ego's centre from the route.

        """
        x, y, yaw = pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        sdf = self.probe.sdf
        offroad = False
        # No corner can be off the road while the centre is farther inside than the half diagonal.
        centre = sdf(x, y)
        if centre < 0.5 * math.hypot(length, width) + 1.0:
            for along, across in ((0.5, 0.5), (0.5, -0.5), (-0.5, -0.5), (-0.5, 0.5)):
                dx, dy = along * length, across * width
                if sdf(x + dx * cos - dy * sin, y + dx * sin + dy * cos) < -self.offroad_margin:
                    offroad = True
                    break
        segment = self.probe.segment(x, y)
        opposite = emergency = False
        illegal = False
        if segment >= 0:
            grid = self.probe.grid
            lane = grid.segment_lane.item(segment)
            kind = grid.lane_kind.item(lane)
            emergency = kind == _SHOULDER
            # Where lanes of a junction overlap, the nearest centre says nothing about the lane that is driven.
            if not grid.lane_junction.item(lane):
                facing = cos * grid.segments.item(segment, 2) + sin * grid.segments.item(segment, 3)
                opposite = facing < self._opposite_cosine
                illegal = kind == _DRIVING and bool(self.legal) and lane not in self.legal
        return LaneFlags(
            offroad=offroad,
            offroute=distance > self.offroute_distance or illegal,
            emergency_lane=emergency,
            opposite_lane=opposite,
            outside=centre < -0.5 or opposite,
        )
