"""nuPlan's comfort: six bounds on smoothed signals, and NAVSIM's comparison of two plans half a second apart.

Sources: motional/nuplan-devkit@e924167 (metrics/utils/state_extractors.py) and autonomousvision/navsim@v2.2
(pdm_comfort_metrics.py), which compute alike. Filters are Savitzky-Golay: accelerations 8 samples, order 2; jerks the
first derivative of those, 15 samples, order 2; yaw rate and yaw acceleration the first (order 2) and second (order 3)
derivative of the unwrapped heading with **5** samples: the window of 15 in upstream's signature is handed to nobody.
Everything is rounded to 8 digits, and held against open intervals.
"""

import dataclasses
import math

import torch
from torch import Tensor

from craft_lightning.counterfactual.scores.parameters import ComfortBounds
from craft_lightning.errors import CraftError
from craft_lightning.smoothing import savgol_matrix

ACCELERATION_WINDOW, JERK_WINDOW, YAW_WINDOW = 8, 15, 5
DIGITS = 8


def smooth(values: Tensor, window: int, order: int = 2, derivative: int = 0, dt: float = 1.0) -> Tensor:
    """Filter the last axis of [..., N] in double precision; a window longer than N is cut to N."""
    length = values.shape[-1]
    if length <= order:
        raise CraftError(f"comfort needs more than {order} samples of a drive, there are {length}.")
    matrix = torch.from_numpy(savgol_matrix(length, min(window, length), order, derivative, dt).copy()).to(
        values.device
    )
    return (values.double() @ matrix.T).round(decimals=DIGITS)


def unwrapped(yaw: Tensor) -> Tensor:
    """Headings [..., N] without whole turns between two samples, double."""
    yaw = yaw.double()
    turns = (yaw.diff(dim=-1) / (2.0 * math.pi)).round().cumsum(-1)
    return yaw - 2.0 * math.pi * torch.nn.functional.pad(turns, (1, 0))


@dataclasses.dataclass
class Signals:
    """Smoothed signals [..., N], double: m/s2, m/s3, rad/s, rad/s2."""

    longitudinal: Tensor
    lateral: Tensor
    magnitude: Tensor
    longitudinal_jerk: Tensor
    jerk: Tensor
    yaw_rate: Tensor
    yaw_acceleration: Tensor


def signals(longitudinal: Tensor, lateral: Tensor, yaw: Tensor, dt: float, yaw_order: int = 3) -> Signals:
    """Smooth accelerations along and across the heading and headings [..., N], ``dt`` seconds apart.

    Args:
        longitudinal: m/s2.
        lateral: m/s2.
        yaw: radians.
        dt: seconds between two samples.
        yaw_order: degree of the polynomial of the yaw acceleration.

    """
    along, across = smooth(longitudinal, ACCELERATION_WINDOW), smooth(lateral, ACCELERATION_WINDOW)
    magnitude = smooth(torch.hypot(longitudinal.double(), lateral.double()), ACCELERATION_WINDOW)
    heading = unwrapped(yaw)
    return Signals(
        along,
        across,
        magnitude,
        smooth(along, JERK_WINDOW, 2, 1, dt),
        smooth(magnitude, JERK_WINDOW, 2, 1, dt),
        smooth(heading, YAW_WINDOW, 2, 1, dt),
        smooth(heading, YAW_WINDOW, yaw_order, 2, dt),
    )


def comfort_bounds(found: Signals, bounds: ComfortBounds) -> dict[str, Tensor]:
    """Whether each bound holds at every sample, bool [...] by name."""

    def within(values: Tensor, low: float, high: float) -> Tensor:
        return ((values > low) & (values < high)).all(-1)

    symmetric = {
        "lateral": found.lateral,
        "yaw_acceleration": found.yaw_acceleration,
        "yaw_rate": found.yaw_rate,
        "longitudinal_jerk": found.longitudinal_jerk,
        "jerk": found.jerk,
    }
    held = {name: within(values, -getattr(bounds, name), getattr(bounds, name)) for name, values in symmetric.items()}
    held["longitudinal"] = within(found.longitudinal, bounds.min_longitudinal, bounds.max_longitudinal)
    return held


def comfortable(found: Signals, bounds: ComfortBounds) -> Tensor:
    """Whether all six bounds hold, bool [...]."""
    return torch.stack(list(comfort_bounds(found, bounds).values())).all(0)


def accelerations(states: Tensor, first: Tensor, dt: float, lateral: bool = False) -> tuple[Tensor, Tensor]:
    """Accelerations along and across the heading [..., N] of tracked states [..., N, 4] (x, y, yaw, speed), double.

    A state holds the acceleration of the step that led to it, as NAVSIM's simulated states do.

    Args:
        states: the states.
        first: [...] acceleration at the first state, m/s2.
        dt: seconds a step.
        lateral: speed times yaw rate across the heading instead of the 0 of NAVSIM's and nuPlan's bicycle.

    """
    yaw, speed = states[..., 2].double(), states[..., 3].double()
    along = torch.cat([first.double()[..., None], speed.diff(dim=-1) / dt], dim=-1)
    if not lateral:
        return along, torch.zeros_like(along)
    rate = unwrapped(yaw).diff(dim=-1) / dt
    return along, torch.cat([rate[..., :1], rate], dim=-1) * speed


def drive_signals(
    states: Tensor, first: Tensor, dt: float, lateral: bool = False, past: Tensor | None = None
) -> Signals:
    """Smoothed signals of tracked states [B, K, S, 4].

    Args:
        states: the states.
        first: [B] acceleration in the visited state, m/s2.
        dt: seconds a step.
        lateral: as in ``accelerations``.
        past: [B, H, 4] states before the visited one, the last a step ago, put in front (NAVSIM's history comfort).

    """
    if past is not None:
        if past.dim() != 3 or past.shape[0] != states.shape[0] or past.shape[2] != 4 or past.shape[1] < 2:
            raise CraftError(f"past has the shape {list(past.shape)}: give [{states.shape[0]}, H, 4] with H above 1.")
        wide = past[:, None].expand(-1, states.shape[1], -1, -1).to(states)
        states = torch.cat([wide, states], dim=2)
        first = (past[:, 1, 3] - past[:, 0, 3]) / dt
    along, across = accelerations(states, first[:, None].expand(states.shape[:2]), dt, lateral)
    return signals(along, across, states[..., 2], dt)


def extended_comfort(
    states: Tensor, before: Tensor, first: Tensor, first_before: Tensor, shift: int, dt: float, p: ComfortBounds
) -> Tensor:
    """NAVSIM's EC [B, K], 1 or 0: root mean square differences to the plan of ``shift`` steps ago, where both overlap.

    Accelerations (magnitude), jerks, yaw rates and yaw accelerations of both overlaps are smoothed each for itself; the
    yaw acceleration with order 2 here, unlike comfort's 3. Frames do not matter.

    Args:
        states: [B, K, S, 4].
        before: [B, S, 4] the earlier plan's tracked states.
        first: [B] acceleration in the visited state.
        first_before: [B] acceleration where the earlier plan began.
        shift: steps between both.
        dt: seconds a step.
        p: bounds.

    """
    count = states.shape[2]
    if before.shape != (states.shape[0], count, 4) or not 0 < shift < count:
        raise CraftError(
            f"the earlier plan's states have the shape {list(before.shape)} and begin {shift} steps ago: give "
            f"[{states.shape[0]}, {count}, 4] and 1 to {count - 1} steps."
        )
    along, across = accelerations(states, first[:, None].expand(states.shape[:2]), dt)
    old_along, old_across = accelerations(before, first_before, dt)
    overlap = count - shift
    now = signals(along[..., :overlap], across[..., :overlap], states[..., :overlap, 2], dt, 2)
    old = signals(old_along[..., shift:], old_across[..., shift:], before[..., shift:, 2], dt, 2)
    held = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
    for name, bound in (
        ("magnitude", p.change_acceleration),
        ("jerk", p.change_jerk),
        ("yaw_rate", p.change_yaw_rate),
        ("yaw_acceleration", p.change_yaw_acceleration),
    ):
        gap = getattr(now, name) - getattr(old, name)[:, None]
        held &= gap.square().mean(-1).sqrt() <= bound
    return held.to(states.dtype)
