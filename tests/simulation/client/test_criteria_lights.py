import math

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.simulation.criteria_lights import LightCriteria, path_clear, route_lines
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, LIGHT_YELLOW

LENGTH = 4.8


@pytest.fixture
def lines(road_network, straight_route):
    return route_lines(road_network, straight_route)


def drive(criterion, xs, state, y=-1.75, speed=10.0, begin=0.0, clear=True):
    return [
        criterion.update((x, y, 0.0), LENGTH, speed, x, {"s1": state}, begin + 0.05 * tick, clear)
        for tick, x in enumerate(xs)
    ]


def test_only_lines_that_lead_the_routes_way(lines):
    assert lines.signals == (("s1",),)
    assert lines.s.tolist() == [60.0]
    assert lines.half.tolist() == [1.75]


def test_no_lines_at_all(road_network, straight_route):
    road_network.line_xy = np.zeros((0, 4))
    road_network.line_lane = np.zeros(0, int)
    road_network.line_signal = np.zeros(0, str)
    assert len(route_lines(road_network, straight_route)) == 0


def test_red_light_is_one_event_when_the_bumper_crosses(lines):
    flags = drive(LightCriteria(lines), np.arange(50.0, 66.0, 0.5), LIGHT_RED)
    crossed = [index for index, flag in enumerate(flags) if flag.red_light]
    assert crossed == [16]  # x = 58: the bumper is at 60.4, half a metre before at 59.9
    assert flags[16].signal == "s1"


@pytest.mark.parametrize("state", [LIGHT_YELLOW, LIGHT_GREEN])
def test_no_event_while_not_red(lines, state):
    assert not any(flag.red_light for flag in drive(LightCriteria(lines), np.arange(50.0, 66.0, 0.5), state))


def test_turning_red_behind_the_bumper_is_no_event(lines):
    criterion = LightCriteria(lines)
    drive(criterion, np.arange(50.0, 58.5, 0.5), LIGHT_GREEN)
    assert not any(flag.red_light for flag in drive(criterion, np.arange(58.5, 66.0, 0.5), LIGHT_RED))


def test_the_other_lane_does_not_count(lines):
    flags = drive(LightCriteria(lines), np.arange(50.0, 66.0, 0.5), LIGHT_RED, y=1.75)
    assert not any(flag.red_light for flag in flags)


def test_reversing_over_the_line_does_not_count(lines):
    flags = drive(LightCriteria(lines), np.arange(66.0, 50.0, -0.5), LIGHT_RED)
    assert not any(flag.red_light for flag in flags)


def test_a_lane_with_two_lights_is_open_while_one_is(road_network, straight_route):
    road_network.line_xy = np.array([[60, 0, 60, -3.5], [60, 0, 60, -3.5]], np.float64)
    road_network.line_lane = np.array([0, 0])
    lines = route_lines(road_network, straight_route)
    assert lines.signals == (("s1", "s2"),)
    assert lines.states({"s1": LIGHT_RED, "s2": LIGHT_GREEN}) == [LIGHT_GREEN]
    assert lines.states({"s1": LIGHT_RED, "s2": LIGHT_RED}) == [LIGHT_RED]


def test_path_clear(make_view, straight_route):
    progress = RouteProgress(straight_route)
    progress.update(10.0, -1.75)
    ego = (10.0, -1.75, 0.0, 0.0)
    assert path_clear(make_view(ego), progress)
    assert path_clear(make_view(ego, (17.0, 1.75, math.pi, 5.0)), progress)  # oncoming lane
    assert not path_clear(make_view(ego, (17.0, -1.75, 0.0, 0.0)), progress)
    assert path_clear(make_view(ego, (35.0, -1.75, 0.0, 0.0)), progress)
    assert not path_clear(make_view(ego, (16.0, -0.9, 0.0, 1.0, AGENT_WALKER, 0.5, 0.5)), progress)
    assert path_clear(make_view(ego, (3.0, -1.75, 0.0, 0.0, AGENT_VEHICLE, 4.8, 2.0)), progress)  # behind
