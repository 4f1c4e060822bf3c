"""Where a tracked rollout stands on route and road at every step, and what that costs, for one lane of a kernel.

All steps of a lane are looked up in a row: from one to the next little changes, so processors foretell the branches.
"""

import numpy as np

from craft_lightning.counterfactual.events import allowed, off_road
from craft_lightning.counterfactual.lanes import (
    ARC,
    CHARGE,
    COS,
    FIRST_LOOK,
    LANE_OFFSET,
    LANES,
    POS_X,
    POS_Y,
    ROUTE_COS,
    ROUTE_OFFSET,
    ROUTE_SIN,
    SIN,
)
from craft_lightning.counterfactual.parameters import (
    EMERGENCY_LANE,
    FLAG_EMERGENCY_LANE,
    FLAG_OFFROAD,
    FLAG_OFFROUTE,
    FLAG_OPPOSITE_LANE,
    OFFROAD,
    OFFROAD_TOLERANCE,
    OFFROUTE,
    OFFROUTE_DISTANCE,
    OPPOSITE_LANE,
)
from craft_lightning.counterfactual.roadside import advance_route, along_segment, cell_of, route_offset

# Lane kinds of roads.network.
DRIVING, SHOULDER = 1, 2

# Farther away from a lane's centre than any deviation can tell.
NO_LANE = 1e6


def lane_offset(segments: np.ndarray, segment: int, x: float, y: float) -> float:
    """Absolute metres between (x, y) and the line of a lane-centre segment, in the frame of the grid."""
    return abs((y - segments[segment, 1]) * segments[segment, 2] - (x - segments[segment, 0]) * segments[segment, 3])


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
    sdf: np.ndarray,
    nearest: np.ndarray,
    segments: np.ndarray,
    segment_lane: np.ndarray,
    lane_kind: np.ndarray,
    lane_junction: np.ndarray,
    per_cell: float,
    opposite_cos: float,
    p: np.ndarray,
    flags: np.ndarray,
    looks: np.ndarray,
) -> None:
    """Look one lane's poses up and write what the rewards need.

    Args:
        ego: [6, steps + 1, LANES] of ``follow_plans``.
        lane: which lane of it.
        steps: number of steps.
        half_length: of the ego, metres.
        half_width: likewise.
        frame: [4] of ``grids.grid_frames``.
        route_lanes: [M] lanes the route may use, -1 padded.
        start: segment of the route where the ego stands now.
        route_segments: number of segments of the route.
        route: [R - 1, 6] of ``prepare_state``.
        sdf: [H, W] of the RoadGrid; so are ``nearest`` .. ``lane_junction``.
        nearest: [H, W].
        segments: [S, 4].
        segment_lane: [S].
        lane_kind: [lanes].
        lane_junction: [lanes].
        per_cell: cells a metre.
        opposite_cos: cosine below which a lane's heading is an opposite one.
        p: ``RewardParameters`` as an array.
        flags: [7] FLAGS of this candidate, set where something happens.
        looks: [steps + 1, LOOKS * LANES] out: the fields of ``lanes`` from FIRST_LOOK on.

    """
    segment = start
    last_lane = -1
    last_allowed = True
    for step in range(steps + 1):
        x, y = ego[POS_X, step, lane], ego[POS_Y, step, lane]
        cos_yaw, sin_yaw = ego[COS, step, lane], ego[SIN, step, lane]
        segment = advance_route(route, route_segments, segment, x, y)
        along = along_segment(route, route_segments, segment, x, y)
        offset = route_offset(route, segment, along, x, y)
        looks[step, (ARC - FIRST_LOOK) * LANES + lane] = route[segment, 5] + along
        looks[step, (ROUTE_OFFSET - FIRST_LOOK) * LANES + lane] = offset
        looks[step, (ROUTE_COS - FIRST_LOOK) * LANES + lane] = route[segment, 2]
        looks[step, (ROUTE_SIN - FIRST_LOOK) * LANES + lane] = route[segment, 3]

        grid_x = frame[0] + frame[2] * x - frame[3] * y
        grid_y = frame[1] + frame[3] * x + frame[2] * y
        cos_world = frame[2] * cos_yaw - frame[3] * sin_yaw
        sin_world = frame[3] * cos_yaw + frame[2] * sin_yaw
        column, row = grid_x * per_cell, grid_y * per_cell
        i, j = cell_of(nearest.shape[1], nearest.shape[0], column, row)
        near = nearest[i, j] if i >= 0 else -1
        off_route = offset > p[OFFROUTE_DISTANCE]
        opposite = emergency = False
        lane_distance = NO_LANE
        if near >= 0:
            lane_distance = lane_offset(segments, near, grid_x, grid_y)
            road_lane = segment_lane[near]
            emergency = lane_kind[road_lane] == SHOULDER
            # Where lanes of a junction overlap, the nearest centre says nothing about the lane that is driven.
            if lane_junction[road_lane] == 0:
                if lane_kind[road_lane] == DRIVING:
                    if road_lane != last_lane:
                        last_lane = road_lane
                        last_allowed = allowed(route_lanes, road_lane)
                    off_route = off_route or not last_allowed
                opposite = cos_world * segments[near, 2] + sin_world * segments[near, 3] < opposite_cos
        looks[step, (LANE_OFFSET - FIRST_LOOK) * LANES + lane] = lane_distance

        charge = 0.0
        if step > 0:
            if opposite:
                charge += p[OPPOSITE_LANE]
                flags[FLAG_OPPOSITE_LANE] = True
            if emergency:
                charge += p[EMERGENCY_LANE]
                flags[FLAG_EMERGENCY_LANE] = True
            if off_route:
                charge += p[OFFROUTE]
                flags[FLAG_OFFROUTE] = True
            if off_road(
                half_length, half_width, cos_world, sin_world, column, row, sdf, per_cell, p[OFFROAD_TOLERANCE]
            ):
                charge += p[OFFROAD]
                flags[FLAG_OFFROAD] = True
        looks[step, (CHARGE - FIRST_LOOK) * LANES + lane] = charge
