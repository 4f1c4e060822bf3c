"""A planned route: points one metre apart along lane centres, and cheap projection onto them."""

import dataclasses
import functools
import math

import numpy as np

# How far a projection may jump: back a little, ahead a little more. A route that passes the same place twice (a loop
# round a block) keeps its place.
_BACK = 5
_AHEAD = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Route:
    """A route in the world frame.

    Args:
        xy: [N, 2] float64, points 1 m apart.
        z: [N] height, m.
        heading: [N] direction of travel, radians.
        s: [N] metres from the start.
        lane: [N] lane index of the network.
        speed_limit: [N] m/s.
        length: metres from the first to the last point.
        legal_s: for every legal lane, the place along the route (m) where it runs beside it, crosses or joins it.

    """

    xy: np.ndarray
    z: np.ndarray
    heading: np.ndarray
    s: np.ndarray
    lane: np.ndarray
    speed_limit: np.ndarray
    length: float
    legal_s: dict[int, float]

    @functools.cached_property
    def legal_lanes(self) -> frozenset[int]:
        """Lanes that a car on this route may be on.

        The route's lanes, their same-direction neighbours, lanes that join it and begin within 30 m, and the lanes that
        it overlaps inside junctions (where the nearest lane of a position is ambiguous).
        """
        return frozenset(self.legal_s)

    @functools.cached_property
    def _lists(self) -> tuple[list[tuple[float, float, float, float, float]], list[float], float]:
        """Every segment as x, y, step in x and in y and the square of its length; arc lengths; longest ones a metre."""
        xs, ys = self.xy[:, 0].tolist(), self.xy[:, 1].tolist()
        steps = [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False)]
        pieces = [(x, y, dx, dy, dx * dx + dy * dy) for x, y, (dx, dy) in zip(xs, ys, steps, strict=False)]
        longest = max(math.sqrt(piece[4]) for piece in pieces)
        # A little fewer, for rounding.
        return pieces, self.s.tolist(), 0.999 / longest

    @functools.cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates x and y and the unwrapped heading, each contiguous, for ``at``."""
        return self.xy[:, 0].copy(), self.xy[:, 1].copy(), np.unwrap(self.heading)

    def project(self, x: float, y: float, from_index: int = 0, window: int = _AHEAD) -> tuple[int, float, float]:
        """Project a position onto the route near an earlier projection.

        Plain Python on purpose: one call costs a few microseconds, an array version more.

        Args:
            x: world x.
            y: world y.
            from_index: index that the previous call returned (0 at the start).
            window: points looked at ahead of ``from_index``; ``len(route.s)`` searches the rest of the route.

        Returns:
            Index of the segment's first point, arc length of the projection (m), and signed lateral offset (m,
            positive to the left).

        """
        pieces, ss, pieces_a_metre = self._lists
        last = len(pieces) - 1
        begin = max(0, min(from_index, last) - _BACK)
        end = min(last, from_index + window)
        best, best_index, best_along = math.inf, begin, 0.0
        index = begin
        while index <= end:
            x0, y0, dx, dy, square = pieces[index]
            ex, ey = x - x0, y - y0
            along = (ex * dx + ey * dy) / square
            along = 0.0 if along < 0.0 else 1.0 if along > 1.0 else along
            ex, ey = ex - along * dx, ey - along * dy
            distance = ex * ex + ey * ey
            if distance < best:
                best, best_index, best_along = distance, index, along
                index += 1
            else:
                # The next piece can be nearer by a piece's length at most, so those that cannot be nearest are passed.
                index += 1 + int((math.sqrt(distance) - math.sqrt(best)) * pieces_a_metre)
        index = best_index
        x0, y0, dx, dy, _ = pieces[index]
        side = dx * (y - y0) - dy * (x - x0)
        return index, ss[index] + best_along * (ss[index + 1] - ss[index]), math.copysign(math.sqrt(best), side)

    def at(self, s: float | np.ndarray) -> np.ndarray:
        """Interpolate x, y, heading at arc lengths; beyond the ends the route goes on straight.

        Args:
            s: metres from the start, scalar or [M].

        Returns:
            [M, 3] (or [3]) x, y, heading.

        """
        s = np.asarray(s, np.float64)
        inside = np.minimum(np.maximum(s, 0.0), self.length)
        xs, ys, headings = self._columns
        heading = np.interp(inside, self.s, headings)
        beyond = s - inside
        x = np.interp(inside, self.s, xs) + beyond * np.cos(heading)
        y = np.interp(inside, self.s, ys) + beyond * np.sin(heading)
        found = np.empty((*s.shape, 3))
        found[..., 0], found[..., 1], found[..., 2] = x, y, heading
        return found
