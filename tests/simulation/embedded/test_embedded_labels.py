"""Depth, semantic and instance cameras through the real client, against known geometry."""

import pytest

pytestmark = pytest.mark.usefixtures("compiled")


def test_depth_tags_and_instances_of_a_car_ahead(rig):
    found = rig("""
client.set_timeout(110.0)
pose = straight(80.0)
ego = car(pose)
other = car(along(pose, 20.0), "vehicle.tesla.model3")
ticks(5)
place = at(2.6, 0.0, 1.0)
size = dict(image_size_x=96, image_size_y=54, fov=60)
names = ("depth", "semantic_segmentation", "instance_segmentation", "rgb")
told = [sensor("sensor.camera." + name, ego, place, **size)[1] for name in names]
first = None
for _ in range(4):
    frame = world.tick()
    images = [images.get(timeout=20.0) for images in told]
    assert [image.frame for image in images] == [frame] * 4, (frame, images)
    values = [pixels(image).astype(int) for image in images]
    if first is not None:
        assert all((a == b).all() for a, b in zip(first[:3], values[:3])), "a still scene changes"
    first = values
depth, tags, instances, colours = values
metres = (depth[:, :, 2] + 256 * depth[:, :, 1] + 65536 * depth[:, :, 0]) / (256**3 - 1) * 1000.0
tag = tags[:, :, 2]
owner = instances[:, :, 1] + 256 * instances[:, :, 0]
mine = tag == 14
images[1].convert(carla.ColorConverter.CityScapesPalette)
painted = np.frombuffer(images[1].raw_data, np.uint8).reshape(54, 96, 4)
f = 48.0 / math.tan(math.radians(30.0))
rows = np.arange(54) + 0.5 - 27
expected = 1.0 * f / rows  # flat ground, seen from a metre above it
road = tag[:, 48] == 1
answer(nearest=float(metres[mine].min()), apart=ego.get_location().distance(other.get_location()),
       half=other.bounding_box.extent.x, tags=sorted(set(tag.ravel().tolist())), sky=float(metres[0, 0]),
       owners=sorted(set(owner[mine].tolist())), other=other.id, nobody=sorted(set(owner[tag == 1].tolist())),
       ground=float(np.abs(metres[road, 48] - expected[road]).max()), road=int(road.sum()),
       width=int(mine.any(0).sum()), height=float(ego.get_location().z), blue=painted[mine][:, :3].mean(0).tolist())
""")
    assert found["nearest"] == pytest.approx(found["apart"] - 2.6 - found["half"], abs=0.15)
    assert {1, 14, 24, 11} <= set(found["tags"])
    assert found["sky"] == pytest.approx(1000.0, abs=1e-3)
    assert found["owners"] == [found["other"] & 0xFFFF]
    assert found["nobody"] == [0]
    assert found["road"] >= 5
    assert found["ground"] < 0.3 + abs(found["height"]) * 10.0
    # 2.16 m wide, 15 m away, focal length 83 pixels.
    assert found["width"] == pytest.approx(83.1 * 2.16 / 15.0, abs=2.0)
    assert found["blue"] == pytest.approx([142.0, 0.0, 0.0])  # the client's palette knows the tag of cars
