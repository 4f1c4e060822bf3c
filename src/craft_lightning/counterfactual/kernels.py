"""The counterfactual world as two functions, one a state and one a trajectory, that numba compiles for CPU and GPU.

``prepare_state`` does once what all candidates of a state share: the others' decay rollout, the route's segments, the stop
lines in force. ``score_trajectory`` drives one candidate and adds up its reward, equations (37) and (40-45) of CRAFT.
Nothing allocates: the drivers in ``cpu`` and ``cuda`` pass every buffer. The comments name equations of arXiv 2605.04470.
"""

import math

import numpy as np

from craft_lightning.control import clip
from craft_lightning.conventions import AGENT_NONE, LINE_NONE, LINE_RED, LINE_STOP_SIGN
from craft_lightning.counterfactual.boxes import boxes_overlap, circumradius, crosses_line, distance_before_line
from craft_lightning.counterfactual.motion import (
    EGO_COS,
    EGO_SIN,
    EGO_SPEED,
    EGO_X,
    EGO_Y,
    HALF_LENGTH,
    HALF_WIDTH,
    HIGH_X,
    HIGH_Y,
    LOW_X,
    LOW_Y,
    RADIUS,
    decay_rollout,
    follow_plan,
)
from craft_lightning.counterfactual.parameters import (
    COLLISION,
    COLLISION_SPEED,
    COLLISION_SPEED_GAIN,
    COLLISION_SPEED_MAX,
    COLLISION_SPEED_MIN,
    DISCOUNT,
    EMERGENCY_LANE,
    FLAG_COLLISION,
    FLAG_EMERGENCY_LANE,
    FLAG_OFFROAD,
    FLAG_OFFROUTE,
    FLAG_OPPOSITE_LANE,
    FLAG_RED_LIGHT,
    FLAG_STOP_SIGN,
    HEADING_DECAY,
    HEADING_SCALE,
    LANE_DECAY,
    LANE_SCALE,
    OFFROAD,
    OFFROAD_TOLERANCE,
    OFFROUTE,
    OFFROUTE_DISTANCE,
    OPPOSITE_ANGLE,
    OPPOSITE_LANE,
    PROGRESS,
    PROGRESS_CLIP,
    RECOVERY_BASE,
    RECOVERY_CLIP,
    RECOVERY_DEADBAND,
    RECOVERY_HEADING,
    RECOVERY_LANE,
    RECOVERY_ROUTE,
    RECOVERY_STEP_CLIP,
    RED_LIGHT,
    REWARD_AFTER_COLLISION,
    ROUTE_DECAY,
    ROUTE_SCALE,
    STOP_SIGN,
    STOP_SPEED,
    STOP_ZONE,
)
from craft_lightning.counterfactual.roadside import (
    advance_route,
    along_segment,
    bilinear,
    heading_error,
    nearest_segment,
    route_offset,
)

# Lane kinds of roads.network.
DRIVING, SHOULDER = 1, 2

# Columns of a prepared state's counters.
AGENTS, SEGMENTS, LINES, START = range(4)

# The ego's first metres of route in which its projection is looked for, so that a later loop cannot catch it.
START_WINDOW = 30

# Steps of the piece that is executed before the next decision (0.5 s).
FIRST_PIECE = 5


def lane_offset(segments: np.ndarray, segment: int, x: float, y: float) -> float:
    """Absolute metres between (x, y) and the line of a lane-centre segment, in the frame of the grid."""
    return abs((y - segments[segment, 1]) * segments[segment, 2] - (x - segments[segment, 0]) * segments[segment, 3])


def prepare_state(
    agents: np.ndarray,
    agent_kind: np.ndarray,
    agent_junction: np.ndarray,
    route: np.ndarray,
    stop_lines: np.ndarray,
    stop_kind: np.ndarray,
    dt: float,
    steps: int,
    decay: np.ndarray,
    poses: np.ndarray,
    boxes: np.ndarray,
    route_rows: np.ndarray,
    lines: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Do once what every candidate of a state shares; absent agents, lines and empty segments are squeezed out.

    Args:
        agents: [A, 8] of the Scene.
        agent_kind: [A].
        agent_junction: [A].
        route: [R, 2].
        stop_lines: [L, 4].
        stop_kind: [L].
        dt: seconds a step.
        steps: number of steps.
        decay: ``DecayParameters`` as an array.
        poses: [A, steps, 4] out, ``decay_rollout``.
        boxes: [A, 7] out.
        route_rows: [R - 1, 6] out: x, y, cosine, sine, length, arc length at the start.
        lines: [L, 5] out: x0, y0, x1, y1, kind.
        counts: [4] out: agents, segments, lines, and the segment where the ego stands.

    """
    present = 0
    for a in range(agents.shape[0]):
        if agent_kind[a] != AGENT_NONE:
            decay_rollout(
                agents[a], agent_kind[a], agent_junction[a], dt, steps, decay, poses[present], boxes[present]
            )
            present += 1
    counts[AGENTS] = present

    rows = 0
    travelled = 0.0
    for i in range(route.shape[0] - 1):
        dx, dy = route[i + 1, 0] - route[i, 0], route[i + 1, 1] - route[i, 1]
        length = math.sqrt(dx * dx + dy * dy)
        if length > 1e-3:
            route_rows[rows, 0], route_rows[rows, 1] = route[i, 0], route[i, 1]
            route_rows[rows, 2], route_rows[rows, 3] = dx / length, dy / length
            route_rows[rows, 4], route_rows[rows, 5] = length, travelled
            travelled += length
            rows += 1
    counts[SEGMENTS] = rows

    start = 0
    closest = 1e9
    for i in range(min(rows, START_WINDOW)):
        along = along_segment(route_rows, rows, i, 0.0, 0.0)
        offset = route_offset(route_rows, i, along, 0.0, 0.0)
        if offset < closest:
            start, closest = i, offset
    counts[START] = start

    present = 0
    for i in range(stop_lines.shape[0]):
        if stop_kind[i] != LINE_NONE:
            for j in range(4):
                lines[present, j] = stop_lines[i, j]
            lines[present, 4] = stop_kind[i]
            present += 1
    counts[LINES] = present


def swept_bounds(ego: np.ndarray, steps: int, margin: float) -> tuple[float, float, float, float]:
    """Bounds low x, low y, high x, high y (metres) of the ego's centre over a rollout, grown by ``margin``."""
    low_x = high_x = ego[0, EGO_X]
    low_y = high_y = ego[0, EGO_Y]
    for step in range(1, steps + 1):
        low_x, high_x = min(low_x, ego[step, EGO_X]), max(high_x, ego[step, EGO_X])
        low_y, high_y = min(low_y, ego[step, EGO_Y]), max(high_y, ego[step, EGO_Y])
    return low_x - margin, low_y - margin, high_x + margin, high_y + margin


def first_collision(
    ego: np.ndarray,
    steps: int,
    bounds: tuple[float, float, float, float],
    half_length: float,
    half_width: float,
    agents: int,
    poses: np.ndarray,
    boxes: np.ndarray,
) -> int:
    """Step (1 .. steps) at which the ego's box first overlaps an agent's, steps + 1 if it never does.

    Agents whose swept bounds never meet the ego's are passed over at once; then circles, then the separating axis.

    Args:
        ego: [steps + 1, 6] of ``follow_plan``.
        steps: number of steps.
        bounds: ``swept_bounds`` of the ego, grown by its circumradius.
        half_length: of the ego, metres.
        half_width: likewise.
        agents: number of prepared agents.
        poses: [A, steps, 4] of ``prepare_state``.
        boxes: [A, 7] likewise.

    """
    low_x, low_y, high_x, high_y = bounds
    own = circumradius(half_length, half_width)
    first = steps + 1
    for a in range(agents):
        if (
            boxes[a, LOW_X] > high_x
            or boxes[a, HIGH_X] < low_x
            or boxes[a, LOW_Y] > high_y
            or boxes[a, HIGH_Y] < low_y
        ):
            continue
        reach = own + boxes[a, RADIUS]
        reach *= reach
        for step in range(1, first):
            dx = poses[a, step - 1, 0] - ego[step, EGO_X]
            dy = poses[a, step - 1, 1] - ego[step, EGO_Y]
            if dx * dx + dy * dy < reach and boxes_overlap(
                ego[step, EGO_X],
                ego[step, EGO_Y],
                ego[step, EGO_COS],
                ego[step, EGO_SIN],
                half_length,
                half_width,
                poses[a, step - 1, 0],
                poses[a, step - 1, 1],
                poses[a, step - 1, 2],
                poses[a, step - 1, 3],
                boxes[a, HALF_LENGTH],
                boxes[a, HALF_WIDTH],
            ):
                first = step
                break
    return first


def recovery(deviation: float, change: float, weight: float, p: np.ndarray) -> float:
    """One term of c_t, (42): ``weight`` times the clipped decrease of a deviation above the dead band."""
    if deviation <= p[RECOVERY_DEADBAND]:
        return 0.0
    return -weight * clip(change, -p[RECOVERY_STEP_CLIP], p[RECOVERY_STEP_CLIP])


def crossed_lines(
    ego: np.ndarray,
    steps: int,
    bounds: tuple[float, float, float, float],
    half_length: float,
    lines: np.ndarray,
    count: int,
    p: np.ndarray,
) -> tuple[int, int]:
    """First steps (1 .. steps) at which the front bumper crosses a red line and an unhonoured stop sign's line.

    A stop sign is honoured by a speed under ``stop_speed`` while the bumper is within ``stop_zone`` metres before the line,
    now or on the way to it. A sign that was honoured before the visited state must be left out of the Scene.

    Args:
        ego: [steps + 1, 6] of ``follow_plan``.
        steps: number of steps.
        bounds: ``swept_bounds`` of the ego, grown by its circumradius.
        half_length: of the ego, metres.
        lines: [L, 5] of ``prepare_state``.
        count: number of prepared lines.
        p: ``RewardParameters`` as an array.

    Returns:
        red, stop: steps + 1 where it does not happen.

    """
    low_x, low_y, high_x, high_y = bounds
    red = stop = steps + 1
    for i in range(count):
        x0, y0, x1, y1 = lines[i, 0], lines[i, 1], lines[i, 2], lines[i, 3]
        if max(x0, x1) < low_x or min(x0, x1) > high_x or max(y0, y1) < low_y or min(y0, y1) > high_y:
            continue
        kind = int(lines[i, 4])
        # The front bumper's centre.
        px = ego[0, EGO_X] + half_length * ego[0, EGO_COS]
        py = ego[0, EGO_Y] + half_length * ego[0, EGO_SIN]
        honoured = False
        for step in range(1, steps + 1):
            cos_yaw, sin_yaw = ego[step - 1, EGO_COS], ego[step - 1, EGO_SIN]
            if kind == LINE_STOP_SIGN and ego[step - 1, EGO_SPEED] < p[STOP_SPEED]:
                ahead = distance_before_line(px, py, cos_yaw, sin_yaw, x0, y0, x1, y1)
                honoured = honoured or 0.0 <= ahead <= p[STOP_ZONE]
            qx = ego[step, EGO_X] + half_length * ego[step, EGO_COS]
            qy = ego[step, EGO_Y] + half_length * ego[step, EGO_SIN]
            if crosses_line(px, py, qx, qy, x0, y0, x1, y1):
                if kind == LINE_RED:
                    red = min(red, step)
                elif kind == LINE_STOP_SIGN and not honoured:
                    stop = min(stop, step)
            px, py = qx, qy
    return red, stop


def off_road(
    ego: np.ndarray,
    step: int,
    half_length: float,
    half_width: float,
    frame: np.ndarray,
    sdf: np.ndarray,
    per_cell: float,
    tolerance: float,
) -> bool:
    """Whether a corner of the ego's box stands outside the drivable area by more than ``tolerance`` metres."""
    # Heading and half extents in cells, in the frame of the grid.
    cos_yaw = frame[2] * ego[step, EGO_COS] - frame[3] * ego[step, EGO_SIN]
    sin_yaw = frame[3] * ego[step, EGO_COS] + frame[2] * ego[step, EGO_SIN]
    column = (frame[0] + frame[2] * ego[step, EGO_X] - frame[3] * ego[step, EGO_Y]) * per_cell
    row = (frame[1] + frame[3] * ego[step, EGO_X] + frame[2] * ego[step, EGO_Y]) * per_cell
    length_x, length_y = half_length * per_cell * cos_yaw, half_length * per_cell * sin_yaw
    width_x, width_y = -half_width * per_cell * sin_yaw, half_width * per_cell * cos_yaw
    return (
        bilinear(sdf, column + length_x + width_x, row + length_y + width_y) < -tolerance
        or bilinear(sdf, column + length_x - width_x, row + length_y - width_y) < -tolerance
        or bilinear(sdf, column - length_x + width_x, row - length_y + width_y) < -tolerance
        or bilinear(sdf, column - length_x - width_x, row - length_y - width_y) < -tolerance
    )


def allowed(route_lanes: np.ndarray, lane: int) -> bool:
    """Whether ``lane`` is one of the -1 padded ``route_lanes``; every lane is, where none is given."""
    given = False
    for i in range(route_lanes.shape[0]):
        if route_lanes[i] == lane:
            return True
        given = given or route_lanes[i] >= 0
    return not given


def score_trajectory(
    candidate: np.ndarray,
    speed: float,
    size: np.ndarray,
    frame: np.ndarray,
    route_lanes: np.ndarray,
    counts: np.ndarray,
    poses: np.ndarray,
    boxes: np.ndarray,
    route: np.ndarray,
    lines: np.ndarray,
    sdf: np.ndarray,
    nearest: np.ndarray,
    segments: np.ndarray,
    segment_lane: np.ndarray,
    lane_kind: np.ndarray,
    lane_junction: np.ndarray,
    per_cell: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    p: np.ndarray,
    plan: np.ndarray,
    arc: np.ndarray,
    memory: np.ndarray,
    ego: np.ndarray,
    rewards: np.ndarray,
    flags: np.ndarray,
    summary: np.ndarray,
) -> int:
    """Drive one candidate and add up its reward.

    Args:
        candidate: [T, 3] in the ego frame at ``dt``.
        speed: of the ego now, m/s.
        size: [3] length, width, wheelbase of the ego.
        frame: [4] x, y of the ego relative to the grid's origin, cosine and sine of its world heading.
        route_lanes: [M] lanes the route may use, -1 padded.
        counts: [4] of ``prepare_state``; so are ``poses``, ``boxes``, ``route`` and ``lines``.
        poses: [A, steps, 4].
        boxes: [A, 7].
        route: [R - 1, 6].
        lines: [L, 5].
        sdf: [H, W] of the RoadGrid; so are ``nearest`` .. ``lane_junction``.
        nearest: [H, W].
        segments: [S, 4].
        segment_lane: [S].
        lane_kind: [lanes].
        lane_junction: [lanes].
        per_cell: cells a metre.
        dt: seconds a step.
        steps: number of steps.
        tracker: ``TrackerParameters`` as an array.
        bicycle: ``BicycleParameters`` as an array.
        p: ``RewardParameters`` as an array.
        plan: [T + 1, 3] scratch.
        arc: [T + 1] scratch.
        memory: scratch of the PIDs.
        ego: [steps + 1, 6] scratch; holds the tracked rollout afterwards.
        rewards: [steps] out: undiscounted r_t, without the two charges a trajectory.
        flags: [7] out, FLAGS.
        summary: [3] out: return (37), its part from the first 0.5 s, metres of progress.

    Returns:
        Step (0 .. steps - 1) of the first virtual collision, -1 if there is none.

    """
    follow_plan(candidate, speed, size[2], dt, steps, tracker, bicycle, plan, arc, memory, ego)
    half_length, half_width = 0.5 * size[0], 0.5 * size[1]
    bounds = swept_bounds(ego, steps, circumradius(half_length, half_width))
    collided = first_collision(ego, steps, bounds, half_length, half_width, counts[AGENTS], poses, boxes)
    red, stop = crossed_lines(ego, steps, bounds, half_length, lines, counts[LINES], p)
    for i in range(flags.shape[0]):
        flags[i] = False
    flags[FLAG_COLLISION] = collided <= steps
    flags[FLAG_RED_LIGHT] = red <= steps
    flags[FLAG_STOP_SIGN] = stop <= steps

    opposite_cos = math.cos(p[OPPOSITE_ANGLE])
    total = first = progress = last_s = d_g = d_c = d_h = 0.0
    gamma = 1.0
    segment = counts[START]
    for step in range(steps + 1):
        x, y, cos_yaw, sin_yaw = ego[step, EGO_X], ego[step, EGO_Y], ego[step, EGO_COS], ego[step, EGO_SIN]
        # Route: arc length and the deviations d_g and d_h.
        segment = advance_route(route, counts[SEGMENTS], segment, x, y)
        along = along_segment(route, counts[SEGMENTS], segment, x, y)
        s = max(route[segment, 5] + along, last_s)
        offset = route_offset(route, segment, along, x, y)
        old_g, old_c, old_h = d_g, d_c, d_h
        d_g = min(offset / p[ROUTE_SCALE], 1.0)
        d_h = min(heading_error(cos_yaw, sin_yaw, route[segment, 2], route[segment, 3]) / p[HEADING_SCALE], 1.0)
        # Nearest lane: the deviation d_c and what kind of lane it is.
        grid_x = frame[0] + frame[2] * x - frame[3] * y
        grid_y = frame[1] + frame[3] * x + frame[2] * y
        near = nearest_segment(nearest, grid_x * per_cell, grid_y * per_cell)
        d_c = 1.0
        if near >= 0:
            d_c = min(lane_offset(segments, near, grid_x, grid_y) / p[LANE_SCALE], 1.0)
        if step == 0:
            last_s = s
            continue

        off_route = offset > p[OFFROUTE_DISTANCE]
        opposite = emergency = False
        if near >= 0:
            lane = segment_lane[near]
            emergency = lane_kind[lane] == SHOULDER
            if lane_junction[lane] == 0:
                # Where lanes of a junction overlap, the nearest centre says nothing about the lane that is driven.
                if lane_kind[lane] == DRIVING and not off_route:
                    off_route = not allowed(route_lanes, lane)
                cos_world = frame[2] * cos_yaw - frame[3] * sin_yaw
                sin_world = frame[3] * cos_yaw + frame[2] * sin_yaw
                opposite = cos_world * segments[near, 2] + sin_world * segments[near, 3] < opposite_cos
        outside = off_road(ego, step, half_length, half_width, frame, sdf, per_cell, p[OFFROAD_TOLERANCE])

        gained = s - last_s
        last_s = s
        progress += gained
        share = clip(gained, 0.0, p[PROGRESS_CLIP]) / p[PROGRESS_CLIP]  # (40)
        eta = math.exp(-p[ROUTE_DECAY] * d_g - p[LANE_DECAY] * d_c - p[HEADING_DECAY] * d_h)  # (41)
        c = (
            recovery(d_g, d_g - old_g, p[RECOVERY_ROUTE], p)
            + recovery(d_c, d_c - old_c, p[RECOVERY_LANE], p)
            + recovery(d_h, d_h - old_h, p[RECOVERY_HEADING], p)
        )
        c = clip(c, -p[RECOVERY_CLIP], p[RECOVERY_CLIP])  # (42)
        reward = p[PROGRESS] * share * eta + c * (p[RECOVERY_BASE] + (1.0 - p[RECOVERY_BASE]) * share)  # (43, 44)
        if outside:
            reward -= p[OFFROAD]
            flags[FLAG_OFFROAD] = True
        if opposite:
            reward -= p[OPPOSITE_LANE]
            flags[FLAG_OPPOSITE_LANE] = True
        if off_route:
            reward -= p[OFFROUTE]
            flags[FLAG_OFFROUTE] = True
        if emergency:
            reward -= p[EMERGENCY_LANE]
            flags[FLAG_EMERGENCY_LANE] = True
        if step > collided and p[REWARD_AFTER_COLLISION] == 0.0:
            reward = min(reward, 0.0)
        if step == collided:
            relative = clip(ego[step, EGO_SPEED] / p[COLLISION_SPEED], p[COLLISION_SPEED_MIN], p[COLLISION_SPEED_MAX])
            reward -= p[COLLISION] * (1.0 + p[COLLISION_SPEED_GAIN] * relative)  # (45)
        rewards[step - 1] = reward
        total += gamma * reward  # (37)
        gamma *= p[DISCOUNT]
        if step == FIRST_PIECE:
            first = total
    if steps < FIRST_PIECE:
        first = total
    if red <= steps:
        total -= p[RED_LIGHT]
    if red <= FIRST_PIECE:
        first -= p[RED_LIGHT]
    if stop <= steps:
        total -= p[STOP_SIGN]
    if stop <= FIRST_PIECE:
        first -= p[STOP_SIGN]
    summary[0], summary[1], summary[2] = total, first, progress
    return collided - 1 if collided <= steps else -1
