"""The line that an expert drives: a route's centre line, continued beyond its end, joined from where the ego is."""

from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.simulation.prediction import LanePaths

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route

_BEYOND = 80.0  # metres kept beyond the end of the route
_SPACING = 0.5  # metres between points handed out


class ReferencePath:
    """A route as a line with limits and stop lines, and the ego's progress on it.

    Args:
        network: the town.
        route: points one metre apart.
        lanes: of the same town; the route goes on along them beyond its end.

    Attributes:
        xy: [N, 2] world frame, metres, one metre apart.
        s: [N] metres of path.
        speed_limit: [N] m/s.
        lines: (metres of path, OpenDRIVE ids of its lights) of every stop line that is crossed, in order.
        base: [N, 2] the route's centre line, from which ``xy`` is moved sideways by ``shift``.
        knots: of the present shift.

    """

    def __init__(self, network: "RoadNetwork", route: "Route", lanes: LanePaths) -> None:
        xy = np.asarray(route.xy, dtype=np.float64)
        limit = np.asarray(route.speed_limit, dtype=np.float64)
        tail = _continuation(lanes, xy, float(np.asarray(route.heading)[-1]))
        xy = np.concatenate([xy, tail])
        limit = np.concatenate([limit, np.full(len(tail), limit[-1])])
        s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
        self.s = np.arange(0.0, s[-1])
        self.xy = np.stack([np.interp(self.s, s, xy[:, 0]), np.interp(self.s, s, xy[:, 1])], -1)
        self.speed_limit = np.interp(self.s, s, limit)
        self.lines = crossed_lines(self.xy, self.s, network)
        self._index = -1
        self.base = self.xy
        self.knots: list[tuple[float, float]] = []
        direction = np.gradient(self.base, axis=0)
        direction /= np.maximum(np.hypot(*direction.T), 1e-6)[:, None]
        self._normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
        self._heading = np.unwrap(np.arctan2(direction[:, 1], direction[:, 0]))

    def shift(self, knots: list[tuple[float, float]]) -> None:
        """Move the line sideways; metres of path remain those of the route's centre line.

        Args:
            knots: (metres of path, metres to the left) in ascending order; a cubic without a kink in between, constant
                beyond the ends; empty = back to the route.

        """
        self.knots = knots
        if not knots:
            self.xy = self.base
            return
        self.xy = self.base + self._shift(self.s)[:, None] * self._normal

    def shift_at(self, s: float) -> float:
        """Return the metres to the left of the route of the line at ``s`` metres of path."""
        return float(self._shift(np.array([s]))[0]) if self.knots else 0.0

    def _shift(self, s: np.ndarray) -> np.ndarray:
        places = np.array([place for place, _ in self.knots])
        lefts = np.array([left for _, left in self.knots])
        index = np.clip(np.searchsorted(places, s, side="right") - 1, 0, max(len(places) - 2, 0))
        after = np.minimum(index + 1, len(places) - 1)
        u = np.clip((s - places[index]) / np.maximum(places[after] - places[index], 1e-6), 0.0, 1.0)
        return lefts[index] + u * u * (3.0 - 2.0 * u) * (lefts[after] - lefts[index])

    def base_pose(self, s: float) -> tuple[float, float, float]:
        """Return the world pose x, y, yaw of the route's centre line at ``s`` metres of path."""
        x, y = np.interp(s, self.s, self.base[:, 0]), np.interp(s, self.s, self.base[:, 1])
        return float(x), float(y), float(np.interp(s, self.s, self._heading))

    def advance(self, x: float, y: float) -> float:
        """Return the metres of path of the nearest point to (x, y), never far from the last answer.

        Args:
            x: metres, world frame.
            y: likewise.

        """
        first, last = 0, len(self.xy)
        if self._index >= 0:
            # A window, so that a route that meets itself does not make progress jump.
            first, last = max(self._index - 5, 0), min(self._index + 30, last)
        gap = np.hypot(self.xy[first:last, 0] - x, self.xy[first:last, 1] - y)
        index = first + int(gap.argmin())
        self._index = index
        before = min(index, len(self.xy) - 2)
        step = self.xy[before + 1] - self.xy[before]
        offset = (x - self.xy[before, 0]) * step[0] + (y - self.xy[before, 1]) * step[1]
        along = self.s[before] + offset / float(step @ step)
        return float(np.clip(along, self.s[index] - 1.0, self.s[index] + 1.0))

    def joined(self, x: float, y: float, yaw: float, speed: float, length: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a line from the ego's pose that runs smoothly into the path.

        Call ``advance`` first. The lateral offset falls to zero as a cubic whose slope begins with the ego's heading.

        Args:
            x: metres, world frame.
            y: likewise.
            yaw: radians.
            speed: m/s; the faster, the longer the cubic.
            length: metres of line wanted.

        Returns:
            Metres of path [M] and points [M, 2], half a metre apart, the first at the ego's projection.

        """
        start = self.advance(x, y)
        s = np.arange(start, min(start + length, self.s[-1]) + 1e-6, _SPACING)
        if len(s) < 3:
            s = start + _SPACING * np.arange(3)
        base = np.stack([np.interp(s, self.s, self.xy[:, 0]), np.interp(s, self.s, self.xy[:, 1])], -1)
        tangent = np.gradient(base, axis=0)
        tangent /= np.maximum(np.hypot(*tangent.T), 1e-6)[:, None]
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
        offset = float((np.array([x, y]) - base[0]) @ normal[0])
        turn = yaw - np.arctan2(tangent[0, 1], tangent[0, 0])
        slope = float(np.clip(np.tan(np.clip(np.arctan2(np.sin(turn), np.cos(turn)), -1.0, 1.0)), -0.7, 0.7))
        reach = float(np.clip(5.0 + 1.2 * speed + 2.0 * abs(offset), 6.0, 20.0))
        if self.knots:
            # The line itself is drawn for the speed: a long way back to it would overshoot its bends.
            reach = float(np.clip(4.0 + 0.7 * speed + 2.0 * abs(offset), 5.0, 14.0))
        u = np.minimum((s - start) / reach, 1.0)
        lateral = offset * (1.0 + u * u * (2.0 * u - 3.0)) + slope * reach * u * (1.0 - u) ** 2
        return s, base + lateral[:, None] * normal


def crossed_lines(xy: np.ndarray, s: np.ndarray, network: "RoadNetwork") -> list[tuple[float, tuple[str, ...]]]:
    """Return (metres of path, OpenDRIVE ids of its lights) of every stop line that a path crosses, in order.

    Args:
        xy: [N, 2] path, world frame, metres.
        s: [N] metres of path.
        network: the town.

    """
    lines = np.asarray(network.line_xy, dtype=np.float64).reshape(-1, 4)
    a, b = xy[:-1, None], xy[1:, None]
    c, d = lines[None, :, :2], lines[None, :, 2:]
    step, across, gap = b - a, d - c, c - a
    area = step[..., 0] * across[..., 1] - step[..., 1] * across[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        on_path = (gap[..., 0] * across[..., 1] - gap[..., 1] * across[..., 0]) / area
        on_line = (gap[..., 0] * step[..., 1] - gap[..., 1] * step[..., 0]) / area
    hit = (on_path >= 0.0) & (on_path < 1.0) & (on_line > -0.1) & (on_line < 1.1)
    found: dict[float, set[str]] = {}
    for segment, line in zip(*np.nonzero(hit), strict=True):
        lane = int(network.line_lane[line])
        last = int(network.lane_start[lane + 1]) - 1
        way = np.arctan2(step[segment, 0, 1], step[segment, 0, 0])
        # The line of the opposite direction may reach across; it is meant for others.
        if np.cos(float(network.heading[last]) - way) > 0.3:
            place = float(s[segment] + on_path[segment, line] * (s[segment + 1] - s[segment]))
            found.setdefault(round(place, 3), set()).add(str(network.line_signal[line]))
    return [(place, tuple(sorted(found[place]))) for place in sorted(found)]


def _continuation(lanes: LanePaths, xy: np.ndarray, heading: float) -> np.ndarray:
    """Return points [K, 2] one metre apart that go on from a route's end along its lane, straight where that ends."""
    end = xy[-1:]
    lane, along, _ = lanes.locate(end[:, 0], end[:, 1], np.array([heading]))
    points = np.zeros((0, 2))
    if lane[0] >= 0:
        chain = lanes.chains(int(lane[0]))[0].points[:, :2]
        points = chain[int(along[0]) + 2 :][: int(_BEYOND)]
    rest = _BEYOND - len(points)
    last = points[-1] if len(points) else xy[-1]
    before = points[-2] if len(points) > 1 else last - np.array([np.cos(heading), np.sin(heading)])
    ahead = (last - before) / max(float(np.hypot(*(last - before))), 1e-6)
    return np.concatenate([points, last + np.arange(1.0, rest + 1.0)[:, None] * ahead])
