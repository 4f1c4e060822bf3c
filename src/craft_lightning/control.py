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
from typing import TypeAlias

import numpy as np

from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.errors import CraftError

HALF_PI = 0.5 * math.pi

# Largest PID window; GPU kernels reserve their scratch at compile time.
MAX_WINDOW = 40

# Where the kernels find each field of TrackerParameters and BicycleParameters in its array.
(
    TURN_KP,
    TURN_KI,
    TURN_KD,
    SPEED_KP,
    SPEED_KI,
    SPEED_KD,
    WINDOW,
    AIM_GAIN,
    AIM_OFFSET,
    AIM_MIN,
    AIM_MAX,
    SPEED_WINDOW,
    BRAKE_SPEED,
    BRAKE_RATIO,
    CLIP_DELTA,
    MAX_THROTTLE,
) = range(16)
(
    MAX_STEER,
    THROTTLE_ACCELERATION,
    BRAKE_DECELERATION,
    DRAG,
    MAX_LATERAL_ACCELERATION,
) = range(5)

Floats: TypeAlias = Sequence[float] | np.ndarray
Scratch: TypeAlias = MutableSequence[float] | np.ndarray
Poses: TypeAlias = Sequence[Sequence[float]] | np.ndarray


def _as_array(parameters: "TrackerParameters | BicycleParameters") -> np.ndarray:
    return np.array(dataclasses.astuple(parameters), dtype=np.float32)


def _require(condition: bool, owner: str, field: str, need: str) -> None:
    if not condition:
        raise CraftError(f"{owner}.{field} must be {need}; change it where the world or recipe sets it.")


@dataclasses.dataclass(frozen=True)
class TrackerParameters:
    """Constants of ``tracker_step``; the order of the fields is the order of ``as_array``.

    Args:
        turn_kp: proportional gain on angle / (pi / 2).
        turn_ki: gain on the mean of the window.
        turn_kd: gain on the difference to the previous call.
        speed_kp: proportional gain on the clipped speed error, m/s.
        speed_ki: gain on the mean of the window.
        speed_kd: gain on the difference to the previous call.
        window: calls that a PID remembers; an empty window counts as zeros.
        aim_gain: seconds; the aim point lies clip(aim_gain v + aim_offset, aim_min, aim_max) metres ahead.
        aim_offset: metres.
        aim_min: metres.
        aim_max: metres.
        speed_window: seconds of the plan whose mean speed is the desired speed.
        brake_speed: m/s; a slower desired speed brakes.
        brake_ratio: speed / desired speed above which the tracker brakes.
        clip_delta: m/s, largest speed error that the PID sees.
        max_throttle: largest throttle.

    """

    turn_kp: float = 1.25
    turn_ki: float = 0.75
    turn_kd: float = 0.3
    speed_kp: float = 5.0
    speed_ki: float = 0.5
    speed_kd: float = 1.0
    window: int = 20
    aim_gain: float = 0.5
    aim_offset: float = 2.5
    aim_min: float = 5.0
    aim_max: float = 8.0
    speed_window: float = 0.5
    brake_speed: float = 0.4
    brake_ratio: float = 1.1
    clip_delta: float = 0.25
    max_throttle: float = 0.75

    def __post_init__(self) -> None:
        _require(1 <= self.window <= MAX_WINDOW, "TrackerParameters", "window", f"between 1 and {MAX_WINDOW}")
        _require(0 < self.aim_min <= self.aim_max, "TrackerParameters", "aim_min", "positive and at most aim_max")
        _require(self.speed_window >= TRACKER_SECONDS, "TrackerParameters", "speed_window", "at least 0.1 s")

    def as_array(self) -> np.ndarray:
        """The fields as float32 [16], in their order, for kernels."""
        return _as_array(self)


@dataclasses.dataclass(frozen=True)
class BicycleParameters:
    """Constants of ``bicycle_step``; the order of the fields is the order of ``as_array``.

    Args:
        max_steer: wheel angle at steer 1, rad.
        throttle_acceleration: acceleration at throttle 1 and standstill, m/s2.
        brake_deceleration: deceleration at brake 1, m/s2.
        drag: 1/s; acceleration lost per m/s of speed.
        max_lateral_acceleration: m/s2; the yaw rate is limited so that speed times yaw rate stays below it.

    """

    max_steer: float = 0.6
    throttle_acceleration: float = 4.0
    brake_deceleration: float = 8.0
    drag: float = 0.05
    max_lateral_acceleration: float = 8.0

    def __post_init__(self) -> None:
        _require(0 < self.max_steer < 1.5, "BicycleParameters", "max_steer", "between 0 and 1.5 rad")
        for field in ("throttle_acceleration", "brake_deceleration", "max_lateral_acceleration"):
            _require(getattr(self, field) > 0, "BicycleParameters", field, "positive")

    def as_array(self) -> np.ndarray:
        """The fields as float32 [5], in their order, for kernels."""
        return _as_array(self)


def clip(value: float, low: float, high: float) -> float:
    """Return ``value`` limited to [low, high]."""
    return min(max(value, low), high)


def plan_arc(plan: Poses, count: int, arc: Scratch) -> None:
    """Write the arc length (metres) at each of the plan's ``count`` poses into ``arc``."""
    arc[0] = 0.0
    for i in range(1, count):
        dx = plan[i][0] - plan[i - 1][0]
        dy = plan[i][1] - plan[i - 1][1]
        arc[i] = arc[i - 1] + math.sqrt(dx * dx + dy * dy)


def pid(error: float, memory: Scratch, start: int, window: int, slot: int, kp: float, ki: float, kd: float) -> float:
    """One step of a PID whose integral is the mean of its last ``window`` errors.

    Args:
        error: the error now.
        memory: scratch; entries start .. start + window belong to this PID: a ring of errors, then their sum.
            Zeros are an empty window.
        start: first entry.
        window: length of the ring.
        slot: where in the ring this error goes: the number of earlier calls modulo ``window``.
        kp: proportional gain.
        ki: gain on the sum, that is the gain on the mean / window.
        kd: gain on the difference to the last error.

    """
    previous = memory[start + slot - 1] if slot > 0 else memory[start + window - 1]
    total = memory[start + window] + error - memory[start + slot]
    memory[start + window] = total
    memory[start + slot] = error
    return kp * error + ki * total + kd * (error - previous)


def tracker_step(
    plan: Poses,
    arc: Floats,
    count: int,
    step: int,
    segment: int,
    x: float,
    y: float,
    cos_yaw: float,
    sin_yaw: float,
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
        arc: [count] from ``plan_arc``.
        count: poses of the plan, the first included.
        step: number of ``dt`` since the plan was made.
        segment: where the last call found the vehicle on the plan, 0 at first; the projection never moves back.
        x: position of the box centre, metres.
        y: likewise.
        cos_yaw: cosine of the heading.
        sin_yaw: sine of the heading.
        speed: m/s, not negative.
        dt: seconds between poses.
        memory: [2 (window + 1)] scratch of both PIDs, zeros = empty.
        tick: calls since ``memory`` was emptied.
        p: ``TrackerParameters`` in the order of the fields.

    Returns:
        throttle [0, 1], steer [-1, 1] positive left, brake (0 or 1), segment.

    """
    last = count - 1
    # Walk on while the vehicle is past the end of its segment; segments (almost) without length are passed at once.
    while segment < last:
        ax, ay = plan[segment][0], plan[segment][1]
        bx, by = plan[segment + 1][0], plan[segment + 1][1]
        if arc[segment + 1] - arc[segment] > 1e-4 and (x - bx) * (bx - ax) + (y - by) * (by - ay) < 0.0:
            break
        segment += 1

    # Arc length of the projection.
    if segment < last:
        ax, ay = plan[segment][0], plan[segment][1]
        length = arc[segment + 1] - arc[segment]
        along = ((x - ax) * (plan[segment + 1][0] - ax) + (y - ay) * (plan[segment + 1][1] - ay)) / length
        travelled = arc[segment] + max(along, 0.0)
    else:
        end_cos, end_sin = math.cos(plan[last][2]), math.sin(plan[last][2])
        beyond = (x - plan[last][0]) * end_cos + (y - plan[last][1]) * end_sin
        travelled = arc[last] + max(beyond, 0.0)
    target = travelled + clip(p[AIM_GAIN] * speed + p[AIM_OFFSET], p[AIM_MIN], p[AIM_MAX])

    # The point of the plan at that arc length.
    i = segment
    while i < last and arc[i + 1] <= target:
        i += 1
    if i < last:
        share = (target - arc[i]) / (arc[i + 1] - arc[i])
        aim_x = plan[i][0] + share * (plan[i + 1][0] - plan[i][0])
        aim_y = plan[i][1] + share * (plan[i + 1][1] - plan[i][1])
    else:
        aim_x = plan[last][0] + (target - arc[last]) * math.cos(plan[last][2])
        aim_y = plan[last][1] + (target - arc[last]) * math.sin(plan[last][2])

    dx, dy = aim_x - x, aim_y - y
    angle = math.atan2(cos_yaw * dy - sin_yaw * dx, cos_yaw * dx + sin_yaw * dy)
    window = int(p[WINDOW])
    slot = tick % window
    turn = pid(angle / HALF_PI, memory, 0, window, slot, p[TURN_KP], p[TURN_KI] / p[WINDOW], p[TURN_KD])
    steer = clip(turn, -1.0, 1.0)

    poses = max(min(int(p[SPEED_WINDOW] / dt + 0.5), last), 1)
    first = max(min(step, last - poses), 0)
    final = min(first + poses, last)
    desired = (arc[final] - arc[first]) / (poses * dt)
    delta = clip(desired - speed, 0.0, p[CLIP_DELTA])
    push = pid(delta, memory, window + 1, window, slot, p[SPEED_KP], p[SPEED_KI] / p[WINDOW], p[SPEED_KD])
    if desired < p[BRAKE_SPEED] or speed > p[BRAKE_RATIO] * desired:
        return 0.0, steer, 1.0, segment
    return clip(push, 0.0, p[MAX_THROTTLE]), steer, 0.0, segment


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
    """One step of a kinematic bicycle whose reference point is the box centre, midway between the axles.

    With wheel angle d = steer * max_steer and slip b = atan(tan(d) / 2), the centre moves along yaw + b and turns at
    speed * 2 sin(b) / wheelbase. The speed never turns negative; position uses the mean of old and new speed.

    Args:
        x: metres.
        y: metres.
        yaw: radians.
        speed: m/s.
        throttle: [0, 1].
        steer: [-1, 1], positive left.
        brake: [0, 1].
        wheelbase: metres between the axles.
        dt: seconds.
        p: ``BicycleParameters`` in the order of the fields.

    Returns:
        x, y, yaw (not wrapped) and speed after ``dt``.

    """
    acceleration = throttle * p[THROTTLE_ACCELERATION] - brake * p[BRAKE_DECELERATION] - p[DRAG] * speed
    faster = max(speed + acceleration * dt, 0.0)
    mean = 0.5 * (speed + faster)
    half_tan = 0.5 * math.tan(clip(steer, -1.0, 1.0) * p[MAX_STEER])
    cos_slip = 1.0 / math.sqrt(1.0 + half_tan * half_tan)
    sin_slip = half_tan * cos_slip
    # Limit on the lateral acceleration: |mean * yaw_rate| <= p[MAX_LATERAL_ACCELERATION].
    limit = p[MAX_LATERAL_ACCELERATION] / max(mean, 0.1)
    yaw_rate = clip(mean * (2.0 * sin_slip) / wheelbase, -limit, limit)
    # Heading in the middle of the step: second order in dt.
    middle = yaw + 0.5 * yaw_rate * dt
    cos_yaw, sin_yaw = math.cos(middle), math.sin(middle)
    x += mean * dt * (cos_yaw * cos_slip - sin_yaw * sin_slip)
    y += mean * dt * (sin_yaw * cos_slip + cos_yaw * sin_slip)
    return x, y, yaw + yaw_rate * dt, faster


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
        plan_arc(self._plan, len(world), self._arc)
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
            len(self._plan),
            self._step,
            self._segment,
            x,
            y,
            math.cos(yaw),
            math.sin(yaw),
            max(float(speed), 0.0),
            self.dt,
            self._memory,
            self._tick,
            self._p,
        )
        self._step += 1
        self._tick += 1
        return throttle, steer, brake
