import math

import numpy as np
import pytest

from craft_lightning.conventions import (
    AGENT_STATIC,
    AGENT_WALKER,
    BEV_CHANNELS,
    MAX_CLOSED_LINES,
    MAX_OBJECTS,
    OBJECT_CLOSED_LINE,
    OBJECT_FEATURES,
)
from craft_lightning.roads.raster import StaticRaster
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.observation import BirdsEye, bev_cells, closed_lines, observe, to_ego, visible_objects
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, LIGHT_YELLOW

CHANNEL = {name: index for index, name in enumerate(BEV_CHANNELS)}


@pytest.fixture
def raster():
    """The straight road at 0.5 m: drivable |y| < 3.5, a marking along y = 0."""
    x, y = np.arange(-60.0, 260.0, 0.5), np.arange(-20.0, 20.0, 0.5)
    drivable = np.repeat(((np.abs(y) < 3.4) * 255)[:, None], len(x), 1).astype(np.uint8)
    marking = np.zeros_like(drivable)
    marking[y == 0.0] = 255
    return StaticRaster("straight", np.array([x[0], y[0]]), 0.5, np.stack([drivable, marking]))


@pytest.fixture
def draw(raster, road_network, straight_route, make_view):
    def draw(*actors, signals=None):
        view = make_view(*actors, signals=signals)
        progress = RouteProgress(straight_route)
        for x in np.arange(0.0, view.x[0] + 0.1, 1.0):
            progress.update(x, -1.75)
        return BirdsEye(raster).draw(view, progress, closed_lines(view, route_lines(road_network, straight_route)))

    return draw


def mean_cell(layer):
    rows, columns = np.nonzero(layer)
    return rows.mean(), columns.mean()


def test_cells_follow_the_conventions():
    """The ego's centre is 36 m behind the front edge, between the two middle columns."""
    np.testing.assert_allclose(bev_cells(np.array([0.0, 0.0])), [47.5, 71.5])
    np.testing.assert_allclose(bev_cells(np.array([35.75, 23.75])), [0.0, 0.0])  # far ahead, far left
    np.testing.assert_allclose(bev_cells(np.array([-11.75, -23.75])), [95.0, 95.0])


def test_to_ego():
    np.testing.assert_allclose(to_ego(np.array([1.0, 3.0]), (1.0, 1.0, math.pi / 2)), [2.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(to_ego(np.array([0.0, 1.0]), (1.0, 1.0, math.pi / 2)), [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("yaw", [0.0, math.pi / 2, 2.5, -0.7])
def test_ahead_left_appears_up_left(draw, yaw):
    """Whatever the heading of the ego: 20 m ahead and 10 m left is row 71.5 - 40, column 47.5 - 20."""
    x, y = 20.0 + 20 * math.cos(yaw) - 10 * math.sin(yaw), -1.75 + 20 * math.sin(yaw) + 10 * math.cos(yaw)
    image = draw((20.0, -1.75, yaw, 5.0), (x, y, yaw, 5.0))
    row, column = mean_cell(image[CHANNEL["vehicle"]])
    assert row == pytest.approx(31.5, abs=0.6)
    assert column == pytest.approx(27.5, abs=0.6)
    assert np.count_nonzero(image[CHANNEL["vehicle"]]) == pytest.approx(4.8 * 2.0 / 0.25, rel=0.5)


def test_kinds_go_to_their_channels_and_the_ego_is_left_out(draw):
    image = draw(
        (20.0, -1.75, 0.0, 5.0),
        (30.0, -6.0, 0.0, 1.0, AGENT_WALKER, 0.4, 0.4),
        (40.0, -6.0, 0.0, 0.0, AGENT_STATIC, 2.0, 2.0),
    )
    assert mean_cell(image[CHANNEL["walker"]])[0] == pytest.approx(51.5, abs=0.6)
    assert mean_cell(image[CHANNEL["walker"]])[1] == pytest.approx(56.0, abs=0.6)
    assert mean_cell(image[CHANNEL["vehicle"]])[0] == pytest.approx(31.5, abs=0.6)


def test_static_layers_turn_with_the_ego(draw):
    east = draw((20.0, 0.0, 0.0, 5.0))
    columns = np.nonzero(east[CHANNEL["drivable"]].all(0))[0]
    # 3.5 m to each side: cells 41 to 54; the outermost may fall either way
    assert columns.min() in (41, 42)
    assert columns.max() in (53, 54)
    assert (np.nonzero(east[CHANNEL["lane_marking"]].all(0))[0] >= 47).all()
    north = draw((20.0, 0.0, math.pi / 2, 5.0))
    rows = np.nonzero(north[CHANNEL["drivable"]].all(1))[0]
    assert rows.min() in (65, 66)
    assert rows.max() in (77, 78)


def test_static_layers_agree_with_the_frames(draw, raster):
    """A cell of the raster shows what lies at that place of the world, for a skew pose."""
    pose = (33.3, 0.8, 0.6)
    image = draw((*pose, 5.0))[CHANNEL["drivable"]]
    rows, columns = np.mgrid[0:96, 0:96]
    forward, left = 36.0 - 0.5 * (rows + 0.5), 24.0 - 0.5 * (columns + 0.5)
    y = pose[1] + forward * math.sin(pose[2]) + left * math.cos(pose[2])
    expected = np.abs(y) < 3.5
    assert (image > 0)[np.abs(np.abs(y) - 3.5) > 0.5].tolist() == expected[np.abs(np.abs(y) - 3.5) > 0.5].tolist()


def test_route_is_drawn_ahead_only(draw):
    layer = draw((20.0, -1.75, 0.0, 5.0))[CHANNEL["route"]]
    rows, columns = np.nonzero(layer)
    assert rows.min() == 0
    assert rows.max() <= 74
    assert set(columns) <= {46, 47, 48, 49}
    assert 2 <= len(set(columns)) <= 4


@pytest.mark.parametrize(("state", "drawn"), [(LIGHT_RED, True), (LIGHT_YELLOW, True), (LIGHT_GREEN, False)])
def test_closed_stop_lines(draw, state, drawn):
    layer = draw((40.0, -1.75, 0.0, 5.0), signals={"s1": state, "s2": LIGHT_RED})[CHANNEL["stop_line_red"]]
    assert bool(layer.any()) is drawn
    if drawn:  # 20 m ahead, from 1.75 m left to 1.75 m right
        row, column = mean_cell(layer)
        assert row == pytest.approx(31.5, abs=1.0)
        assert column == pytest.approx(47.5, abs=1.0)


def test_values_and_vectors(raster, road_network, straight_route, make_view):
    view = make_view((20.0, -0.75, 0.1, 5.0), (40.0, 1.75, math.pi, 8.0))
    progress = RouteProgress(straight_route)
    progress.update(20.0, -0.75)
    observation = observe(BirdsEye(raster), view, progress, route_lines(road_network, straight_route), 0.25)
    assert observation["bev"].shape == (6, 96, 96)
    assert observation["bev"].dtype == np.uint8
    assert set(np.unique(observation["bev"])) == {0, 255}
    np.testing.assert_allclose(observation["ego"], [5.0, 0.0, 0.0, 0.25, 10.0])
    assert observation["route"].shape == (20, 2)
    assert observation["route"].dtype == np.float32
    # The route lies one metre to the right, and falls away to the right of a car that looks left.
    np.testing.assert_allclose(observation["route"][0], [-math.sin(0.1), -math.cos(0.1)], atol=1e-5)
    np.testing.assert_allclose(
        np.diff(observation["route"], axis=0), [[2 * math.cos(0.1), -2 * math.sin(0.1)]] * 19, atol=1e-5
    )


def test_objects_are_the_nearest_road_users_and_the_closed_lines(road_network, straight_route, make_view):
    others = [(60.0 + i, 1.75, math.pi, 8.0) for i in range(MAX_OBJECTS)]
    walker = (25.0, -5.0, math.pi / 2, 1.0, AGENT_WALKER, 0.4, 0.5)
    ego = (20.0, -0.75, 0.1, 5.0)
    view = make_view(ego, *others, walker, signals={"s1": LIGHT_YELLOW, "s2": LIGHT_GREEN})
    objects = visible_objects(view, closed_lines(view, route_lines(road_network, straight_route)))
    assert objects.shape == (MAX_OBJECTS + MAX_CLOSED_LINES, len(OBJECT_FEATURES))
    assert objects.dtype == np.float32
    turn = np.array([[math.cos(0.1), math.sin(0.1)], [-math.sin(0.1), math.cos(0.1)]])
    x, y = turn @ np.array([5.0, -4.25])
    np.testing.assert_allclose(objects[0], [x, y, math.pi / 2 - 0.1, 1.0, 0.4, 0.5, AGENT_WALKER], atol=1e-5)
    gap = np.hypot(objects[:MAX_OBJECTS, 0], objects[:MAX_OBJECTS, 1])
    assert (np.diff(gap) >= 0).all()
    assert gap.max() < 59.0  # one of the twenty others found no place
    # The line of ``test_closed_stop_lines``: at x = 60, from 0 to -3.5 across the ego's way.
    x, y = turn @ np.array([40.0, -1.0])
    np.testing.assert_allclose(objects[MAX_OBJECTS], [x, y, -0.1, 0.0, 0.0, 3.5, OBJECT_CLOSED_LINE], atol=1e-4)
    assert not objects[MAX_OBJECTS + 1 :].any()


def test_an_empty_road_has_no_objects(road_network, straight_route, make_view):
    view = make_view((20.0, -0.75, 0.1, 5.0), signals={"s1": LIGHT_GREEN})
    assert not visible_objects(view, closed_lines(view, route_lines(road_network, straight_route))).any()
