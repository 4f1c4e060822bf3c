"""From what CARLA's sensors send to the arrays of an observation: red first, metres, right-handed ego frame."""

import cv2
import numpy as np

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.frames import points_from_carla, sensor_axes
from craft_lightning.rig import COUNT, Camera, Lidar, Radar, Rig, Sensor

_DEPTH_REACH = 1000.0  # m that CARLA spreads over 24 bits


def carla_attributes(sensor: Sensor, tick_seconds: float = TICK_SECONDS) -> dict[str, object]:
    """Return the attributes of a sensor's blueprint.

    A lidar turns once a tick, so that no turn is cut, and a radar casts the rays of a tick of 0.05 s in any tick.
    """
    if isinstance(sensor, Camera):
        return {"image_size_x": sensor.width, "image_size_y": sensor.height, "fov": sensor.field_of_view}
    if isinstance(sensor, Lidar):
        return {
            "channels": sensor.channels,
            "range": sensor.range,
            "points_per_second": round(sensor.beams / tick_seconds),
            "rotation_frequency": 1.0 / tick_seconds,
            "upper_fov": sensor.upper_field_of_view,
            "lower_fov": sensor.lower_field_of_view,
        }
    assert isinstance(sensor, Radar)  # there are no others
    return {
        "horizontal_fov": sensor.horizontal_field_of_view,
        "vertical_fov": sensor.vertical_field_of_view,
        "range": sensor.range,
        "points_per_second": round(sensor.points_per_second * TICK_SECONDS / tick_seconds),
    }


def decode(sensor: Sensor, sent: np.ndarray, offset: tuple[float, float] = (0.0, 0.0)) -> dict[str, np.ndarray]:
    """Return what a measurement is in an observation.

    Args:
        sensor: the sensor.
        sent: [H, W, 4] uint8 blue, green, red, opacity of a camera; [N, 4] float32 x, y, z, intensity of a lidar in its
            own left-handed frame; [N, 4] float32 velocity, azimuth, altitude, depth of a radar.
        offset: of the centre of the ego's box from the vehicle's origin: metres forward and left.

    Returns:
        Arrays of the names, shapes and types of ``sensor.shapes()``; more points than there is room for are dropped.

    """
    if isinstance(sensor, Camera):
        return {sensor.name: _picture(sensor, sent)}
    points = np.array(sent, np.float64)
    if isinstance(sensor, Radar):
        velocity, azimuth, altitude, depth = points.T
        level = depth * np.cos(altitude)
        points = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), depth * np.sin(altitude), velocity], 1)
    assert sensor.place is not None  # none is attached without one
    place = points_from_carla(points[:, :3]) @ sensor_axes(sensor.yaw, sensor.pitch, sensor.roll).T
    place += np.array(sensor.place) - np.array([*offset, 0.0])
    (most, _), _ = sensor.shapes()[sensor.name]
    padded = np.zeros((most, 4), np.float32)
    count = min(len(points), most)
    padded[:count, :3], padded[:count, 3] = place[:count], points[:count, 3]
    return {sensor.name: padded, f"{sensor.name}{COUNT}": np.array(count, np.int64)}


def blank(rig: Rig) -> dict[str, np.ndarray]:
    """Return what a rig that sees nothing would give."""
    return {name: np.zeros(shape, kind) for sensor in rig for name, (shape, kind) in sensor.shapes().items()}


def _picture(camera: Camera, sent: np.ndarray) -> np.ndarray:
    if camera.kind == "rgb":
        return cv2.cvtColor(sent, cv2.COLOR_BGRA2RGB)
    if camera.kind == "semantic":
        return np.ascontiguousarray(sent[..., 2])
    blue, green, red = (sent[..., channel].astype(np.float32) for channel in range(3))
    depth: np.ndarray = (red + 256.0 * green + 65536.0 * blue) * np.float32(_DEPTH_REACH / (2**24 - 1))
    return depth
