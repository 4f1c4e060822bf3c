"""Cameras, IMU and GNSS through the real client."""

import math
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("compiled")


def test_every_frame_of_every_sensor_arrives_and_rides_on_its_car(rig):
    found = rig("""
ego = car(straight(60.0))
wide, wides = sensor("sensor.camera.rgb", ego, at(1.3, 0.0, 1.7), image_size_x=64, image_size_y=36, fov=100)
back = at(-1.3, 0.4, 1.7, yaw=180.0, pitch=-10.0)
rear, rears = sensor("sensor.camera.rgb", ego, back, image_size_x=40, image_size_y=30)
slow, slows = sensor("sensor.camera.rgb", ego, at(0.0, 0.0, 2.0), image_size_x=16, image_size_y=8, sensor_tick=0.2)
imu, imus = sensor("sensor.other.imu", ego)
gnss, fixes = sensor("sensor.other.gnss", ego, at(0.5, 0.0, 1.0))
wrong, apart, turned = 0, [], []
for _ in range(40):
    ego.apply_control(carla.VehicleControl(throttle=0.7, steer=0.1))
    frame = world.tick()
    for told in (wides, rears, imus, fixes):
        data = told.get(timeout=5.0)
        wrong += data.frame != frame
    pose = ego.get_transform()
    apart.append(pose.transform(carla.Location(1.3, 0.0, 1.7)).distance(wide.get_location()))
    turned.append((rear.get_transform().rotation.yaw - pose.rotation.yaw) % 360.0)
answer(wrong=wrong, left=[q.qsize() for q in (wides, rears, imus, fixes)], slow=arrived(slows, 10), apart=max(apart),
       turned=[min(turned), max(turned)], pitch=rear.get_transform().rotation.pitch)
""")
    assert found["wrong"] == 0
    assert found["left"] == [0, 0, 0, 0]
    assert found["slow"] == 10
    assert found["apart"] < 1e-3
    assert found["turned"] == pytest.approx([180.0, 180.0], abs=0.01)
    assert found["pitch"] == pytest.approx(-10.0, abs=1e-3)


def test_a_picture_shows_what_is_there(rig):
    found = rig("""
pose = straight(80.0)
ego = car(pose)
cam, images = sensor("sensor.camera.rgb", ego, at(1.0, 0.0, 1.6), image_size_x=160, image_size_y=90, fov=90)
world.set_weather(carla.WeatherParameters(cloudiness=0.0, sun_altitude_angle=60.0))
world.tick()
empty = images.get(timeout=5.0)
red = spawn("vehicle.tesla.model3", along(pose, 14.0), color="230,20,20")
world.tick()
full = images.get(timeout=5.0)
before, after = pixels(empty), pixels(full)
# Without its shadow.
changed = (np.abs(after - before)[:, :, :3].sum(2) > 40.0) & (after[:, :, 2] > 1.5 * after[:, :, 0])
rows, columns = np.nonzero(changed)
middle = after[rows, columns].mean(0)
red.set_light_state(carla.VehicleLightState.NONE)
# Where the box of the car lies in the picture: 13 m ahead of the camera, 2.2 m wide, 1.5 m high.
focal = 80.0 / math.tan(math.radians(45.0))
answer(share=float(changed.mean()), wide=int(columns.max() - columns.min()), centre=float(columns.mean()),
       top=int(rows.min()), bottom=int(rows.max()), bgr=middle.tolist(),
       sky=before[3, 80].tolist(), road=before[85, 80].tolist(),
       want=2.16 * focal / (14.0 - 1.0 - 2.4), horizon=45.0, size=[full.width, full.height], fov=full.fov)
""")
    assert found["size"] == [160, 90]
    assert found["fov"] == pytest.approx(90.0)
    assert found["centre"] == pytest.approx(80.0, abs=4.0)
    assert found["wide"] == pytest.approx(found["want"], abs=5.0)
    blue, green, red, opacity = found["bgr"]
    assert red > 2.0 * max(blue, green)
    assert opacity == 255.0
    assert found["sky"][0] > found["sky"][2] + 40.0  # blue above
    assert max(found["road"][:3]) - min(found["road"][:3]) < 60.0  # grey below
    assert found["top"] >= 40  # lower than the camera, which looks level
    assert found["bottom"] > 50


def test_weather_and_signals_are_visible(rig):
    found = rig("""
light = next(l for l in sorted(world.get_actors().filter("traffic.traffic_light"), key=lambda l: l.id))
stop = light.get_stop_waypoints()[0].previous(16.0)[0].transform
ego = car(carla.Transform(stop.location + carla.Location(z=0.1), stop.rotation))
cam, images = sensor("sensor.camera.rgb", ego, at(1.0, 0.0, 1.6), image_size_x=320, image_size_y=180)
for _ in range(5):  # it drops onto its wheels
    world.tick(), images.get(timeout=5.0)
def look(**weather):
    world.set_weather(carla.WeatherParameters(**{"cloudiness": 0.0, "sun_altitude_angle": 60.0, **weather}))
    frame = world.tick()
    image = images.get(timeout=5.0)
    assert image.frame == frame
    return pixels(image)[:, :, :3]
noon, again = look(), look()
night, fog, rain = look(sun_altitude_angle=-60.0), look(fog_density=70.0), look(precipitation=80.0, cloudiness=90.0)
wet = look(wetness=90.0)
dusk = look(sun_altitude_angle=5.0)
world.freeze_all_traffic_lights(True)
shown = {}
for name in ("Red", "Green"):
    light.set_state(getattr(carla.TrafficLightState, name))
    shown[name] = look()
apart = np.abs(shown["Red"] - shown["Green"]).sum(2)
lamp = apart.max() > 100
rows, columns = np.nonzero(apart > 100)
redder = (shown["Red"] - shown["Green"])[rows, columns]
answer(same=float(np.abs(noon - again).mean()), noon=float(noon.mean()), night=float(night.mean()),
       colour=[float(np.ptp(p[:100], axis=2).mean()) for p in (noon, fog)],
       road=[float(noon[150:].mean()), float(wet[150:].mean())],
       rain=float(np.abs(rain - noon).mean()), dusk=[float(dusk[20, :, 2].mean()), float(dusk[20, :, 0].mean())],
       lamp=bool(lamp), lit=len(rows), most_red=float(redder[:, 2].max()), most_green=float(-redder[:, 1].min()))
""")
    assert found["same"] < 1.0
    assert found["night"] < 0.35 * found["noon"]
    assert found["colour"][1] < 0.6 * found["colour"][0]
    assert found["road"][1] < 0.9 * found["road"][0]
    assert found["rain"] > 10.0
    assert found["dusk"][0] > found["dusk"][1]  # more red than blue
    assert found["lamp"]
    assert found["lit"] >= 4
    assert found["most_red"] > 100.0
    assert found["most_green"] > 100.0


def test_imu_and_gnss_agree_with_what_the_client_sees(rig):
    found = rig("""
ego = car(straight(80.0))
imu, imus = sensor("sensor.other.imu", ego)
lever, levers = sensor("sensor.other.imu", ego, at(2.0, 0.0, 0.0, yaw=90.0))
gnss, fixes = sensor("sensor.other.gnss", ego, at(1.0, 0.5, 2.0))
rows = []
for tick in range(60):
    ego.apply_control(carla.VehicleControl(throttle=0.8, steer=0.0 if tick < 20 else 0.25))
    world.tick()
    read, turned, fix = imus.get(timeout=5.0), levers.get(timeout=5.0), fixes.get(timeout=5.0)
    pose, rate = ego.get_transform(), math.radians(ego.get_angular_velocity().z)
    place = town.transform_to_geolocation(gnss.get_location())
    a, b, g = read.accelerometer, turned.accelerometer, read.gyroscope
    rows.append([a.x, a.y, a.z, b.x, b.y, g.z, rate, read.compass, math.radians(pose.rotation.yaw) + math.pi / 2,
                 pose.location.x, pose.location.y, math.radians(pose.rotation.yaw), fix.latitude - place.latitude,
                 fix.longitude - place.longitude, fix.altitude - place.altitude, place.altitude, place.latitude])
answer(rows=rows)
""")
    rows = np.array(found["rows"])
    pull = np.diff(rows[:, 9:11], n=2, axis=0) / 0.05**2  # the client's own second difference, of single precision
    yaw = rows[2:, 11]
    forward = pull[:, 0] * np.cos(yaw) + pull[:, 1] * np.sin(yaw)
    right = pull[:, 1] * np.cos(yaw) - pull[:, 0] * np.sin(yaw)
    assert np.abs(rows[2:, 0] - forward).max() < 0.1
    assert np.abs(rows[2:, 1] - right).max() < 0.1
    assert rows[5:, 2] == pytest.approx(np.full(55, 9.81), abs=1e-3)
    assert rows[1, 2] == pytest.approx(0.0, abs=1e-3)  # it falls onto its wheels
    assert rows[0, :2] == pytest.approx([0.0, 0.0], abs=1e-6)  # nothing to compare with yet
    # A sensor turned to the right feels what its car feels forwards on its left, and its lever in the bend.
    assert np.abs(rows[5:18, 4] + rows[5:18, 0]).max() < 1e-3
    bend = rows[-1, 6]
    assert rows[-1, 4] == pytest.approx(-(rows[-1, 0] - 2.0 * bend**2), abs=0.15)
    assert rows[:, 5] == pytest.approx(rows[:, 6], abs=1e-4)
    assert abs(bend) > 0.1
    assert np.cos(rows[:, 7] - rows[:, 8]) == pytest.approx(np.ones(60))
    assert ((rows[:, 7] >= 0.0) & (rows[:, 7] < 2.0 * math.pi)).all()
    assert np.abs(rows[:, 12:15]).max() < 1e-9
    assert rows[-1, 15] == pytest.approx(2.0, abs=0.05)
    assert rows[-1, 16] == pytest.approx(49.0, abs=0.01)


def test_noise_is_what_its_attributes_and_seed_say(rig):
    found = rig("""
ego = car(straight(40.0))
noise = dict(noise_accel_stddev_x=0.5, noise_gyro_bias_z=0.2, noise_seed=7)
pair = [sensor("sensor.other.imu", ego, **noise)[1] for _ in range(2)]
other = sensor("sensor.other.imu", ego, **{**noise, "noise_seed": 8})[1]
gps = sensor("sensor.other.gnss", ego, noise_lat_bias=0.001, noise_alt_stddev=2.0, noise_seed=3)[1]
rows = []
for _ in range(80):
    world.tick()
    a, b, c, g = (told.get(timeout=5.0) for told in (*pair, other, gps))
    here = town.transform_to_geolocation(ego.get_location())
    rows.append([a.accelerometer.x, b.accelerometer.x, c.accelerometer.x, a.accelerometer.y, a.gyroscope.z,
                 g.latitude - here.latitude, g.altitude - here.altitude])
answer(rows=rows)
""")
    rows = np.array(found["rows"])
    assert (rows[:, 0] == rows[:, 1]).all()
    assert (rows[:, 0] != rows[:, 2]).all()
    assert rows[:, 0].std() == pytest.approx(0.5, rel=0.35)
    assert np.abs(rows[:, 3]).max() < 1e-6
    assert rows[:, 4] == pytest.approx(np.full(80, 0.2), abs=1e-6)
    assert rows[:, 5] == pytest.approx(np.full(80, 0.001), abs=1e-9)
    assert 1.0 < rows[:, 6].std() < 3.5


def test_impossible_attributes_are_one_sentence_and_change_nothing(rig):
    found = rig("""
ego = car(straight(40.0))
said = []
for name, attributes in (
    ("sensor.camera.rgb", {"image_size_x": 0}),
    ("sensor.camera.rgb", {"fov": 200}),
    ("sensor.camera.rgb", {"fov": "wide"}),
    ("sensor.other.imu", {"noise_accel_stddev_x": -1}),
    ("sensor.other.gnss", {"sensor_tick": -0.1}),
):
    try:
        sensor(name, ego, **attributes)
        said.append("")
    except RuntimeError as error:
        said.append(str(error))
world.tick()
answer(said=said, sensors=len(world.get_actors().filter("sensor.*")))
""")
    assert found["sensors"] == 0
    wanted = ("image_size_x", "fov", "fov", "noise_accel_stddev_x", "sensor_tick")
    for sentence, name in zip(found["said"], wanted, strict=True):
        assert f"'{name}'" in sentence
        assert "give" in sentence
        assert "\n" not in sentence


def test_a_sensor_that_is_stopped_or_loses_its_car_is_silent(rig):
    found = rig("""
ego = car(straight(40.0))
cam, images = sensor("sensor.camera.rgb", ego, image_size_x=16, image_size_y=16)
world.tick(); images.get(timeout=5.0)
cam.stop()
world.tick()
stopped = images.qsize()
cam.listen(images.put)
frame = world.tick()
again = images.get(timeout=5.0).frame == frame
cam.set_transform(at(3.0, 0.0, 1.0))
world.tick()
moved = cam.get_location().distance(ego.get_transform().transform(carla.Location(3.0, 0.0, 1.0)))
ego.destroy()
world.tick()
answer(stopped=stopped, again=again, moved=moved, left=len(world.get_actors().filter("sensor.*")))
""")
    assert found == {"stopped": 0, "again": True, "moved": pytest.approx(0.0, abs=1e-3), "left": 0}


def test_nothing_is_loaded_without_a_camera():
    code = (
        "import sys; import craft_lightning.simulation.embedded.server; "
        "sys.exit(' '.join({'numba', 'craft_lightning.simulation.embedded.rendering.raster'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


TRAFFIC_MANAGER = """
import threading, weakref
from craft_lightning.simulation.traffic_manager import watch_traffic_manager

class Pulse:
    traffic_manager, ticking_since = True, None

    def tick(self):
        self.ticking_since = time.monotonic()
        world.tick()
        self.ticking_since = None

pulse = Pulse()
port = int(sys.argv[1]) + 3
manager = client.get_trafficmanager(port)
threading.Thread(target=watch_traffic_manager, args=(weakref.ref(pulse), port), daemon=True).start()
manager.set_synchronous_mode(True)
manager.set_random_device_seed(5)
points = town.get_spawn_points()
cars = [b for b in library.filter("vehicle.*") if b.get_attribute("base_type").as_str() == "car"]
batch = [carla.command.SpawnActor(cars[i % len(cars)], points[i * 3]).then(
    carla.command.SetAutopilot(carla.command.FutureActor, True, port)) for i in range(32)]
ids = [r.actor_id for r in client.apply_batch_sync(batch, False) if not r.error]
pulse.tick()
places = {a.id: a.get_location() for a in world.get_actors(ids)}
far = dict.fromkeys(places, 0.0)
for tick in range(400):
    pulse.tick()
    if tick % 20 == 0:
        snapshot = world.get_snapshot()
        for i in ids:
            actor = snapshot.find(i)
            if actor is not None:
                here = actor.get_transform().location
                far[i] += here.distance(places[i])
                places[i] = here
off = sum(town.get_waypoint(p).transform.location.distance(p) > 2.5 for p in places.values())
manager.set_synchronous_mode(False)
answer(count=len(ids), mean=sum(far.values()) / len(far), off=off)
"""


@pytest.mark.slow
def test_the_wheels_traffic_manager_drives_thirty_cars(tools):
    serve, ask = tools
    # The wheel's two threads now and then miss each other's signal and wait for ever (carla issue 9172), quiet machine
    # or busy; a run's watch over its ticks wakes them, so the same watch stands by here.
    with serve() as server:
        found = ask(server.port, TRAFFIC_MANAGER, clean=False)
    assert found["count"] >= 30
    assert found["mean"] > 30.0
    assert found["off"] <= 1
