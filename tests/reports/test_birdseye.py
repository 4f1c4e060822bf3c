"""Pictures are read back: the right colour in the right place."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from craft_lightning.conventions import AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.reports import birdseye
from craft_lightning.reports.birdseye import Extent, draw_scene, episode_strip, paint_scene
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, WorldView

EXTENT = Extent(behind=20.0, ahead=40.0, side=30.0)


@pytest.fixture(scope="module")
def network():
    return load_town("craftville").network


def make_view(pose, others=(), signals=None) -> WorldView:
    """The ego and others (x, y, yaw, kind) placed in the ego frame."""
    x, y, yaw = pose
    cos, sin = math.cos(yaw), math.sin(yaw)
    rows = [(x, y, yaw, AGENT_VEHICLE)]
    rows += [(x + fx * cos - fy * sin, y + fx * sin + fy * cos, yaw + turn, kind) for fx, fy, turn, kind in others]
    table = np.array(rows, dtype=float)
    count = len(rows)
    zero = np.zeros(count)
    return WorldView(
        frame=1,
        time=3.0,
        ego=0,
        ids=np.arange(count) + 1,
        kind=table[:, 3].astype(np.int64),
        x=table[:, 0],
        y=table[:, 1],
        z=zero,
        yaw=table[:, 2],
        speed=zero,
        vx=zero,
        vy=zero,
        acceleration=zero,
        yaw_rate=zero,
        length=np.full(count, 4.5),
        width=np.full(count, 2.0),
        signals=signals or {},
    )


class Painted:
    """A painted scene whose colours can be asked for by places in the ego frame."""

    def __init__(self, network, view, **arguments) -> None:
        figure = Figure(figsize=(7.0, 7.0), dpi=100)
        self.axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        paint_scene(self.axes, network, view, extent=EXTENT, **arguments)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self.image = np.asarray(canvas.buffer_rgba())[..., :3] / 255.0

    def at(self, forward: float, left: float) -> np.ndarray:
        """The colour at a place in the ego frame, metres."""
        column, row = self.axes.transData.transform((-left, forward))
        return self.image[self.image.shape[0] - 1 - int(row), int(column)]


def near(colour: np.ndarray, name: str) -> bool:
    return bool(np.abs(colour - to_rgb(name)).max() < 0.08)


@pytest.mark.parametrize("yaw", [0.0, 2.0, -1.2])
def test_ego_points_up_and_left_is_left(network, yaw):
    view = make_view((60.0, 40.0, yaw), [(20.0, 8.0, 0.0, AGENT_VEHICLE), (10.0, -6.0, 0.0, AGENT_WALKER)])
    image = Painted(network, view)
    assert near(image.at(-1.5, 0.0), birdseye._EGO)
    assert near(image.at(18.5, 8.0), birdseye._AGENTS[AGENT_VEHICLE][0])
    assert near(image.at(10.0, -6.0), birdseye._AGENTS[AGENT_WALKER][0])
    assert not near(image.at(18.5, -8.0), birdseye._AGENTS[AGENT_VEHICLE][0])


def test_roads_lights_and_route(network):
    line = 0
    lane = int(network.line_lane[line])
    x, y, _, yaw, _ = network.lane_at(lane, float(network.lane_length[lane]) - 15.0)
    centre = 0.5 * (network.line_xy[line, :2] + network.line_xy[line, 2:])
    forward = (centre[0] - x) * math.cos(yaw) + (centre[1] - y) * math.sin(yaw)
    left = (centre[1] - y) * math.cos(yaw) - (centre[0] - x) * math.sin(yaw)
    signals = [
        str(signal) for signal, where in zip(network.line_signal, network.line_lane, strict=True) if where == lane
    ]
    for state, colour in ((LIGHT_RED, "#e0182d"), (LIGHT_GREEN, "#12a150")):
        image = Painted(network, make_view((x, y, yaw), signals=dict.fromkeys(signals, state)))
        assert near(image.at(forward, left), colour)
    assert near(image.at(6.0, 1.0), birdseye._ROAD)

    after = network.successors[lane][0]
    goal = network.lane_at(after, float(network.lane_length[after]))
    route = RoutePlanner(network).plan((x, y, yaw), goal[:2])
    with_route = Painted(network, make_view((x, y, yaw)), route=route)
    assert with_route.at(6.0, 0.0)[2] > with_route.at(6.0, 0.0)[0] + 0.1, "blue"
    assert not near(with_route.at(6.0, 0.0), birdseye._ROAD)


def test_plan_and_candidates_are_where_they_lead(network):
    time = np.arange(1, 41) * 0.1
    straight = np.stack([8.0 * time, 0.0 * time, 0.0 * time], -1)
    left = np.stack([6.0 * time, 3.0 * time, 0.4636 + 0.0 * time], -1)
    right = left * (1.0, -1.0, -1.0)
    view = make_view((-500.0, -500.0, 0.5))
    image = Painted(network, view, plan=straight)
    assert near(image.at(30.75, 0.0), birdseye._PLAN)
    image = Painted(network, view, candidates=np.stack([left, right]), advantages=np.array([2.0, -2.0]))
    good, bad = image.at(20.0, 10.0), image.at(20.0, -10.0)
    assert good[2] > good[0] + 0.2, "better than the mean: blue"
    assert bad[0] > bad[2] + 0.2, "worse: red"
    masked = Painted(network, view, candidates=np.stack([left, right]), advantages=np.array([2.0, np.nan]))
    assert near(masked.at(20.0, -10.0), birdseye._GROUND)


def test_files_are_written(network, tmp_path):
    view = make_view((60.0, 40.0, 0.0), [(20.0, 8.0, 0.0, AGENT_WALKER)])
    plan = np.stack([np.arange(40.0), np.zeros(40), np.zeros(40)], -1)
    scene = draw_scene(network, view, plan=plan, path=tmp_path / "deep" / "scene.png")
    strip = episode_strip(network, [view] * 9, plans=[plan] * 9, path=tmp_path / "strip.png", frames=3)
    with Image.open(scene) as picture, Image.open(strip) as row:
        assert picture.width > 600
        assert row.width > 1.8 * row.height
    short = episode_strip(network, [view], path=tmp_path / "short.png")
    with Image.open(short) as one, Image.open(strip) as row:
        assert one.width < 0.5 * row.width


def test_views_without_an_ego_are_refused(network, tmp_path):
    with pytest.raises(ValueError, match="no ego"):
        draw_scene(network, dataclasses.replace(make_view((0.0, 0.0, 0.0)), ego=-1), path=tmp_path / "x.png")
    with pytest.raises(ValueError, match="at least one view"):
        episode_strip(network, [], path=tmp_path / "x.png")
