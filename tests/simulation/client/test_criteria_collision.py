import threading
from types import SimpleNamespace

import pytest

from craft_lightning.simulation.criteria_collision import (
    CollisionCriterion,
    CollisionSensor,
    Contact,
    collision_category,
)


def contact(other=7, kind="vehicle.audi.a2", frame=1):
    return Contact(frame, other, kind, 100.0)


@pytest.mark.parametrize(
    ("type_id", "category"),
    [
        ("vehicle.audi.a2", "vehicle"),
        ("vehicle.bh.crossbike", "vehicle"),
        ("walker.pedestrian.0001", "pedestrian"),
        ("static.prop.container", "layout"),
        ("static.unknown", "layout"),
        ("traffic.traffic_light", "layout"),
    ],
)
def test_category(type_id, category):
    assert collision_category(type_id) == category


def test_one_actor_counts_once_in_five_seconds_of_contact():
    criterion = CollisionCriterion()
    counted = [len(criterion.update([contact()], 10.0 * t, 0.0, 5.0, t)) for t in (0.0, 0.05, 4.0, 8.95, 14.0)]
    # A contact that goes on renews its five seconds.
    assert counted == [1, 0, 0, 0, 1]


class FakeSession:
    def __init__(self):
        self.sensor = SimpleNamespace(listen=self.listen)

    def blueprint(self, name):
        return name

    def spawn(self, blueprint, transform, attach_to):
        return self.sensor

    def listen(self, callback):
        self.callback = callback


def event(frame):
    other = SimpleNamespace(id=3, type_id="vehicle.audi.a2")
    return SimpleNamespace(frame=frame, other_actor=other, normal_impulse=SimpleNamespace(x=3.0, y=4.0, z=0.0))


def test_sensor_waits_for_the_message_of_its_own_frame():
    session = FakeSession()
    sensor = CollisionSensor.attach(session, None)
    assert sensor.take(5) == []
    session.callback(event(4))
    late = threading.Timer(0.05, session.callback, [event(5)])
    late.start()
    taken = sensor.take(5, wait=5.0)
    late.join()
    assert [found.frame for found in taken] == [4, 5]
    assert taken[0].impulse == pytest.approx(5.0)


def test_contacts_of_later_ticks_wait_until_they_are_asked_about():
    """Two ticks may have passed before the first of them is judged."""
    session = FakeSession()
    sensor = CollisionSensor.attach(session, None)
    for frame in (5, 6, 6):
        session.callback(event(frame))
    assert [found.frame for found in sensor.take(5)] == [5]
    assert [found.frame for found in sensor.take(6)] == [6, 6]
    assert sensor.take(7) == []
