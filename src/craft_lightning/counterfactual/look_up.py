"""Where tracked rollouts stand on route and road at a step.

Searching and reading is done lane by lane, in short loops, each for one question, so that a processor works on several
lanes at once. What follows from the numbers found is arithmetic for all lanes side by side.
"""

import numpy as np

from craft_lightning.counterfactual.boxes import circumradius
from craft_lightning.counterfactual.events import allowed, off_road, safe_distance
from craft_lightning.counterfactual.grids import (
    NEAREST,
    SDF,
    SEGMENT_COS,
    SEGMENT_DRIVING,
    SEGMENT_FREE,
    SEGMENT_LANE,
    SEGMENT_SHOULDER,
    SEGMENT_SIN,
    SEGMENT_X,
    SEGMENT_Y,
)
from craft_lightning.counterfactual.lanes import (
    ARC,
    COS_THEN,
    EDGE,
    FOREIGN,
    LANE_AGREES,
    LANE_COS,
    LANE_FREE,
    LANE_OFFSET,
    LANE_SHOULDER,
    LANE_SIN,
    LANE_X,
    LANE_Y,
    LANES,
    LAST_FOREIGN,
    LAST_LANE,
    OUTSIDE,
    ROUTE_ARC,
    ROUTE_COS,
    ROUTE_LENGTH,
    ROUTE_SIN,
    ROUTE_SQUARE,
    ROUTE_X,
    ROUTE_Y,
    SIN_THEN,
    X_THEN,
    Y_THEN,
)
from craft_lightning.counterfactual.roadside import ROUTE_WINDOW, advance_route, cell_of, next_stretch, project

# More than the cosine between any two headings.
NO_HEADING = 2.0


def locate_lanes(work: np.ndarray, frame: np.ndarray, shape: np.ndarray, per_cell: float, spots: np.ndarray) -> None:
    """Find the cell under every lane's ego: ``spots`` [LANES] uint32, see ``cell_of``."""
    for lane in range(LANES):
        x, y = work[X_THEN * LANES + lane], work[Y_THEN * LANES + lane]
        column = (frame[0] + frame[2] * x - frame[3] * y) * per_cell
        row = (frame[1] + frame[3] * x + frame[2] * y) * per_cell
        spots[lane] = cell_of(shape, column, row)


def look_up_route(count: int, route_segments: int, route: np.ndarray, places: np.ndarray, work: np.ndarray) -> None:
    """Find the segment of the route under every lane's ego: the ROUTE fields.

    Args:
        count: number of lanes in use.
        route_segments: number of segments of the route.
        route: [R - 1, 6] of ``prepare_state``.
        places: [LANES] uint32, segments of the last step in, of this step out.
        work: [FIELDS * LANES].

    """
    for lane in range(count):
        places[lane] = next_stretch(
            route, route_segments, places[lane], work[X_THEN * LANES + lane], work[Y_THEN * LANES + lane]
        )
    # Where the first step was not taken, no other is.
    most = ROUTE_WINDOW - 1
    for lane in range(count):
        segment = advance_route(
            route, route_segments, places[lane], most, work[X_THEN * LANES + lane], work[Y_THEN * LANES + lane]
        )
        places[lane] = segment
        work[ROUTE_X * LANES + lane] = route[segment, 0]
        work[ROUTE_Y * LANES + lane] = route[segment, 1]
        work[ROUTE_COS * LANES + lane] = route[segment, 2]
        work[ROUTE_SIN * LANES + lane] = route[segment, 3]
        work[ROUTE_LENGTH * LANES + lane] = route[segment, 4]
        work[ROUTE_ARC * LANES + lane] = route[segment, 5]


def look_up_road(
    count: int,
    route_lanes: np.ndarray,
    cells: np.ndarray,
    segments: np.ndarray,
    spots: np.ndarray,
    work: np.ndarray,
) -> None:
    """Read the cell and the lane's centre under every lane's ego: the LANE fields, FOREIGN and EDGE.

    Args:
        count: number of lanes in use.
        route_lanes: [M] lanes the route may use, -1 padded.
        cells: [H * W + 1, 2] of GridArrays.
        segments: [S + 1, 8] likewise.
        spots: [LANES] of ``locate_lanes``.
        work: [FIELDS * LANES].

    """
    for lane in range(count):
        spot = spots[lane]
        near = np.uint32(cells[spot, NEAREST])
        work[EDGE * LANES + lane] = cells[spot, SDF]
        work[LANE_X * LANES + lane] = segments[near, SEGMENT_X]
        work[LANE_Y * LANES + lane] = segments[near, SEGMENT_Y]
        work[LANE_COS * LANES + lane] = segments[near, SEGMENT_COS]
        work[LANE_SIN * LANES + lane] = segments[near, SEGMENT_SIN]
        work[LANE_SHOULDER * LANES + lane] = segments[near, SEGMENT_SHOULDER]
        work[LANE_FREE * LANES + lane] = segments[near, SEGMENT_FREE]
        road_lane = segments[near, SEGMENT_LANE]
        if road_lane != work[LAST_LANE * LANES + lane]:
            work[LAST_LANE * LANES + lane] = road_lane
            work[LAST_FOREIGN * LANES + lane] = 0.0 if allowed(route_lanes, int(road_lane)) else 1.0
        work[FOREIGN * LANES + lane] = work[LAST_FOREIGN * LANES + lane] * segments[near, SEGMENT_DRIVING]


def look_up_edge(
    count: int,
    half_length: float,
    half_width: float,
    frame: np.ndarray,
    shape: np.ndarray,
    cells: np.ndarray,
    per_cell: float,
    tolerance: float,
    work: np.ndarray,
) -> None:
    """Find the lanes whose box leaves the drivable area: OUTSIDE.

    Args:
        count: number of lanes in use.
        half_length: of the ego, metres.
        half_width: likewise.
        frame: [4] of ``grids.grid_frames``.
        shape: [2] rows and columns of the grid.
        cells: [H * W + 1, 2] of GridArrays.
        per_cell: cells a metre.
        tolerance: metres that a corner of the ego's box may stand outside the drivable area.
        work: [FIELDS * LANES].

    """
    # Where the cell of the centre is that far inside, no corner can be outside: it is one circumradius away.
    safe = safe_distance(per_cell) + circumradius(half_length, half_width)
    for lane in range(count):
        outside = 0.0
        if work[EDGE * LANES + lane] <= safe:
            x, y = work[X_THEN * LANES + lane], work[Y_THEN * LANES + lane]
            cos_yaw, sin_yaw = work[COS_THEN * LANES + lane], work[SIN_THEN * LANES + lane]
            if off_road(
                half_length,
                half_width,
                frame[2] * cos_yaw - frame[3] * sin_yaw,
                frame[3] * cos_yaw + frame[2] * sin_yaw,
                (frame[0] + frame[2] * x - frame[3] * y) * per_cell,
                (frame[1] + frame[3] * x + frame[2] * y) * per_cell,
                shape,
                cells,
                per_cell,
                tolerance,
            ):
                outside = 1.0
        work[OUTSIDE * LANES + lane] = outside


def place_lanes(work: np.ndarray, frame: np.ndarray) -> None:
    """Work out ARC, ROUTE_SQUARE, LANE_OFFSET and LANE_AGREES from what was found; all lanes, no branch taken."""
    for lane in range(LANES):
        x, y = work[X_THEN * LANES + lane], work[Y_THEN * LANES + lane]
        cos_yaw, sin_yaw = work[COS_THEN * LANES + lane], work[SIN_THEN * LANES + lane]
        along, square = project(
            x,
            y,
            work[ROUTE_X * LANES + lane],
            work[ROUTE_Y * LANES + lane],
            work[ROUTE_COS * LANES + lane],
            work[ROUTE_SIN * LANES + lane],
            work[ROUTE_LENGTH * LANES + lane],
        )
        work[ARC * LANES + lane] = work[ROUTE_ARC * LANES + lane] + along
        work[ROUTE_SQUARE * LANES + lane] = square
        grid_x = frame[0] + frame[2] * x - frame[3] * y
        grid_y = frame[1] + frame[3] * x + frame[2] * y
        lane_cos, lane_sin = work[LANE_COS * LANES + lane], work[LANE_SIN * LANES + lane]
        beside = (grid_y - work[LANE_Y * LANES + lane]) * lane_cos - (grid_x - work[LANE_X * LANES + lane]) * lane_sin
        work[LANE_OFFSET * LANES + lane] = abs(beside)
        cos_world = frame[2] * cos_yaw - frame[3] * sin_yaw
        sin_world = frame[3] * cos_yaw + frame[2] * sin_yaw
        # Where lanes of a junction overlap, the nearest centre says nothing about the lane that is driven.
        agrees = cos_world * lane_cos + sin_world * lane_sin
        work[LANE_AGREES * LANES + lane] = agrees if work[LANE_FREE * LANES + lane] > 0.0 else NO_HEADING
