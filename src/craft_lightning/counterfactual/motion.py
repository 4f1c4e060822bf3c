"""How the ego and the others move in the counterfactual world, as functions that numba compiles for CPU and GPU."""

import math

import numpy as np

from craft_lightning.control import (
    aim_distance,
    aim_point,
    bicycle_motion,
    clip,
    next_segment,
    plan_piece,
    speed_poses,
    speed_window_start,
    track,
)
from craft_lightning.control_parameters import SPEED_WINDOW, WINDOW
from craft_lightning.conventions import AGENT_CYCLIST, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.counterfactual.boxes import circumradius
from craft_lightning.counterfactual.lanes import (
    AHEAD,
    AIM_X,
    AIM_Y,
    COS,
    FIELDS,
    LANES,
    NEXT_METRES,
    PLAN_ARC,
    PLAN_COS,
    PLAN_FIELDS,
    PLAN_SIN,
    PLAN_X,
    PLAN_Y,
    POS_X,
    POS_Y,
    PUSH_LAST,
    PUSH_OLD,
    PUSH_SUM,
    SIN,
    SPEED_NOW,
    SWEPT_HIGH_X,
    SWEPT_HIGH_Y,
    SWEPT_LOW_X,
    SWEPT_LOW_Y,
    TURN_LAST,
    TURN_OLD,
    TURN_SUM,
    YAW_NOW,
    copy,
    subtract,
)
from craft_lightning.counterfactual.parameters import (
    BRAKE,
    HOLD,
    MAX_ACCELERATION,
    MAX_CURVATURE,
    MIN_CURVATURE_SPEED,
    RAMP,
    RAMP_JUNCTION,
    WHEELBASE_SHARE,
)
from craft_lightning.elementary import small_cosine, small_sine

# Columns of an agent of a Scene.
X, Y, YAW, SPEED, LENGTH, WIDTH, ACCELERATION, YAW_RATE = range(8)

# Columns of an agent's box: the bounds of its centre over the rollout, grown by its circumradius; its half extents.
LOW_X, LOW_Y, HIGH_X, HIGH_Y, HALF_LENGTH, HALF_WIDTH, RADIUS = range(7)


def decayed_acceleration(acceleration: float, time: float, hold: float, ramp: float, brake: float) -> float:
    """Acceleration (m/s2) along the motion at ``time`` (s) of a decay rollout that began with ``acceleration``."""
    fade = clip((time - hold) / ramp, 0.0, 1.0)
    push = max(acceleration, 0.0)
    braking = max(-acceleration, 0.0)
    return push * (1.0 - fade) - braking - fade * max(brake - braking, 0.0)


def decay_rollout(
    agent: np.ndarray,
    kind: int,
    junction: bool,
    dt: float,
    steps: int,
    p: np.ndarray,
    poses: np.ndarray,
    box: np.ndarray,
) -> None:
    """Roll one agent out without reacting to anybody.

    Args:
        agent: [8] a row of ``Scene.agents``.
        kind: AGENT_*; vehicles decay, walkers and cyclists keep their velocity, all else stands.
        junction: on a junction lane.
        dt: seconds a step.
        steps: number of steps.
        p: ``DecayParameters`` in the order of the fields.
        poses: [steps, 4] out: x, y, cosine and sine of the heading after each step.
        box: [7] out: bounds and half extents.

    """
    x, y, yaw = agent[X], agent[Y], agent[YAW]
    half_length, half_width = 0.5 * agent[LENGTH], 0.5 * agent[WIDTH]
    radius = circumradius(half_length, half_width)
    box[HALF_LENGTH], box[HALF_WIDTH], box[RADIUS] = half_length, half_width, radius
    # Along the motion, so that a reversing vehicle decays to a stop as well.
    direction = -1.0 if agent[SPEED] < 0.0 else 1.0
    speed = abs(agent[SPEED])
    acceleration = clip(direction * agent[ACCELERATION], -2.0 * p[MAX_ACCELERATION], p[MAX_ACCELERATION])
    ramp = p[RAMP_JUNCTION] if junction else p[RAMP]
    curvature = 0.0
    if kind == AGENT_VEHICLE and speed > p[MIN_CURVATURE_SPEED]:
        curvature = clip(agent[YAW_RATE] / agent[SPEED], -p[MAX_CURVATURE], p[MAX_CURVATURE])
    # A bicycle's box centre moves along yaw + slip and turns at speed * 2 sin(slip) / wheelbase.
    sin_slip = 0.5 * curvature * p[WHEELBASE_SHARE] * agent[LENGTH]
    cos_slip = math.sqrt(max(1.0 - sin_slip * sin_slip, 0.0))
    if kind in (AGENT_WALKER, AGENT_CYCLIST):
        acceleration = 0.0
    elif kind != AGENT_VEHICLE:
        speed = 0.0
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    low_x = high_x = x
    low_y = high_y = y
    time = 0.5 * dt
    for step in range(steps):
        mean = speed
        if kind == AGENT_VEHICLE:
            change = decayed_acceleration(acceleration, time, p[HOLD], ramp, p[BRAKE])
            faster = max(speed + change * dt, 0.0)
            mean = 0.5 * (speed + faster)
            speed = faster
        time += dt
        distance = direction * mean * dt
        if curvature != 0.0:
            # Turn by half the angle twice instead of asking for sine and cosine of the heading again.
            half_turn = 0.5 * curvature * distance
            cos_half, sin_half = small_cosine(half_turn), small_sine(half_turn)
            cos_middle, sin_middle = cos_yaw * cos_half - sin_yaw * sin_half, sin_yaw * cos_half + cos_yaw * sin_half
            x += distance * (cos_middle * cos_slip - sin_middle * sin_slip)
            y += distance * (sin_middle * cos_slip + cos_middle * sin_slip)
            cos_yaw = cos_middle * cos_half - sin_middle * sin_half
            sin_yaw = sin_middle * cos_half + cos_middle * sin_half
        else:
            x += distance * cos_yaw
            y += distance * sin_yaw
        poses[step, 0], poses[step, 1], poses[step, 2], poses[step, 3] = x, y, cos_yaw, sin_yaw
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
    box[LOW_X], box[LOW_Y] = low_x - radius, low_y - radius
    box[HIGH_X], box[HIGH_Y] = high_x + radius, high_y + radius


def follow_plans(
    candidates: np.ndarray,
    index: np.ndarray,
    count: int,
    speed: float,
    wheelbase: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    plans: np.ndarray,
    segments: np.ndarray,
    rings: np.ndarray,
    work: np.ndarray,
    ego: np.ndarray,
) -> None:
    """Track up to LANES candidates, step by step side by side, from the ego's current pose with empty PID windows.

    Loops over the lanes either search the plans, or are pure arithmetic on ``work`` alone (compilers turn it into
    vector instructions, so they always run over all lanes), or copy to and from it.

    Args:
        candidates: [K, T, 3] x, y, yaw at ``dt``, the first pose one ``dt`` ahead.
        index: [LANES] which candidate each lane drives.
        count: number of lanes in use.
        speed: m/s now.
        wheelbase: metres.
        dt: seconds a step.
        steps: number of steps; where it exceeds T the plan goes on straight at its last speed.
        tracker: ``TrackerParameters`` in the order of the fields.
        bicycle: ``BicycleParameters`` in the order of the fields.
        plans: [T + 1, PLAN_FIELDS * LANES] scratch.
        segments: [2, LANES] uint32 scratch.
        rings: [window or more, 2 * LANES] scratch: turn errors, speed errors.
        work: [FIELDS * LANES] scratch; field f of lane l is at f * LANES + l. Holds the swept bounds afterwards.
        ego: [steps + 1, 6 * LANES] out: x, y, cosine, sine, speed, yaw of every lane; step 0 is now.

    """
    poses = candidates.shape[1] + 1
    window = int(tracker[WINDOW])
    covered = speed_poses(poses, dt, tracker[SPEED_WINDOW])
    per_second = np.float32(1.0) / (np.float32(covered) * dt)
    for i in range(FIELDS * LANES):
        work[i] = 0.0
    measure_plans(candidates, index, count, plans)
    lanes = index.shape[0]
    for lane in range(count):
        segments[0, lane], segments[1, lane] = 0, 0
    for lane in range(LANES):
        work[COS * LANES + lane] = 1.0
        work[SPEED_NOW * LANES + lane] = max(speed, 0.0)
        work[AHEAD * LANES + lane] = aim_distance(max(speed, 0.0), tracker)
    for slot in range(window):
        for i in range(2 * LANES):
            rings[slot, i] = 0.0
    copy(work, ego[0], 6 * lanes)
    for step in range(steps):
        slot = step % window
        first = speed_window_start(poses, step, covered)
        for lane in range(count):
            segments[0, lane] = next_segment(
                plans[:, PLAN_X * LANES + lane : PLAN_COS * LANES : LANES],
                plans[:, PLAN_ARC * LANES + lane],
                plans[:, PLAN_COS * LANES + lane : PLAN_ARC * LANES : LANES],
                np.uint32(poses - 1),
                segments[0, lane],
                work[POS_X * LANES + lane],
                work[POS_Y * LANES + lane],
            )
        for lane in range(count):
            aim_x, aim_y, segment, hint = aim_point(
                plans[:, PLAN_X * LANES + lane : PLAN_COS * LANES : LANES],
                plans[:, PLAN_ARC * LANES + lane],
                plans[:, PLAN_COS * LANES + lane : PLAN_ARC * LANES : LANES],
                np.uint32(poses - 1),
                segments[0, lane],
                segments[1, lane],
                work[POS_X * LANES + lane],
                work[POS_Y * LANES + lane],
                work[AHEAD * LANES + lane],
            )
            segments[0, lane], segments[1, lane] = segment, hint
            work[AIM_X * LANES + lane], work[AIM_Y * LANES + lane] = aim_x, aim_y
        subtract(
            plans[first + covered, PLAN_ARC * LANES :],
            plans[first, PLAN_ARC * LANES :],
            work[NEXT_METRES * LANES :],
            lanes,
        )
        copy(rings[slot], work[TURN_OLD * LANES :], 2 * lanes)
        drive_lanes(work, wheelbase, dt, per_second, tracker, bicycle)
        copy(work[TURN_LAST * LANES :], rings[slot], 2 * lanes)
        copy(work, ego[step + 1], 6 * lanes)


def measure_plans(candidates: np.ndarray, index: np.ndarray, count: int, plans: np.ndarray) -> None:
    """``control.measure_plan`` for all lanes side by side; arguments as in ``follow_plans``."""
    poses = candidates.shape[1] + 1
    for lane in range(count):
        k = index[lane]
        for i in range(poses - 1):
            plans[i + 1, PLAN_X * LANES + lane] = candidates[k, i, 0]
            plans[i + 1, PLAN_Y * LANES + lane] = candidates[k, i, 1]
        yaw = candidates[k, poses - 2, 2]
        plans[poses - 1, PLAN_COS * LANES + lane] = math.cos(yaw)
        plans[poses - 1, PLAN_SIN * LANES + lane] = math.sin(yaw)
    for i in range(PLAN_FIELDS * LANES):
        plans[0, i] = 0.0
    for i in range(poses - 1):
        measure_lanes(plans[i], plans[i + 1])


def measure_lanes(then: np.ndarray, now: np.ndarray) -> None:
    """Measure the piece between two rows of ``plans`` in all lanes."""
    for lane in range(LANES):
        length, cos, sin = plan_piece(
            now[PLAN_X * LANES + lane] - then[PLAN_X * LANES + lane],
            now[PLAN_Y * LANES + lane] - then[PLAN_Y * LANES + lane],
        )
        then[PLAN_COS * LANES + lane], then[PLAN_SIN * LANES + lane] = cos, sin
        now[PLAN_ARC * LANES + lane] = then[PLAN_ARC * LANES + lane] + length


def drive_lanes(
    work: np.ndarray,
    wheelbase: float,
    dt: float,
    per_second: float | np.floating,
    tracker: np.ndarray,
    bicycle: np.ndarray,
) -> None:
    """One step of tracker and bicycle for all lanes of ``work``; no memory but ``work`` is written, no branch taken."""
    for lane in range(LANES):
        cos_yaw, sin_yaw = work[COS * LANES + lane], work[SIN * LANES + lane]
        throttle, steer, brake, turn, push = track(
            work[AIM_X * LANES + lane] - work[POS_X * LANES + lane],
            work[AIM_Y * LANES + lane] - work[POS_Y * LANES + lane],
            cos_yaw,
            sin_yaw,
            work[SPEED_NOW * LANES + lane],
            work[NEXT_METRES * LANES + lane] * per_second,
            work[TURN_SUM * LANES + lane],
            work[TURN_OLD * LANES + lane],
            work[TURN_LAST * LANES + lane],
            work[PUSH_SUM * LANES + lane],
            work[PUSH_OLD * LANES + lane],
            work[PUSH_LAST * LANES + lane],
            tracker,
        )
        work[TURN_SUM * LANES + lane] += turn - work[TURN_OLD * LANES + lane]
        work[PUSH_SUM * LANES + lane] += push - work[PUSH_OLD * LANES + lane]
        work[TURN_LAST * LANES + lane], work[PUSH_LAST * LANES + lane] = turn, push
        speed, forward, left, half_turn = bicycle_motion(
            work[SPEED_NOW * LANES + lane], throttle, steer, brake, wheelbase, dt, bicycle
        )
        x = work[POS_X * LANES + lane] + cos_yaw * forward - sin_yaw * left
        y = work[POS_Y * LANES + lane] + sin_yaw * forward + cos_yaw * left
        # The heading turns by twice half_turn: rotate by the double angle instead of asking for its cosine again.
        cos_half, sin_half = small_cosine(half_turn), small_sine(half_turn)
        cos_turn, sin_turn = cos_half * cos_half - sin_half * sin_half, 2.0 * sin_half * cos_half
        work[COS * LANES + lane] = cos_yaw * cos_turn - sin_yaw * sin_turn
        work[SIN * LANES + lane] = sin_yaw * cos_turn + cos_yaw * sin_turn
        work[YAW_NOW * LANES + lane] += 2.0 * half_turn
        work[SPEED_NOW * LANES + lane] = speed
        work[AHEAD * LANES + lane] = aim_distance(speed, tracker)
        work[POS_X * LANES + lane], work[POS_Y * LANES + lane] = x, y
        work[SWEPT_LOW_X * LANES + lane] = min(work[SWEPT_LOW_X * LANES + lane], x)
        work[SWEPT_LOW_Y * LANES + lane] = min(work[SWEPT_LOW_Y * LANES + lane], y)
        work[SWEPT_HIGH_X * LANES + lane] = max(work[SWEPT_HIGH_X * LANES + lane], x)
        work[SWEPT_HIGH_Y * LANES + lane] = max(work[SWEPT_HIGH_Y * LANES + lane], y)
