"""The leaderboard's OutsideRouteLanes: the share of the route driven off the lanes or against their direction.

Rules after scenario_runner's criterion of that name (branch leaderboard-2.0), on arrays instead of waypoints.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import carla
import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.roads.grid import lane_segments
from craft_lightning.roads.kinds import DRIVING, SHOULDER
from craft_lightning.simulation.criteria_lanes import GridProbe

if TYPE_CHECKING:
    from craft_lightning.roads.grid import RoadGrid
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route

_BESIDE = 0.5  # metres beyond half the lane's width that still count as in it
_VEHICLE_COSINE = math.cos(math.radians(120.0))  # the ego against the lane that it enters from a junction
_LANE_COSINE = math.cos(math.radians(150.0))  # one lane against the next
_SLACK = 1.0  # metres before and behind a segment that still belong to its lane
_WINDOW = 3  # points of the route that can be passed in one tick, as in the leaderboard


@dataclasses.dataclass(frozen=True, eq=False)
class LaneTable:
    """What the criterion needs of a town beside its grid.

    Attributes:
        probe: look-ups in the grid.
        counted: [L] bool, lanes that a car may be on: driving and parking lanes.
        driving: [L] bool.
        length: [S] metres of each segment of the grid.
        half_width: [S] half the lane's width there, metres.
        tree: the middles of the counted lanes' segments, for places whose nearest lane is none of them.
        tree_segment: segment of each point of the tree.

    """

    probe: GridProbe
    counted: np.ndarray
    driving: np.ndarray
    length: np.ndarray
    half_width: np.ndarray
    tree: cKDTree
    tree_segment: np.ndarray


def lane_table(network: "RoadNetwork", grid: "RoadGrid", carla_map: Any) -> LaneTable:
    """Read the table of a town; the map tells parking lanes from shoulders, which do not count."""
    driving = np.asarray(network.lane_kind) == DRIVING
    counted = driving.copy()
    for lane in np.flatnonzero(np.asarray(network.lane_kind) == SHOULDER):
        counted[lane] = _is_parking(network, carla_map, int(lane))
    segments, segment_lane, widths = lane_segments(network, np.asarray(grid.origin))
    chosen = np.flatnonzero(counted[segment_lane])
    middle = segments[chosen, :2] + 0.5 * segments[chosen, 4:5] * segments[chosen, 2:4]
    return LaneTable(
        probe=GridProbe(grid),
        counted=counted,
        driving=driving,
        length=segments[:, 4],
        half_width=0.5 * widths,
        tree=cKDTree(middle),
        tree_segment=chosen,
    )


def _is_parking(network: "RoadNetwork", carla_map: Any, lane: int) -> bool:
    part = network.lane_slice(lane)
    middle = (part.start + part.stop) // 2
    # OpenDRIVE's s of a place is not kept; the map's own projection finds the lane as well.
    place = carla.Location(float(network.x[middle]), -float(network.y[middle]), float(network.z[middle]))
    waypoint = carla_map.get_waypoint(place, project_to_road=False, lane_type=carla.LaneType.Parking)
    return waypoint is not None and int(waypoint.lane_id) == int(network.lane_id[lane])


class OutsideRouteLanes:
    """Adds up how much of the route was driven outside its lanes.

    Outside is an ego whose centre is farther than half a lane's width and half a metre from the centre of the nearest
    driving or parking lane. On a wrong lane is an ego that left a junction more than 120 degrees against its new lane,
    or whose lane turned by more than 150 degrees at a change (and right again at the next such change). Metres of the
    route that are passed in such a state count.

    Args:
        table: the town's lanes.
        route: the route.

    Attributes:
        outside: whether the ego is off the lanes.
        wrong: whether it is on a wrong lane.

    """

    def __init__(self, table: LaneTable, route: "Route") -> None:
        self.table = table
        self._points = np.asarray(route.xy).tolist()
        self._headings = np.asarray(route.heading).tolist()
        self._along = np.asarray(route.s, np.float64).tolist()
        self._index = 0
        self._total = self._faulty = 0.0
        self.outside = self.wrong = False
        self._lane = -1
        self._direction = 0.0
        self._junction = False

    @property
    def percent(self) -> float:
        """Percent of the passed route that was driven in a faulty state, 0 to 100."""
        return 100.0 * self._faulty / self._total if self._total > 0.0 else 0.0

    @property
    def metres(self) -> float:
        """Metres of the route driven in a faulty state."""
        return self._faulty

    def update(self, x: float, y: float, yaw: float, permitted: bool = False) -> None:
        """Take the ego's world pose [m, rad]; ``permitted``: a wrong lane is not held against it now."""
        segment = self._segment(x, y)
        self.outside = segment < 0 or self._gap(segment, x, y) > float(self.table.half_width[segment]) + _BESIDE
        if segment >= 0:
            self._see_lane(segment, yaw)
        # The window follows the ego, as the leaderboard's does: it looks on from every point that was passed.
        last = min(self._index + _WINDOW, len(self._points) - 1)
        for index in range(self._index + 1, last + 1):
            px, py = self._points[index]
            heading = self._headings[index]
            if (x - px) * math.cos(heading) + (y - py) * math.sin(heading) > 0.0:
                passed = self._along[index] - self._along[self._index]
                self._total += passed
                if self.outside or (self.wrong and not permitted):
                    self._faulty += passed
                self._index = index

    def _segment(self, x: float, y: float) -> int:
        """Return the segment of the nearest lane that counts, -1 off the map."""
        table = self.table
        segment = table.probe.segment(x, y)
        if segment >= 0 and table.counted.item(table.probe.grid.segment_lane.item(segment)):
            return segment
        origin = table.probe.grid.origin
        _, row = table.tree.query((x - origin[0], y - origin[1]))
        return int(table.tree_segment[row])

    def _gap(self, segment: int, x: float, y: float) -> float:
        """Return metres between a place and the centre line around a segment."""
        grid = self.table.probe.grid
        x0, y0, cos, sin = (grid.segments.item(segment, column) for column in range(4))
        dx, dy = x - float(grid.origin[0]) - x0, y - float(grid.origin[1]) - y0
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        # A cell of the grid may name a segment next to the nearest one; only well beyond it a lane has ended.
        beyond = max(0.0, -along - _SLACK, along - self.table.length.item(segment) - _SLACK)
        return math.hypot(across, beyond)

    def _see_lane(self, segment: int, yaw: float) -> None:
        table, grid = self.table, self.table.probe.grid
        lane = grid.segment_lane.item(segment)
        if not table.driving.item(lane):
            return
        cos, sin = grid.segments.item(segment, 2), grid.segments.item(segment, 3)
        direction = math.atan2(sin, cos)
        junction = bool(grid.lane_junction.item(lane))
        if junction:
            # Lanes of a junction cross; nothing can be said there.
            self.wrong = False
        elif lane != self._lane and self._lane >= 0:
            if self._junction:
                self.wrong = math.cos(direction - yaw) < _VEHICLE_COSINE
            elif math.cos(direction - self._direction) < _LANE_COSINE:
                # Onto a lane that leads the other way, or back; from one wrong lane to the next nothing changes.
                self.wrong = not self.wrong
        self._lane, self._direction, self._junction = lane, direction, junction
