"""The one place where CARLA's left-handed frame meets the right-handed frame used everywhere else.

CARLA: x forward, y right, yaw clockwise in degrees, steer positive to the right.
Inside: x forward, y left, yaw counter-clockwise in radians, steer positive to the left.
The map is an involution on (x, y, yaw, steer): flipping twice gives the input back. OpenDRIVE and SUMO are
right-handed.
"""

import math

import numpy as np


def pose_from_carla(x: float, y: float, yaw_deg: float) -> tuple[float, float, float]:
    """Return (x [m], y [m], yaw [rad, wrapped to (-pi, pi]]) in the right-handed frame."""
    yaw = -math.radians(yaw_deg)
    return x, -y, math.atan2(math.sin(yaw), math.cos(yaw))


def pose_to_carla(x: float, y: float, yaw: float) -> tuple[float, float, float]:
    """Return (x [m], y [m], yaw [degrees]) in CARLA's left-handed frame."""
    return x, -y, -math.degrees(yaw)


def points_from_carla(points: np.ndarray) -> np.ndarray:
    """Flip the handedness of an array of points or vectors whose last axis begins with x, y; works both ways."""
    flipped = np.array(points, dtype=np.float64)
    flipped[..., 1] *= -1.0
    return flipped


points_to_carla = points_from_carla


def steer_to_carla(steer: float) -> float:
    """Normalised steering in [-1, 1], positive left inside, positive right in CARLA."""
    return -steer


steer_from_carla = steer_to_carla
