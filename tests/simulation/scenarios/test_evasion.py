"""How the expert leaves its lane, on hand-made roads through the tracker."""

import math

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_CYCLIST
from craft_lightning.simulation.evasion import own_edges, passing_time
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.feeders import Feeders
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.path_frame import boxes_along


@pytest.fixture
def one_way(lab):
    """Two lanes of one direction; the route is on the right one."""
    network = lab.make_network([lab.straight(0, 0, 400, 0), lab.straight(0, 3.5, 400, 3.5)])
    return network, lab.make_route(lab.straight(0, 0, 300, 0))


@pytest.fixture
def two_way(lab):
    """One lane a direction."""
    network = lab.make_network([lab.straight(0, 0, 400, 0), lab.straight(400, 3.5, 0, 3.5)])
    return network, lab.make_route(lab.straight(0, 0, 300, 0))


def parked(lab, x=100.0, y=-0.4):
    return lab.Agent(lambda time: (x, y, 0.0, 0.0, 0.0))


def test_a_standing_car_is_passed_in_the_lane_beside(lab, one_way):
    drive = lab.closed_loop(Expert(*one_way), 22.0, [parked(lab)])
    assert drive.clearance > 0.3
    assert drive.rows[-1, 1] > 150.0
    assert drive.rows[:, 2].max() == pytest.approx(3.5, abs=0.5)
    assert abs(drive.rows[-1, 2]) < 0.4, "back in its lane"


def test_a_car_that_has_only_just_stopped_is_waited_for(lab, one_way):
    def state(time):
        return 45.0 + min(5.0 * time, 40.0), 0.0, 0.0, 5.0 if time < 8.0 else 0.0, 0.0

    drive = lab.closed_loop(Expert(*one_way), 12.0, [lab.Agent(state)])
    assert np.abs(drive.rows[:, 2]).max() < 0.5
    assert drive.clearance > 0.5


@pytest.mark.parametrize("known", [False, True])
def test_who_is_known_to_drive_on_is_waited_for_however_long_it_stands(lab, two_way, known):
    blocker = lab.make_view(0.0, (70.0, 0.0, 0.0, 0.0), [parked(lab)], {})
    actor = int(next(one for one in blocker.ids if one != blocker.ids[blocker.ego]))
    line = np.column_stack([np.arange(300.0), np.zeros(300), np.ones(300), np.zeros(300)])
    intentions = {actor: Intention(line, np.full(300, 10.0), 100.0)} if known else {}
    expert = Expert(*two_way)
    for second in range(0, 12):  # longer than it takes for a parked car to count as one
        plan = expert.plan(lab.make_view(float(second), (75.0, 0.0, 0.0, 0.0), [parked(lab)], {}), intentions)
    assert (np.abs(plan[:, 1]).max() > 0.3) is not known


def test_oncoming_traffic_is_let_through_before_the_oncoming_lane_is_used(lab, two_way):
    stream = [lab.Agent(lambda time, k=k: (230.0 + 45.0 * k - 10.0 * time, 3.5, math.pi, 10.0, 0.0)) for k in range(4)]
    drive = lab.closed_loop(Expert(*two_way), 60.0, [parked(lab), *stream])
    assert drive.clearance > 0.3
    assert "wait" in drive.reasons
    assert drive.rows[-1, 1] > 150.0
    out = drive.rows[:, 2] > 1.2
    assert drive.rows[out.argmax(), 0] > 20.0, "the last of them passes the obstacle after 26 s"


def test_without_room_it_stops_behind(lab):
    network = lab.make_network([lab.straight(0, 0, 400, 0)])
    drive = lab.closed_loop(Expert(network, lab.make_route(lab.straight(0, 0, 300, 0))), 15.0, [parked(lab)])
    assert drive.clearance > 0.5
    assert drive.rows[-1, 4] < 0.2


def test_slow_cyclists_are_overtaken(lab, one_way):
    cyclist = lab.Agent(lambda time: (60.0 + 2.5 * time, -1.0, 0.0, 2.5, 0.0), AGENT_CYCLIST, 1.7, 0.6)
    drive = lab.closed_loop(Expert(*one_way), 20.0, [cyclist])
    assert drive.clearance > 0.4
    assert drive.rows[-1, 1] > 60.0 + 2.5 * 20.0 + 10.0


def test_way_is_made_for_somebody_fast_from_behind(lab, one_way):
    def state(time):
        return -40.0 + 18.0 * time, 0.0, 0.0, 18.0, 0.0

    drive = lab.closed_loop(Expert(*one_way), 4.0, [lab.Agent(state)])
    assert drive.rows[-1, 2] > 1.9


def test_room_is_made_for_who_comes_over(lab, two_way):
    # Its side reaches 0.9 m into the ego's lane: it would scrape an ego in the middle of it.
    invader = lab.Agent(lambda time: (160.0 - 9.0 * time, 1.8, math.pi, 9.0, 0.0))
    drive = lab.closed_loop(Expert(*two_way), 14.0, [invader])
    assert drive.clearance > 0.1
    assert drive.rows[:, 2].min() < -0.4
    assert abs(drive.rows[-1, 2]) < 0.35


def test_edges_and_times(lab, one_way):
    from craft_lightning.roads.cross_section import CrossSections

    strips = CrossSections.of(one_way[0]).at(50.0, 0.0, 0.0)
    assert own_edges(strips) == pytest.approx((-1.75, 5.25))
    assert passing_time(75.0, 7.5) == pytest.approx(10.0)
    assert passing_time(0.9, 0.0) == pytest.approx(1.0), "from standstill with 1.8 m/s2"


def test_boxes_lie_in_the_frame_of_the_path(lab):
    xy = lab.straight(0, 0, 0, 100)
    agents = [
        lab.Agent(lambda _: (-3.0, 50.0, 0.5 * math.pi, 4.0, 0.0)),
        lab.Agent(lambda _: (0.0, -20.0, 1.6, 1.0, 0.0)),
    ]
    boxes = boxes_along(xy, np.arange(101.0), lab.make_view(0.0, (0.0, 10.0, 1.57, 5.0), agents, {}), -40.0, 90.0)
    assert boxes.low == pytest.approx([47.75, -22.25], abs=0.1)
    assert boxes.high == pytest.approx([52.25, -17.75], abs=0.1)
    assert (boxes.right[0], boxes.left[0]) == pytest.approx((2.05, 3.95), abs=0.01)
    assert boxes.pace == pytest.approx([4.0, 1.0], abs=0.01)


def test_feeders_measure_upstream(lab):
    network = lab.make_network(
        [lab.straight(0, 0, 50, 0), lab.straight(50, 0, 90, 0), lab.straight(50, -40, 50, 0)], successors=[[1], [], [1]]
    )
    assert Feeders(network).to(1, 10.0) == {1: 10.0, 0: 60.0, 2: 50.0}
