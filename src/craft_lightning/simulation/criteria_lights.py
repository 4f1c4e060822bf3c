"""Traffic lights on the route: which stop lines concern the ego, red lights run, and the stop and go zones."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from craft_lightning.simulation.criteria_parameters import CriteriaParameters as Defaults
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import (
    LIGHT_GREEN,
    LIGHT_OFF,
    LIGHT_RED,
    LIGHT_UNKNOWN,
    LIGHT_YELLOW,
    WorldView,
)

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route

_NEAR_ROUTE = 12.0  # metres from a line's middle to the route: own and neighbouring lanes
_SAME_WAY = 0.5  # cosine between the line's lane and the route


@dataclasses.dataclass(frozen=True)
class RouteLines:
    """The stop lines that a driver of one route can meet, in the order of the route.

    Attributes:
        index: [n] int64 rows of the network's stop lines.
        xy: [n, 4] x0, y0, x1, y1 across the lane, world frame, metres.
        centre: [n, 2] middle of each line.
        heading: [n] direction of travel of its lane, radians.
        half: [n] half the length of the line, metres.
        s: [n] metres along the route.
        offset: [n] metres from the route to the line's middle.
        lane: [n] lane of the network.
        signals: n tuples of OpenDRIVE ids of the lights that the lane obeys.

    """

    index: np.ndarray
    xy: np.ndarray
    centre: np.ndarray
    heading: np.ndarray
    half: np.ndarray
    s: np.ndarray
    offset: np.ndarray
    lane: np.ndarray
    signals: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.index)

    def states(self, signals: Mapping[str, int]) -> list[int]:
        """Return the LIGHT_* state of each line from the states of the lights (unknown where none is given).

        A lane with several lights (one a movement) is open while any of them is: which movement a driver will make
        is not known here, and nobody is to be charged for another movement's light.
        """
        return [_merged([signals[light] for light in lights if light in signals]) for lights in self.signals]


def _merged(states: list[int]) -> int:
    for state in (LIGHT_GREEN, LIGHT_OFF, LIGHT_YELLOW, LIGHT_RED):
        if state in states:
            return state
    return LIGHT_UNKNOWN


def route_lines(network: "RoadNetwork", route: "Route") -> RouteLines:
    """Select the stop lines beside a route whose lanes lead its way."""
    xy = np.asarray(network.line_xy, np.float64).reshape(-1, 4)
    centre = 0.5 * (xy[:, :2] + xy[:, 2:])
    lane = np.asarray(network.line_lane, np.int64)
    heading = np.asarray(network.heading, np.float64)[np.asarray(network.lane_start)[lane + 1] - 1]
    gap = centre[:, None] - np.asarray(route.xy)[None]
    distance = np.hypot(gap[..., 0], gap[..., 1])
    if not len(xy):
        distance = np.zeros((0, 1))
    nearest = distance.argmin(1)
    offset = distance[np.arange(len(xy)), nearest]
    same_way = np.cos(heading - np.asarray(route.heading)[nearest]) > _SAME_WAY
    chosen = np.flatnonzero((offset < _NEAR_ROUTE) & same_way)
    lights: dict[int, list[str]] = {}
    for row in chosen:
        lights.setdefault(int(lane[row]), []).append(str(network.line_signal[row]))
    _, first = np.unique(lane[chosen], return_index=True)
    chosen = chosen[first]
    chosen = chosen[np.argsort(np.asarray(route.s)[nearest[chosen]], kind="stable")]
    return RouteLines(
        index=chosen,
        xy=xy[chosen],
        centre=centre[chosen],
        heading=heading[chosen],
        half=0.5 * np.hypot(xy[chosen, 2] - xy[chosen, 0], xy[chosen, 3] - xy[chosen, 1]),
        s=np.asarray(route.s, np.float64)[nearest[chosen]],
        offset=offset[chosen],
        lane=lane[chosen],
        signals=tuple(tuple(sorted(lights[int(lane[row])])) for row in chosen),
    )


class LightFlags(NamedTuple):
    """What one tick shows about lights; ``signal`` is the light that was run, "" where none was."""

    red_light: bool
    stop_zone: bool
    go_zone: bool
    signal: str = ""


class LightCriteria:
    """Red lights and the zones before stop lines (executed, a tick at a time; craft-method sections 3 and 9).

    - red_light: the middle of the front bumper crosses a stop line while its light is red; one event a crossing.
    - stop_zone: the bumper is in the last ``stop_zone`` metres before a red line and the ego is faster than 0.1 m/s.
    - go_zone: the bumper is within ``go_zone`` metres before a line that has been green for ``green_seconds``, the
      path is clear, and the ego is slower than 2 m/s.

    Args:
        lines: the route's stop lines.
        stop_zone: metres.
        go_zone: metres.
        green_seconds: seconds a driver is given to start.

    """

    def __init__(
        self,
        lines: RouteLines,
        stop_zone: float = Defaults.stop_zone,
        go_zone: float = Defaults.go_zone,
        green_seconds: float = 2.0,
    ) -> None:
        self.lines = lines
        self.stop_zone, self.go_zone, self.green_seconds = stop_zone, go_zone, green_seconds
        self._rows = [
            (lines.centre[i, 0], lines.centre[i, 1], math.cos(lines.heading[i]), math.sin(lines.heading[i]),
             lines.half[i] + 0.3, lines.s[i], lines.signals[i])
            for i in range(len(lines))
        ]  # fmt: skip
        self._before: list[float | None] = [None] * len(lines)
        self._green_since: list[float] = [math.inf] * len(lines)

    def near(self, s: float, ahead: float = 60.0) -> set[str]:
        """Return the OpenDRIVE ids of the lights from 20 m behind to ``ahead`` metres before the ego at ``s``."""
        return {light for row in self._rows if s - 20.0 < row[5] < s + ahead for light in row[6]}

    def update(
        self,
        pose: tuple[float, float, float],
        length: float,
        speed: float,
        s: float,
        signals: Mapping[str, int],
        time: float,
        clear: bool,
    ) -> LightFlags:
        """Return the flags of one tick.

        Args:
            pose: world pose of the ego's centre.
            length: metres of the ego's box.
            speed: m/s.
            s: metres of the ego along the route.
            signals: state LIGHT_* of each light by OpenDRIVE id (those in ``near(s)`` suffice).
            time: seconds.
            clear: whether nothing stands in the ego's path.

        """
        x, y, yaw = pose
        fx, fy = x + 0.5 * length * math.cos(yaw), y + 0.5 * length * math.sin(yaw)
        ran, stop, go = "", False, False
        for row, (cx, cy, cos, sin, half, line_s, lights) in enumerate(self._rows):
            if not s - 20.0 < line_s < s + 60.0:
                self._before[row], self._green_since[row] = None, math.inf
                continue
            state = _merged([signals[light] for light in lights if light in signals])
            self._green_since[row] = min(self._green_since[row], time) if state == LIGHT_GREEN else math.inf
            along = (fx - cx) * cos + (fy - cy) * sin  # negative before the line
            before, self._before[row] = self._before[row], along
            if abs((fy - cy) * cos - (fx - cx) * sin) > half:
                continue
            if state == LIGHT_RED:
                if before is not None and before < 0.0 <= along:
                    ran = lights[0]
                stop = stop or (-self.stop_zone <= along < 0.0 and speed > 0.1)
            elif state == LIGHT_GREEN and clear and -self.go_zone <= along < 0.0 and speed < 2.0:
                go = go or time - self._green_since[row] >= self.green_seconds
        return LightFlags(bool(ran), stop, go, ran)


def path_clear(view: WorldView, progress: RouteProgress, reach: float = 12.0, margin: float = 0.6) -> bool:
    """Whether no actor overlaps the ego's lane-wide path along the route within ``reach`` metres of its bumper.

    Args:
        view: a full view.
        progress: the ego's place on the route.
        reach: metres.
        margin: metres added to each side of the ego's box.

    """
    rows = view.others
    if not len(rows):
        return True
    ego_length, ego_width = view.ego_box
    near = rows[view.gaps < reach + ego_length + 3.0]
    if not len(near):
        return True
    path = progress.ahead(np.arange(0.0, reach + 0.5 * ego_length, 0.5))
    corners = view.corners(near)
    sides = 0.5 * (corners + np.roll(corners, 1, axis=1))
    samples = np.concatenate([corners, sides, corners.mean(1, keepdims=True)], 1)  # [n, 9, 2]
    gap = samples[:, :, None] - path[None, None]
    return bool(np.hypot(gap[..., 0], gap[..., 1]).min() >= 0.5 * ego_width + margin)
