"""The vector description of a visited state, from which the counterfactual world rolls out every candidate."""

from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.conventions import (
    LINE_NONE,
    LINE_RED,
    LINE_STOP_SIGN,
    MAX_AGENTS,
    MAX_ROUTE_LANES,
    MAX_STOP_LINES,
    ROUTE_BEHIND,
    ROUTE_POINTS,
)
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.criteria_lights import RouteLines
from craft_lightning.simulation.observation import agent_rows, to_ego
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.stop_signs import StopZone
from craft_lightning.simulation.view import LIGHT_RED, WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.routing import Route

_ROUTE = np.arange(ROUTE_POINTS) - ROUTE_BEHIND  # metres along the route
_LINES_BEHIND, _LINES_AHEAD = 10.0, 100.0  # metres along the route


class SceneReader:
    """Makes the scenes of one route.

    Args:
        town_index: index of the town's road grid.
        probe: look-ups in that grid.
        route: the route.
        lines: its stop lines.
        zones: stop signs of the town.
        wheelbase: metres between the ego's axles.

    """

    def __init__(
        self,
        town_index: int,
        probe: GridProbe,
        route: "Route",
        lines: RouteLines,
        zones: list[StopZone],
        wheelbase: float,
    ) -> None:
        self.town_index, self.probe, self.lines, self.wheelbase = town_index, probe, lines, wheelbase
        self._lanes = np.array(sorted(route.legal_s), np.int64)
        self._lane_s = np.array([route.legal_s[lane] for lane in sorted(route.legal_s)], np.float64)
        self._signs, self._sign_s = _sign_lines(zones, route)

    def read(self, view: WorldView, progress: RouteProgress, steer: float) -> dict[str, np.ndarray]:
        """Return one ``structures.Scene`` as numpy arrays, without the batch axis.

        Args:
            view: a full view.
            progress: the ego's place on the route.
            steer: steering applied in the last tick, [-1, 1], left positive.

        """
        ego = view.ego
        pose = view.ego_pose
        agents, kind, junction = self._agents(view)
        stop_lines, stop_kind = self._stop_lines(view, progress)
        route = to_ego(progress.ahead(_ROUTE), pose)
        motion = [view.speed[ego], view.acceleration[ego], view.yaw_rate[ego], steer]
        return {
            "town": np.array(self.town_index, np.int64),
            "ego_pose": np.array(pose, np.float64),
            "ego_motion": np.array(motion, np.float32),
            "ego_size": np.array([view.length[ego], view.width[ego], self.wheelbase], np.float32),
            "agents": agents,
            "agent_kind": kind,
            "agent_junction": junction,
            "route": route.astype(np.float32),
            "route_lanes": self._route_lanes(progress.s),
            "stop_lines": stop_lines,
            "stop_kind": stop_kind,
        }

    def _agents(self, view: WorldView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the nearest agents [A, 8], their kinds [A] and whether they are on junction lanes [A]."""
        agents = np.zeros((MAX_AGENTS, 8), np.float32)
        kind = np.zeros(MAX_AGENTS, np.int64)
        junction = np.zeros(MAX_AGENTS, bool)
        rows = agent_rows(view)
        count = len(rows)
        near = agents[:count]
        near[:, :3] = view.around[:, :count].T
        for column, values in enumerate((view.speed, view.length, view.width, view.acceleration, view.yaw_rate), 3):
            near[:, column] = values[rows]
        kind[:count] = view.kind[rows]
        junction[:count] = self.probe.junction(view.x[rows], view.y[rows])
        return agents, kind, junction

    def _stop_lines(self, view: WorldView, progress: RouteProgress) -> tuple[np.ndarray, np.ndarray]:
        """Return lines in force [L, 4] (red now, or a stop sign) along the route, nearest first, and kinds [L]."""
        lines = self.lines
        stop_lines = np.zeros((MAX_STOP_LINES, 4), np.float32)
        stop_kind = np.full(MAX_STOP_LINES, LINE_NONE, np.int64)
        if not len(self._signs) and not len(lines):
            return stop_lines, stop_kind
        red = np.array([state == LIGHT_RED for state in lines.states(view.signals)], bool)
        xy = np.concatenate([lines.xy[red], self._signs])
        along = np.concatenate([lines.s[red], self._sign_s]) - progress.s
        kinds = np.repeat([LINE_RED, LINE_STOP_SIGN], [int(red.sum()), len(self._signs)])
        chosen = np.flatnonzero((along > -_LINES_BEHIND) & (along < _LINES_AHEAD))
        chosen = chosen[np.argsort(np.abs(along[chosen]), kind="stable")[:MAX_STOP_LINES]]
        ends = to_ego(xy[chosen].reshape(-1, 2, 2), view.ego_pose)
        stop_lines[: len(chosen)] = ends.reshape(-1, 4)
        stop_kind[: len(chosen)] = kinds[chosen]
        return stop_lines, stop_kind

    def _route_lanes(self, s: float) -> np.ndarray:
        """Return the lanes [M] that the route may use; of more than M, those that it meets nearest to the ego."""
        chosen = self._lanes
        if len(chosen) > MAX_ROUTE_LANES:
            chosen = chosen[np.argsort(np.abs(self._lane_s - s), kind="stable")[:MAX_ROUTE_LANES]]
        padded = np.full(MAX_ROUTE_LANES, -1, np.int64)
        padded[: len(chosen)] = np.sort(chosen)
        return padded


def _sign_lines(zones: list[StopZone], route: "Route") -> tuple[np.ndarray, np.ndarray]:
    """Return the lines [n, 4] at the ends of the stop zones on the route's lanes, and their places along the route."""
    xy, along = [], []
    points, headings = np.asarray(route.xy), np.asarray(route.heading)
    for zone in zones:
        gap = np.hypot(points[:, 0] - zone.x, points[:, 1] - zone.y)
        nearest = int(gap.argmin())
        if gap[nearest] > 2.0 * zone.half_width or np.cos(headings[nearest] - zone.heading) < 0.5:
            continue
        forward = np.array([np.cos(zone.heading), np.sin(zone.heading)])
        left = np.array([-forward[1], forward[0]])
        end = np.array([zone.x, zone.y]) + forward * zone.half_length
        xy.append(np.concatenate([end + left * zone.half_width, end - left * zone.half_width]))
        along.append(float(route.s[nearest]) + zone.half_length)
    return np.array(xy, np.float64).reshape(-1, 4), np.array(along, np.float64)
