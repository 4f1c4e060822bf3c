"""Where a tracked rollout stands on route and road at every step, and what that costs, for one lane of a kernel.

All steps of a lane are looked up in a row: from one to the next little changes, so processors foretell the branches.
"""

import numpy as np

from craft_lightning.counterfactual.events import allowed, off_road
from craft_lightning.counterfactual.grids import (
    LANE_COS,
    LANE_INDEX,
    LANE_RULE,
    LANE_SIN,
    LANE_X,
    LANE_Y,
    NEAREST,
    RULE_DRIVING,
    RULE_FREE,
    RULE_SHOULDER,
)
from craft_lightning.counterfactual.lanes import (
    ARC,
    COS,
    EMERGENCY,
    FIRST_LOOK,
    FOREIGN,
    LANE_AGREES,
    LANE_OFFSET,
    LANES,
    OUTSIDE,
    POS_X,
    POS_Y,
    ROUTE_COS,
    ROUTE_SIN,
    ROUTE_SQUARE,
    SIN,
)
from craft_lightning.counterfactual.roadside import advance_route, along_segment, cell_value, square_offset

# Farther away from a lane's centre than any deviation can tell.
NO_LANE = 1e6

# More than the cosine between any two headings.
NO_HEADING = 2.0


def look_up_lane(
    ego: np.ndarray,
    lane: int,
    steps: int,
    half_length: float,
    half_width: float,
    frame: np.ndarray,
    route_lanes: np.ndarray,
    start: int,
    route_segments: int,
    route: np.ndarray,
    cells: np.ndarray,
    segments: np.ndarray,
    per_cell: float,
    tolerance: float,
    looks: np.ndarray,
) -> None:
    """Look one lane's poses up and write what the rewards need.

    Args:
        ego: [steps + 1, 6 * LANES] of ``follow_plans``.
        lane: which lane of it.
        steps: number of steps.
        half_length: of the ego, metres.
        half_width: likewise.
        frame: [4] of ``grids.grid_frames``.
        route_lanes: [M] lanes the route may use, -1 padded.
        start: segment of the route where the ego stands now.
        route_segments: number of segments of the route.
        route: [R - 1, 6] of ``prepare_state``.
        cells: [H, W, 2] of GridArrays.
        segments: [S, 8] likewise.
        per_cell: cells a metre.
        tolerance: metres that a corner of the ego's box may stand outside the drivable area.
        looks: [steps + 1, LOOKS * LANES] out: the fields of ``lanes`` from FIRST_LOOK on.

    """
    segment = start
    last_lane = -1
    last_foreign = False
    for step in range(steps + 1):
        x, y = ego[step, POS_X * LANES + lane], ego[step, POS_Y * LANES + lane]
        cos_yaw, sin_yaw = ego[step, COS * LANES + lane], ego[step, SIN * LANES + lane]
        segment = advance_route(route, route_segments, segment, x, y)
        along = along_segment(route, route_segments, segment, x, y)
        looks[step, (ARC - FIRST_LOOK) * LANES + lane] = route[segment, 5] + along
        looks[step, (ROUTE_SQUARE - FIRST_LOOK) * LANES + lane] = square_offset(route, segment, along, x, y)
        looks[step, (ROUTE_COS - FIRST_LOOK) * LANES + lane] = route[segment, 2]
        looks[step, (ROUTE_SIN - FIRST_LOOK) * LANES + lane] = route[segment, 3]

        grid_x = frame[0] + frame[2] * x - frame[3] * y
        grid_y = frame[1] + frame[3] * x + frame[2] * y
        cos_world = frame[2] * cos_yaw - frame[3] * sin_yaw
        sin_world = frame[3] * cos_yaw + frame[2] * sin_yaw
        column, row = grid_x * per_cell, grid_y * per_cell
        near = int(cell_value(cells, NEAREST, column, row))
        offset, agrees = NO_LANE, NO_HEADING
        emergency = foreign = False
        if near >= 0:
            lane_cos, lane_sin = segments[near, LANE_COS], segments[near, LANE_SIN]
            rule = int(segments[near, LANE_RULE])
            offset = abs((grid_y - segments[near, LANE_Y]) * lane_cos - (grid_x - segments[near, LANE_X]) * lane_sin)
            emergency = (rule & RULE_SHOULDER) != 0
            # Where lanes of a junction overlap, the nearest centre says nothing about the lane that is driven.
            if rule & RULE_FREE:
                agrees = cos_world * lane_cos + sin_world * lane_sin
                if rule & RULE_DRIVING:
                    road_lane = int(segments[near, LANE_INDEX])
                    if road_lane != last_lane:
                        last_lane = road_lane
                        last_foreign = not allowed(route_lanes, road_lane)
                    foreign = last_foreign
        looks[step, (LANE_OFFSET - FIRST_LOOK) * LANES + lane] = offset
        looks[step, (LANE_AGREES - FIRST_LOOK) * LANES + lane] = agrees
        looks[step, (EMERGENCY - FIRST_LOOK) * LANES + lane] = 1.0 if emergency else 0.0
        looks[step, (FOREIGN - FIRST_LOOK) * LANES + lane] = 1.0 if foreign else 0.0
        outside = step > 0 and off_road(
            half_length, half_width, cos_world, sin_world, column, row, cells, per_cell, tolerance
        )
        looks[step, (OUTSIDE - FIRST_LOOK) * LANES + lane] = 1.0 if outside else 0.0
