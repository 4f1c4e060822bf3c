"""Where the ego is along its route: projection, completed share, deviation."""

import math
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.simulation.criteria_parameters import CriteriaParameters as Defaults

if TYPE_CHECKING:
    from craft_lightning.roads.routing import Route

_WINDOW = 30  # points searched ahead of the last projection: a route that crosses itself cannot jump
_ARRIVED_SHARE, _ARRIVED_METRES = 0.99, 10.0


class RouteProgress:
    """Follows the ego along one route, a tick at a time.

    Args:
        route: the route, points about 1 m apart.
        deviation: metres from the route at which it is lost.
        far: metres from the route that count as far.
        far_share: share of the route driven so far away at which it is lost, too.
        far_along_route: measure that share along the route (as the leaderboard does) instead of along the ego's way.
        waypoints: waypoints looked ahead in one update, as by the leaderboard's RouteCompletion.

    Attributes:
        index: first point of the piece of the route that is nearest to the ego in the search window.
        s: metres along the route of the ego's projection.
        offset: signed metres from the route to the ego, left positive.
        distance: metres from the nearest piece of the route.
        completed_index: last waypoint that the ego has passed.
        travelled: metres driven by the ego.
        far: metres driven while far from the route.

    """

    def __init__(
        self,
        route: "Route",
        deviation: float = Defaults.deviation_distance,
        far: float = Defaults.deviation_far,
        far_share: float = Defaults.deviation_share,
        far_along_route: bool = False,
        waypoints: int = Defaults.waypoints_a_tick,
    ) -> None:
        self.route, self._waypoints = route, waypoints
        self._deviation, self._far, self._far_share, self._far_along_route = deviation, far, far_share, far_along_route
        self.along = np.asarray(route.s, np.float64)
        self._along: list[float] = self.along.tolist()
        self._points = np.asarray(route.xy).tolist()  # scalar reads in the hot loop
        headings = np.asarray(route.heading).tolist()
        self._forward = [(math.cos(heading), math.sin(heading)) for heading in headings]
        self.index = 0
        self.s = 0.0
        self.offset = 0.0
        self.distance = 0.0
        self.completed_index = 0
        self.arrived = False
        self.travelled = 0.0
        self.far = 0.0
        self._last: tuple[float, float] | None = None

    @property
    def completion(self) -> float:
        """Route completion in percent, 0 to 100."""
        if self.arrived:
            return 100.0
        # Never 100 by rounding alone: 100 means arrived.
        return min(100.0 * self.along[self.completed_index] / max(self.along[-1], 1e-6), 99.99)

    @property
    def deviated(self) -> bool:
        """Whether the route is lost: > 30 m away, or > 30 % of the route driven at > 15 m (leaderboard InRoute)."""
        return self.distance > self._deviation or self.far > self._far_share * self._along[-1]

    def update(self, x: float, y: float) -> None:
        """Take the ego's new place, world frame, metres."""
        moved = 0.0 if self._last is None else math.hypot(x - self._last[0], y - self._last[1])
        self._last = (x, y)
        self.travelled += moved
        before = self.s
        self.index, self.s, self.offset = self.route.project(x, y, self.index, _WINDOW)
        self.distance = abs(self.offset)
        if self.distance > self._far:
            self.far += self.s - before if self._far_along_route else moved
        self._complete(x, y)

    def _complete(self, x: float, y: float) -> None:
        """Advance over waypoints that lie behind the ego (leaderboard RouteCompletion)."""
        # One window a tick, as in the leaderboard: a car that leaves the route must not sweep over it.
        last = len(self._points) - 1
        begin = self.completed_index + 1
        for index in range(begin, min(begin + self._waypoints, last + 1)):
            px, py = self._points[index]
            cos, sin = self._forward[index]
            if (x - px) * cos + (y - py) * sin > 0.0:
                self.completed_index = index
        if not self.arrived:
            px, py = self._points[-1]
            share = self._along[self.completed_index] / max(self._along[-1], 1e-6)
            self.arrived = share > _ARRIVED_SHARE and math.hypot(x - px, y - py) < _ARRIVED_METRES

    def ahead(self, distances: np.ndarray) -> np.ndarray:
        """Return the points [N, 2] of the route at ``distances`` metres after the projection, world frame.

        Beyond both ends the route is extended straight.
        """
        return self.route.at(self.s + distances)[..., :2]
