"""Criteria under a protocol, beside their limits, which test_limits_of_routes.py and test_limits_of_driving.py hold."""

import dataclasses
import math

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.simulation.criteria import Criteria
from craft_lightning.simulation.criteria_collision import Contact, LeaderboardCollisions
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.criteria_outside import OutsideRouteLanes
from craft_lightning.simulation.criteria_speed import MinimumSpeed

TICK = 0.05
LANE = -1.75  # y of the route's lane


def straight(begin=0.0, end=205.0, speed=10.0, y=LANE):
    return [(x, y, 0.0, speed) for x in np.arange(begin, end, speed * TICK)]


def record(criteria):
    return RouteRecord.from_dict({"route_id": "1", **criteria.record()})


def test_the_leaderboards_criteria_need_the_towns_lanes(road_grid, straight_route, road_network, limits):
    with pytest.raises(CraftError, match="lane table"):
        Criteria(road_grid, straight_route, route_lines(road_network, straight_route), [], limits("bench2drive"))


# --- the ends of a route ----------------------------------------------------------------------------------------------


def test_the_far_share_is_measured_along_the_route(judged):
    """Circling far away from the route drives no route."""
    circle = [
        (50.0 + 3.0 * math.cos(turn), LANE + 20.0 + 3.0 * math.sin(turn), turn, 10.0) for turn in np.arange(0, 60, 0.15)
    ]
    assert judged("bench2drive", straight(end=50.0) + circle).status == ""


# --- collisions -------------------------------------------------------------------------------------------------------


def test_a_contact_that_lasts_does_not_renew_its_five_seconds():
    criterion = LeaderboardCollisions()
    contact = Contact(1, 7, "vehicle.audi.a2", 100.0)
    counted = [len(criterion.update([contact], 10.0 * t, 0.0, 5.0, t)) for t in (0.0, 2.0, 4.0, 5.05)]
    assert counted == [1, 0, 0, 1]


# --- outside the route's lanes ----------------------------------------------------------------------------------------


def test_a_parking_lane_counts_as_a_lane(lane_table, straight_route):
    parking = dataclasses.replace(lane_table, counted=np.array([True, True, True]))
    criterion = OutsideRouteLanes(parking, straight_route)
    criterion.update(50.0, -4.75, 0.0)
    assert not criterion.outside


def test_the_share_outside_is_of_the_route_passed(judged):
    """A quarter of the way on the shoulder."""
    criteria = judged("bench2drive", straight(end=150.0) + straight(150.0, 205.0, y=-4.75))
    assert criteria.outside_percent == pytest.approx(25.0, abs=1.0)
    found = record(criteria)
    assert found.outside_m == pytest.approx(50.0, abs=2.0)
    assert found.status == "Completed"
    assert not found.success


def test_three_points_of_the_route_can_be_passed_in_a_tick(lane_table, straight_route):
    """Beside the road, so that every metre that is passed counts."""
    criterion = OutsideRouteLanes(lane_table, straight_route)
    criterion.update(2.5, -12.0, 0.0)
    assert criterion.metres == pytest.approx(2.0)
    criterion.update(100.0, -12.0, 0.0)
    assert criterion.metres == pytest.approx(5.0)


def test_changing_onto_the_oncoming_lane_is_wrong_until_one_changes_back(lane_table, straight_route):
    criterion = OutsideRouteLanes(lane_table, straight_route)
    for x, y, wrong in ((10.0, LANE, False), (12.0, 1.75, True), (20.0, 1.75, True), (22.0, LANE, False)):
        criterion.update(x, y, 0.0)
        assert criterion.wrong is wrong, (x, y)


def test_one_wrong_lane_after_another_stays_wrong(road_grid, lane_table, straight_route):
    """From x = 100 m on the oncoming lane is another one, as where a road follows another."""

    def more(values):
        return np.append(values, values[1:2], 0)

    later = road_grid.nearest[:, 320:]  # cells of half a metre from x = -60
    later[later == 1] = 3
    for name in ("segments", "lane_kind", "lane_junction"):
        setattr(road_grid, name, more(getattr(road_grid, name)))
    road_grid.segment_lane = np.arange(4, dtype=np.int32)
    arrays = {name: more(getattr(lane_table, name)) for name in ("counted", "driving", "length", "half_width")}
    criterion = OutsideRouteLanes(dataclasses.replace(lane_table, probe=GridProbe(road_grid), **arrays), straight_route)
    for x, y, wrong in ((90.0, LANE, False), (92.0, 1.75, True), (110.0, 1.75, True), (112.0, LANE, False)):
        criterion.update(x, y, 0.0)
        assert criterion.wrong is wrong, (x, y)


def test_where_a_scenario_leaves_no_other_way_the_oncoming_lane_is_forgiven(lane_table, straight_route):
    criterion = OutsideRouteLanes(lane_table, straight_route)
    for x in np.arange(0.0, 100.0, 0.5):
        criterion.update(x, 1.75 if x > 20.0 else LANE, 0.0, permitted=x < 60.0)
    assert criterion.percent == pytest.approx(40.0, abs=1.0)


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


def test_without_background_traffic_the_ego_is_as_fast_as_all(straight_route):
    assert speeds(straight_route, 4, True, 5.0, None) == [100.0] * 4


def test_minimum_speeds_reach_the_record_and_cost_no_success(judged):
    found = record(judged("bench2drive", straight(), background=5.0))
    assert set(found.min_speed) == {200.0}
    assert found.status == "Completed"  # never Perfect: the benchmark counts these events
    assert found.success
    assert record(judged("leaderboard-2.1", straight(), background=5.0)).status == "Perfect"


# --- scenarios' verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "field"), [("scenario_timeout",) * 2, ("yield_emergency",) * 2])
def test_verdicts_of_scenarios_count_where_the_protocol_knows_them(judged, verdict, field):
    for protocol, counted in (("bench2drive", 1), ("leaderboard-2.1", 1), ("leaderboard-1.0", 0)):
        criteria = judged(protocol, straight(end=50.0))
        criteria.judge(verdict, 50.0, LANE, "Accident_1")
        assert getattr(record(criteria), field) == counted


def test_an_unknown_verdict_is_refused(judged):
    with pytest.raises(CraftError, match="'rude'"):
        judged("bench2drive", straight(end=5.0)).judge("rude", 0.0, 0.0, "Accident_1")
