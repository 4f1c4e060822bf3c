"""Where a pose stands on the road: drivable area, nearest lane and route, as scalar functions for CPU and GPU."""

import numpy as np

from craft_lightning.elementary import arctangent

# What counts as "outside the grid": as far off the road as RoadGrid.sdf can say.
OUTSIDE = -10.0

# Route segments that a projection may pass in one step; at 1 m a segment that is 80 m/s.
ROUTE_WINDOW = 8


def bilinear(cells: np.ndarray, layer: int, column: float, row: float) -> float:
    """Value of a layer of ``cells`` [H, W, layers] between cell centres, OUTSIDE beyond them.

    Args:
        cells: cell [0, 0] is centred on column 0, row 0.
        layer: which of its layers.
        column: in cells.
        row: in cells.

    """
    # Compare before converting: a float too large for an int has no defined value as one.
    high_row, high_column = np.float32(cells.shape[0] - 1), np.float32(cells.shape[1] - 1)
    if not (0.0 <= column < high_column and 0.0 <= row < high_row):
        return OUTSIDE
    i, j = np.uint32(row), np.uint32(column)
    v, u = row - np.float32(i), column - np.float32(j)
    low = cells[i, j, layer] + u * (cells[i, j + 1, layer] - cells[i, j, layer])
    high = cells[i + 1, j, layer] + u * (cells[i + 1, j + 1, layer] - cells[i + 1, j, layer])
    return low + v * (high - low)


def cell_value(cells: np.ndarray, layer: int, column: float, row: float) -> float:
    """Value of a layer of the cell around (column, row), OUTSIDE beyond the grid; arguments as in ``bilinear``."""
    column += 0.5
    row += 0.5
    rows, columns = np.float32(cells.shape[0]), np.float32(cells.shape[1])
    if (column >= 0.0) & (column < columns) & (row >= 0.0) & (row < rows):
        # Unsigned numbers: numba asks of any other index whether it counts from the end.
        return cells[np.uint32(row), np.uint32(column), layer]
    return OUTSIDE


def advance_route(route: np.ndarray, count: int, segment: int, x: float, y: float) -> int:
    """Segment of the route that (x, y) projects on, never before ``segment`` and at most ROUTE_WINDOW after it.

    The projection walks on while the point lies past the end of a segment, so a route that meets itself again cannot
    make it jump.

    Args:
        route: [count, 6] x, y, cosine, sine, length, arc length at the start; one row a segment.
        count: number of segments.
        segment: where the last step left the projection.
        x: metres, in the frame of the route.
        y: likewise.

    """
    final = min(segment + ROUTE_WINDOW, count - 1)
    # Mostly none or one is passed: that one without a branch.
    along = (x - route[segment, 0]) * route[segment, 2] + (y - route[segment, 1]) * route[segment, 3]
    segment = min(segment + 1, final) if along >= route[segment, 4] else segment
    while segment < final:
        along = (x - route[segment, 0]) * route[segment, 2] + (y - route[segment, 1]) * route[segment, 3]
        if along < route[segment, 4]:
            break
        segment += 1
    return max(segment, 0)


def along_segment(route: np.ndarray, count: int, segment: int, x: float, y: float) -> float:
    """Metres from the start of ``segment`` to the projection of (x, y); the last segment has no end."""
    along = max((x - route[segment, 0]) * route[segment, 2] + (y - route[segment, 1]) * route[segment, 3], 0.0)
    if segment < count - 1:
        along = min(along, route[segment, 4])
    return along


def square_offset(route: np.ndarray, segment: int, along: float, x: float, y: float) -> float:
    """Squared metres between (x, y) and the point ``along`` metres down ``segment``."""
    dx = x - route[segment, 0] - along * route[segment, 2]
    dy = y - route[segment, 1] - along * route[segment, 3]
    return dx * dx + dy * dy


def heading_error(cos_yaw: float, sin_yaw: float, cos_road: float, sin_road: float) -> float:
    """Absolute angle (radians, 0 to pi) between two headings."""
    cross = cos_yaw * sin_road - sin_yaw * cos_road
    dot = cos_yaw * cos_road + sin_yaw * sin_road
    return abs(arctangent(cross, dot))
