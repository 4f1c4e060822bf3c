"""Parameters of the tracker and of the kinematic bicycle, and where kernels find them; ``control`` hands them on."""

import dataclasses

import numpy as np

from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.errors import CraftError

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


def _as_array(parameters: "TrackerParameters | BicycleParameters") -> np.ndarray:
    return np.array([getattr(parameters, field.name) for field in dataclasses.fields(parameters)], dtype=np.float32)


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
        _require(0 < self.max_steer <= 1.4, "BicycleParameters", "max_steer", "above 0 and at most 1.4 rad")
        for field in ("throttle_acceleration", "brake_deceleration", "max_lateral_acceleration"):
            _require(getattr(self, field) > 0, "BicycleParameters", field, "positive")

    def as_array(self) -> np.ndarray:
        """The fields as float32 [5], in their order, for kernels."""
        return _as_array(self)
