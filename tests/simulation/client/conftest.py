"""A hand-made straight road: eastbound lane 0 at y = -1.75, westbound lane 1 at y = +1.75, a shoulder at y = -4.75."""

import json
import math
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from craft_lightning.conventions import AGENT_VEHICLE
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.roads.route import Route
from craft_lightning.rollouts.rules import judging
from craft_lightning.simulation.criteria import Criteria, CriteriaParameters
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.criteria_outside import LaneTable
from craft_lightning.simulation.launcher import EmbeddedServer
from craft_lightning.simulation.view import WorldView

RESOLUTION = 0.5


@pytest.fixture
def road_grid():
    x = np.arange(-60.0, 260.0, RESOLUTION)
    y = np.arange(-20.0, 20.0, RESOLUTION)
    sdf = np.repeat(np.clip(3.5 - np.abs(y), -10, 10)[:, None], len(x), 1).astype(np.float32)
    # One segment a lane: they are straight.
    segments = np.array([[-60, -1.75, 1, 0], [260, 1.75, -1, 0], [-60, -4.75, 1, 0]], np.float32)
    segments[:, :2] -= (x[0], y[0])
    nearest = np.abs(y[:, None] - np.array([-1.75, 1.75, -4.75])).argmin(1)
    nearest = np.where(np.abs(y) > 8.0, -1, nearest)
    lane_junction = np.zeros(3, np.int32)
    return SimpleNamespace(
        origin=np.array([x[0], y[0]]),
        resolution=RESOLUTION,
        sdf=sdf,
        nearest=np.repeat(nearest[:, None], len(x), 1).astype(np.int32),
        segments=segments,
        segment_lane=np.arange(3, dtype=np.int32),
        lane_kind=np.array([1, 1, 2], np.int32),
        lane_junction=lane_junction,
    )


@pytest.fixture
def straight_route():
    x = np.arange(0.0, 201.0)
    return Route(
        xy=np.stack([x, np.full_like(x, -1.75)], -1),
        z=np.zeros_like(x),
        heading=np.zeros_like(x),
        s=x,
        lane=np.zeros(len(x), int),
        speed_limit=np.full_like(x, 10.0),
        length=200.0,
        legal_s={0: 0.0},
    )


@pytest.fixture
def road_network():
    """Stop lines: across lane 0 at x = 60 (signal s1), across lane 1 at x = 40 (signal s2, the other way)."""
    return SimpleNamespace(
        line_xy=np.array([[60, 0, 60, -3.5], [40, 0, 40, 3.5]], np.float64),
        line_lane=np.array([0, 1]),
        line_signal=np.array(["s1", "s2"]),
        lane_start=np.array([0, 2, 4]),
        heading=np.array([0.0, 0.0, math.pi, math.pi]),
    )


@pytest.fixture
def make_view():
    """Build a view from (x, y, yaw, speed[, kind, length, width]) rows; the first is the ego."""

    def make(*actors, time=0.0, frame=0, signals=None):
        rows = [(*actor, *(AGENT_VEHICLE, 4.8, 2.0)[len(actor) - 4 :]) for actor in actors]
        x, y, yaw, speed, kind, length, width = (np.array(column, np.float64) for column in zip(*rows, strict=True))
        zeros = np.zeros(len(rows))
        return WorldView(
            frame=frame,
            time=time,
            ego=0,
            ids=np.arange(1, len(rows) + 1),
            kind=kind.astype(np.int64),
            x=x,
            y=y,
            z=zeros,
            yaw=yaw,
            speed=speed,
            vx=speed * np.cos(yaw),
            vy=speed * np.sin(yaw),
            acceleration=zeros,
            yaw_rate=zeros,
            length=length,
            width=width,
            signals=dict(signals or {}),
        )

    return make


@pytest.fixture
def lane_table(road_grid):
    """The road's lanes; the shoulder is none that a car may be on."""
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
def limits():
    """The limits of a protocol, "" = the house's own; some of them may be changed."""

    def limits(protocol, **changes):
        rules = protocol_rules(protocol) if protocol else None
        return CriteriaParameters(**judging(rules).criteria | changes)

    return limits


@pytest.fixture
def judged(road_grid, straight_route, road_network, make_view, lane_table, limits):
    """Drive (x, y, yaw, speed) poses, one a tick or at ``times``, until the route ends; return the criteria."""

    def judged(protocol, poses, contacts=None, background=None, times=None, route=straight_route, **changes):
        lines = route_lines(road_network, route)
        criteria = Criteria(road_grid, route, lines, [], limits(protocol, **changes), lane_table)
        for index, pose in enumerate(poses):
            view = make_view(pose, time=7.0 + (times[index] if times else 0.05 * index))
            criteria.tick(view, (contacts or {}).get(index, []), clear=True, background=background)
            if criteria.status:
                break
        return criteria

    return judged


# What the scripts of live tests begin with. They run in processes of their own: a protocol mistake or a dying server
# ends the interpreter that holds the client.
PRELUDE = """
import dataclasses, json, os, signal, sys, time
import carla
import numpy as np
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.drive import follow_route
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_options import EpisodeOptions
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.session import Session

PORT = int(sys.argv[1])
TOWN = load_town("craftville")

def open_session(timeout=10.0):
    return Session("127.0.0.1", PORT, TOWN, timeout=timeout)

def straight_route(length=60.0, before_light=False, margin=75.0):
    '''A route along one long lane, or along its last metres and over the stop line at its end.'''
    network = TOWN.network
    lanes = np.flatnonzero((network.lane_kind == 1) & ~network.lane_junction & (network.lane_length > margin))
    if before_light:
        lanes = np.intersect1d(lanes, network.line_lane)
    lane = int(lanes[0])
    places = np.array([5.0, 5.0 + length])
    if before_light:
        places = network.lane_length[lane] - np.array([40.0, 0.5])
    points = network.lane_at(lane, places)[:, :3]
    if before_light:
        after = next(n for n in network.successors[lane])
        points = np.concatenate([points, network.lane_at(after, network.lane_length[[after]] * 0.9)[:, :3]])
    return RouteConfig(id="test", town="craftville", waypoints=points, scenarios=[], weather={})

def blind(episode, spec, decisions=200):
    result = episode.reset(spec)
    results = [result]
    while not result.done and len(results) <= decisions:
        result = episode.step(follow_route(result.scene))
        results.append(result)
    return results
"""


# The client of the wheel now and then aborts while the interpreter tears it down; all assertions are made by then.
LEAVE = "\nsys.stdout.flush(), sys.stderr.flush()\nos._exit(0)\n"


@pytest.fixture(scope="session")
def live_server():
    with EmbeddedServer("craftville") as server:
        yield server


@pytest.fixture
def run_script():
    """Run a script after PRELUDE with the port as its argument; return what it printed as JSON."""

    def run(body, port, expect=(0,), timeout=120):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(body) + LEAVE, str(port)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode in expect, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    return run
