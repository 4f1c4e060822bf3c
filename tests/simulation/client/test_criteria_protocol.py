"""Every criterion of a protocol: what sets it off, and what just does not."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.rollouts.rules import judging
from craft_lightning.simulation.criteria import Criteria, CriteriaParameters
from craft_lightning.simulation.criteria_collision import Contact, LeaderboardCollisions
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.criteria_outside import LaneTable, OutsideRouteLanes
from craft_lightning.simulation.criteria_speed import MinimumSpeed

TICK = 0.05
LANE = -1.75  # y of the route's lane


def rules(name, **changes):
    return dataclasses.replace(CriteriaParameters(**judging(protocol_rules(name)).criteria), **changes)


@pytest.fixture
def table(road_grid):
    segments = road_grid.segments
    return LaneTable(
        probe=GridProbe(road_grid),
        counted=np.array([True, True, False]),
        driving=np.array([True, True, False]),
        length=np.full(3, 320.0),
        half_width=np.array([1.75, 1.75, 1.25]),
        tree=cKDTree(segments[:2, :2] + segments[:2, 2:4] * 100.0),
        tree_segment=np.arange(2),
    )


@pytest.fixture
def drive(road_grid, straight_route, road_network, make_view, table):
    def drive(poses, parameters, contacts=None, background=None, zones=()):
        """Drive (x, y, yaw, speed) poses, one a tick, until the route ends."""
        lines = route_lines(road_network, straight_route)
        criteria = Criteria(road_grid, straight_route, lines, list(zones), parameters, table)
        for index, pose in enumerate(poses):
            view = make_view(pose, time=7.0 + TICK * index)
            criteria.tick(view, (contacts or {}).get(index, []), clear=True, background=background)
            if criteria.status:
                break
        return criteria

    return drive


def straight(begin=0.0, end=205.0, speed=10.0, y=LANE):
    return [(x, y, 0.0, speed) for x in np.arange(begin, end, speed * TICK)]


def stand(seconds, speed=0.0):
    return [(5.0, LANE, 0.0, speed)] * (round(seconds / TICK) + 1)


def record(criteria):
    return RouteRecord.from_dict({"route_id": "1", **criteria.record()})


def test_the_leaderboards_criteria_need_the_towns_lanes(road_grid, straight_route, road_network):
    with pytest.raises(CraftError, match="lane table"):
        Criteria(road_grid, straight_route, route_lines(road_network, straight_route), [], rules("bench2drive"))


# --- route completion and the ends of a route -------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "status"), [(198.9, ""), (199.9, "Completed")])
def test_completed_beyond_99_percent_and_within_ten_metres(drive, last, status):
    criteria = drive(straight(end=last), rules("bench2drive"))
    assert criteria.status == status
    assert record(criteria).route_completion == (100.0 if status else pytest.approx(98.5, abs=0.5))


def test_99_percent_beside_the_route_is_not_arrival(drive):
    """Waypoints count as passed by their direction alone, so that arrival asks for nearness, too."""
    criteria = drive(straight(y=LANE + 10.5), rules("bench2drive", deviation_far=20.0))
    assert criteria.status == ""
    assert criteria.progress.completion > 99.0
    assert drive(straight(y=LANE + 9.0), rules("bench2drive")).status == "Completed"


@pytest.mark.parametrize(("aside", "status"), [(29.5, ""), (30.5, "Failed - Agent deviated from the route")])
def test_thirty_metres_from_the_route_end_it(drive, aside, status):
    assert drive([(10.0, LANE + aside, 0.0, 5.0)], rules("bench2drive")).status == status


@pytest.mark.parametrize(("share", "status"), [(0.29, ""), (0.32, "Failed - Agent deviated from the route")])
def test_thirty_percent_of_the_route_at_fifteen_metres_end_it(drive, share, status):
    poses = straight(end=20.0) + straight(20.0, 20.0 + 200.0 * share, y=LANE + 15.5)
    criteria = drive(poses, rules("bench2drive"))
    assert criteria.status == status
    assert record(criteria).route_deviation == bool(status)
    # A metre nearer, and nothing happens however long it lasts.
    assert drive(straight(y=LANE + 14.5), rules("bench2drive", deviation_share=0.3)).counts == {}


def test_the_far_share_is_measured_along_the_route(drive):
    """Circling far away from the route drives no route."""
    circle = [
        (50.0 + 3.0 * math.cos(turn), LANE + 20.0 + 3.0 * math.sin(turn), turn, 10.0) for turn in np.arange(0, 60, 0.15)
    ]
    assert drive(straight(end=50.0) + circle, rules("bench2drive")).status == ""


@pytest.mark.parametrize(
    ("protocol", "seconds", "status"),
    [
        ("bench2drive", 59.9, ""),
        ("bench2drive", 60.1, "Failed - Agent got blocked"),
        ("leaderboard-2.1", 179.9, ""),
        ("leaderboard-2.1", 180.1, "Failed - Agent got blocked"),
    ],
)
def test_blocked(drive, protocol, seconds, status):
    criteria = drive(stand(seconds, speed=0.09), rules(protocol))
    assert criteria.status == status
    assert record(criteria).vehicle_blocked == bool(status)


def test_creeping_at_a_tenth_of_a_metre_a_second_is_not_blocked(drive):
    assert drive(stand(61.0, speed=0.11), rules("bench2drive")).status == ""


@pytest.mark.parametrize(("ticks", "status"), [(4000, ""), (4001, "Failed - TickRuntime")])
def test_bench2drive_ends_a_route_after_4000_ticks(drive, ticks, status):
    poses = [(5.0 + 0.01 * index, LANE, 0.0, 0.2) for index in range(ticks)]
    criteria = drive(poses, rules("bench2drive"))
    assert criteria.status == status
    assert not criteria.counts  # no list holds it; the route simply is not completed
    assert drive(poses, rules("leaderboard-2.0")).status == ""


def test_the_time_out_grows_with_the_route_driven(drive):
    """300 s, and every metre driven adds the time it takes at a tenth of the limit of 10 m/s."""
    creeping = [(5.0 + 0.01 * index, LANE, 0.0, 0.2) for index in range(8000)]
    criteria = drive(creeping, rules("leaderboard-2.1"))
    assert criteria.status == "Failed - Agent timed out"
    assert criteria.time == pytest.approx(300.0 + (5.0 + 0.2 * criteria.time) / 1.0, abs=2.0)
    assert record(criteria).route_timeout == 1
    assert drive(creeping[: round(370.0 / TICK)], rules("leaderboard-2.1")).status == ""


@pytest.mark.parametrize(("seconds", "status"), [(164.9, ""), (165.1, "Failed - Agent timed out")])
def test_leaderboard_1_gives_time_by_length_alone(drive, seconds, status):
    assert drive(stand(seconds, speed=0.2), rules("leaderboard-1.0")).status == status


# --- collisions -------------------------------------------------------------------------------------------------------


def contact(other=7, kind="vehicle.audi.a2"):
    return Contact(1, other, kind, 100.0)


@pytest.mark.parametrize(("speed", "counted"), [(0.09, 0), (0.11, 1)])
def test_a_collision_of_a_standing_ego_does_not_count(speed, counted):
    assert len(LeaderboardCollisions().update([contact()], 0.0, 0.0, speed, 0.0)) == counted


@pytest.mark.parametrize(("seconds", "counted"), [(4.9, 0), (5.1, 1)])
def test_the_same_actor_counts_again_after_five_seconds(seconds, counted):
    criterion = LeaderboardCollisions()
    assert len(criterion.update([contact()], 0.0, 0.0, 5.0, 0.0)) == 1
    assert len(criterion.update([contact()], 50.0, 0.0, 5.0, seconds)) == counted


def test_a_contact_that_lasts_does_not_renew_its_five_seconds():
    criterion = LeaderboardCollisions()
    counted = [len(criterion.update([contact()], 10.0 * t, 0.0, 5.0, t)) for t in (0.0, 2.0, 4.0, 5.5)]
    assert counted == [1, 0, 0, 1]


@pytest.mark.parametrize(("metres", "counted"), [(4.9, 0), (5.1, 1)])
def test_nothing_counts_within_five_metres_of_the_last_collision(metres, counted):
    criterion = LeaderboardCollisions()
    assert len(criterion.update([contact(7)], 0.0, 0.0, 5.0, 0.0)) == 1
    # Another actor, of another kind even.
    assert len(criterion.update([contact(8, "walker.pedestrian.0001")], metres, 0.0, 5.0, 1.0)) == counted


@pytest.mark.parametrize(("protocol", "ends"), [("bench2drive", False), ("bench2drive-star", True)])
def test_only_the_star_ends_a_route_at_the_first_collision(drive, protocol, ends):
    criteria = drive(straight(), rules(protocol), contacts={50: [contact()]})
    assert record(criteria).collisions_vehicle == 1
    assert criteria.status == ("Failed - Agent collided" if ends else "Completed")


# --- outside the route's lanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("beyond", "outside"), [(0.45, False), (0.55, True)])
def test_outside_begins_half_a_metre_beyond_the_lane(table, straight_route, beyond, outside):
    criterion = OutsideRouteLanes(table, straight_route)
    # The right edge of the lane; the shoulder beside it does not count as a lane.
    criterion.update(50.0, -3.5 - beyond, 0.0)
    assert criterion.outside is outside


def test_a_parking_lane_counts_as_a_lane(table, straight_route):
    parking = dataclasses.replace(table, counted=np.array([True, True, True]))
    criterion = OutsideRouteLanes(parking, straight_route)
    criterion.update(50.0, -4.75, 0.0)
    assert not criterion.outside


def test_the_share_outside_is_of_the_route_passed(drive):
    """A quarter of the way on the shoulder."""
    criteria = drive(straight(end=150.0) + straight(150.0, 205.0, y=-4.75), rules("bench2drive"))
    assert criteria.outside_percent == pytest.approx(25.0, abs=1.0)
    found = record(criteria)
    assert found.outside_m == pytest.approx(50.0, abs=2.0)
    assert found.status == "Completed"
    assert not found.success


def test_changing_onto_the_oncoming_lane_is_wrong_until_one_changes_back(table, straight_route):
    criterion = OutsideRouteLanes(table, straight_route)
    for x, y, wrong in ((10.0, LANE, False), (12.0, 1.75, True), (20.0, 1.75, True), (22.0, LANE, False)):
        criterion.update(x, y, 0.0)
        assert criterion.wrong is wrong, (x, y)


def test_one_wrong_lane_after_another_stays_wrong(road_grid, table, straight_route):
    """From x = 100 m on the oncoming lane is another one, as where a road follows another."""

    def more(values):
        return np.append(values, values[1:2], 0)

    later = road_grid.nearest[:, 320:]  # cells of half a metre from x = -60
    later[later == 1] = 3
    for name in ("segments", "lane_kind", "lane_junction"):
        setattr(road_grid, name, more(getattr(road_grid, name)))
    road_grid.segment_lane = np.arange(4, dtype=np.int32)
    arrays = {name: more(getattr(table, name)) for name in ("counted", "driving", "length", "half_width")}
    criterion = OutsideRouteLanes(dataclasses.replace(table, probe=GridProbe(road_grid), **arrays), straight_route)
    for x, y, wrong in ((90.0, LANE, False), (92.0, 1.75, True), (110.0, 1.75, True), (112.0, LANE, False)):
        criterion.update(x, y, 0.0)
        assert criterion.wrong is wrong, (x, y)


def test_where_a_scenario_leaves_no_other_way_the_oncoming_lane_is_forgiven(table, straight_route):
    criterion = OutsideRouteLanes(table, straight_route)
    for x in np.arange(0.0, 100.0, 0.5):
        criterion.update(x, 1.75 if x > 20.0 else LANE, 0.0, permitted=x < 60.0)
    assert criterion.percent == pytest.approx(40.0, abs=1.0)


@pytest.mark.parametrize(("turn", "wrong"), [(119.0, False), (121.0, True)])
def test_leaving_a_junction_against_the_lane_is_wrong_beyond_120_degrees(road_grid, table, straight_route, turn, wrong):
    road_grid.lane_junction[0] = 1
    criterion = OutsideRouteLanes(table, straight_route)
    criterion.update(10.0, LANE, 0.0)
    assert not criterion.wrong  # nothing is said inside
    criterion.update(12.0, 1.75, math.pi - math.radians(turn))
    assert criterion.wrong is wrong


# --- minimum speed ----------------------------------------------------------------------------------------------------


def speeds(route, checkpoints, always, ego, background, end=201.0):
    criterion = MinimumSpeed(route, checkpoints, always)
    for x in np.arange(0.0, end, ego * TICK):
        criterion.update(x, LANE, ego, background)
    return criterion.close()


def test_bench2drive_compares_at_nearly_twenty_places_whatever_comes_out(straight_route):
    # More than a twentieth (10 m of points 1 m apart): a stretch of 11 m each, 18 of them, and the rest at the end.
    assert speeds(straight_route, 20, True, 10.0, 8.0) == [125.0] * 19
    assert speeds(straight_route, 20, True, 8.0, 10.0) == [80.0] * 19


@pytest.mark.parametrize(("ego", "values"), [(9.9, [99.0] * 4), (10.0, [])])
def test_leaderboard_2_keeps_what_is_below_100_percent(straight_route, ego, values):
    assert speeds(straight_route, 4, False, ego, 10.0) == values


def test_without_background_traffic_the_ego_is_as_fast_as_all(straight_route):
    assert speeds(straight_route, 4, True, 5.0, None) == [100.0] * 4


@pytest.mark.parametrize(("end", "count"), [(189.0, 3), (193.0, 4)])
def test_the_last_stretch_counts_beyond_95_percent_of_the_route(straight_route, end, count):
    assert len(speeds(straight_route, 4, True, 5.0, 10.0, end)) == count


def test_minimum_speeds_reach_the_record_and_cost_no_success(drive):
    found = record(drive(straight(), rules("bench2drive"), background=5.0))
    assert set(found.min_speed) == {200.0}
    assert found.status == "Completed"  # never Perfect: the benchmark counts these events
    assert found.success
    assert record(drive(straight(), rules("leaderboard-2.1"), background=5.0)).status == "Perfect"


# --- scenarios' verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "field"), [("scenario_timeout",) * 2, ("yield_emergency",) * 2])
def test_verdicts_of_scenarios_count_where_the_protocol_knows_them(drive, verdict, field):
    for protocol, counted in (("bench2drive", 1), ("leaderboard-2.1", 1), ("leaderboard-1.0", 0)):
        criteria = drive(straight(end=50.0), rules(protocol))
        criteria.judge(verdict, 50.0, LANE, "Accident_1")
        assert getattr(record(criteria), field) == counted


def test_an_unknown_verdict_is_refused(drive):
    with pytest.raises(CraftError, match="'rude'"):
        drive(straight(end=5.0), rules("bench2drive")).judge("rude", 0.0, 0.0, "Accident_1")
