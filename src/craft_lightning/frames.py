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


def sensor_axes(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the axes of a sensor whose mount is described as in ``rig``, degrees, in the frame of what it sits on.

    Returns:
        [3, 3] float64; the columns are its forward, left and up, so ``axes @ point`` leads out of its own frame.

    """
    (sy, cy), (sp, cp), (sr, cr) = ((math.sin(a), math.cos(a)) for a in map(math.radians, (yaw, pitch, roll)))
    turn = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    # Upwards is a negative turn about the left axis.
    nod = np.array([[cp, 0.0, -sp], [0.0, 1.0, 0.0], [sp, 0.0, cp]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    axes: np.ndarray = turn @ nod @ tilt
    return axes
