"""Drives the candidates of a state in lanes and adds up their rewards, equations (37) and (40-45) of CRAFT.

numba compiles these functions for CPU and GPU. Nothing allocates: the drivers in ``cpu`` and ``cuda`` pass every
buffer. The comments name equations of arXiv 2605.04470.
"""

import math

import numpy as np

from craft_lightning.control import clip
from craft_lightning.counterfactual.boxes import circumradius
from craft_lightning.counterfactual.events import crossed_lines, first_collisions, swept_bounds
from craft_lightning.counterfactual.lanes import (
    ARC,
    COLLIDED,
    COS_THEN,
    D_C,
    D_G,
    D_H,
    EVER_EMERGENCY,
    EVER_OFFROUTE,
    EVER_OPPOSITE,
    EVER_OUTSIDE,
    FOREIGN,
    LANE_AGREES,
    LANE_OFFSET,
    LANE_SHOULDER,
    LANES,
    LAST_ARC,
    LAST_LANE,
    OUTSIDE,
    POS_X,
    POS_Y,
    RED,
    REWARD,
    ROUTE_COS,
    ROUTE_SIN,
    ROUTE_SQUARE,
    SIN_THEN,
    SPEED_NOW,
    SPEED_THEN,
    START_ARC,
    STOP,
    TOTAL,
    X_THEN,
    YAW_NOW,
    copy,
)
from craft_lightning.counterfactual.look_up import (
    locate_lanes,
    look_up_edge,
    look_up_road,
    look_up_route,
    place_lanes,
)
from craft_lightning.counterfactual.motion import follow_plans
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
)
from craft_lightning.counterfactual.prepare import AGENTS, LINES, SEGMENTS, START
from craft_lightning.counterfactual.roadside import heading_error
from craft_lightning.elementary import decaying_exponential

# Steps of the piece that is executed before the next decision (0.5 s).
FIRST_PIECE = 5


def recovery(deviation: float, change: float, weight: float, p: np.ndarray) -> float:
    """One term of c_t, (42): ``weight`` times the clipped decrease of a deviation above the dead band."""
    gain = -weight * clip(change, -p[RECOVERY_STEP_CLIP], p[RECOVERY_STEP_CLIP])
    return gain if deviation > p[RECOVERY_DEADBAND] else 0.0


def charge_lanes(work: np.ndarray, opposite_cos: float, p: np.ndarray) -> None:
    """Take the charges of a step (44) off REWARD and note the events; all lanes, no branch taken."""
    for lane in range(LANES):
        opposite = 1.0 if work[LANE_AGREES * LANES + lane] < opposite_cos else 0.0
        far = work[ROUTE_SQUARE * LANES + lane] > p[OFFROUTE_DISTANCE] * p[OFFROUTE_DISTANCE]
        off_route = 1.0 if far else work[FOREIGN * LANES + lane]
        emergency, outside = work[LANE_SHOULDER * LANES + lane], work[OUTSIDE * LANES + lane]
        work[EVER_OPPOSITE * LANES + lane] = max(work[EVER_OPPOSITE * LANES + lane], opposite)
        work[EVER_EMERGENCY * LANES + lane] = max(work[EVER_EMERGENCY * LANES + lane], emergency)
        work[EVER_OFFROUTE * LANES + lane] = max(work[EVER_OFFROUTE * LANES + lane], off_route)
        work[EVER_OUTSIDE * LANES + lane] = max(work[EVER_OUTSIDE * LANES + lane], outside)
        work[REWARD * LANES + lane] = -(
            p[OPPOSITE_LANE] * opposite + p[EMERGENCY_LANE] * emergency + p[OFFROUTE] * off_route + p[OFFROAD] * outside
        )


def reward_lanes(work: np.ndarray, step: float | np.floating, gamma: float, p: np.ndarray) -> None:
    """Rewards r_t of a step for all lanes of ``work``, on top of the charges in REWARD.

    No memory but ``work`` is written, no branch taken. With ``gamma`` 0 nothing is added up: so the visited state
    itself is taken in, before the first step.
    """
    ends = p[REWARD_AFTER_COLLISION] == 0.0
    for lane in range(LANES):
        arc = max(work[ARC * LANES + lane], work[LAST_ARC * LANES + lane])
        gained = arc - work[LAST_ARC * LANES + lane]
        d_g = min(math.sqrt(work[ROUTE_SQUARE * LANES + lane]) / p[ROUTE_SCALE], 1.0)
        d_c = min(work[LANE_OFFSET * LANES + lane] / p[LANE_SCALE], 1.0)
        error = heading_error(
            work[COS_THEN * LANES + lane],
            work[SIN_THEN * LANES + lane],
            work[ROUTE_COS * LANES + lane],
            work[ROUTE_SIN * LANES + lane],
        )
        d_h = min(error / p[HEADING_SCALE], 1.0)
        share = clip(gained, 0.0, p[PROGRESS_CLIP]) / p[PROGRESS_CLIP]  # (40)
        eta = decaying_exponential(p[ROUTE_DECAY] * d_g + p[LANE_DECAY] * d_c + p[HEADING_DECAY] * d_h)  # (41)
        c = (
            recovery(d_g, d_g - work[D_G * LANES + lane], p[RECOVERY_ROUTE], p)
            + recovery(d_c, d_c - work[D_C * LANES + lane], p[RECOVERY_LANE], p)
            + recovery(d_h, d_h - work[D_H * LANES + lane], p[RECOVERY_HEADING], p)
        )
        c = clip(c, -p[RECOVERY_CLIP], p[RECOVERY_CLIP])  # (42)
        blend = p[RECOVERY_BASE] + (1.0 - p[RECOVERY_BASE]) * share
        reward = p[PROGRESS] * share * eta + c * blend + work[REWARD * LANES + lane]  # (43, 44)
        # No reward after the first collision; the collision itself is charged below that.
        collided = work[COLLIDED * LANES + lane]
        reward = min(reward, 0.0) if (step > collided) & ends else reward
        crash = clip(
            work[SPEED_THEN * LANES + lane] / p[COLLISION_SPEED], p[COLLISION_SPEED_MIN], p[COLLISION_SPEED_MAX]
        )
        reward -= p[COLLISION] * (1.0 + p[COLLISION_SPEED_GAIN] * crash) if step == collided else 0.0  # (45)
        work[REWARD * LANES + lane] = reward
        work[TOTAL * LANES + lane] += gamma * reward  # (37)
        work[LAST_ARC * LANES + lane] = arc
        work[D_G * LANES + lane], work[D_C * LANES + lane], work[D_H * LANES + lane] = d_g, d_c, d_h


def score_lanes(
    candidates: np.ndarray,
    index: np.ndarray,
    count: int,
    speed: float,
    size: np.ndarray,
    frame: np.ndarray,
    route_lanes: np.ndarray,
    counts: np.ndarray,
    poses: np.ndarray,
    boxes: np.ndarray,
    route: np.ndarray,
    lines: np.ndarray,
    shape: np.ndarray,
    cells: np.ndarray,
    segments: np.ndarray,
    per_cell: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    p: np.ndarray,
    plans: np.ndarray,
    places: np.ndarray,
    rings: np.ndarray,
    work: np.ndarray,
    ego: np.ndarray,
    keep_rewards: bool,
    keep_states: bool,
    summary: np.ndarray,
    collision: np.ndarray,
    flags: np.ndarray,
    final: np.ndarray,
    rewards: np.ndarray,
    states: np.ndarray,
) -> None:
    """Drive up to LANES candidates of one state and add up their rewards.

    Args:
        candidates: [K, T, 3] in the ego frame at ``dt``.
        index: [LANES] which candidate each lane drives.
        count: number of lanes in use.
        speed: of the ego now, m/s.
        size: [3] length, width, wheelbase of the ego.
        frame: [4] x, y of the ego relative to the grid's origin, cosine and sine of its world heading.
        route_lanes: [M] lanes the route may use, -1 padded.
        counts: [4] of ``prepare_state``; so are ``poses``, ``boxes``, ``route`` and ``lines``.
        poses: [A, steps, 4].
        boxes: [A, 7].
        route: [R - 1, 6].
        lines: [L, 5].
        shape: [2] rows and columns of the grid.
        cells: [H * W + 1, 2] of GridArrays.
        segments: [S + 1, 8] likewise.
        per_cell: cells a metre.
        dt: seconds a step.
        steps: number of steps.
        tracker: ``TrackerParameters`` as an array.
        bicycle: ``BicycleParameters`` as an array.
        p: ``RewardParameters`` as an array.
        plans: scratch of ``follow_plans``; so are ``places`` .. ``work``.
        places: [2, LANES] uint32 scratch.
        rings: likewise.
        work: likewise.
        ego: [steps + 1, 6 * LANES] scratch; holds the tracked rollouts afterwards.
        keep_rewards: write ``rewards``.
        keep_states: write ``states``.
        summary: [K, 3] out: return (37), its part from the first 0.5 s, metres of progress.
        collision: [K] out: step (0 .. steps - 1) of the first virtual collision, -1 if there is none.
        flags: [K, 7] out, FLAGS.
        final: [K, 4] out: x, y, yaw, speed at the horizon.
        rewards: [K, steps] out: undiscounted r_t, without the two charges a trajectory.
        states: [K, steps + 1, 4] out: x, y, yaw, speed now and after every step.

    """
    follow_plans(
        candidates,
        index,
        count,
        speed,
        size[2],
        dt,
        steps,
        tracker,
        bicycle,
        plans,
        places,
        rings,
        work,
        ego,
    )
    half_length, half_width = 0.5 * size[0], 0.5 * size[1]
    opposite_cos = math.cos(p[OPPOSITE_ANGLE])
    radius = circumradius(half_length, half_width)
    bounds = swept_bounds(count, work)
    first_collisions(ego, bounds, steps, half_length, half_width, counts[AGENTS], poses, boxes, work)
    crossed_lines(ego, bounds, steps, half_length, radius, lines, counts[LINES], p, work)
    for lane in range(LANES):
        places[0, lane] = counts[START]
        work[LAST_LANE * LANES + lane] = -1.0

    gamma = 1.0
    lanes = index.shape[0]
    for step in range(steps + 1):
        copy(ego[step], work[X_THEN * LANES :], 5 * lanes)
        locate_lanes(work, frame, shape, per_cell, places[1])
        look_up_route(count, counts[SEGMENTS], route, places[0], work)
        look_up_road(count, route_lanes, cells, segments, places[1], work)
        place_lanes(work, frame)
        if step == 0:
            reward_lanes(work, np.float32(0.0), 0.0, p)
            for lane in range(LANES):
                work[START_ARC * LANES + lane] = work[LAST_ARC * LANES + lane]
            continue
        look_up_edge(count, half_length, half_width, frame, shape, cells, per_cell, p[OFFROAD_TOLERANCE], work)
        charge_lanes(work, opposite_cos, p)
        reward_lanes(work, np.float32(step), gamma, p)
        gamma *= p[DISCOUNT]
        if keep_rewards:
            for lane in range(count):
                rewards[index[lane], step - 1] = work[REWARD * LANES + lane]
        if step == min(FIRST_PIECE, steps):
            for lane in range(count):
                summary[index[lane], 1] = work[TOTAL * LANES + lane]

    for lane in range(count):
        k = index[lane]
        collided = int(work[COLLIDED * LANES + lane])
        red, stop = int(work[RED * LANES + lane]), int(work[STOP * LANES + lane])
        late = p[RED_LIGHT] * (red <= steps) + p[STOP_SIGN] * (stop <= steps)
        early = p[RED_LIGHT] * (red <= FIRST_PIECE) + p[STOP_SIGN] * (stop <= FIRST_PIECE)
        summary[k, 0] = work[TOTAL * LANES + lane] - late
        summary[k, 1] -= early if steps > FIRST_PIECE else late
        summary[k, 2] = work[LAST_ARC * LANES + lane] - work[START_ARC * LANES + lane]
        collision[k] = collided - 1 if collided <= steps else -1
        flags[k, FLAG_COLLISION] = collided <= steps
        flags[k, FLAG_RED_LIGHT] = red <= steps
        flags[k, FLAG_STOP_SIGN] = stop <= steps
        flags[k, FLAG_OFFROAD] = work[EVER_OUTSIDE * LANES + lane] > 0.0
        flags[k, FLAG_OFFROUTE] = work[EVER_OFFROUTE * LANES + lane] > 0.0
        flags[k, FLAG_EMERGENCY_LANE] = work[EVER_EMERGENCY * LANES + lane] > 0.0
        flags[k, FLAG_OPPOSITE_LANE] = work[EVER_OPPOSITE * LANES + lane] > 0.0
        final[k, 0], final[k, 1] = ego[steps, POS_X * LANES + lane], ego[steps, POS_Y * LANES + lane]
        final[k, 2], final[k, 3] = ego[steps, YAW_NOW * LANES + lane], ego[steps, SPEED_NOW * LANES + lane]
        if keep_states:
            for step in range(steps + 1):
                states[k, step, 0], states[k, step, 1] = (
                    ego[step, POS_X * LANES + lane],
                    ego[step, POS_Y * LANES + lane],
                )
                states[k, step, 2] = ego[step, YAW_NOW * LANES + lane]
                states[k, step, 3] = ego[step, SPEED_NOW * LANES + lane]
