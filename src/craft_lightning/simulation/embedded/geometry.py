"""Rotations in CARLA's frame: x forward, y right, z up; pitch, yaw and roll in degrees, as the client's Transform."""

import math
from collections.abc import Sequence

import numpy as np


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Return the axes of a body as columns [3, 3], in the frame its rotation [deg] is given in."""
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return np.array(
        [
            [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
            [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
            [sp, -cp * sr, cp * cr],
        ]
    )


def rotations(angles: np.ndarray) -> np.ndarray:
    """Return [N, 3, 3] axes as columns for [N, 3] pitch, yaw, roll [deg]."""
    cp, cy, cr = np.cos(np.radians(angles)).T
    sp, sy, sr = np.sin(np.radians(angles)).T
    rows = [
        [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr],
        [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr],
        [sp, -cp * sr, cp * cr],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def angles(axes: np.ndarray) -> tuple[float, float, float]:
    """Return pitch, yaw and roll [deg] of axes given as columns [3, 3]."""
    level = math.hypot(axes[0, 0], axes[1, 0])
    pitch = math.atan2(axes[2, 0], level)
    if level < 1e-6:  # straight up or down: yaw and roll turn about the same line
        return math.degrees(pitch), math.degrees(math.atan2(-axes[0, 1], axes[1, 1])), 0.0
    yaw = math.atan2(axes[1, 0], axes[0, 0])
    roll = math.atan2(-axes[2, 1], axes[2, 2])
    return math.degrees(pitch), math.degrees(yaw), math.degrees(roll)


def compose(above: Sequence[float], pose: Sequence[float]) -> list[float]:
    """Return x, y, z [m], pitch, yaw, roll [deg] in the world of a pose given relative to ``above``."""
    if above[3] == 0.0 and above[5] == 0.0:
        # Bodies of this world stand upright, and what sits on them turns about the vertical with them.
        yaw = math.radians(above[4])
        cos, sin = math.cos(yaw), math.sin(yaw)
        return [
            above[0] + cos * pose[0] - sin * pose[1],
            above[1] + sin * pose[0] + cos * pose[1],
            above[2] + pose[2],
            pose[3],
            (above[4] + pose[4] + 180.0) % 360.0 - 180.0,
            pose[5],
        ]
    axes = rotation(*above[3:6])
    place = np.array(above[:3]) + axes @ np.array(pose[:3])
    return [*place.tolist(), *angles(axes @ rotation(*pose[3:6]))]
