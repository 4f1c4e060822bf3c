import dataclasses
import math

import pytest

from craft_lightning.simulation.criteria_lanes import GridProbe, LaneCriteria


@pytest.fixture
def lanes(road_grid, straight_route, limits):
    found = limits("")
    return LaneCriteria(
        road_grid,
        straight_route,
        offroad_margin=found.offroad_margin,
        offroute_distance=found.offroute_distance,
    )


def test_in_lane_nothing(lanes):
    flags = lanes.update((50.0, -1.75, 0.0), 4.8, 2.0, 0.0)
    assert flags == type(flags)(False, False, False, False, False)


@pytest.mark.parametrize(("y", "expected"), [(-2.69, False), (-2.71, True)])
def test_offroad_at_its_margin(lanes, y, expected):
    """The right corners are at y - 1; the edge is at -3.5 and the margin 0.2."""
    assert lanes.update((50.0, y, 0.0), 4.8, 2.0, 0.0).offroad is expected


def test_offroad_sees_a_turned_box(lanes):
    assert not lanes.update((50.0, 0.0, math.pi / 2), 4.8, 2.0, 0.0).offroad
    assert lanes.update((50.0, 1.5, math.pi / 2), 4.8, 2.0, 0.0).offroad  # the front is at 3.9


@pytest.mark.parametrize(("turn", "expected"), [(119.5, False), (120.5, True), (-119.5, False), (-120.5, True)])
def test_opposite_lane_at_120_degrees(lanes, turn, expected):
    assert lanes.update((50.0, -1.75, math.radians(turn)), 4.8, 2.0, 0.0).opposite_lane is expected


def test_no_opposite_lane_inside_junctions(road_grid, straight_route):
    road_grid.lane_junction[:] = 1
    flags = LaneCriteria(road_grid, straight_route).update((50.0, 1.75, 0.0), 4.8, 2.0, 3.5)
    assert not flags.opposite_lane
    assert not flags.outside


@pytest.mark.parametrize(("distance", "expected"), [(3.99, False), (4.01, True)])
def test_offroute_by_distance(lanes, distance, expected):
    assert lanes.update((50.0, -1.75, 0.0), 4.8, 2.0, distance).offroute is expected


def test_offroute_by_lane(road_grid, straight_route):
    other = dataclasses.replace(straight_route, legal_s={7: 0.0})
    assert LaneCriteria(road_grid, other).update((50.0, -1.75, 0.0), 4.8, 2.0, 0.0).offroute
    free = dataclasses.replace(straight_route, legal_s={})
    assert not LaneCriteria(road_grid, free).update((50.0, -1.75, 0.0), 4.8, 2.0, 0.0).offroute


def test_shoulder_is_an_emergency_lane(lanes):
    assert lanes.update((50.0, -4.0, 0.0), 4.8, 2.0, 2.25).emergency_lane
    assert not lanes.update((50.0, -3.0, 0.0), 4.8, 2.0, 1.25).emergency_lane


def test_beyond_the_grid_is_off_road(lanes):
    flags = lanes.update((1000.0, 0.0, 0.0), 4.8, 2.0, 50.0)
    assert flags.offroad
    assert flags.outside


def test_probe_is_bilinear(road_grid):
    probe = GridProbe(road_grid)
    assert probe.sdf(10.1, 2.3) == pytest.approx(1.2, abs=1e-5)
    assert probe.segment(10.1, 2.3) == 1
    assert probe.segment(10.1, 15.0) == -1
