"""Snapping poses to lanes: which lane a point of a route file means."""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork


@dataclasses.dataclass(frozen=True)
class Match:
    """A place on a lane: lane index, metres from its start, and what the match costs (metres of mismatch)."""

    lane: int
    s: float
    cost: float


class LaneMatcher:
    """Finds the driving lanes near poses."""

    def __init__(self, network: RoadNetwork) -> None:
        self._network = network
        points = np.flatnonzero(network.lane_kind[network.point_lane] == DRIVING)
        self._points = points
        self._lane = network.point_lane[points]
        self._xy = np.stack([network.x[points], network.y[points]], axis=1)
        self._tree = cKDTree(self._xy)

    def matches(self, x: float, y: float, heading: float | None, radius: float, limit: int = 5) -> list[Match]:
        """Return the best match on each lane near a pose, cheapest first.

        Args:
            x: world x.
            y: world y.
            heading: radians, or None where it is unknown; lanes against it (more than 90 degrees) are left out.
            radius: metres.
            limit: lanes at most.

        """
        near = np.asarray(self._tree.query_ball_point([x, y], radius), dtype=np.int64)
        if not len(near):
            return []
        network = self._network
        distance = np.hypot(self._xy[near, 0] - x, self._xy[near, 1] - y)
        cost = distance.copy()
        if heading is not None:
            turn = np.abs((network.heading[self._points[near]] - heading + np.pi) % (2 * np.pi) - np.pi)
            cost = np.where(turn < 0.5 * np.pi, distance + 2.0 * turn, np.inf)
        order = np.lexsort((near, cost))
        found: dict[int, Match] = {}
        for k in order:
            lane = int(self._lane[near[k]])
            if np.isinf(cost[k]) or len(found) == limit:
                break
            if lane not in found:
                point = int(self._points[near[k]])
                cos, sin = np.cos(network.heading[point]), np.sin(network.heading[point])
                along = (x - network.x[point]) * cos + (y - network.y[point]) * sin
                s = float(np.clip(network.s[point] + along, 0.0, network.lane_length[lane]))
                found[lane] = Match(lane, s, float(cost[k]))
        return list(found.values())
