"""What ends a route, and the speeds compared along it: every limit of every protocol, just beyond it and just short.

Tests drive by hand: a tick is where and when it is put. "" is no protocol, but the house's own limits.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.rollouts.rules import judging
from craft_lightning.simulation.criteria_speed import MinimumSpeed
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.progress import RouteProgress

LANE = -1.75  # y of the route's lane
BENCH2DRIVE, STAR = "bench2drive", "bench2drive-star"
LEADERBOARDS = "leaderboard-1.0", "leaderboard-2.0", "leaderboard-2.1"
PROTOCOLS = "", BENCH2DRIVE, STAR, *LEADERBOARDS


def record(criteria):
    return RouteRecord.from_dict({"route_id": "1", **criteria.record()})


def spaced(route, step, count):
    """A straight route like another, by points ``step`` metres apart."""
    x = step * np.arange(count)
    arrays = {name: np.full_like(x, getattr(route, name)[0]) for name in ("z", "heading", "speed_limit")}
    xy = np.stack([x, np.full_like(x, LANE)], -1)
    return dataclasses.replace(route, xy=xy, s=x, lane=np.zeros(count, int), length=float(x[-1]), **arrays)


# --- arrival ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metres", "arrived"), [(198.0, False), (198.1, True)])
def test_arrived_is_beyond_99_percent(straight_route, metres, arrived):
    """Of 200 m, by points that are 0.1 m apart."""
    progress = RouteProgress(spaced(straight_route, 0.1, 2001))
    for x in np.arange(0.05, metres + 0.1, 0.1):
        progress.update(x, LANE)
    assert progress.arrived is arrived
    assert progress.completion == (100.0 if arrived else pytest.approx(99.0))


@pytest.mark.parametrize(("aside", "arrived"), [(9.98, True), (10.02, False)])
def test_arrived_is_within_ten_metres_of_the_end(straight_route, aside, arrived):
    """Waypoints count as passed by their direction alone, so that all of the route lies behind beside it, too."""
    progress = RouteProgress(straight_route)
    for x in np.arange(0.5, 200.0, 1.0):
        progress.update(x, LANE + aside)
    progress.update(200.1, LANE + aside)
    assert progress.completed_index == 200
    assert progress.arrived is arrived


# --- deviation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("metres", "deviates"), [(29.9, False), (30.1, True)])
def test_deviated_at_thirty_metres(judged, protocol, metres, deviates):
    criteria = judged(protocol, [(10.0, LANE + metres, 0.0, 5.0)])
    assert criteria.status == ("Failed - Agent deviated from the route" if deviates else "")
    assert record(criteria).route_deviation == deviates


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("metres", "driven", "deviates"), [(15.05, 59.9, False), (15.05, 60.1, True), (14.95, 150.0, False)]
)
def test_deviated_by_thirty_percent_at_fifteen_metres(judged, protocol, metres, driven, deviates):
    poses = [(x, LANE + metres, 0.0, 10.0) for x in np.linspace(0.0, driven, 200)]
    criteria = judged(protocol, poses)
    assert criteria.status == ("Failed - Agent deviated from the route" if deviates else "")


# --- standing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "limit"), [("", 60.0), (BENCH2DRIVE, 60.0), (STAR, 60.0), *((name, 180.0) for name in LEADERBOARDS)]
)
@pytest.mark.parametrize(("speed", "late", "blocked"), [(0.099, -0.1, False), (0.099, 0.1, True), (0.101, 0.1, False)])
def test_blocked(judged, protocol, limit, speed, late, blocked):
    criteria = judged(protocol, [(5.0, LANE, 0.0, speed)] * 2, times=[0.0, limit + late], timeout_base=1000.0)
    assert criteria.status == ("Failed - Agent got blocked" if blocked else "")
    assert record(criteria).vehicle_blocked == blocked


def test_a_tick_of_driving_begins_the_standing_anew(judged):
    poses = [(5.0, LANE, 0.0, speed) for speed in (0.0, 0.2, 0.0, 0.0)]
    assert judged("", poses, times=[0.0, 30.0, 30.05, 90.0]).status == ""
    assert judged("", poses, times=[0.0, 30.0, 30.05, 90.1]).status == "Failed - Agent got blocked"


@pytest.mark.parametrize(
    ("protocol", "seconds", "removed"),
    [(STAR, 39.9, []), (STAR, 40.1, [2]), (BENCH2DRIVE, 59.9, []), ("leaderboard-2.1", 179.9, [])],
)
def test_the_star_clears_what_blocks_an_ego_that_stood_for_forty_seconds(judged, make_view, protocol, seconds, removed):
    ego, gone = (5.0, LANE, 0.0, 0.0), []
    episode = SimpleNamespace(
        spec=SimpleNamespace(clear_blocking_after=judging(protocol_rules(protocol)).clear_blocking_after),
        criteria=judged(protocol, [ego] * 2, times=[0.0, seconds]),
        session=SimpleNamespace(remove_others=gone.extend),
        view=make_view(ego, (13.0, LANE, 0.0, 0.0)),
        _scenarios=[],
    )
    RouteEpisode._clear_the_way(episode)
    assert gone == removed


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "driven", "limit"),
    [
        ("", 0, 60.0 + 80.0),  # given at the start: 200 m at a quarter of 10 m/s
        ("", 30, 60.0 + 80.0),
        (BENCH2DRIVE, 0, 300.0),
        (BENCH2DRIVE, 30, 330.0),  # 30 m at a tenth of 10 m/s
        (STAR, 0, 60.0),
        (STAR, 30, 72.0),
        ("leaderboard-1.0", 0, 165.0),  # 5 s + 200 * 0.8 s
        ("leaderboard-1.0", 30, 165.0),
        ("leaderboard-2.0", 0, 300.0),
        ("leaderboard-2.0", 30, 330.0),
        ("leaderboard-2.1", 0, 300.0),
        ("leaderboard-2.1", 30, 330.0),
    ],
)
@pytest.mark.parametrize("late", [-0.05, 0.05])
def test_timed_out(judged, protocol, driven, limit, late):
    poses = [(driven + 0.1, LANE, 0.0, 0.2)] * 17  # two waypoints a tick are passed
    criteria = judged(protocol, poses, times=[*(0.05 * np.arange(16)), limit + late])
    assert criteria.progress.completed_index == driven
    assert criteria.status == ("Failed - Agent timed out" if late > 0.0 else "")
    assert record(criteria).route_timeout == (late > 0.0)


@pytest.mark.parametrize(("late", "over"), [(-0.05, False), (0.05, True)])
def test_leaderboard_1_cuts_its_time_to_whole_seconds(judged, straight_route, late, over):
    longer = spaced(straight_route, 1.0, 202)  # 5 s + 201 * 0.8 s = 165.8 s
    criteria = judged("leaderboard-1.0", [(5.0, LANE, 0.0, 0.2)] * 2, times=[0.0, 165.0 + late], route=longer)
    assert bool(criteria.status) is over


@pytest.mark.parametrize(
    ("protocol", "ticks", "ends"),
    [(BENCH2DRIVE, 4000, False), (BENCH2DRIVE, 4001, True), (STAR, 4001, True), ("leaderboard-2.1", 4001, False)],
)
def test_bench2drive_ends_a_route_after_4000_ticks(judged, protocol, ticks, ends):
    criteria = judged(protocol, [(5.0, LANE, 0.0, 0.2)] * ticks, times=[0.01 * tick for tick in range(ticks)])
    assert criteria.status == ("Failed - TickRuntime" if ends else "")
    assert not criteria.counts  # no list holds it; the route simply is not completed


# --- minimum speed ----------------------------------------------------------------------------------------------------


@pytest.fixture
def compare(straight_route, limits):
    """Drive a route of 1 km to ``end`` metres; return the comparison."""

    def compare(protocol, end, ego=9.0, background=10.0):
        found = limits(protocol)
        kilometre = spaced(straight_route, 1.0, 1001)
        criterion = MinimumSpeed(kilometre, found.min_speed_checkpoints, found.min_speed_always)
        for x in np.arange(0.5, end + 0.5, 1.0):
            criterion.update(x, LANE, ego, background)
        return criterion

    return compare


@pytest.mark.parametrize(
    ("protocol", "count"),
    [("", 0), (BENCH2DRIVE, 20), (STAR, 20), ("leaderboard-1.0", 0), ("leaderboard-2.0", 4), ("leaderboard-2.1", 4)],
)
def test_speeds_are_compared_so_many_times(compare, protocol, count):
    assert compare(protocol, 999.5).close() == [90.0] * count


@pytest.mark.parametrize(
    ("protocol", "end", "count"),
    [(BENCH2DRIVE, 50.5, 0), (BENCH2DRIVE, 51.5, 1), ("leaderboard-2.1", 250.5, 0), ("leaderboard-2.1", 251.5, 1)],
)
def test_a_speed_is_compared_beyond_a_twentieth_or_a_quarter_of_the_route(compare, protocol, end, count):
    assert len(compare(protocol, end).values) == count


@pytest.mark.parametrize("protocol", [BENCH2DRIVE, "leaderboard-2.1"])
@pytest.mark.parametrize(("end", "more"), [(950.5, 0), (951.5, 1)])
def test_the_last_stretch_is_compared_beyond_95_percent_of_the_route(compare, protocol, end, more):
    criterion = compare(protocol, end)
    count = len(criterion.values)
    assert len(criterion.close()) == count + more


@pytest.mark.parametrize(
    ("protocol", "ego", "values"),
    [
        ("leaderboard-2.0", 9.995, [99.95]),
        ("leaderboard-2.0", 10.0, []),
        ("leaderboard-2.1", 9.995, [99.95]),
        ("leaderboard-2.1", 10.0, []),
        (BENCH2DRIVE, 10.0, [100.0]),
        (BENCH2DRIVE, 15.0, [150.0]),
        (STAR, 15.0, [150.0]),
    ],
)
def test_leaderboards_keep_what_is_below_100_percent_and_bench2drive_everything(compare, protocol, ego, values):
    first = 251.5 if protocol in LEADERBOARDS else 51.5
    assert compare(protocol, first, ego).values == values
