"""The ego's motion, tick by tick, as Bench2Drive's ``metric_info.json`` wants it."""

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
        actor_id: the ego.

    """

    def __init__(self, actor_id: int) -> None:
        self.actor_id = actor_id
        self._rows: list[tuple[float, ...]] = []

    def tick(self, snapshot: Any) -> None:
        """Take the ``carla.WorldSnapshot`` of the next tick."""
        actor = snapshot.find(self.actor_id)
        if actor is None:
            return
        pull, turn, pose = actor.get_acceleration(), actor.get_angular_velocity(), actor.get_transform()
        place, rotation = pose.location, pose.rotation
        turning = (rotation.roll, rotation.pitch, rotation.yaw)
        self._rows.append((pull.x, pull.y, pull.z, turn.x, turn.y, turn.z, place.x, place.y, place.z, *turning))

    def table(self) -> np.ndarray:
        """Return [ticks, len(COLUMNS)] float64."""
        return np.array(self._rows, np.float64).reshape(-1, len(COLUMNS))


def directions(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the forward and the right vectors [ticks, 3] of a recording.

    They are the first two columns of Unreal's rotation matrix, as ``carla.Transform.get_forward_vector`` and
    ``get_right_vector`` give them.

    Args:
        table: [ticks, len(COLUMNS)] a recording.

    """
    roll, pitch, yaw = np.radians(table[:, 9:12]).T
    forward = [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
    right = [
        np.cos(yaw) * np.sin(pitch) * np.sin(roll) - np.sin(yaw) * np.cos(roll),
        np.sin(yaw) * np.sin(pitch) * np.sin(roll) + np.cos(yaw) * np.cos(roll),
        -np.cos(pitch) * np.sin(roll),
    ]
    return np.stack(forward, axis=1), np.stack(right, axis=1)
