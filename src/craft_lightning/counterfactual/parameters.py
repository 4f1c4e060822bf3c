"""Every constant of the counterfactual world: the reward of CRAFT and the decay rollout of the other road users."""

import dataclasses
import math

import numpy as np

from craft_lightning.conventions import EVENTS, TRACKER_SECONDS
from craft_lightning.errors import CraftError

# Columns of Rollout.flags: the events of an executed decision that a virtual rollout can have too.
FLAGS = EVENTS[:7]
(
    FLAG_COLLISION,
    FLAG_RED_LIGHT,
    FLAG_STOP_SIGN,
    FLAG_OFFROAD,
    FLAG_OFFROUTE,
    FLAG_EMERGENCY_LANE,
    FLAG_OPPOSITE_LANE,
) = range(7)

# Where the kernels find each field of RewardParameters in its array.
(
    DISCOUNT,
    COLLISION,
    RED_LIGHT,
    STOP_SIGN,
    PROGRESS,
    PROGRESS_CLIP,
    ROUTE_DECAY,
    LANE_DECAY,
    HEADING_DECAY,
    RECOVERY_DEADBAND,
    RECOVERY_ROUTE,
    RECOVERY_LANE,
    RECOVERY_HEADING,
    RECOVERY_STEP_CLIP,
    RECOVERY_CLIP,
    RECOVERY_BASE,
    OFFROAD,
    OPPOSITE_LANE,
    OFFROUTE,
    EMERGENCY_LANE,
    COLLISION_SPEED_GAIN,
    COLLISION_SPEED,
    COLLISION_SPEED_MIN,
    COLLISION_SPEED_MAX,
    ROUTE_SCALE,
    LANE_SCALE,
    HEADING_SCALE,
    OFFROAD_TOLERANCE,
    OPPOSITE_ANGLE,
    OFFROUTE_DISTANCE,
    STOP_SPEED,
    STOP_ZONE,
    REWARD_AFTER_COLLISION,
) = range(33)

# Where the kernels find each field of DecayParameters in its array.
(HOLD, RAMP, RAMP_JUNCTION, BRAKE, MAX_ACCELERATION, MIN_CURVATURE_SPEED, MAX_CURVATURE, WHEELBASE_SHARE) = range(8)


def _check(owner: object, positive: tuple[str, ...], not_negative: tuple[str, ...]) -> None:
    name = type(owner).__name__
    for field in dataclasses.fields(owner):  # type: ignore[arg-type]
        value = getattr(owner, field.name)
        if not math.isfinite(value):
            raise CraftError(f"{name}.{field.name} is {value}: give it a finite number in the recipe.")
        if field.name in positive and value <= 0:
            raise CraftError(f"{name}.{field.name} is {value}: give it a number above 0 in the recipe.")
        if field.name in not_negative and value < 0:
            raise CraftError(f"{name}.{field.name} is {value}: give it 0 or more in the recipe.")


@dataclasses.dataclass(frozen=True)
class RewardParameters:
    """The reward of CRAFT (arXiv 2605.04470), equations (37) and (40-45), in the order of ``as_array``.

    Args:
        discount: gamma per step of 0.1 s, (37).
        collision: charge at the first collision, times its multiplier, (44).
        red_light: undiscounted charge once a trajectory, (37).
        stop_sign: undiscounted charge once a trajectory, (37).
        progress: weight of the normalised progress, (44).
        progress_clip: metres a step that count as full progress (1.2 m = 12 m/s), (40).
        route_decay: exponent on the route deviation d_g, (41).
        lane_decay: exponent on the lane deviation d_c, (41).
        heading_decay: exponent on the heading deviation d_h, (41).
        recovery_deadband: a deviation counts as recovering only above it, (42).
        recovery_route: weight of -dd_g, (42).
        recovery_lane: weight of -dd_c, (42).
        recovery_heading: weight of -dd_h, (42).
        recovery_step_clip: limit of every |dd|, (42).
        recovery_clip: limit of |c_t|, (42).
        recovery_base: share of the recovery reward paid without progress; the rest is paid with it, (43).
        offroad: charge a step, (44).
        opposite_lane: charge a step, (44).
        offroute: charge a step, (44).
        emergency_lane: charge a step, (44).
        collision_speed_gain: a_v of the collision multiplier, (45); chosen.
        collision_speed: v_ref in m/s, (45); chosen.
        collision_speed_min: nu_min, (45); chosen.
        collision_speed_max: nu_max, (45); chosen.
        route_scale: metres of offset from the route that make d_g = 1; chosen.
        lane_scale: metres of offset from the nearest lane centre that make d_c = 1; chosen.
        heading_scale: radians of heading error to the route that make d_h = 1; chosen.
        offroad_tolerance: metres a corner of the box may stand outside the drivable area; chosen.
        opposite_angle: radians between the ego and the nearest lane above which the lane is an opposite one; chosen.
        offroute_distance: metres from the route; chosen.
        stop_speed: m/s that count as having stopped; chosen.
        stop_zone: metres before a stop sign's line in which the stop must happen; chosen.
        reward_after_collision: keep positive rewards after the first virtual collision. Off, because ramming an
            obstacle would otherwise outscore braking for it; chosen.

    """

    discount: float = 0.98
    collision: float = 40.0
    red_light: float = 40.0
    stop_sign: float = 40.0
    progress: float = 8.0
    progress_clip: float = 1.2
    route_decay: float = 3.0
    lane_decay: float = 0.8
    heading_decay: float = 2.0
    recovery_deadband: float = 0.08
    recovery_route: float = 0.4
    recovery_lane: float = 0.2
    recovery_heading: float = 0.4
    recovery_step_clip: float = 0.1
    recovery_clip: float = 0.5
    recovery_base: float = 0.5
    offroad: float = 1.5
    opposite_lane: float = 0.1
    offroute: float = 1.5
    emergency_lane: float = 1.0
    collision_speed_gain: float = 1.0
    collision_speed: float = 12.0
    collision_speed_min: float = 0.0
    collision_speed_max: float = 1.0
    route_scale: float = 3.5
    lane_scale: float = 1.75
    heading_scale: float = math.pi / 2
    offroad_tolerance: float = 0.2
    opposite_angle: float = math.radians(120.0)
    offroute_distance: float = 4.0
    stop_speed: float = 0.1
    stop_zone: float = 4.0
    reward_after_collision: bool = False

    def __post_init__(self) -> None:
        scales = ("discount", "progress_clip", "collision_speed", "route_scale", "lane_scale", "heading_scale")
        _check(self, scales, ("recovery_step_clip", "recovery_clip", "offroad_tolerance", "stop_zone"))
        if self.discount > 1.0:
            raise CraftError(f"RewardParameters.discount is {self.discount}: give it at most 1 in the recipe.")

    def as_array(self) -> np.ndarray:
        """The fields as float32 [33], in their order, for kernels."""
        return np.array([getattr(self, field.name) for field in dataclasses.fields(self)], dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class DecayParameters:
    """The decay rollout of other vehicles; the order of the fields is the order of ``as_array``.

    A vehicle holds its acceleration, then its throttle ramps to 0 while its brake ramps up. It keeps its curvature
    (kinematic bicycle). Walkers and cyclists keep their velocity; static objects stay.

    Args:
        hold: seconds that the current acceleration is held.
        ramp: seconds of the ramp after them.
        ramp_junction: seconds of the ramp for a vehicle on a junction lane.
        brake: m/s2 of deceleration where the ramp ends (a stronger one that is already there is kept).
        max_acceleration: m/s2; observed accelerations are clipped to [-2 max_acceleration, max_acceleration].
        min_curvature_speed: m/s; slower vehicles are taken to go straight, since yaw rate / speed is noise.
        max_curvature: 1/m, limit of the curvature.
        wheelbase_share: wheelbase of a vehicle as a share of its length.

    """

    hold: float = 0.5
    ramp: float = 1.0
    ramp_junction: float = 0.5
    brake: float = 4.952
    max_acceleration: float = 4.0
    min_curvature_speed: float = 0.5
    max_curvature: float = 0.2
    wheelbase_share: float = 0.6

    def __post_init__(self) -> None:
        _check(self, ("ramp", "ramp_junction", "min_curvature_speed"), ("hold", "brake", "max_curvature"))

    def as_array(self) -> np.ndarray:
        """The fields as float32 [8], in their order, for kernels."""
        return np.array([getattr(self, field.name) for field in dataclasses.fields(self)], dtype=np.float32)


def rollout_steps(horizon: float) -> int:
    """Return how many tracker steps a horizon in seconds has.

    Raises:
        CraftError: the horizon is not a positive multiple of a step.

    """
    steps = round(horizon / TRACKER_SECONDS) if math.isfinite(horizon) else 0
    if steps < 1 or abs(steps * TRACKER_SECONDS - horizon) > 1e-6:
        raise CraftError(f"horizon is {horizon} s: give a positive multiple of {TRACKER_SECONDS} s, such as 2, 3 or 4.")
    return steps
