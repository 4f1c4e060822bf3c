"""Ticks a second of the embedded world against the number of actors and of cameras, through the real client.

``python -m benchmarks.cameras docs`` draws the contact sheet ``docs/images/cameras.png``; without ``docs`` it prints
the numbers.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.simulation.launcher import EmbeddedServer

ACTORS = (20, 50, 100, 200)
CAMERAS = ((0, 256, 144), (1, 256, 144), (4, 256, 144), (1, 1024, 512), (6, 1024, 512))

BEGIN = """
import json, math, queue, sys, time
import carla
port = int(sys.argv[1])
client = carla.Client("127.0.0.1", port)
client.set_timeout(60.0)
world = client.get_world()
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
world.apply_settings(settings)
library = world.get_blueprint_library()
points = world.get_map().get_spawn_points()

def spawn(name, pose=None, parent=None, **attributes):
    blueprint = library.find(name)
    for key, value in attributes.items():
        blueprint.set_attribute(key, str(value))
    return world.spawn_actor(blueprint, pose or carla.Transform(), attach_to=parent)

def listen(ego, name, pose, **attributes):
    sensor = spawn("sensor." + name, pose, ego, **attributes)
    told = queue.Queue()
    sensor.listen(told.put)
    return sensor, told

def camera(ego, width, height, pose, fov=90, kind="rgb"):
    return listen(ego, "camera." + kind, pose, image_size_x=width, image_size_y=height, fov=fov)
"""
_TICKS = """
actor_counts, rigs, ticks, repeats = json.loads(sys.argv[2])
rates = {}

def run(name, actors, number, width, height, count):
    ego = spawn("vehicle.lincoln.mkz_2020", points[10])
    world.tick()
    others = []
    if actors:
        others = [spawn("controller.traffic.sumo", seed=1, vehicles=round(0.8 * actors), walkers=round(0.2 * actors))]
    rig = [
        camera(ego, width, height, carla.Transform(carla.Location(1.0, 0.0, 1.7), carla.Rotation(yaw=yaw)))
        for yaw in (360.0 * index / number for index in range(number))
    ]
    world.tick()
    for _, images in rig:
        images.get(timeout=60.0)
    begin = time.perf_counter()
    for _ in range(count):
        ego.apply_control(carla.VehicleControl(throttle=0.3))
        frame = world.tick()
        for _, images in rig:
            image = images.get(timeout=10.0)
            if image.frame != frame:
                raise RuntimeError(f"frame {image.frame} instead of {frame}")
    rates.setdefault(name, []).append(count / (time.perf_counter() - begin))
    for sensor, _ in rig:
        sensor.stop()
        sensor.destroy()
    for actor in [*others, ego]:
        actor.destroy()
    world.tick()

for _ in range(repeats):
    for actors in actor_counts:
        run(f"{actors} actors", actors, 0, 0, 0, ticks)
    for number, width, height in rigs:
        count = max(ticks // (4 if width < 1000 else 20), 10)
        run(f"20 actors, {number} x {width}x{height}", 20, number, width, height, count)
print(json.dumps(rates), flush=True)
"""
_SHEET = """
import numpy as np
lights = {light.id: light for light in world.get_actors().filter("traffic.traffic_light")}
stops = [(light, light.get_stop_waypoints()[0]) for _, light in sorted(lights.items()) if light.get_stop_waypoints()]
light, stop = stops[4]
behind = stop.previous(13.0)[0].transform
forward, right = behind.get_forward_vector(), behind.get_right_vector()

def at(ahead, aside, up=0.05, yaw=0.0):
    place = behind.location + forward * ahead + right * aside
    return carla.Transform(carla.Location(place.x, place.y, up), carla.Rotation(yaw=behind.rotation.yaw + yaw))

ego = spawn("vehicle.lincoln.mkz_2020", at(0.0, 0.0), color="30,70,170")
for name, place in (
    ("static.prop.trafficcone01", at(7.0, 2.4)),
    ("static.prop.trafficwarning", at(11.0, 5.2)),
    ("static.prop.streetbarrier", at(9.0, 2.9)),
    ("vehicle.mitsubishi.fusorosa", at(36.0, -6.5, yaw=180.0)),
    ("walker.pedestrian.0003", at(12.5, 0.6, 1.0, 90.0)),
    ("vehicle.diamondback.century", at(8.0, -2.9, yaw=180.0)),
    ("vehicle.ford.ambulance", at(46.0, -3.3, yaw=180.0)),
):
    spawn(name, place)
spawn("controller.traffic.sumo", seed=4, vehicles=60, walkers=40)
rig = [
    camera(ego, 320, 180, carla.Transform(carla.Location(1.2, 0.0, 1.6))),
    camera(ego, 320, 180, carla.Transform(carla.Location(-13.0, 5.0, 5.0), carla.Rotation(pitch=-14.0, yaw=-16.0))),
]
sun = behind.rotation.yaw - 25.0
weathers = {
    "noon": dict(cloudiness=10, sun_altitude_angle=70, sun_azimuth_angle=sun + 120.0),
    "low sun, wet road": dict(cloudiness=45, sun_altitude_angle=9, sun_azimuth_angle=sun % 360.0, wetness=60,
                              precipitation_deposits=60),
    "fog": dict(cloudiness=60, sun_altitude_angle=40, sun_azimuth_angle=45, fog_density=55, fog_distance=5),
    "rain at night": dict(cloudiness=80, sun_altitude_angle=-35, precipitation=70, precipitation_deposits=60,
                          wetness=90),
}
rows = []
for values in weathers.values():
    weather = carla.WeatherParameters()
    for name, value in values.items():
        setattr(weather, name, value)
    world.set_weather(weather)
    for _ in range(12):
        ego.apply_control(carla.VehicleControl(brake=1.0))
        frame = world.tick()
    row = []
    for _, images in rig:
        image = images.get(timeout=60.0)
        while image.frame < frame:
            image = images.get(timeout=60.0)
        row.append(np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)[:, :, :3].copy())
    rows.append(row)
np.save(sys.argv[2], np.array(rows))
print(json.dumps(list(weathers)), flush=True)
"""
_LEAVE = "\n__import__('os')._exit(0)\n"


def client(body: str) -> str:
    """Return the whole script of a client whose part after the greeting is ``body``."""
    return BEGIN.replace("TICK\n", f"{TICK_SECONDS}\n") + body + _LEAVE


def ask(body: str, argument: str, town: str = "craftville") -> str:
    """Run a client script against a fresh server and return what it printed."""
    script = client(body)
    with EmbeddedServer(town) as server:
        command = [sys.executable, "-c", script, str(server.port), argument]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def measure(ticks: int, repeats: int) -> dict[str, float]:
    """Return the median ticks a second of each number of actors and each rig; every image's frame is checked."""
    answer = ask(_TICKS, json.dumps([ACTORS, CAMERAS, ticks, repeats]))
    return {name: statistics.median(values) for name, values in json.loads(answer).items()}


def draw_sheet(path: pathlib.Path) -> None:
    """Draw one scene in four weathers, from the windscreen and from behind."""
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rows.npy"
        names = json.loads(ask(_SHEET, str(file)))
        rows = np.load(file)
    tiles = []
    for name, row in zip(names, rows, strict=True):
        picture = np.ascontiguousarray(np.hstack(list(row)))
        for shade, thick in ((30, 3), (255, 1)):
            cv2.putText(picture, name, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (shade,) * 3, thick, cv2.LINE_AA)
        tiles.append(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    # 256 colours keep the file small.
    from PIL import Image

    Image.fromarray(np.vstack(tiles)[:, :, ::-1]).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def run(quick: bool) -> list:
    """Return the rows of the benchmark table."""
    from benchmarks.table import Row

    rates = measure(200 if quick else 1000, 1 if quick else 3)
    alone, few = "20 actors", f"20 actors, 0 x {CAMERAS[0][1]}x{CAMERAS[0][2]}"
    return [
        Row(
            f"embedded world, {name}",
            rate,
            f"ticks/s ({rate * TICK_SECONDS:.0f}x real time)",
            "20 actors",
            rate / rates[few if "x" in name else alone],
        )
        for name, rate in rates.items()
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw_sheet(pathlib.Path(sys.argv[1]) / "images" / "cameras.png")
    else:
        for arm, rate in measure(600, 2).items():
            print(f"{arm:28s} {rate:7.0f} ticks/s  {rate * TICK_SECONDS:6.1f}x real time at 20 Hz")
