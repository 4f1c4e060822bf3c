"""Whole rigs through the real client: every frame of every sensor, wide and upright pictures, what is refused."""

import pytest

pytestmark = pytest.mark.usefixtures("compiled")


def test_six_cameras_a_lidar_and_more_match_their_ticks(rig):
    found = rig("""
client.set_timeout(110.0)
ego = car(straight(80.0))
traffic(seed=2, vehicles=10, walkers=5)
around = ((0.8, 0.0, 0.0, 70), (0.27, -0.55, -55.0, 70), (0.27, 0.55, 55.0, 70), (-2.0, 0.0, 180.0, 110),
          (-0.32, -0.55, -110.0, 70), (-0.32, 0.55, 110.0, 70))
told = [sensor("sensor.camera.rgb", ego, at(x, y, 1.6, yaw=yaw), image_size_x=160, image_size_y=90, fov=fov)[1]
        for x, y, yaw, fov in around]
told += [sensor("sensor." + name, ego, at(0.0, 0.0, 2.4), **attributes)[1] for name, attributes in (
    ("lidar.ray_cast", dict(channels=64, points_per_second=120000, range=85)),
    ("camera.depth", dict(image_size_x=64, image_size_y=36)),
    ("camera.semantic_segmentation", dict(image_size_x=64, image_size_y=36)),
    ("other.radar", {}), ("other.imu", {}), ("other.gnss", {}))]
slow = sensor("sensor.lidar.ray_cast", ego, at(0.0, 0.0, 2.4), sensor_tick=0.1)[1]
wrong, places = 0, 0
for _ in range(50):
    ego.apply_control(carla.VehicleControl(throttle=0.5))
    frame = world.tick()
    data = [one.get(timeout=20.0) for one in told]
    wrong += sum(one.frame != frame for one in data)
    views = [pixels(image).tobytes() for image in data[:6]]
    places += len(set(views)) == 6
answer(wrong=wrong, left=[one.qsize() for one in told], slow=arrived(slow, 25), places=places)
""")
    assert found["wrong"] == 0
    assert found["left"] == [0] * 12
    assert found["slow"] == 25
    assert found["places"] == 50


def test_the_layouts_of_known_agents_spawn_and_see(rig):
    found = rig("""
client.set_timeout(110.0)
ego = car(straight(80.0))
# Camera and lidar of TransFuser's agents, a camera of Bench2Drive's, and small ones.
seen = []
for width, height, fov in ((1024, 512, 110), (1600, 900, 70), (256, 144, 90), (384, 384, 110)):
    made, images = sensor("sensor.camera.rgb", ego, at(0.8, 0.0, 1.6), image_size_x=width, image_size_y=height, fov=fov,
                          lens_circle_multiplier=3.0, lens_circle_falloff=3.0, chromatic_aberration_intensity=0.5)
    frame = world.tick()
    image = images.get(timeout=30.0)
    seen.append([image.frame == frame, image.width, image.height, image.fov, len(image.raw_data)])
    made.destroy()
answer(seen=seen)
""")
    assert found["seen"] == [
        [True, width, height, float(fov), 4 * width * height]
        for width, height, fov in ((1024, 512, 110), (1600, 900, 70), (256, 144, 90), (384, 384, 110))
    ]


def test_field_of_view_is_horizontal_and_pixels_are_square(rig):
    found = rig("""
client.set_timeout(110.0)
pose = straight(80.0)
ego = car(pose)
mark = spawn("static.prop.vendingmachine", along(pose, 12.6, 3.5))
wanted, got = [], []
for width, height, fov in ((160, 40, 150), (40, 160, 60), (96, 96, 110)):
    camera, images = sensor("sensor.camera.instance_segmentation", ego, at(2.6, 0.0, 1.2), image_size_x=width,
                            image_size_y=height, fov=fov)
    world.tick()
    instances = pixels(images.get(timeout=20.0)).astype(int)
    rows, columns = np.nonzero(instances[:, :, 1] + 256 * instances[:, :, 0] == (mark.id & 65535))
    focal = 0.5 * width / math.tan(math.radians(0.5 * fov))
    # A metre deep, 1.24 m wide and 2.16 m high; the far edge of its left side is leftmost, the near one highest.
    wanted.append([0.5 * width + focal * 2.88 / 10.5, 0.5 * height - focal * (2.16 - 1.2) / 9.5,
                   0.5 * height + focal * 1.2 / 9.5])
    got.append([float(columns.min()), float(rows.min()), float(rows.max() + 1)] if len(rows) else None)
    camera.destroy()
answer(wanted=wanted, got=got)
""")
    for wanted, got in zip(found["wanted"], found["got"], strict=True):
        assert got == pytest.approx(wanted, abs=1.6)


def test_impossible_attributes_are_one_sentence_that_names_the_remedy(rig):
    found = rig("""
ego = car(straight(40.0))
cases = (
    ("camera.depth", "image_size_x", -5), ("camera.semantic_segmentation", "image_size_y", 0),
    ("camera.instance_segmentation", "fov", 0), ("camera.rgb", "fov", 200), ("camera.depth", "fov", "nan"),
    ("lidar.ray_cast", "channels", 0), ("lidar.ray_cast", "range", "nan"), ("lidar.ray_cast", "range", -3),
    ("lidar.ray_cast", "points_per_second", 0), ("lidar.ray_cast", "rotation_frequency", 0),
    ("lidar.ray_cast", "upper_fov", -40), ("lidar.ray_cast", "horizontal_fov", 400),
    ("lidar.ray_cast", "dropoff_general_rate", 2), ("lidar.ray_cast", "noise_stddev", -1),
    ("lidar.ray_cast_semantic", "channels", -1), ("lidar.ray_cast_semantic", "lower_fov", -95),
    ("other.radar", "horizontal_fov", 0), ("other.radar", "points_per_second", -1), ("other.radar", "range", 0),
    ("other.obstacle", "distance", -1), ("other.obstacle", "hit_radius", "nan"),
    ("other.radar", "sensor_tick", "nan"), ("other.radar", "sensor_tick", -1),
)
said = []
for kind, name, value in cases:
    try:
        sensor("sensor." + kind, ego, **{name: value})
        said.append([kind, name, ""])
    except RuntimeError as error:
        said.append([kind, name, str(error)])
try:
    library.find("sensor.camera.thermal")
    unknown = ""
except IndexError as error:
    unknown = str(error)
world.tick()
answer(said=said, unknown=unknown, sensors=len(world.get_actors().filter("sensor.*")))
""")
    for kind, name, sentence in found["said"]:
        assert f"'{name}' of sensor.{kind} is" in sentence, (kind, name, sentence)
        assert "; give " in sentence
        assert "\n" not in sentence
    assert "sensor.camera.thermal" in found["unknown"]
    assert found["sensors"] == 0


def test_lane_invasion_is_the_clients_own_and_works(rig):
    found = rig("""
pose = straight(60.0)
ego = car(pose)
made, crossed = sensor("sensor.other.lane_invasion", ego)
for _ in range(60):
    ego.apply_control(carla.VehicleControl(throttle=0.6, steer=0.15))
    world.tick()
answer(events=arrived(crossed, 1), marks=[str(m.type) for m in crossed.get(timeout=1.0).crossed_lane_markings])
""")
    assert found["events"] >= 1
    assert found["marks"]
