"""The ego's motion, tick by tick, as Bench2Drive's ``metric_info.json`` wants it."""

import math
from typing import Any

import numpy as np

COLUMNS = (
    *(f"acceleration.{axis}" for axis in "xyz"),
    *(f"angular_velocity.{axis}" for axis in "xyz"),
    *(f"location.{axis}" for axis in "xyz"),
    "rotation.roll",
    "rotation.pitch",
    "rotation.yaw",
)
"""Columns of a recording, in CARLA's own frame and units: left-handed, metres, m/s2, degrees, degrees a second."""


class MotionRecorder:
    """Keeps what the client's snapshots say about the ego.

    Args:
        world: the ``carla.World``.
        actor_id: the ego.

    """

    def __init__(self, world: Any, actor_id: int) -> None:
        self.world, self.actor_id = world, actor_id
        self._rows: list[tuple[float, ...]] = []

    def tick(self) -> None:
        """Take the newest tick."""
        actor = self.world.get_snapshot().find(self.actor_id)
        if actor is None:
            return
        pull, turn, pose = actor.get_acceleration(), actor.get_angular_velocity(), actor.get_transform()
        place, rotation = pose.location, pose.rotation
        turning = (rotation.roll, rotation.pitch, rotation.yaw)
        self._rows.append((pull.x, pull.y, pull.z, turn.x, turn.y, turn.z, place.x, place.y, place.z, *turning))

    def table(self) -> np.ndarray:
        """Return [ticks, len(COLUMNS)] float64."""
        return np.array(self._rows, np.float64).reshape(-1, len(COLUMNS))


def metric_info(table: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Return a recording as the document of ``metric_info.json``: step -> vectors.

    Args:
        table: [ticks, len(COLUMNS)] a recording.

    """
    return {str(step): _sample(row) for step, row in enumerate(table.tolist())}


def _sample(row: list[float]) -> dict[str, list[float]]:
    roll, pitch, yaw = row[9:12]
    sin_roll, cos_roll = math.sin(math.radians(roll)), math.cos(math.radians(roll))
    sin_pitch, cos_pitch = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    sin_yaw, cos_yaw = math.sin(math.radians(yaw)), math.cos(math.radians(yaw))
    # The first two columns of Unreal's rotation matrix (carla.Transform.get_forward_vector, get_right_vector).
    forward = [cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch]
    right = [
        cos_yaw * sin_pitch * sin_roll - sin_yaw * cos_roll,
        sin_yaw * sin_pitch * sin_roll + cos_yaw * cos_roll,
        -cos_pitch * sin_roll,
    ]
    return {
        "acceleration": row[0:3],
        "angular_velocity": row[3:6],
        "forward_vector": forward,
        "right_vector": right,
        "location": row[6:9],
        "rotation": row[9:12],
    }
