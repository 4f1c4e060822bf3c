"""The expert's parts against numbers worked out by hand."""

import math

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_WALKER
from craft_lightning.simulation.corridor import Corridor, occupancy
from craft_lightning.simulation.prediction import LanePaths, line_state, predict
from craft_lightning.simulation.reference_path import ReferencePath, crossed_lines
from craft_lightning.simulation.speed_profile import (
    Obstacle,
    SpeedParameters,
    brake,
    curvature,
    drive,
    safe_speed,
    speed_limits,
)
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, LIGHT_UNKNOWN, LIGHT_YELLOW


def test_curvature_of_a_circle_and_a_line():
    angle = np.arange(0.0, 1.5, 0.1)
    circle = 10.0 * np.stack([np.cos(angle), np.sin(angle)], -1)
    np.testing.assert_allclose(curvature(circle)[3:-3], 0.1, rtol=0.01)
    np.testing.assert_allclose(curvature(np.stack([np.arange(9.0), np.zeros(9)], -1)), 0.0, atol=1e-9)


def test_limits_fall_by_comfortable_braking_before_a_slow_stretch():
    s = np.arange(0.0, 61.0)
    xy = np.stack([s, np.zeros(61)], -1)
    legal = np.where(s < 50.0, 20.0, 5.0)
    parameters = SpeedParameters(limit_share=1.0, top_speed=30.0, braking=2.0)
    limits = speed_limits(xy, s, legal, parameters)
    assert limits[50] == pytest.approx(5.0)
    assert limits[46] == pytest.approx(math.sqrt(25.0 + 2.0 * 2.0 * 4.0))
    assert limits[0] == pytest.approx(math.sqrt(25.0 + 4.0 * 50.0))


def test_gipps_speed_worked_by_hand():
    # -2.5 + sqrt(6.25 + 100 + 2 * 2.5 * 10) = 10.0; equal speeds at a gap of T v.
    assert safe_speed(10.0, 10.0, 1.0, 2.5) == pytest.approx(10.0)
    assert safe_speed(0.0, 0.0, 1.0, 2.5) == 0.0
    assert safe_speed(20.0, 0.0, 0.0, 2.5) == pytest.approx(10.0), "v^2 = 2 b gap"


def test_drive_stops_before_a_wall_and_names_it():
    wall = Obstacle([50.0] * 101, [0.0] * 101, [0.5] * 101)
    far = Obstacle([math.inf] * 101, [0.0] * 101, [0.5] * 101)
    places, holding = drive(0.0, 10.0, 2.0, 100, [12.0] * 200, 0.0, [far, wall], SpeedParameters())
    assert holding == 1
    assert 49.0 < places[-1] + 2.0 < 50.2, "the last decimetres lie inside the margins of the expert"
    assert np.diff(places).min() >= 0.0
    assert drive(0.0, 10.0, 2.0, 30, [12.0] * 200, 0.0, [far], SpeedParameters())[1] == -1


def test_full_braking_distance():
    places = brake(3.0, 8.0, 30, 8.0)
    assert places[-1] == pytest.approx(3.0 + 8.0**2 / 16.0)
    assert places[10] == places[30]


def box(lab, x, y, yaw=0.0, speed=0.0, kind=1, **size):
    """A view of the ego at the origin and one agent."""
    return lab.make_view(0.0, (0.0, 0.0, 0.0, 5.0), [lab.Agent(lambda _: (x, y, yaw, speed, 0.0), kind, **size)], {})


@pytest.fixture
def corridor():
    """Fifty metres along x, one metre to either side."""
    s = np.arange(0.0, 50.5, 0.5)
    return Corridor(np.stack([s, 0 * s], -1), s, np.ones_like(s), np.zeros_like(s), 1.0)


def test_occupancy_of_a_crossing_box(lab, corridor):
    paths = LanePaths(lab.make_network([lab.straight(0, 50, 10, 50)]))
    view = box(lab, 20.0, -6.0, math.pi / 2, 2.0, length=4.0, width=2.0)
    met = occupancy(corridor, predict(paths, view, np.array([1])), np.array([4.0]), np.array([2.0]), np.array([0.5]))
    # Front at -4 m, reach 1.5 m: in from (4 - 1.5) / 2 s = 1.25 s; rear at -8: out at (8 + 1.5) / 2 = 4.75 s.
    times = 0.2 * np.flatnonzero(np.isfinite(met.low[0]))
    assert times[0] == pytest.approx(1.4)
    assert times[-1] == pytest.approx(4.6)
    # Sides at 19 and 21 m, and 1.5 m of reach, points every half metre: 18 to 22 strictly inside.
    middle = met.low[0, 15], met.high[0, 15]
    assert middle == (18.0, 22.0)
    assert met.along[0, 15] == pytest.approx(0.0, abs=1e-9)


def test_occupancy_ignores_what_passes_beside(lab, corridor):
    paths = LanePaths(lab.make_network([lab.straight(0, 50, 10, 50)]))
    view = box(lab, 20.0, 3.5, 0.0, 5.0)
    met = occupancy(corridor, predict(paths, view, np.array([1])), np.array([4.5]), np.array([1.9]), np.array([0.3]))
    assert np.isinf(met.low).all()


def test_vehicle_is_predicted_round_the_bend_and_along_both_ways_of_a_fork(lab):
    angle = np.linspace(0.0, math.pi / 2, 16)
    left = np.stack([20.0 + 10.0 * np.sin(angle), 10.0 - 10.0 * np.cos(angle)], -1)
    network = lab.make_network(
        [lab.straight(0, 0, 20, 0), left, lab.straight(20, 0, 60, 0)], successors=[[1, 2], [], []]
    )
    found = predict(LanePaths(network), box(lab, 10.0, 0.0, 0.0, 6.0), np.array([1]))
    assert found.row.tolist() == [1, 1]
    ends = {(round(float(x[20])), round(float(y[20]))) for x, y in zip(found.x, found.y, strict=True)}
    # 24 m in four seconds: straight to 34 m, or ten to the fork and 14 of the 15.7 m of the bend.
    assert (34, 0) in ends
    assert any(x < 31 and y > 7 for x, y in ends)


def test_braking_vehicle_is_predicted_to_stop(lab):
    view = lab.make_view(0.0, (0.0, 0.0, 0.0, 5.0), [lab.Agent(lambda _: (20.0, 0.0, 0.0, 6.0, -3.0))], {})
    found = predict(LanePaths(lab.make_network([lab.straight(0, 0, 100, 0)])), view, np.array([1]))
    assert found.x[0, -1] == pytest.approx(20.0 + 36.0 / 6.0, abs=0.01)
    assert found.speed[0, -1] == 0.0


@pytest.mark.parametrize(("state", "limit"), [(LIGHT_RED, 50.0), (LIGHT_GREEN, 92.0)])
def test_vehicle_is_predicted_to_stop_at_its_red_line(lab, state, limit):
    network = lab.make_network([lab.straight(0, 0, 50, 0), lab.straight(50, 0, 200, 0)], [(0, "a")], [[1], []])
    view = lab.make_view(0.0, (-30.0, 0.0, 0.0, 5.0), [lab.Agent(lambda _: (20.0, 0.0, 0.0, 12.0, 0.0))], {"a": state})
    found = predict(LanePaths(network), view, np.array([1]))
    front = found.x[0, -1] + 2.25
    assert front == pytest.approx(limit if state == LIGHT_RED else 20.0 + 72.0 + 2.25, abs=0.1)


def test_walker_walks_on(lab):
    view = box(lab, 5.0, 5.0, -math.pi / 2, 1.5, AGENT_WALKER, length=0.5, width=0.5)
    found = predict(LanePaths(lab.make_network([lab.straight(0, 0, 100, 0)])), view, np.array([1]))
    assert found.y[0, -1] == pytest.approx(5.0 - 9.0)


def test_a_line_with_several_lights_is_open_while_one_is(lab):
    view = lab.make_view(0.0, (0.0, 0.0, 0.0, 0.0), [], {"a": LIGHT_RED, "b": LIGHT_GREEN, "c": LIGHT_YELLOW})
    assert line_state(view, ("a", "b")) == LIGHT_GREEN
    assert line_state(view, ("a", "c")) == LIGHT_YELLOW
    assert line_state(view, ("x",)) == LIGHT_UNKNOWN


def test_lines_of_the_other_direction_are_not_the_egos(lab):
    network = lab.make_network(
        [lab.straight(0, 0, 50, 0), lab.straight(100, 0.0, 60, 0.0)], [(0, "mine"), (1, "theirs")]
    )
    xy = lab.straight(0, 0, 120, 0)
    assert crossed_lines(xy, np.arange(121.0), network) == [(50.0, ("mine",))]


def test_path_goes_on_along_the_lane_beyond_the_route(lab):
    xy = lab.turn(10.0)
    network = lab.make_network([xy])
    path = ReferencePath(network, lab.make_route(xy[:31]), LanePaths(network))
    beyond = path.xy[(path.s > 60.0) & (path.s < 100.0)]
    assert np.hypot(*(beyond[:, None] - xy[None]).transpose(2, 0, 1)).min(1).max() < 0.51


def test_joined_path_begins_at_the_ego_with_its_heading(lab):
    xy = lab.straight(0, 0, 100, 0)
    network = lab.make_network([xy])
    path = ReferencePath(network, lab.make_route(xy), LanePaths(network))
    s, line = path.joined(10.0, 1.0, 0.2, 5.0, 60.0)
    np.testing.assert_allclose(line[0], [10.0, 1.0], atol=1e-9)
    assert math.atan2(line[1, 1] - line[0, 1], line[1, 0] - line[0, 0]) == pytest.approx(0.2, abs=0.06)
    assert np.abs(line[s > 35.0, 1]).max() < 1e-9


def test_progress_does_not_jump_where_a_route_meets_itself(lab):
    loop = np.concatenate(
        [
            lab.straight(0, 0, 60, 0),
            lab.straight(60, 1, 60, 40),
            lab.straight(59, 40, 30, 40),
            lab.straight(30, 39, 30, -40),
        ]
    )
    network = lab.make_network([loop])
    path = ReferencePath(network, lab.make_route(loop), LanePaths(network))
    assert path.advance(20.0, 0.0) == pytest.approx(20.0, abs=0.2)
    assert path.advance(30.0, 0.4) == pytest.approx(30.0, abs=0.2)
