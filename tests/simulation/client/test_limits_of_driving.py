"""What is counted against the ego on its way: every limit, just beyond it and just short.

Tests drive by hand: a tick is where and when it is put. "" is no protocol, but the house's own limits.
"""

import math

import numpy as np
import pytest

from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.criteria_collision import Contact
from craft_lightning.simulation.criteria_lights import LightCriteria, route_lines
from craft_lightning.simulation.criteria_outside import OutsideRouteLanes
from craft_lightning.simulation.stop_signs import StopSignCriterion, stop_zones
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, LIGHT_YELLOW

LANE = -1.75  # y of the route's lane
PROTOCOLS = "", "bench2drive", "bench2drive-star", "leaderboard-1.0", "leaderboard-2.0", "leaderboard-2.1"
VEHICLE, WALKER = "vehicle.audi.a2", "walker.pedestrian.0001"


def hit(other, kind=VEHICLE):
    return [Contact(1, other, kind, 100.0)]


# --- collisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("speed", "counted"), [(0.099, {}), (0.101, {"collisions_vehicle": 1})])
def test_a_collision_of_an_ego_that_hardly_moves_does_not_count(judged, protocol, speed, counted):
    assert judged(protocol, [(10.0, LANE, 0.0, speed)] * 2, {1: hit(7)}).counts == counted


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("seconds", "counted"), [(4.95, 1), (5.05, 2)])
def test_the_same_actor_counts_again_after_five_seconds(judged, protocol, seconds, counted):
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 35.0)]
    times = [0.0, 0.05, 0.05 + seconds]
    criteria = judged(protocol, poses, {1: hit(7), 2: hit(7)}, times=times, end_on_collision=False)
    assert criteria.counts == {"collisions_vehicle": counted}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("metres", "counted"), [(4.95, 1), (5.05, 2)])
def test_another_actor_counts_five_metres_farther_on(judged, protocol, metres, counted):
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 10.0 + metres)]
    criteria = judged(protocol, poses, {1: hit(7), 2: hit(8)}, end_on_collision=False)
    assert criteria.counts == {"collisions_vehicle": counted}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_another_kind_it_counts_at_once_by_the_houses_rule_alone(judged, protocol):
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 14.95)]
    criteria = judged(protocol, poses, {1: hit(7), 2: hit(8, WALKER)}, end_on_collision=False)
    assert criteria.counts.get("collisions_pedestrian", 0) == (0 if protocol else 1)


@pytest.mark.parametrize(("other", "counted"), [(7, 1), (0, 2)])
def test_the_town_itself_is_no_actor_that_is_remembered(judged, other, counted):
    """An Unreal server gives number 0 to whatever is part of the town."""
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 15.05)]
    wall = hit(other, "static.building")
    assert judged("bench2drive", poses, {1: wall, 2: wall}).counts == {"collisions_layout": counted}


@pytest.mark.parametrize(("seconds", "counted"), [(7.95, 1), (8.05, 2)])
def test_a_wall_hit_meanwhile_renews_the_memory_of_the_actor_before_it(judged, seconds, counted):
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 20.0, 30.0)]
    contacts = {1: hit(7), 2: hit(0, "static.building"), 3: hit(7)}
    criteria = judged("bench2drive", poses, contacts, times=[0.0, 0.05, 3.05, 0.05 + seconds])
    assert criteria.counts == {"collisions_vehicle": counted, "collisions_layout": 1}


@pytest.mark.parametrize(("metres", "counted"), [(4.95, {}), (5.05, {"collisions_vehicle": 1})])
def test_a_kerb_is_no_collision_but_hides_one_within_five_metres(judged, metres, counted):
    poses = [(x, LANE, 0.0, 5.0) for x in (10.0, 10.0, 10.0 + metres)]
    assert judged("bench2drive", poses, {1: hit(0, "static.sidewalk"), 2: hit(7)}).counts == counted


@pytest.mark.parametrize(("protocol", "ends"), [(name, name in ("", "bench2drive-star")) for name in PROTOCOLS])
def test_the_first_collision_ends_the_route_of_the_star_and_in_the_house(judged, protocol, ends):
    criteria = judged(protocol, [(10.0, LANE, 0.0, 5.0)] * 3, {1: hit(7)})
    assert criteria.status == ("Failed - Agent collided" if ends else "")
    assert judged(protocol, [(10.0, LANE, 0.0, 0.099)] * 3, {1: hit(7)}).status == ""


# --- lanes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("beyond", "percent"), [(0.49, 0.0), (0.51, 100.0)])
def test_outside_begins_half_a_metre_beyond_the_lane(judged, protocol, beyond, percent):
    """Along the right edge, over the shoulder, which is no lane to drive on."""
    poses = [(x, -3.5 - beyond, 0.0, 10.0) for x in np.arange(0.5, 80.0, 1.0)]
    assert judged(protocol, poses).outside_percent == percent


def test_the_percentage_is_of_the_waypoints_passed(judged):
    poses = [(x, LANE if x < 40.0 else -4.5, 0.0, 10.0) for x in np.arange(0.5, 51.0, 1.0)]
    criteria = judged("bench2drive", poses)
    assert criteria.outside_percent == pytest.approx(100.0 * 11.0 / 50.0)  # 40 to 50 of 1 to 50
    assert criteria.outside.metres == pytest.approx(11.0)


@pytest.mark.parametrize(("turn", "wrong"), [(149.5, False), (150.5, True), (-149.5, False), (-150.5, True)])
def test_a_lane_is_wrong_whose_direction_turns_by_more_than_150_degrees(
    road_grid, lane_table, straight_route, turn, wrong
):
    road_grid.segments[1, 2:4] = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    criterion = OutsideRouteLanes(lane_table, straight_route)
    criterion.update(10.0, LANE, 0.0)
    assert not criterion.wrong
    criterion.update(12.0, 1.75, 0.0)
    assert criterion.wrong is wrong


@pytest.mark.parametrize(("turn", "wrong"), [(119.5, False), (120.5, True), (-119.5, False), (-120.5, True)])
def test_a_lane_is_wrong_that_is_entered_from_a_junction_at_more_than_120_degrees(
    road_grid, lane_table, straight_route, turn, wrong
):
    road_grid.lane_junction[0] = 1
    criterion = OutsideRouteLanes(lane_table, straight_route)
    criterion.update(10.0, LANE, 0.0)
    assert not criterion.wrong  # nothing is said inside
    criterion.update(12.0, 1.75, math.pi - math.radians(turn))
    assert criterion.wrong is wrong


# --- lights -----------------------------------------------------------------------------------------------------------

LENGTH = 4.8
LINE = 60.0


@pytest.fixture
def lights(road_network, straight_route, limits):
    found = limits("")
    return LightCriteria(route_lines(road_network, straight_route), found.stop_zone, found.go_zone)


def approach(lights, bumpers, state, y=LANE, speed=5.0, times=None, clear=True):
    """Put the front bumper to places one after the other; return what the last one shows."""
    flags = [
        lights.update((front - 0.5 * LENGTH, y, 0.0), LENGTH, speed, front, {"s1": state}, time, clear)
        for front, time in zip(bumpers, times or 0.05 * np.arange(len(bumpers)), strict=True)
    ]
    return flags[-1]


@pytest.mark.parametrize(
    ("bumper", "state", "ran"),
    [
        (LINE - 0.01, LIGHT_RED, False),
        (LINE + 0.01, LIGHT_RED, True),
        (LINE + 0.01, LIGHT_YELLOW, False),
        (LINE + 0.01, LIGHT_GREEN, False),
    ],
)
def test_a_red_light_is_run_by_the_front_bumper(lights, bumper, state, ran):
    assert approach(lights, [LINE - 0.5, bumper], state).red_light is ran


@pytest.mark.parametrize(("aside", "ran"), [(2.04, True), (2.06, False), (-2.04, True), (-2.06, False)])
def test_a_light_holds_for_the_width_of_its_line_and_thirty_centimetres(lights, aside, ran):
    assert approach(lights, [LINE - 0.5, LINE + 0.5], LIGHT_RED, y=LANE + aside).red_light is ran


@pytest.mark.parametrize(("aside", "count"), [(11.9, 1), (12.1, 0)])
def test_lines_farther_than_twelve_metres_from_the_route_are_none_of_its(road_network, straight_route, aside, count):
    road_network.line_xy[0] = [60.0, LANE - aside + 1.75, 60.0, LANE - aside - 1.75]
    assert len(route_lines(road_network, straight_route)) == count


@pytest.mark.parametrize(("degrees", "count"), [(59.5, 1), (60.5, 0)])
def test_lines_of_lanes_that_lead_elsewhere_are_none_of_its(road_network, straight_route, degrees, count):
    road_network.heading[1] = math.radians(degrees)
    assert len(route_lines(road_network, straight_route)) == count


@pytest.mark.parametrize(
    ("before", "speed", "state", "inside"),
    [
        (0.99, 0.101, LIGHT_RED, True),
        (1.01, 0.101, LIGHT_RED, False),
        (0.99, 0.099, LIGHT_RED, False),
        (0.99, 0.101, LIGHT_GREEN, False),
    ],
)
def test_the_stop_zone_is_the_last_metre_before_red(lights, before, speed, state, inside):
    assert approach(lights, [LINE - before], state, speed=speed).stop_zone == inside


@pytest.mark.parametrize(
    ("before", "speed", "seconds", "clear", "inside"),
    [
        (14.9, 1.99, 2.01, True, True),
        (15.1, 1.99, 2.01, True, False),
        (14.9, 2.01, 2.01, True, False),
        (14.9, 1.99, 1.99, True, False),
        (14.9, 1.99, 2.01, False, False),
    ],
)
def test_the_go_zone_is_fifteen_metres_before_two_seconds_of_green(lights, before, speed, seconds, clear, inside):
    flags = approach(lights, [LINE - before] * 2, LIGHT_GREEN, speed=speed, times=[0.0, seconds], clear=clear)
    assert flags.go_zone == inside


# --- stop signs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sign():
    """The zone of a real town's first stop sign."""
    return stop_zones(load_town("craftside").opendrive.carla_map())[0]


@pytest.mark.parametrize(
    ("before", "slowest", "ran"),
    [(5.95, 0.099, False), (6.05, 0.099, True), (5.95, 0.101, True), (0.05, 0.099, False), (-0.05, 0.099, True)],
)
def test_a_stop_sign_wants_the_ego_to_stand_in_the_six_metres_before_its_line(sign, before, slowest, ran):
    criterion = StopSignCriterion([sign])
    events = [
        criterion.update(
            sign.x + (sign.half_length - metres) * math.cos(sign.heading),
            sign.y + (sign.half_length - metres) * math.sin(sign.heading),
            sign.heading,
            slowest if metres == before else 5.0,
        )
        for metres in (8.0, 6.05, 5.95, 3.0, 0.05, -0.05, -2.0)
    ]
    assert sum(events) == ran


@pytest.mark.parametrize(
    ("aside", "turn", "ran"),
    [
        (0.98, 0.0, True),
        (1.02, 0.0, False),
        (-0.98, 0.0, True),
        (-1.02, 0.0, False),
        (0.0, 59.5, True),
        (0.0, 60.5, False),
    ],
)
def test_a_stop_sign_is_meant_for_its_own_lane_and_way(sign, aside, turn, ran):
    """``aside`` in halves of the lane's width."""
    criterion = StopSignCriterion([sign])
    events = []
    for metres in (8.0, 3.0, -2.0):
        along, across = sign.half_length - metres, aside * sign.half_width
        x = sign.x + along * math.cos(sign.heading) - across * math.sin(sign.heading)
        y = sign.y + along * math.sin(sign.heading) + across * math.cos(sign.heading)
        events.append(criterion.update(x, y, sign.heading + math.radians(turn), 5.0))
    assert sum(events) == ran
