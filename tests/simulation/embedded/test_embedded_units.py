"""Parts of the server without a server: boxes, the bicycle, braking for bodies, signal programs, bytes."""

import math

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import dynamics, wire
from craft_lightning.simulation.embedded.collisions import find_contacts, overlap
from craft_lightning.simulation.embedded.lights import Light, LightBoard, ProgramPlan
from craft_lightning.simulation.embedded.state import VEHICLE, VX, VY, WZ, YAW, Actor, ActorTable, Settings, X, Y
from craft_lightning.simulation.embedded.town import LightPlace
from craft_lightning.simulation.embedded.traffic_options import TrafficOptions
from craft_lightning.simulation.embedded.yielding import speed_caps


def vehicle(number=1, **changes):
    return Actor(number, 1, "vehicle.x.y", VEHICLE, [], extent=(2.4, 0.9, 0.7), mass=1500.0, wheelbase=2.8, **changes)


# ---- bytes ---------------------------------------------------------------------------------------------------------


def test_rows_are_packed_as_the_client_reads_them():
    assert wire.ROW.itemsize == 119
    row = np.zeros(1, wire.ROW)
    row["id"], row["motion"][0, 4], row["light_state"] = 7, 90.0, 2
    raw = row.tobytes()
    assert raw[:4] == (7).to_bytes(4, "little")
    assert np.frombuffer(raw[5 + 16 : 5 + 20], "<f4")[0] == 90.0
    assert raw[118] == 2
    assert len(wire.stream_token(3, 2001)) == wire.TOKEN_BYTES == 24
    message = wire.snapshot(1, 2, 3.0, 4.0, 0.05, row)
    assert int.from_bytes(message[:4], "little") == len(message) - 4 == 48 + 36 + 119


def test_settings_survive_the_wire():
    settings = Settings(synchronous=True, delta=0.05)
    assert Settings.from_wire(settings.wire()) == settings
    assert Settings.from_wire(Settings().wire()).delta is None


def test_actor_table_keeps_rows_and_actors_together():
    table = ActorTable()
    for number in range(1, 200):
        table.add(vehicle(number))
        table.order[-1].motion[X] = float(number)
        table.write(table.order[-1])
    table.remove({3, 50, 199, 1000})
    assert len(table) == 196
    assert [actor.id for actor in table.order] == table.rows["id"].tolist()
    assert all(table.rows["motion"][table.index[number], 0] == number for number in (1, 4, 51, 198))
    assert table.get(50) is None
    table.set_solid(table.by_id[51], False)
    assert not table.solid[table.index[51]]
    assert table.solid.sum() == 195


# ---- boxes ---------------------------------------------------------------------------------------------------------


def test_overlap_agrees_with_shapely():
    shapely = pytest.importorskip("shapely")
    affinity = pytest.importorskip("shapely.affinity")
    random = np.random.default_rng(5)
    touching = 0
    for _ in range(1500):
        boxes, shapes = [], []
        for _ in range(2):
            x, y = random.uniform(-4, 4, 2)
            yaw = random.uniform(-180, 180)
            a, b = random.uniform(0.2, 3.0, 2)
            boxes.append((x, y, yaw, a, b))
            shapes.append(affinity.translate(affinity.rotate(shapely.box(-a, -b, a, b), yaw, origin=(0, 0)), x, y))
        found = overlap(*boxes)
        area = shapes[0].intersection(shapes[1]).area
        assert (found is not None) == (area > 0.0) or area < 1e-6
        if found is not None:
            touching += 1
            (nx, ny), depth = found
            assert math.hypot(nx, ny) == pytest.approx(1.0)
            freed = affinity.translate(shapes[0], nx * (depth + 1e-6), ny * (depth + 1e-6))
            assert freed.intersection(shapes[1]).area < 1e-4
            stuck = affinity.translate(shapes[0], nx * 0.5 * depth, ny * 0.5 * depth)
            assert stuck.intersection(shapes[1]).area > 0.0
    assert touching > 300


def test_contacts_are_three_dimensional_and_come_once():
    motion = np.zeros((4, 15), np.float32)
    motion[1, 0] = 3.0
    motion[2, 2] = -50.0
    motion[3, 0] = 30.0
    extents = np.tile(np.array([2.0, 1.0, 0.75], np.float32), (4, 1))
    centre, solid = np.full(4, 0.75, np.float32), np.ones(4, bool)
    found = find_contacts([0, 1], motion, extents, np.hypot(extents[:, 0], extents[:, 1]), centre, solid)
    assert [(contact.first, contact.second) for contact in found] == [(0, 1)]
    assert found[0].depth == pytest.approx(1.0)
    assert found[0].normal == pytest.approx((-1.0, 0.0))
    solid[1] = False
    assert find_contacts([0, 1], motion, extents, np.hypot(extents[:, 0], extents[:, 1]), centre, solid) == []


# ---- the bicycle ---------------------------------------------------------------------------------------------------


def test_bicycle_turns_on_the_circle_of_its_wheel_angle():
    actor = vehicle()
    actor.speed, actor.steer_angle = 5.0, dynamics.MAX_STEER_ANGLE * 0.5
    actor.control.steer = 0.5
    actor.constant_velocity = (5.0, 0.0, 0.0)
    places = []
    for _ in range(400):
        dynamics.drive(actor, 0.05)
        places.append(actor.motion[:2])
    path = np.array(places)
    # Circle by the centre of the box, half a wheelbase from the axles.
    slip = math.atan(0.5 * math.tan(0.5 * dynamics.MAX_STEER_ANGLE))
    radius = 1.4 / math.sin(slip)
    centre = np.array([-radius * math.sin(slip), radius * math.cos(slip)])
    assert np.linalg.norm(path - centre, axis=1) == pytest.approx(np.full(400, radius), abs=0.02)
    assert actor.motion[WZ] == pytest.approx(math.degrees(5.0 / radius), rel=1e-6)
    assert path[5, 1] > 0.0, "y and yaw grow to the right"


def test_lags_rates_and_limits():
    actor = vehicle()
    actor.control.throttle, actor.control.steer = 1.0, 1.0
    dynamics.drive(actor, 0.05)
    assert actor.throttle == pytest.approx(1.0 - math.exp(-0.25))
    assert actor.steer_angle == pytest.approx(dynamics.STEER_RATE * 0.05)
    for _ in range(20):
        dynamics.drive(actor, 0.05)
    assert actor.steer_angle == pytest.approx(dynamics.MAX_STEER_ANGLE)
    actor.speed = 20.0
    dynamics.drive(actor, 0.05)
    rate = math.radians(actor.motion[WZ])
    assert rate * 20.0 <= dynamics.GRIP * 1.01
    actor.control.throttle, actor.control.brake = 0.0, 1.0
    for _ in range(80):
        dynamics.drive(actor, 0.05)
    assert actor.speed == 0.0
    assert (actor.motion[VX], actor.motion[VY]) == (0.0, 0.0)


def test_speed_settles_where_pull_meets_drag():
    actor = vehicle()
    actor.control.throttle = 0.5
    for _ in range(6000):
        dynamics.drive(actor, 0.05)
        actor.motion[X] = actor.motion[Y] = 0.0
    v = actor.speed
    pull = 0.5 * dynamics.FULL_THROTTLE * (1.0 - v / dynamics.TOP_SPEED)
    drag = dynamics.ROLLING_DRAG + dynamics.AIR_DRAG * v * v + 0.5 * dynamics.ENGINE_DRAG
    assert pull == pytest.approx(drag, abs=1e-3)


def test_set_velocity_keeps_a_vehicle_on_its_heading():
    actor = vehicle()
    actor.motion[YAW] = 90.0
    dynamics.set_velocity(actor, (3.0, 4.0, 0.0))
    assert actor.speed == pytest.approx(4.0)


# ---- braking for bodies --------------------------------------------------------------------------------------------

DRIVER = [0.0, 0.0, 0.0, 2.4, 0.9, 10.0, 0.0]


@pytest.mark.parametrize(
    ("body", "brakes"),
    [
        ([20.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0], True),  # stands ahead
        ([-20.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0], False),  # stands behind
        ([20.0, 4.0, 0.0, 0.2, 0.2, 0.0, 0.0], False),  # stands aside
        ([20.0, 4.0, 0.0, 0.2, 0.2, 0.0, -2.5], True),  # walks in
        ([20.0, 4.0, 0.0, 0.2, 0.2, 0.0, 2.5], False),  # walks away
        ([30.0, 1.2, 0.0, 0.2, 0.2, 0.0, 2.0], False),  # is leaving in time
        ([40.0, 0.0, 0.0, 2.4, 0.9, 20.0, 0.0], False),  # drives off faster
        ([80.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0], False),  # is far
    ],
)
def test_who_is_in_the_way(body, brakes):
    cap = speed_caps(np.array([DRIVER]), np.array([body]))[0]
    assert (cap < 13.0) == brakes


def test_caps_bring_a_driver_to_a_stop_before_the_body():
    driver, body = list(DRIVER), [40.0, 0.3, 0.0, 0.2, 0.2, 0.0, 0.0]
    worst = 0.0
    for _ in range(400):
        cap = speed_caps(np.array([driver]), np.array([body]))[0]
        new = max(min(driver[5], cap), driver[5] - 8.0 * 0.05)
        worst = max(worst, (driver[5] - new) / 0.05)
        driver[5] = new
        driver[0] += new * 0.05
    assert driver[5] < 0.2
    gap = body[0] - 0.2 - driver[0] - 2.4
    assert 1.0 < gap < 3.0
    assert worst < 4.5


def test_the_corridor_bends_with_the_vehicle():
    turning = [*DRIVER[:6], 1.0 / 30.0]
    inside = [20.0, 20.0**2 / 60.0, 0.0, 0.2, 0.2, 0.0, 0.0]
    straight_on = [20.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0]
    caps = [speed_caps(np.array([turning]), np.array([body]))[0] for body in (inside, straight_on)]
    assert caps[0] < 13.0
    assert math.isinf(caps[1])


# ---- signal programs -----------------------------------------------------------------------------------------------


def board(forward=None):
    place = LightPlace("1", (0.0,) * 6, (0.0,) * 3, (1.0, 1.0, 1.0), np.zeros((1, 3)))
    lights = [Light(11, place, (("A", 0), ("A", 1))), Light(12, place, (("A", 2),)), Light(13, place, ())]
    phases = ((10.0, "GgrO"), (3.0, "yyrO"), (2.0, "rrrO"), (8.0, "rrGO"), (3.0, "rryO"), (2.0, "rrrO"))
    return LightBoard([ProgramPlan("A", phases)], lights, forward)


def test_program_runs_its_phases_and_tells_sumo():
    told = []
    lights = board(lambda name, letters: told.append(letters))
    first, second, third = lights.lights.values()
    assert (first.state, second.state, third.state) == (wire.GREEN, wire.RED, wire.OFF)
    assert lights.times(first) == (10.0, 3.0, 4.0)
    seen = []
    for _ in range(28 * 20):
        lights.advance(0.05)
        seen.append((first.state, second.state))
    assert seen.count((wire.GREEN, wire.RED)) == pytest.approx(200, abs=1)
    assert seen.count((wire.YELLOW, wire.RED)) == pytest.approx(60, abs=1)
    assert seen.count((wire.RED, wire.GREEN)) == pytest.approx(160, abs=1)
    assert told[0] == "GgrO"
    assert told[1:] == ["yyrO", "rrrO", "rrGO", "rryO", "rrrO", "GgrO"]


def test_forcing_lasts_to_the_next_phase_or_as_long_as_frozen():
    told = []
    lights = board(lambda name, letters: told.append(letters))
    first = lights.lights[11]
    lights.force(11, wire.RED)
    assert told[-1] == "rrrO"
    assert first.state == wire.RED
    lights.advance(9.0)
    assert first.state == wire.RED
    lights.advance(1.1)
    assert first.state == wire.YELLOW
    lights.freeze(True)
    lights.force(11, wire.GREEN)
    lights.advance(100.0)
    assert first.state == wire.GREEN
    lights.freeze(False)
    lights.advance(2.95)
    assert first.state == wire.RED
    assert lights.group(11) == [11, 12]
    assert lights.group(13) == [13]


def test_times_can_be_set_and_reset():
    lights = board()
    lights.set_time(11, wire.GREEN, 4.0)
    assert lights.times(lights.lights[11])[0] == pytest.approx(4.0)
    lights.advance(4.05)
    assert lights.lights[11].state == wire.YELLOW
    lights.reset()
    assert lights.times(lights.lights[11])[0] == pytest.approx(10.0)
    assert lights.lights[11].state == wire.GREEN


# ---- attributes ----------------------------------------------------------------------------------------------------


def test_traffic_options_name_the_bad_attribute():
    assert TrafficOptions.from_attributes([["seed", 2, "7"], ["role_name", 4, "x"]]).seed == 7
    for name, text in (("vehicles", "many"), ("vehicles", "-3"), ("tau", "nan")):
        with pytest.raises(CraftError, match=name):
            TrafficOptions.from_attributes([[name, 2, text]])
