import dataclasses
import math

import numpy as np
import pytest
import torch

from craft_lightning.conventions import (
    AGENT_VEHICLE,
    AGENT_WALKER,
    LINE_NONE,
    LINE_RED,
    LINE_STOP_SIGN,
    MAX_AGENTS,
    MAX_ROUTE_LANES,
    MAX_STOP_LINES,
    ROUTE_POINTS,
)
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.scene import SceneReader
from craft_lightning.simulation.stop_signs import StopZone
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED
from craft_lightning.structures import Scene, stack_numpy


@pytest.fixture
def read(road_grid, road_network, straight_route):
    def read(view, zones=()):
        progress = RouteProgress(straight_route)
        for x in np.arange(0.0, view.x[0] + 0.1, 1.0):
            progress.update(x, -1.75)
        lines = route_lines(road_network, straight_route)
        reader = SceneReader(3, GridProbe(road_grid), straight_route, lines, list(zones), wheelbase=2.9)
        return reader.read(view, progress, steer=-0.2)

    return read


def test_types_and_shapes_are_those_of_the_structure(read, make_view):
    sample = read(make_view((20.0, -1.75, 0.0, 5.0), (30.0, -1.75, 0.0, 4.0)))
    scene = stack_numpy([sample, sample], Scene)
    shapes = {
        "town": ((2,), torch.int64),
        "ego_pose": ((2, 3), torch.float64),
        "ego_motion": ((2, 4), torch.float32),
        "ego_size": ((2, 3), torch.float32),
        "agents": ((2, MAX_AGENTS, 8), torch.float32),
        "agent_kind": ((2, MAX_AGENTS), torch.int64),
        "agent_junction": ((2, MAX_AGENTS), torch.bool),
        "route": ((2, ROUTE_POINTS, 2), torch.float32),
        "route_lanes": ((2, MAX_ROUTE_LANES), torch.int64),
        "stop_lines": ((2, MAX_STOP_LINES, 4), torch.float32),
        "stop_kind": ((2, MAX_STOP_LINES), torch.int64),
    }
    for name, (shape, dtype) in shapes.items():
        assert tuple(getattr(scene, name).shape) == shape, name
        assert getattr(scene, name).dtype == dtype, name
    assert scene.town.tolist() == [3, 3]
    np.testing.assert_allclose(scene.ego_motion[0], [5.0, 0.0, 0.0, -0.2], rtol=1e-6)
    np.testing.assert_allclose(scene.ego_size[0], [4.8, 2.0, 2.9], rtol=1e-6)


def test_agents_in_the_ego_frame_nearest_first(read, make_view):
    ego = (20.0, -1.75, math.pi / 2, 5.0)
    far = (60.0, 1.75, math.pi, 7.0)
    near = (20.0, 8.25, math.pi, 1.2, AGENT_WALKER, 0.5, 0.6)
    scene = read(make_view(ego, far, near))
    assert scene["agent_kind"].tolist()[:3] == [AGENT_WALKER, AGENT_VEHICLE, 0]
    np.testing.assert_allclose(scene["agents"][0], [10, 0, math.pi / 2, 1.2, 0.5, 0.6, 0, 0], atol=1e-5)
    np.testing.assert_allclose(scene["agents"][1, :2], [3.5, -40.0], atol=1e-5)
    assert not scene["agents"][2:].any()


def test_only_the_nearest_agents_fit(read, make_view):
    others = [(20.0 + distance, 1.75, math.pi, 0.0) for distance in range(40, 0, -1)]
    scene = read(make_view((20.0, -1.75, 0.0, 5.0), *others))
    np.testing.assert_allclose(scene["agents"][:, 0], np.arange(1, MAX_AGENTS + 1), atol=1e-4)


def test_agents_on_junction_lanes(road_grid, read, make_view):
    road_grid.lane_junction[1] = 1
    scene = read(make_view((20.0, -1.75, 0.0, 5.0), (30.0, 1.75, math.pi, 4.0), (40.0, -1.75, 0.0, 4.0)))
    assert scene["agent_junction"].tolist()[:3] == [True, False, False]


def test_route_begins_ten_metres_behind(read, make_view):
    scene = read(make_view((4.0, -0.75, 0.0, 5.0)))
    np.testing.assert_allclose(scene["route"][0], [-10.0, -1.0], atol=1e-5)  # straight before its start
    np.testing.assert_allclose(scene["route"][10], [0.0, -1.0], atol=1e-5)
    end = read(make_view((190.0, -1.75, 0.0, 5.0)))
    np.testing.assert_allclose(end["route"][-1], [99.0, 0.0], atol=1e-4)  # straight beyond its end


def test_stop_lines_in_force(read, make_view):
    ego = (40.0, -1.75, 0.0, 5.0)
    red = read(make_view(ego, signals={"s1": LIGHT_RED, "s2": LIGHT_RED}))
    assert red["stop_kind"].tolist() == [LINE_RED] + [LINE_NONE] * (MAX_STOP_LINES - 1)
    np.testing.assert_allclose(red["stop_lines"][0], [20.0, 1.75, 20.0, -1.75], atol=1e-5)
    green = read(make_view(ego, signals={"s1": LIGHT_GREEN, "s2": LIGHT_RED}))
    assert not green["stop_kind"].any()
    sign = StopZone(x=50.0, y=-1.75, heading=0.0, half_length=4.0, half_width=1.75)
    both = read(make_view(ego, signals={"s1": LIGHT_RED}), zones=[sign])
    assert both["stop_kind"].tolist()[:3] == [LINE_STOP_SIGN, LINE_RED, LINE_NONE]
    np.testing.assert_allclose(both["stop_lines"][0], [14.0, 1.75, 14.0, -1.75], atol=1e-5)


def test_route_lanes_are_padded(read, make_view):
    assert read(make_view((20.0, -1.75, 0.0, 5.0)))["route_lanes"].tolist() == [0] + [-1] * (MAX_ROUTE_LANES - 1)


def test_of_too_many_lanes_the_nearest_stay(road_grid, road_network, straight_route, make_view):
    """Forty lanes, five metres of route each: around 100 m those that begin between 25 and 180 m."""
    route = dataclasses.replace(straight_route, legal_s={lane: 5.0 * lane for lane in range(40)})
    lines = route_lines(road_network, route)
    progress = RouteProgress(route)
    for x in np.arange(0.0, 101.0):
        progress.update(x, -1.75)
    reader = SceneReader(0, GridProbe(road_grid), route, lines, [], wheelbase=2.9)
    lanes = reader.read(make_view((100.0, -1.75, 0.0, 5.0)), progress, 0.0)["route_lanes"]
    assert lanes.tolist() == list(range(4, 36))
