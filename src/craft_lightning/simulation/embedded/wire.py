"""Shapes of the bytes on the wire: what values look like as MessagePack and how a snapshot's rows are laid out.

Source: the public protocol of LibCarla 0.9.16. Lengths are metres, angles degrees, speeds m/s, angular speeds deg/s,
all in CARLA's left-handed frame.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

VERSION = "0.9.16"

# Index of a sensor type in the client's list of sensors, the first number of every streamed message.
SENSOR_COLLISION = 0
SENSOR_DEPTH = 1
SENSOR_GNSS = 4
SENSOR_IMU = 5
SENSOR_OBSTACLE = 7
SENSOR_RADAR = 9
SENSOR_SEMANTIC_LIDAR = 10
SENSOR_LIDAR = 11
SENSOR_RGB = 13
SENSOR_SEMANTIC = 14
SENSOR_INSTANCE = 15
SENSOR_SNAPSHOT = 17

# carla.TrafficLightState
RED, YELLOW, GREEN, OFF, UNKNOWN = range(5)

STATE_ACTIVE = 1
MOTION_COLUMNS = 15  # x y z | pitch yaw roll | velocity | angular velocity | acceleration
ROW_BYTES = 119
_UNION = 65  # offset of the part of a row whose meaning depends on the kind of actor

_ROW_FIELDS: list[tuple[str, Any, int]] = [
    ("id", "<u4", 0),
    ("state", "u1", 4),
    ("motion", ("<f4", (MOTION_COLUMNS,)), 5),
    # vehicles
    ("control", ("<f4", (3,)), _UNION),  # throttle, steer, brake
    ("hand_brake", "?", _UNION + 12),
    ("reverse", "?", _UNION + 13),
    ("manual_gear", "?", _UNION + 14),
    ("gear", "<i4", _UNION + 15),
    ("speed_limit", "<f4", _UNION + 19),  # km/h
    ("near_light_state", "u1", _UNION + 23),
    ("has_light", "?", _UNION + 24),
    ("near_light", "<u4", _UNION + 25),
    ("failure", "u1", _UNION + 29),
    # traffic lights
    ("sign", "S32", _UNION),
    ("times", ("<f4", (4,)), _UNION + 32),  # green, yellow, red, elapsed; seconds
    ("pole", "<u4", _UNION + 48),
    ("frozen", "?", _UNION + 52),
    ("light_state", "u1", _UNION + 53),
    # walkers
    ("direction", ("<f4", (3,)), _UNION),
    ("walk_speed", "<f4", _UNION + 12),
    ("jump", "?", _UNION + 16),
]


def _row(*names: str) -> np.dtype:
    fields = [field for field in _ROW_FIELDS if field[0] in names]
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [form for _, form, _ in fields],
            "offsets": [offset for _, _, offset in fields],
            "itemsize": ROW_BYTES,
        }
    )


ROW = _row(*(name for name, _, _ in _ROW_FIELDS))
"""One actor in a world snapshot: 119 packed bytes, the last 54 of them a union by kind of actor."""

VEHICLE_ROW = _row(
    *("id", "state", "motion", "control", "hand_brake", "reverse", "manual_gear", "gear", "speed_limit"),
    *("near_light_state", "has_light", "near_light"),
)
"""The same with a vehicle's fields alone, so that all of one can be written in a single assignment."""

_MESSAGE_HEADER = struct.Struct("<IQQd6f")
_SNAPSHOT_HEADER = struct.Struct("<Qdf3ii")
_TOKEN = struct.Struct("<IHBB4s12x")
TOKEN_BYTES = _TOKEN.size
NO_TOKEN = b""


def stream_token(stream: int, port: int) -> bytes:
    """Return the 24 bytes that tell a client where a stream is: TCP, IPv4, loopback."""
    return _TOKEN.pack(stream, port, 1, 1, bytes((127, 0, 0, 1)))


def message(sensor: int, frame: int, elapsed: float, pose: Sequence[float], *payload: bytes | memoryview) -> bytes:
    """Return one streamed message: its length, the 48-byte header (sensor type, frame, seconds, pose) and the payload.

    ``pose`` is x, y, z, pitch, yaw, roll of the sensor; the parts of the payload follow each other.
    """
    length = 48 + sum(len(part) for part in payload)
    return b"".join((_MESSAGE_HEADER.pack(length, sensor, frame, elapsed, *pose), *payload))


_NO_POSE = (0.0,) * 6


def snapshot(episode: int, frame: int, elapsed: float, platform: float, delta: float, rows: np.ndarray) -> bytes:
    """Return the streamed message of one world snapshot.

    Args:
        episode: number of the episode (grows with every loaded map).
        frame: number of the tick.
        elapsed: simulated seconds since the episode began.
        platform: seconds of the wall clock, for information only.
        delta: simulated seconds of this tick.
        rows: [N] of dtype ROW.

    """
    head = _SNAPSHOT_HEADER.pack(episode, platform, delta, 0, 0, 0, 0)
    return message(SENSOR_SNAPSHOT, frame, elapsed, _NO_POSE, head + rows.tobytes())


# ---- MessagePack-RPC: values, errors and nothing ---------------------------------------------------------------------


def value(result: Any) -> list[Any]:
    """Return the reply that carries ``result``."""
    return [[1, result]]


def error(text: str) -> list[Any]:
    """Return the reply that raises RuntimeError(text) in the client."""
    return [[0, [text]]]


VOID: list[Any] = [[False]]
"""The reply of a method that answers nothing."""


def command_done(actor: int) -> list[Any]:
    """Return the entry of a batch's answer for a command that worked on ``actor``."""
    return [[1, actor]]


def command_failed(text: str) -> list[Any]:
    """Return the entry of a batch's answer for a command that failed."""
    return [[0, [text]]]


def transform(pose: Sequence[float]) -> list[list[float]]:
    """Return x, y, z, pitch, yaw, roll as the client's Transform."""
    return [[float(pose[0]), float(pose[1]), float(pose[2])], [float(pose[3]), float(pose[4]), float(pose[5])]]


def pose(sent: Sequence[Sequence[float]]) -> tuple[float, float, float, float, float, float]:
    """Return (x, y, z, pitch, yaw, roll) of a Transform that the client sent."""
    (x, y, z), (pitch, yaw, roll) = sent[0][:3], sent[1][:3]
    return float(x), float(y), float(z), float(pitch), float(yaw), float(roll)


ROAD_LABEL = 1  # rpc::CityObjectLabel


def labelled_point(place: Sequence[float]) -> list[Any]:
    """Return a place on the ground as the client's LabelledPoint."""
    return [[float(number) for number in place[:3]], ROAD_LABEL]


def box(centre: Sequence[float], extent: Sequence[float], actor: int = 0) -> list[Any]:
    """Return a BoundingBox: centre and half sizes in metres, no rotation of its own."""
    return [[float(c) for c in centre], [float(e) for e in extent], [0.0, 0.0, 0.0], actor]
