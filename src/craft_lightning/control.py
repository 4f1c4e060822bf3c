"""The tracker (aim point, turn and speed PID) and the kinematic bicycle: one implementation for every world.

The functions are scalar, plain Python over ``math``: no object, no closure, no allocation. The live world calls them as
they are; the counterfactual world compiles the very same functions with ``numba.njit`` and
``numba.cuda.jit(device=True)`` (``counterfactual.compilation``). The constants are those of the reference tracker
(World on Rails, PDM-Lite).

Frame: any right-handed frame, as long as plan and pose share it. Steer is positive to the LEFT, in [-1, 1].
"""

import dataclasses
import math
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeAlias

import numpy as np

from craft_lightning.control_parameters import (
    AIM_GAIN,
    AIM_MAX,
    AIM_MIN,
    AIM_OFFSET,
    BRAKE_DECELERATION,
    BRAKE_RATIO,
    BRAKE_SPEED,
    CLIP_DELTA,
    DRAG,
    MAX_LATERAL_ACCELERATION,
    MAX_STEER,
    MAX_THROTTLE,
    SPEED_KD,
    SPEED_KI,
    SPEED_KP,
    SPEED_WINDOW,
    THROTTLE_ACCELERATION,
    TURN_KD,
    TURN_KI,
    TURN_KP,
    WINDOW,
    BicycleParameters,
    TrackerParameters,
)
from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.elementary import QUARTER_TURN, arctangent, small_cosine, small_sine, tangent
from craft_lightning.errors import CraftError

__all__ = [
    "BicycleParameters",
    "Tracker",
    "TrackerParameters",
    "aim_distance",
    "aim_point",
    "bicycle_motion",
    "bicycle_step",
    "clip",
    "measure_plan",
    "next_metres",
    "next_segment",
    "plan_piece",
    "speed_poses",
    "speed_window_start",
    "track",
    "tracker_step",
]

# Steps of a plan shorter than this many metres have no direction.
SHORTEST_STEP = 1e-4

Floats: TypeAlias = Sequence[float] | np.ndarray
Scratch: TypeAlias = MutableSequence[float] | np.ndarray
Poses: TypeAlias = Sequence[Sequence[float]] | np.ndarray


def clip(value: float, low: float, high: float) -> float:
    """Return ``value`` limited to [low, high]."""
    return min(max(value, low), high)


def plan_piece(dx: float, dy: float) -> tuple[float, float, float]:
    """Length of the step (dx, dy) of a plan and its unit vector, null below 0.1 mm."""
    length = math.sqrt(dx * dx + dy * dy)
    inverse = 1.0 / length if length > SHORTEST_STEP else 0.0
    return length, dx * inverse, dy * inverse


def measure_plan(plan: Poses, count: int, end_yaw: float, arc: Scratch, direction: Any) -> None:
    """Work out what ``aim_point`` needs to know of a plan.

    Args:
        plan: [count][>= 2] x, y.
        count: poses of the plan.
        end_yaw: yaw of the last pose, radians.
        arc: [count] out: metres along the plan at each pose.
        direction: [count][2] out: unit vector from each pose to the next, that of ``end_yaw`` at the last pose.

    """
    for i in range(count - 1):
        length, cos, sin = plan_piece(plan[i + 1][0] - plan[i][0], plan[i + 1][1] - plan[i][1])
        direction[i][0], direction[i][1] = cos, sin
        arc[i + 1] = length
    direction[count - 1][0], direction[count - 1][1] = math.cos(end_yaw), math.sin(end_yaw)
    arc[0] = 0.0
    for i in range(1, count):
        arc[i] += arc[i - 1]


def aim_point(
    plan: Poses, arc: Floats, direction: Poses, last: Any, segment: int, hint: int, x: float, y: float, ahead: float
) -> tuple[float, float, int, int]:
    """The point of a plan ``ahead`` metres of arc beyond the projection of (x, y).

    The projection walks along the plan and never back. Past its last pose the plan goes on straight along that yaw.

    Args:
        plan: [last + 1][>= 2] x, y.
        arc: [last + 1] from ``measure_plan``.
        direction: [last + 1][2] from ``measure_plan``.
        last: index of the last pose.
        segment: where the last call found the projection, 0 at first.
        hint: where the last call found the point, 0 at first; it saves steps and does not change the answer.
        x: metres.
        y: metres.
        ahead: metres.

    Returns:
        x and y of the point, segment, hint.

    """
    # Walk on while the vehicle is past the end of its segment; segments (almost) without length are passed at once.
    along = (x - plan[segment][0]) * direction[segment][0] + (y - plan[segment][1]) * direction[segment][1]
    while segment < last:
        length = arc[segment + 1] - arc[segment]
        if length > SHORTEST_STEP and along < length:
            break
        segment += 1
        along = (x - plan[segment][0]) * direction[segment][0] + (y - plan[segment][1]) * direction[segment][1]
    # No index is negative; saying so saves numba the question whether it counts from the end, here and below.
    segment = max(segment, 0)
    target = arc[segment] + max(along, 0.0) + ahead
    # The last pose that is not beyond the target, and from there straight on.
    i = max(segment, hint)
    # Mostly one step on or none: that one without a branch, which no processor could foretell.
    following = min(i + 1, last)
    i = following if arc[following] <= target else i
    while i > segment and arc[i] > target:
        i -= 1
    while i < last and arc[i + 1] <= target:
        i += 1
    i = max(i, 0)
    rest = target - arc[i]
    return plan[i][0] + rest * direction[i][0], plan[i][1] + rest * direction[i][1], segment, i


def next_segment(plan: Poses, arc: Floats, direction: Poses, last: Any, segment: int, x: float, y: float) -> int:
    """``segment``, or the one after it where (x, y) is past its end; arguments as in ``aim_point``.

    For callers with many plans: the step that most calls of ``aim_point`` would begin with, taken without a branch and
    ahead of the call, does not hold up the arithmetic that waits for it. The answer of ``aim_point`` stays the same.
    """
    following = min(segment + 1, last)
    length = arc[following] - arc[segment]
    along = (x - plan[segment][0]) * direction[segment][0] + (y - plan[segment][1]) * direction[segment][1]
    return following if (length <= SHORTEST_STEP) | (along >= length) else segment


def next_metres(arc: Floats, count: int, step: int, poses: int) -> float:
    """Metres that a plan covers in the ``poses`` poses after ``step``; past its end, in its last ones.

    Args:
        arc: [count] from ``measure_plan``.
        count: poses of the plan.
        step: number of poses since the plan was made.
        poses: at least 1, less than ``count``.

    """
    first = speed_window_start(count, step, poses)
    return arc[first + poses] - arc[first]


def speed_window_start(count: int, step: int, poses: int) -> int:
    """First of the ``poses`` + 1 poses whose mean speed is the desired one ``step`` poses after the plan was made."""
    return max(min(step, count - 1 - poses), 0)


def speed_poses(count: int, dt: float, window: float) -> int:
    """Poses of a plan of ``count`` poses at ``dt`` whose mean speed is the desired one: ``window`` seconds or all."""
    return max(min(int(window / dt + 0.5), count - 1), 1)


def track(
    dx: float,
    dy: float,
    cos_yaw: float,
    sin_yaw: float,
    speed: float,
    desired: float,
    turn_sum: float,
    turn_old: float,
    turn_last: float,
    push_sum: float,
    push_old: float,
    push_last: float,
    p: Floats,
) -> tuple[float, float, float, float, float]:
    """The tracker's two PIDs; the integral of each is the mean of its last ``window`` errors.

    Args:
        dx: from the vehicle to the aim point, metres.
        dy: likewise.
        cos_yaw: cosine of the vehicle's heading.
        sin_yaw: sine of it.
        speed: m/s, not negative.
        desired: m/s.
        turn_sum: sum of the window of turn errors before this call.
        turn_old: the turn error that leaves the window in this call.
        turn_last: the turn error of the last call.
        push_sum: as ``turn_sum``, of speed errors.
        push_old: likewise.
        push_last: likewise.
        p: ``TrackerParameters`` in the order of the fields.

    Returns:
        throttle [0, 1], steer [-1, 1] positive left, brake (0 or 1), turn error, speed error.

    """
    turn = arctangent(cos_yaw * dy - sin_yaw * dx, cos_yaw * dx + sin_yaw * dy) / QUARTER_TURN
    integral = (turn_sum + turn - turn_old) / p[WINDOW]
    steer = clip(p[TURN_KP] * turn + p[TURN_KI] * integral + p[TURN_KD] * (turn - turn_last), -1.0, 1.0)
    push = clip(desired - speed, 0.0, p[CLIP_DELTA])
    integral = (push_sum + push - push_old) / p[WINDOW]
    throttle = clip(
        p[SPEED_KP] * push + p[SPEED_KI] * integral + p[SPEED_KD] * (push - push_last), 0.0, p[MAX_THROTTLE]
    )
    braking = (desired < p[BRAKE_SPEED]) | (speed > p[BRAKE_RATIO] * desired)
    return 0.0 if braking else throttle, steer, 1.0 if braking else 0.0, turn, push


def tracker_step(
    plan: Poses,
    arc: Floats,
    direction: Poses,
    count: int,
    step: int,
    segment: int,
    x: float,
    y: float,
    yaw: float,
    speed: float,
    dt: float,
    memory: Scratch,
    tick: int,
    p: Floats,
) -> tuple[float, float, float, int]:
    """Pedals and steering that follow a timed plan from the pose where the vehicle is now.

    The aim point lies clip(0.5 v + 2.5, 5, 8) metres of arc beyond the vehicle's projection on the plan; past its last
    pose the plan goes on straight along that pose's yaw, so a plan that stands still is followed by standing still and
    steering straight. The desired speed is the mean speed of the plan's next 0.5 s; past its end, of its last 0.5 s.

    Args:
        plan: [count][>= 3] x, y, yaw at ``dt``; pose 0 is where the vehicle was when the plan was made.
        arc: [count] from ``measure_plan``.
        direction: [count][2] from ``measure_plan``.
        count: poses of the plan, the first included.
        step: number of ``dt`` since the plan was made.
        segment: where the last call found the vehicle on the plan, 0 at first; the projection never moves back.
        x: position of the box centre, metres.
        y: likewise.
        yaw: heading, radians.
        speed: m/s, not negative.
        dt: seconds between poses.
        memory: [2 (window + 1)] scratch: the ring of turn errors, the ring of speed errors, their two sums. Zeros are
            empty windows.
        tick: calls since ``memory`` was emptied.
        p: ``TrackerParameters`` in the order of the fields.

    Returns:
        throttle [0, 1], steer [-1, 1] positive left, brake (0 or 1), segment.

    """
    ahead = aim_distance(speed, p)
    aim_x, aim_y, segment, _ = aim_point(plan, arc, direction, count - 1, segment, 0, x, y, ahead)
    poses = speed_poses(count, dt, p[SPEED_WINDOW])
    desired = next_metres(arc, count, step, poses) / (poses * dt)
    window = int(p[WINDOW])
    slot = tick % window
    before = (tick + window - 1) % window
    sums = 2 * window
    throttle, steer, brake, turn, push = track(
        aim_x - x,
        aim_y - y,
        math.cos(yaw),
        math.sin(yaw),
        speed,
        desired,
        memory[sums],
        memory[slot],
        memory[before],
        memory[sums + 1],
        memory[window + slot],
        memory[window + before],
        p,
    )
    memory[sums] += turn - memory[slot]
    memory[sums + 1] += push - memory[window + slot]
    memory[slot], memory[window + slot] = turn, push
    return throttle, steer, brake, segment


def aim_distance(speed: float, p: Floats) -> float:
    """Metres of arc between the projection and the aim point."""
    return clip(p[AIM_GAIN] * speed + p[AIM_OFFSET], p[AIM_MIN], p[AIM_MAX])


def bicycle_motion(
    speed: float, throttle: float, steer: float, brake: float, wheelbase: float, dt: float, p: Floats
) -> tuple[float, float, float, float]:
    """One step of a kinematic bicycle, in its own frame.

    The reference point is the box centre, midway between the axles. With wheel angle d = steer * max_steer and slip
    b = atan(tan(d) / 2), the centre moves along yaw + b and turns at speed * 2 sin(b) / wheelbase. The speed never
    turns negative; position uses the mean of old and new speed and the heading in the middle of the step.

    Args:
        speed: m/s.
        throttle: [0, 1].
        steer: [-1, 1], positive left.
        brake: [0, 1].
        wheelbase: metres between the axles.
        dt: seconds.
        p: ``BicycleParameters`` in the order of the fields.

    Returns:
        Speed after ``dt``, metres moved forward and to the left (along the old heading), and half the angle turned.

    """
    acceleration = throttle * p[THROTTLE_ACCELERATION] - brake * p[BRAKE_DECELERATION] - p[DRAG] * speed
    faster = max(speed + acceleration * dt, 0.0)
    mean = 0.5 * (speed + faster)
    half_tan = 0.5 * tangent(clip(steer, -1.0, 1.0) * p[MAX_STEER])
    cos_slip = 1.0 / math.sqrt(1.0 + half_tan * half_tan)
    sin_slip = half_tan * cos_slip
    # Limit on the lateral acceleration |mean * yaw_rate|.
    limit = p[MAX_LATERAL_ACCELERATION] / max(mean, 0.1)
    half_turn = 0.5 * dt * clip(mean * (2.0 * sin_slip) / wheelbase, -limit, limit)
    cos_half, sin_half = small_cosine(half_turn), small_sine(half_turn)
    distance = mean * dt
    forward = distance * (cos_half * cos_slip - sin_half * sin_slip)
    return faster, forward, distance * (sin_half * cos_slip + cos_half * sin_slip), half_turn


def bicycle_step(
    x: float,
    y: float,
    yaw: float,
    speed: float,
    throttle: float,
    steer: float,
    brake: float,
    wheelbase: float,
    dt: float,
    p: Floats,
) -> tuple[float, float, float, float]:
    """``bicycle_motion`` from a pose: x, y (metres), yaw (radians, not wrapped) and speed (m/s) after ``dt``."""
    speed, forward, left, half_turn = bicycle_motion(speed, throttle, steer, brake, wheelbase, dt, p)
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    x += cos_yaw * forward - sin_yaw * left
    y += sin_yaw * forward + cos_yaw * left
    return x, y, yaw + 2.0 * half_turn, speed


class Tracker:
    """Follows plans in the live world: the thin, stateful side of ``tracker_step``.

    The PID windows live as long as the episode and go on across plans; the counterfactual world cannot know them and
    starts each visited state with empty ones.

    Args:
        parameters: gains and limits.
        dt: seconds between two calls of ``control`` and between two poses of a plan.

    """

    def __init__(self, parameters: TrackerParameters | None = None, dt: float = TRACKER_SECONDS) -> None:
        self.parameters = parameters or TrackerParameters()
        self.dt = dt
        self._p = [float(value) for value in dataclasses.astuple(self.parameters)]
        self.reset()

    def reset(self) -> None:
        """Forget plan and PID windows; call it when an episode begins."""
        self._memory = [0.0] * (2 * (self.parameters.window + 1))
        self._tick = 0
        self._step = 0
        self._segment = 0
        self._plan: list[list[float]] = []
        self._arc: list[float] = []
        self._direction: list[list[float]] = []

    def plan(self, trajectory: np.ndarray, ego_pose: Sequence[float]) -> None:
        """Take a new plan and keep the PID windows.

        Args:
            trajectory: [T, 3] x, y, yaw in the ego frame, the first pose one ``dt`` ahead.
            ego_pose: world x, y, yaw of the box centre now.

        Raises:
            CraftError: if the trajectory is misshapen or not finite.

        """
        poses = np.asarray(trajectory, dtype=np.float64)
        if poses.ndim != 2 or poses.shape[1] != 3 or len(poses) == 0:
            raise CraftError(f"A plan must have the shape [T, 3] (x, y, yaw), not {list(poses.shape)}.")
        if not np.isfinite(poses).all():
            raise CraftError("A plan holds NaN or infinity: the policy that made it has diverged.")
        x, y, yaw = (float(value) for value in ego_pose)
        cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
        world = np.empty((len(poses) + 1, 3))
        world[0] = x, y, yaw
        world[1:, 0] = x + cos_yaw * poses[:, 0] - sin_yaw * poses[:, 1]
        world[1:, 1] = y + sin_yaw * poses[:, 0] + cos_yaw * poses[:, 1]
        world[1:, 2] = yaw + poses[:, 2]
        self._plan = world.tolist()
        self._arc = [0.0] * len(world)
        self._direction = [[0.0, 0.0] for _ in world]
        measure_plan(self._plan, len(world), self._plan[-1][2], self._arc, self._direction)
        self._step = 0
        self._segment = 0

    def control(self, pose: Sequence[float], speed: float) -> tuple[float, float, float]:
        """Pedals and steering for the next ``dt``.

        Args:
            pose: world x, y, yaw of the box centre.
            speed: longitudinal speed, m/s; reversing counts as standing.

        Returns:
            throttle [0, 1], steer [-1, 1] positive left, brake [0, 1].

        Raises:
            CraftError: if no plan was given since the last reset.

        """
        if not self._plan:
            raise CraftError("Tracker.control was called before Tracker.plan: give it a plan first.")
        x, y, yaw = (float(value) for value in pose)
        throttle, steer, brake, self._segment = tracker_step(
            self._plan,
            self._arc,
            self._direction,
            len(self._plan),
            self._step,
            self._segment,
            x,
            y,
            yaw,
            max(float(speed), 0.0),
            self.dt,
            self._memory,
            self._tick,
            self._p,
        )
        self._step += 1
        self._tick += 1
        return throttle, steer, brake
