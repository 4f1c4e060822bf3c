import math
from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_NONE, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.errors import WorldError
from craft_lightning.simulation.view import LIGHT_RED, ViewReader, agent_kind, box_corners


def vector(x=0.0, y=0.0, z=0.0):
    return SimpleNamespace(x=x, y=y, z=z)


class FakeActor:
    """What both the actor and its snapshot answer, in CARLA's left-handed frame."""

    def __init__(self, actor_id, type_id, x=0.0, y=0.0, yaw=0.0, velocity=(0.0, 0.0), offset=0.0):
        self.id, self.type_id, self.attributes = actor_id, type_id, {}
        self.state = 0
        self.boxes_read = 0
        self._transform = SimpleNamespace(
            location=vector(x, y, 0.5), rotation=SimpleNamespace(yaw=yaw, pitch=0.0, roll=0.0)
        )
        self._velocity, self._offset = velocity, offset

    @property
    def bounding_box(self):
        self.boxes_read += 1
        return SimpleNamespace(extent=vector(2.4, 1.0, 0.7), location=vector(self._offset))

    def get_transform(self):
        return self._transform

    def get_velocity(self):
        return vector(*self._velocity)

    def get_acceleration(self):
        return vector(1.0, 0.0)

    def get_angular_velocity(self):
        return vector(z=-90.0)

    def get_opendrive_id(self):
        return f"signal{self.id}"


class FakeWorld:
    def __init__(self, *actors):
        self.actors = {actor.id: actor for actor in actors}

    def get_actors(self, ids):
        return [self.actors[actor] for actor in ids]

    def get_snapshot(self):
        actors = self.actors

        class Snapshot:
            frame = 12
            timestamp = SimpleNamespace(elapsed_seconds=0.6)

            def __iter__(self):
                return iter(actors.values())

            def find(self, actor):
                return actors.get(actor)

            def has_actor(self, actor):
                return actor in actors

        return Snapshot()


@pytest.mark.parametrize(
    ("type_id", "attributes", "kind"),
    [
        ("vehicle.audi.a2", {"base_type": "car"}, AGENT_VEHICLE),
        ("vehicle.bh.crossbike", {"base_type": "bicycle"}, AGENT_CYCLIST),
        ("vehicle.bh.crossbike", {}, AGENT_CYCLIST),
        ("vehicle.yamaha.yzf", {"base_type": "motorcycle"}, AGENT_VEHICLE),
        ("walker.pedestrian.0001", {}, AGENT_WALKER),
        ("static.prop.box01", {}, AGENT_STATIC),
        ("sensor.other.collision", {}, AGENT_NONE),
        ("traffic.traffic_light", {}, AGENT_NONE),
    ],
)
def test_kinds(type_id, attributes, kind):
    assert agent_kind(type_id, attributes) == kind


def test_handedness_and_units():
    """CARLA yaw 90 degrees = facing +y (right) there = facing -y here; deg/s left-handed = -rad/s here."""
    ego = FakeActor(5, "vehicle.audi.a2", x=10.0, y=20.0, yaw=90.0, velocity=(0.0, 3.0), offset=0.5)
    view = ViewReader(FakeWorld(ego), ego).read()
    assert view.frame == 12
    assert view.ego == 0
    assert view.yaw[0] == pytest.approx(-math.pi / 2)
    # The box lies half a metre ahead of the actor's origin.
    assert (view.x[0], view.y[0]) == pytest.approx((10.0, -20.5))
    assert view.speed[0] == pytest.approx(3.0)
    assert (view.vx[0], view.vy[0]) == pytest.approx((0.0, -3.0))
    assert view.yaw_rate[0] == pytest.approx(math.pi / 2)
    assert view.acceleration[0] == pytest.approx(0.0)
    assert (view.length[0], view.width[0]) == pytest.approx((4.8, 2.0))


def test_reversing_is_a_negative_speed():
    ego = FakeActor(5, "vehicle.audi.a2", yaw=180.0, velocity=(2.0, 0.0))
    assert ViewReader(FakeWorld(ego), ego).read().ego_speed == pytest.approx(-2.0)


def test_bodies_lights_and_the_rest():
    light = FakeActor(2, "traffic.traffic_light")
    world = FakeWorld(
        FakeActor(9, "walker.pedestrian.0001"),
        light,
        FakeActor(5, "vehicle.audi.a2"),
        FakeActor(7, "sensor.other.collision"),
    )
    reader = ViewReader(world, world.actors[5])
    view = reader.read()
    assert view.ids.tolist() == [5, 9]
    assert view.kind.tolist() == [AGENT_VEHICLE, AGENT_WALKER]
    assert view.ego == 0
    assert view.others.tolist() == [1]
    assert view.row(9) == 1
    assert view.row(7) == -1
    assert view.signals == {"signal2": LIGHT_RED}
    assert view.lights == {2: LIGHT_RED}
    reader.read()
    assert world.actors[5].boxes_read == 1  # static facts cost a remote call once


def test_light_reads_hold_what_is_watched():
    world = FakeWorld(*(FakeActor(i, "vehicle.audi.a2") for i in (5, 6, 7)), FakeActor(2, "traffic.traffic_light"))
    reader = ViewReader(world, world.actors[6])
    reader.read()
    assert reader.read_light().ids.tolist() == [6]
    assert reader.read_light().signals == {}
    reader.watch = {7, 99}
    reader.watch_signals = {"signal2", "unknown"}
    view = reader.read_light()
    assert view.ids.tolist() == [6, 7]
    assert view.ego == 0
    assert view.signals == {"signal2": LIGHT_RED}


def test_a_missing_ego_is_a_world_error():
    world = FakeWorld(FakeActor(5, "vehicle.audi.a2"))
    reader = ViewReader(world, world.actors[5])
    reader.read()
    del world.actors[5]
    with pytest.raises(WorldError, match="actor 5"):
        reader.read()


def test_corners_go_round():
    corners = box_corners(np.zeros(1), np.zeros(1), np.array([math.pi / 2]), np.array([4.0]), np.array([2.0]))
    np.testing.assert_allclose(corners[0], [[-1, 2], [1, 2], [1, -2], [-1, -2]], atol=1e-12)


class Passing(FakeWorld):
    """A world of ticks of 0.05 s that counts on while a reader looks back."""

    time = 0.0

    def snapshot(self, time):
        found = super().get_snapshot()
        found.timestamp = SimpleNamespace(elapsed_seconds=time, delta_seconds=0.05)
        return found

    def get_snapshot(self):
        return self.snapshot(self.time)


@pytest.mark.parametrize(
    ("changed", "seen"),
    [(0.95, [2, 2, 2]), (1.0, [2, 2, 2]), (1.05, [0, 2, 2]), (1.1, [0, 0, 2]), (None, [0, 0, 0])],
    ids=["before", "in the first", "in the second", "in the newest", "never"],
)
def test_lights_show_what_they_showed_in_the_snapshot_that_is_read(changed, seen):
    """A light only tells what it shows now and for how long."""
    light = FakeActor(1, "traffic.traffic_light")
    world = Passing(light)
    reader = ViewReader(world)
    reader.read()
    world.time = 1.1  # three ticks have passed when the first of them is read
    if changed is not None:
        light.state = 2
    light.get_elapsed_time = lambda: 99.0 if changed is None else 1.1 - changed
    assert [reader.read(world.snapshot(time)).signals["signal1"] for time in (1.0, 1.05, 1.1)] == seen
