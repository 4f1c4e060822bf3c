"""Where a pose stands on the road: drivable area, nearest lane and route, as scalar functions for CPU and GPU."""

import numpy as np

from craft_lightning.counterfactual.grids import BEYOND, SDF
from craft_lightning.elementary import arctangent

# Route segments that a projection may pass in one step; at 1 m a segment that is 80 m/s.
ROUTE_WINDOW = 8


def cell_of(shape: np.ndarray, column: float, row: float) -> np.uint32:
    """Index into ``GridArrays.cells`` of the cell around (column, row), of the last one beyond the grid.

    Unsigned, without a branch: numba asks of any other number whether it counts from the end.

    Args:
        shape: [2] rows and columns of the grid; cell 0 is centred on column 0, row 0.
        column: in cells.
        row: in cells.

    """
    column += 0.5
    row += 0.5
    # Compare before converting: a float too large for an int has no defined value as one.
    inside = (column >= 0.0) & (column < np.float32(shape[1])) & (row >= 0.0) & (row < np.float32(shape[0]))
    i, j = np.uint32(row if inside else 0.0), np.uint32(column if inside else 0.0)
    return np.uint32(i * shape[1] + j) if inside else np.uint32(shape[0] * shape[1])


def bilinear(shape: np.ndarray, cells: np.ndarray, column: float, row: float) -> float:
    """Metres to the edge of the drivable area between cell centres, BEYOND outside them.

    Args:
        shape: [2] rows and columns of the grid.
        cells: [H * W + 1, 2] of GridArrays.
        column: in cells.
        row: in cells.

    """
    if not (0.0 <= column < np.float32(shape[1] - 1) and 0.0 <= row < np.float32(shape[0] - 1)):
        return BEYOND
    i, j = np.uint32(row), np.uint32(column)
    v, u = row - np.float32(i), column - np.float32(j)
    at = np.uint32(i * shape[1] + j)
    above = np.uint32(at + shape[1])
    low = cells[at, SDF] + u * (cells[at + 1, SDF] - cells[at, SDF])
    high = cells[above, SDF] + u * (cells[above + 1, SDF] - cells[above, SDF])
    return low + v * (high - low)


def advance_route(route: np.ndarray, count: int, segment: int, most: int, x: float, y: float) -> int:
    """Segment of the route that (x, y) projects on, never before ``segment`` and at most ``most`` after it.

    The projection walks on while the point lies past the end of a segment, so a route that meets itself again cannot
    make it jump.

    Args:
        route: [count, 6] x, y, cosine, sine, length, arc length at the start; one row a segment.
        count: number of segments.
        segment: where the last step left the projection.
        most: segments that may be passed.
        x: metres, in the frame of the route.
        y: likewise.

    """
    final = min(segment + most, count - 1)
    while segment < final:
        along = (x - route[segment, 0]) * route[segment, 2] + (y - route[segment, 1]) * route[segment, 3]
        if along < route[segment, 4]:
            break
        segment += 1
    return max(segment, 0)


def next_stretch(route: np.ndarray, count: int, segment: int, x: float, y: float) -> int:
    """``segment``, or the one after it where (x, y) is past its end: the first step of ``advance_route``.

    What ``control.next_segment`` is to ``control.aim_point``.
    """
    along = (x - route[segment, 0]) * route[segment, 2] + (y - route[segment, 1]) * route[segment, 3]
    return min(segment + 1, count - 1) if along >= route[segment, 4] else segment


def project(x: float, y: float, x0: float, y0: float, cos: float, sin: float, length: float) -> tuple[float, float]:
    """Where (x, y) projects on a segment: metres from its start, within its length, and squared metres beside it."""
    along = min(max((x - x0) * cos + (y - y0) * sin, 0.0), length)
    dx, dy = x - x0 - along * cos, y - y0 - along * sin
    return along, dx * dx + dy * dy


def heading_error(cos_yaw: float, sin_yaw: float, cos_road: float, sin_road: float) -> float:
    """Absolute angle (radians, 0 to pi) between two headings."""
    cross = cos_yaw * sin_road - sin_yaw * cos_road
    dot = cos_yaw * cos_road + sin_yaw * sin_road
    return abs(arctangent(cross, dot))
