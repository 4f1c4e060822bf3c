"""One picture of what every sensor of the embedded world sees on a short drive, taken through the real client."""

import math
import queue
from pathlib import Path
from typing import Any

import carla
import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.reports.sensor_painting import (
    TAG_STATIC,
    TAG_WALKER,
    captioned,
    paint_image,
    paint_instances,
    paint_lidar,
    paint_radar,
    paint_tags,
    tagged_points,
)
from craft_lightning.rigs import read_rig
from craft_lightning.roads.cache import atomic_path
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.launcher import EmbeddedServer
from craft_lightning.simulation.rig_reader import spawn_sensor
from craft_lightning.simulation.session import Session

PICTURE = "sensors.png"
TILE = (320, 180)
SMALL = (160, 90)
FEWEST_TICKS, MOST_TICKS = 60, 400  # of the drive, which ends where there is something to see
ENOUGH = 4  # road users ahead
SPEED = 7.0  # m/s
STOP_BEFORE = 9.0  # m to an obstacle
_FIRST_SENSOR, _WAIT = 180.0, 30.0  # wall-clock seconds

WEATHERS: dict[str, dict[str, float]] = {
    "RGB, noon": {"cloudiness": 15, "sun_altitude_angle": 65, "sun_azimuth_angle": 120},
    "RGB, low sun, wet road": {
        "cloudiness": 40,
        "sun_altitude_angle": 8,
        "sun_azimuth_angle": 30,
        "wetness": 60,
        "precipitation_deposits": 60,
    },
    "RGB, rain at night": {
        "cloudiness": 80,
        "sun_altitude_angle": -35,
        "precipitation": 60,
        "precipitation_deposits": 60,
        "wetness": 90,
    },
}
# The six cameras of Bench2Drive's agents, left to right.
_AROUND = ("BACK_LEFT", "FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK")
_CAMERAS = {sensor.name: sensor for sensor in read_rig("bench2drive@{}x{}".format(*SMALL))}
RIG = {name.replace("_", " ").lower(): _CAMERAS[f"CAM_{name}"] for name in _AROUND}
_ROOF = carla.Transform(carla.Location(0.0, 0.0, 2.4))
_BEAMS = {
    "channels": 64,
    "range": 60,
    "points_per_second": 1_200_000,
    "rotation_frequency": 20,
    "upper_fov": 10,
    "lower_fov": -30,
}
_RADAR = {"horizontal_fov": 70, "vertical_fov": 10, "range": 60, "points_per_second": 20_000}


class SensorDrive:
    """An ego with every sensor in traffic.

    Args:
        session: a session of an embedded server.
        seed: of the ego's place and the traffic.

    """

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self._heard: dict[str, queue.Queue[Any]] = {}
        self._near = math.inf
        self._map = session.world.get_map()
        points = self._map.get_spawn_points()
        self.ego = session.spawn(
            session.blueprint("vehicle.lincoln.mkz_2020", color="30,70,170"), points[seed * 7 % len(points)]
        )
        session.spawn(
            session.blueprint("controller.traffic.sumo", seed=seed + 1, vehicles=110, walkers=120), carla.Transform()
        )
        session.client.set_timeout(_FIRST_SENSOR)
        windscreen = carla.Transform(carla.Location(0.8, 0.0, 1.6))
        for kind in ("rgb", "semantic_segmentation", "depth", "instance_segmentation"):
            self._camera(kind, f"camera.{kind}", windscreen, TILE, 80)
        for name, camera in RIG.items():
            self._heard[name] = queue.Queue()
            spawn_sensor(session, camera, 0.0, self.ego).listen(self._heard[name].put)
        self._listen("lidar", "lidar.ray_cast", _ROOF, **_BEAMS)
        self._listen("semantic lidar", "lidar.ray_cast_semantic", _ROOF, **_BEAMS)
        self._listen("radar", "other.radar", carla.Transform(carla.Location(2.5, 0.0, 0.8)), **_RADAR)
        self._listen("obstacle", "other.obstacle", carla.Transform(carla.Location(2.5, 0.0, 1.0)), distance=20)
        self.session.client.set_timeout(_WAIT)

    def _camera(self, name: str, kind: str, place: "carla.Transform", size: tuple[int, int], fov: int) -> None:
        self._listen(name, kind, place, image_size_x=size[0], image_size_y=size[1], fov=fov)

    def _listen(self, name: str, kind: str, place: "carla.Transform", **attributes: object) -> None:
        blueprint = self.session.blueprint(f"sensor.{kind}", **attributes)
        heard: queue.Queue[Any] = queue.Queue()
        self.session.spawn(blueprint, place, attach_to=self.ego).listen(heard.put)
        self._heard[name] = heard

    def tick(self) -> dict[str, Any]:
        """Drive on for one tick and return what each sensor says of it; the obstacle detector only where it does.

        Raises:
            CraftError: a sensor was silent, or told of another tick.

        """
        self._steer()
        frame = self.session.tick()
        said: dict[str, Any] = {}
        for name, heard in self._heard.items():
            if name == "obstacle":
                continue
            try:
                said[name] = heard.get(timeout=_WAIT)
            except queue.Empty as error:
                raise CraftError(f"sensor '{name}' was silent at frame {frame}; try once more") from error
            if said[name].frame != frame:
                raise CraftError(f"sensor '{name}' told of frame {said[name].frame} at {frame}; try once more")
        self._near = math.inf
        while not self._heard["obstacle"].empty():
            event = self._heard["obstacle"].get()
            said["obstacle"] = event
            self._near = min(self._near, event.distance)
        return said

    def _steer(self) -> None:
        """Follow the lane at a gentle speed, and stop behind what the obstacle detector tells of."""
        pose, speed = self.ego.get_transform(), self.ego.get_velocity().length()
        ahead = self._map.get_waypoint(pose.location).next(6.0)
        aim = ahead[0].transform.location - pose.location
        right, forward = pose.get_right_vector(), pose.get_forward_vector()
        angle = math.atan2(aim.x * right.x + aim.y * right.y, aim.x * forward.x + aim.y * forward.y)
        red = self.ego.is_at_traffic_light() and self.ego.get_traffic_light_state() != carla.TrafficLightState.Green
        wanted = 0.0 if red or self._near < STOP_BEFORE else SPEED
        pedal = min(max(0.4 * (wanted - speed), -1.0), 0.7)
        steer = min(max(1.2 * angle, -1.0), 1.0)
        self.ego.apply_control(carla.VehicleControl(throttle=max(pedal, 0.0), brake=max(-pedal, 0.0), steer=steer))


def write_sensor_sheet(folder: Path, town: str = "craftville", seed: int = 0) -> Path:
    """Drive a few seconds and write the picture.

    Args:
        folder: where ``sensors.png`` goes.
        town: built-in town or .xodr file.
        seed: of the ego's place and the traffic.

    Returns:
        The picture's path.

    Raises:
        CraftError: an unknown town, a folder that cannot be written, or a sensor that is silent.

    """
    loaded = load_town(town)
    with EmbeddedServer(town) as server, Session("127.0.0.1", server.port, loaded) as session:
        drive = SensorDrive(session, seed)
        weathers = list(WEATHERS)
        _set_weather(session, weathers[0])
        for ticks in range(MOST_TICKS):
            said = drive.tick()
            if ticks >= FEWEST_TICKS and _others_ahead(said["semantic lidar"]) >= ENOUGH:
                break
        pictures = [(weathers[0], paint_image(said["rgb"]))]
        sheet = _sheet(said, drive)
        for name in weathers[1:]:
            _set_weather(session, name)
            pictures.append((name, paint_image(drive.tick()["rgb"])))
    top = np.hstack([captioned(picture, name) for name, picture in pictures])
    return _write(folder, np.vstack([top, *sheet]))


def _others_ahead(data: Any) -> int:
    """Return how many road users a semantic lidar sees in the camera's view, not far away."""
    points = tagged_points(data)
    x, y, _ = points["place"].T
    seen = (x > 4.0) & (x < 32.0) & (np.abs(y) < 0.7 * x) & (points["tag"] >= TAG_WALKER) & (points["tag"] < TAG_STATIC)
    return len(np.unique(points["owner"][seen]))


def _set_weather(session: Session, name: str) -> None:
    weather = carla.WeatherParameters()
    for field, value in WEATHERS[name].items():
        setattr(weather, field, float(value))
    session.world.set_weather(weather)


def _sheet(said: dict[str, Any], drive: SensorDrive) -> list[np.ndarray]:
    """Return the rows below the weathers, [H, W, 3] uint8 each."""
    width = TILE[0]
    speed = drive.ego.get_velocity().length()
    labels = [
        captioned(paint_tags(said["semantic_segmentation"]), "semantic segmentation"),
        captioned(paint_image(said["depth"], carla.ColorConverter.LogarithmicDepth), "depth (logarithmic)"),
        captioned(paint_instances(said["instance_segmentation"]), "instance segmentation"),
    ]
    beams = [
        captioned(paint_lidar(said["lidar"], width), "lidar, 64 channels, by height"),
        captioned(paint_lidar(said["semantic lidar"], width, tagged=True), "semantic lidar, by tag"),
        captioned(paint_radar(said["radar"], width, speed), "radar: red nears, blue leaves"),
    ]
    rig = [captioned(paint_image(said[name]), name) for name in RIG]
    return [np.hstack(labels), np.hstack(beams), np.hstack(rig)]


def _write(folder: Path, picture: np.ndarray) -> Path:
    """Write a picture, red first."""
    from PIL import Image

    path = folder / PICTURE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as scratch:
            Image.fromarray(picture).save(scratch, format="PNG", optimize=True)
    except OSError as error:
        raise CraftError(f"{path} cannot be written: {error.strerror}; give another folder") from error
    return path
