"""How the ego and the others move in the counterfactual world, as functions that numba compiles for CPU and GPU."""

import math

import numpy as np

from craft_lightning.control import bicycle_step, clip, plan_arc, tracker_step
from craft_lightning.conventions import AGENT_CYCLIST, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.counterfactual.boxes import circumradius
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

# Columns of an agent of a Scene.
X, Y, YAW, SPEED, LENGTH, WIDTH, ACCELERATION, YAW_RATE = range(8)

# Columns of an ego state.
EGO_X, EGO_Y, EGO_COS, EGO_SIN, EGO_SPEED, EGO_YAW = range(6)

# Columns of an agent's box: the bounds of its centre over the rollout, grown by its circumradius; its half extents.
LOW_X, LOW_Y, HIGH_X, HIGH_Y, HALF_LENGTH, HALF_WIDTH, RADIUS = range(7)


def decayed_acceleration(acceleration: float, time: float, hold: float, ramp: float, brake: float) -> float:
    """Acceleration (m/s2) along the motion at ``time`` (s) of a decay rollout that began with ``acceleration``."""
    fade = clip((time - hold) / ramp, 0.0, 1.0)
    push = max(acceleration, 0.0)
    braking = max(-acceleration, 0.0)
    return push * (1.0 - fade) - braking - fade * max(brake - braking, 0.0)


def decay_rollout(
    agent: np.ndarray, kind: int, junction: bool, dt: float, steps: int, p: np.ndarray, poses: np.ndarray, box: np.ndarray
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
    if kind == AGENT_WALKER or kind == AGENT_CYCLIST:  # noqa: PLR1714 - numba and CUDA want plain comparisons
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
            middle = yaw + 0.5 * curvature * distance
            yaw += curvature * distance
            cos_middle, sin_middle = math.cos(middle), math.sin(middle)
            x += distance * (cos_middle * cos_slip - sin_middle * sin_slip)
            y += distance * (sin_middle * cos_slip + cos_middle * sin_slip)
            cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
        else:
            x += distance * cos_yaw
            y += distance * sin_yaw
        poses[step, 0], poses[step, 1], poses[step, 2], poses[step, 3] = x, y, cos_yaw, sin_yaw
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
    box[LOW_X], box[LOW_Y] = low_x - radius, low_y - radius
    box[HIGH_X], box[HIGH_Y] = high_x + radius, high_y + radius


def follow_plan(
    candidate: np.ndarray,
    speed: float,
    wheelbase: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    plan: np.ndarray,
    arc: np.ndarray,
    memory: np.ndarray,
    ego: np.ndarray,
) -> None:
    """Track one candidate from the ego's current pose, the origin, with empty PID windows.

    Args:
        candidate: [T, 3] x, y, yaw at ``dt``, the first pose one ``dt`` ahead.
        speed: m/s now.
        wheelbase: metres.
        dt: seconds a step.
        steps: number of steps; where it exceeds T the plan goes on straight at its last speed.
        tracker: ``TrackerParameters`` in the order of the fields.
        bicycle: ``BicycleParameters`` in the order of the fields.
        plan: [T + 1, 3] scratch.
        arc: [T + 1] scratch.
        memory: [2 (window + 1)] or longer scratch.
        ego: [steps + 1, 6] out: x, y, cosine, sine, speed, yaw; row 0 is now.

    """
    poses = candidate.shape[0] + 1
    for i in range(3):
        plan[0, i] = 0.0
    for i in range(poses - 1):
        plan[i + 1, 0], plan[i + 1, 1], plan[i + 1, 2] = candidate[i, 0], candidate[i, 1], candidate[i, 2]
    plan_arc(plan, poses, arc)
    for i in range(memory.shape[0]):
        memory[i] = 0.0
    ego[0, EGO_X], ego[0, EGO_Y], ego[0, EGO_COS], ego[0, EGO_SIN], ego[0, EGO_YAW] = 0.0, 0.0, 1.0, 0.0, 0.0
    ego[0, EGO_SPEED] = max(speed, 0.0)
    segment = 0
    for step in range(steps):
        x, y, yaw, speed = ego[step, EGO_X], ego[step, EGO_Y], ego[step, EGO_YAW], ego[step, EGO_SPEED]
        cos_yaw, sin_yaw = ego[step, EGO_COS], ego[step, EGO_SIN]
        throttle, steer, brake, segment = tracker_step(
            plan, arc, poses, step, segment, x, y, cos_yaw, sin_yaw, speed, dt, memory, step, tracker
        )
        x, y, yaw, speed = bicycle_step(x, y, yaw, speed, throttle, steer, brake, wheelbase, dt, bicycle)
        ego[step + 1, EGO_X], ego[step + 1, EGO_Y], ego[step + 1, EGO_YAW] = x, y, yaw
        ego[step + 1, EGO_COS], ego[step + 1, EGO_SIN], ego[step + 1, EGO_SPEED] = math.cos(yaw), math.sin(yaw), speed
