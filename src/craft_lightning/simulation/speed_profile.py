"""Speeds along a fixed path: limits of curves and laws, and safe following of what is ahead."""

import dataclasses
import math

import numpy as np

from craft_lightning.conventions import TRACKER_SECONDS

RELAXATION = 0.3  # seconds in which a follower reaches the speed it wants


@dataclasses.dataclass(frozen=True)
class SpeedParameters:
    """How fast a careful driver goes.

    Args:
        limit_share: share of the legal speed limit that is driven on a free road.
        top_speed: m/s, whatever the law allows.
        acceleration: m/s2 of a start from standstill; at least 2, because the tracker holds the brake while the mean
            speed wanted over the next 0.5 s is below 0.4 m/s.
        braking: m/s2 of comfortable braking, positive.
        emergency_braking: m/s2, the most that a plan asks for.
        lateral_acceleration: m/s2 in curves; the speed is at most sqrt(lateral_acceleration / curvature).
        headway: seconds kept to a vehicle ahead.

    """

    limit_share: float = 0.9
    top_speed: float = 14.0
    acceleration: float = 2.5
    braking: float = 2.5
    emergency_braking: float = 8.0
    lateral_acceleration: float = 2.0
    headway: float = 1.2


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Something ahead that the front bumper must not reach, as a function of time.

    Attributes:
        position: [T] metres of path where the front bumper has to stay behind, at ``TRACKER_SECONDS`` from now on,
            margins included; inf where it is not in the way.
        speed: [T] m/s along the path; 0 for what stands.
        reaction: [T] seconds of reserve that are kept to it.

    """

    position: list[float]
    speed: list[float]
    reaction: list[float]


def curvature(xy: np.ndarray, span: int = 3) -> np.ndarray:
    """Return the unsigned curvature [N] (1/m) of a polyline [N, 2], from chords of ``span`` points either side."""
    count = len(xy)
    here = np.arange(count)
    before, after = np.maximum(here - span, 0), np.minimum(here + span, count - 1)
    first, second = xy - xy[before], xy[after] - xy
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    turn = np.abs(np.arctan2(cross, np.sum(first * second, -1)))
    length = 0.5 * (np.hypot(*first.T) + np.hypot(*second.T))
    bend = np.where((before < here) & (after > here), turn / np.maximum(length, 1e-6), 0.0)
    return bend


def speed_limits(xy: np.ndarray, s: np.ndarray, legal: np.ndarray, parameters: SpeedParameters) -> np.ndarray:
    """Return the highest speed [N] at every point of a path from which all later limits are met by comfortable braking.

    v(s)^2 = min over s' >= s of v_limit(s')^2 + 2 b (s' - s), with v_limit the lesser of the law and the curve.

    Args:
        xy: [N, 2] path, metres.
        s: [N] arc length, metres.
        legal: [N] legal limits, m/s.
        parameters: of the driver.

    """
    bend = np.sqrt(parameters.lateral_acceleration / np.maximum(curvature(xy), 1e-6))
    here = np.minimum(np.minimum(parameters.limit_share * legal, parameters.top_speed), bend)
    slope = 2.0 * parameters.braking * s
    return np.sqrt(np.minimum.accumulate((here**2 + slope)[::-1])[::-1] - slope)


def safe_speed(gap: float, lead_speed: float, reaction: float, braking: float) -> float:
    """Return the speed (m/s) from which a follower still stops behind a leader that brakes as comfortably as itself.

    Gipps (1981): v = -b T + sqrt(b^2 T^2 + v_lead^2 + 2 b gap). In equilibrium the gap is T v, and towards something
    that stands the speed falls at b at most.

    Args:
        gap: metres between the bumpers, standstill margin taken off.
        lead_speed: m/s.
        reaction: T, seconds.
        braking: b, m/s2.

    """
    product = braking * reaction
    return max(0.0, math.sqrt(product * product + lead_speed * lead_speed + 2.0 * braking * max(gap, 0.0)) - product)


def drive(
    position: float,
    speed: float,
    front: float,
    steps: int,
    limits: list[float],
    limits_start: float,
    obstacles: list[Obstacle],
    parameters: SpeedParameters,
) -> tuple[np.ndarray, int]:
    """Simulate the centre of a vehicle along its path.

    Args:
        position: metres of path of the centre now.
        speed: m/s now.
        front: metres from the centre to the front bumper.
        steps: of ``TRACKER_SECONDS``.
        limits: speed limits, one a metre of path.
        limits_start: metres of path of the first one.
        obstacles: at least ``steps`` positions each.
        parameters: of the driver.

    Returns:
        Metres of path [steps + 1], now included, and the index of the obstacle that is the first to hold the vehicle
        back (-1 if none does).

    """
    dt = TRACKER_SECONDS
    top = len(limits) - 1
    speed = max(speed, 0.0)
    places, holding = [position], -1
    for step in range(steps):
        ahead = position + speed * dt - limits_start
        index = min(max(int(ahead), 0), top)
        share = min(max(ahead - index, 0.0), 1.0)
        limit = limits[index] + share * (limits[min(index + 1, top)] - limits[index])
        if speed < limit:
            free = parameters.acceleration * (1.0 - (speed / limit) ** 4)
            wanted = min(free, (limit - speed) / dt)
        else:
            wanted = max((limit - speed) / dt, -parameters.emergency_braking)
        binding = -1
        for number, obstacle in enumerate(obstacles):
            barrier = obstacle.position[step]
            if barrier == math.inf:
                continue
            gap = barrier - position - front
            safe = 0.0
            if gap > 0.0:
                safe = safe_speed(gap, obstacle.speed[step], obstacle.reaction[step], parameters.braking)
            if (safe - speed) / RELAXATION < wanted:
                wanted, binding = (safe - speed) / RELAXATION, number
        holding = binding if holding < 0 else holding
        wanted = max(wanted, -parameters.emergency_braking)
        following = max(speed + wanted * dt, 0.0)
        position += 0.5 * (speed + following) * dt
        speed = following
        places.append(position)
    return np.array(places), holding


def brake(position: float, speed: float, steps: int, rate: float) -> np.ndarray:
    """Return metres of path [steps + 1] of braking at ``rate`` (m/s2) until standstill."""
    time = np.minimum(TRACKER_SECONDS * np.arange(steps + 1), max(speed, 0.0) / rate)
    return position + speed * time - 0.5 * rate * time**2
