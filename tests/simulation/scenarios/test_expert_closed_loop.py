"""The expert through the tracker on hand-made roads: it follows, yields, stops and starts; a blind driver does not."""

import math

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_STATIC, AGENT_WALKER
from craft_lightning.simulation.expert import Expert, ExpertParameters
from craft_lightning.simulation.speed_profile import SpeedParameters
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, LIGHT_YELLOW


@pytest.fixture
def road(lab):
    """A straight road along x with its route."""
    network = lab.make_network([lab.straight(0, 0, 300, 0), lab.straight(80, -100, 80, 100)])
    return network, lab.make_route(lab.straight(0, 0, 200, 0))


def braking_lead(gap, speed, deceleration, begin=2.0):
    """A vehicle ahead that brakes to a standstill."""

    def state(time):
        lasting = min(max(time - begin, 0.0), speed / deceleration)
        x = gap + speed * min(time, begin) + speed * lasting - 0.5 * deceleration * lasting**2
        now = speed - deceleration * lasting
        return x, 0.0, 0.0, now, -deceleration if time > begin and now > 0.0 else 0.0

    return state


def test_free_road_reaches_the_limit_and_stays_on_the_line(lab, road):
    drive = lab.closed_loop(Expert(*road), 10.0, ego=(0.0, 0.6, 0.1, 0.0))
    _, _, y, yaw, speed = drive.rows[-1]
    assert abs(y) < 0.1
    assert abs(yaw) < 0.02
    assert speed == pytest.approx(0.9 * 13.9, abs=0.6)
    assert set(drive.reasons) == {"free"}


@pytest.mark.parametrize("deceleration", [3.0, 5.0, 8.0])
def test_hard_braking_lead_is_survived_and_hits_the_blind(lab, road, deceleration):
    speed = 11.0
    lead = lab.Agent(braking_lead(7.8 + 1.3 * speed, speed, deceleration))
    drive = lab.closed_loop(Expert(*road), 9.0, [lead], ego=(0.0, 0.0, 0.0, speed))
    assert drive.clearance > 0.5
    assert drive.rows[-1, 4] < 1.0
    assert "follow 2" in drive.reasons
    blind = lab.closed_loop(Expert(*road), 9.0, [lead], ego=(0.0, 0.0, 0.0, speed), blind=True)
    assert blind.clearance < 0.0


@pytest.mark.parametrize("start", [0.3, 0.8, 1.3])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_crossing_walker_is_let_through(lab, road, start, side):
    def state(time):
        return (
            40.0,
            side * (5.0 - 1.5 * max(time - start, 0.0)),
            -side * math.pi / 2,
            1.5 if time >= start else 0.0,
            0.0,
        )

    walker = lab.Agent(state, AGENT_WALKER, 0.5, 0.5)
    drive = lab.closed_loop(Expert(*road), 12.0, [walker])
    assert drive.clearance > 0.5
    assert drive.rows[-1, 4] > 8.0, "it drives on when the walker is gone"


def test_walker_beside_the_road_is_no_reason_to_stop(lab, road):
    walker = lab.Agent(lambda time: (30.0 + 1.3 * time, -4.0, 0.0, 1.3, 0.0), AGENT_WALKER, 0.5, 0.5)
    drive = lab.closed_loop(Expert(*road), 8.0, [walker])
    assert set(drive.reasons) == {"free"}


@pytest.mark.parametrize("distance", [40.0, 60.0, 75.0, 90.0])
def test_crossing_traffic_is_avoided(lab, road, distance):
    crosser = lab.Agent(lambda time: (80.0, -distance + 10.0 * time, math.pi / 2, 10.0, 0.0))
    drive = lab.closed_loop(Expert(*road), 16.0, [crosser])
    assert drive.clearance > 1.0
    assert drive.rows[-1, 1] > 110.0


def test_vehicle_that_will_stop_at_its_red_light_is_not_feared(lab):
    network = lab.make_network(
        [lab.straight(0, 0, 200, 0), lab.straight(80, -100, 80, -6), lab.straight(80, -5, 80, 100)],
        [(1, "south")],
        successors=[[], [2], []],
    )
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    # Ten metres a second, 50 m from its line, not yet braking; without the light both would meet.
    crosser = lab.Agent(lambda time: (80.0, -58.0, math.pi / 2, 10.0, 0.0))
    reasons = {}
    for state in (LIGHT_RED, LIGHT_GREEN):
        expert = Expert(network, route)
        expert.plan(lab.make_view(0.0, (20.0, 0.0, 0.0, 11.0), [crosser], {"south": state}))
        reasons[state] = expert.reason
    assert reasons == {LIGHT_RED: "free", LIGHT_GREEN: "yield 2"}


def test_light_stops_and_releases(lab):
    network = lab.make_network([lab.straight(0, 0, 100, 0), lab.straight(100, 0, 300, 0)], [(0, "a")])
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    drive = lab.closed_loop(
        Expert(network, route), 20.0, signals=lambda time: {"a": LIGHT_RED if time < 14.0 else LIGHT_GREEN}
    )
    before = drive.rows[drive.rows[:, 0] < 14.0]
    assert before[-1, 4] < 0.1
    assert 94.0 < before[-1, 1] + 2.25 < 100.0, "the bumper stands before the line"
    assert drive.rows[-1, 1] > 110.0


@pytest.mark.parametrize(("gap", "stops"), [(45.0, True), (12.0, False)])
def test_yellow_is_respected_only_where_braking_is_comfortable(lab, gap, stops):
    network = lab.make_network([lab.straight(0, 0, 100, 0), lab.straight(100, 0, 300, 0)], [(0, "a")])
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    ego = (100.0 - 2.25 - gap, 0.0, 0.0, 11.0)
    drive = lab.closed_loop(
        Expert(network, route), 8.0, ego=ego, signals=lambda time: {"a": LIGHT_YELLOW if time < 3.0 else LIGHT_RED}
    )
    crossed = drive.rows[:, 1] + 2.25 > 100.0
    assert crossed.any() != stops
    if not stops:
        assert drive.rows[crossed.argmax(), 0] < 3.0


@pytest.mark.parametrize("left", [1.0, -1.0])
@pytest.mark.parametrize("radius", [7.0, 15.0])
def test_turn_is_driven_slowly_and_near_the_line(lab, left, radius):
    xy = lab.turn(radius, left)
    expert = Expert(lab.make_network([xy]), lab.make_route(xy))
    drive = lab.closed_loop(expert, 11.0)
    points = drive.rows[:, 1:3]
    deviation = np.hypot(*(points[:, None] - xy[None]).transpose(2, 0, 1)).min(1)
    assert deviation.max() < 1.3
    rate = np.diff(np.unwrap(drive.rows[:, 3])) / 0.05
    assert np.abs(rate * drive.rows[1:, 4]).max() < 4.0
    assert abs(drive.rows[-1, 2]) > 40.0


def test_object_in_the_lane_is_stopped_before(lab, road):
    crate = lab.Agent(lambda time: (60.0, 0.5, 0.3, 0.0, 0.0), AGENT_STATIC, 1.0, 1.2)
    drive = lab.closed_loop(Expert(*road), 12.0, [crate])
    assert drive.clearance > 0.8
    assert drive.rows[-1, 4] < 0.2


def test_follower_behind_is_no_reason_to_brake(lab, road):
    follower = lab.Agent(lambda time: (-8.0 + 12.0 * time, 0.0, 0.0, 13.0, 0.0))
    view = lab.make_view(0.0, (0.0, 0.0, 0.0, 11.0), [follower], {})
    expert = Expert(*road)
    expert.plan(view)
    assert expert.reason == "free"


def test_someone_in_the_way_at_once_means_full_braking(lab, road):
    walker = lab.Agent(lambda time: (14.0, 2.4, -math.pi / 2, 2.0, 0.0), AGENT_WALKER, 0.5, 0.5)
    expert = Expert(*road)
    plan = expert.plan(lab.make_view(0.0, (0.0, 0.0, 0.0, 12.0), [walker], {}))
    assert expert.reason == "emergency 2"
    assert plan[-1, 0] == pytest.approx(12.0**2 / 16.0, abs=0.5), "8 m/s2 from 12 m/s"
    assert np.abs(np.diff(plan[20:, 0])).max() == 0.0, "poses repeat once it stands"


def test_plan_is_in_the_ego_frame_and_deterministic(lab, road):
    network, _ = road
    turned = lab.make_route(lab.straight(50, 0, -100, 0))
    view = lab.make_view(0.0, (40.0, 0.5, math.pi, 8.0), [], {})
    first, second = (Expert(network, turned).plan(view) for _ in range(2))
    assert first.shape == (40, 3)
    np.testing.assert_array_equal(first, second)
    assert first[-1, 0] > 25.0
    assert first[-1, 1] == pytest.approx(0.5, abs=0.05), "the route lies half a metre to the left"
    assert first[0, 0] == pytest.approx(0.8, abs=0.1)


def test_parameters_change_the_speed(lab, road):
    slow = Expert(*road, ExpertParameters(speed=SpeedParameters(limit_share=0.5)))
    assert lab.closed_loop(slow, 10.0).rows[-1, 4] == pytest.approx(0.5 * 13.9, abs=0.6)
