"""A hand-made straight road: eastbound lane 0 at y = -1.75, westbound lane 1 at y = +1.75, a shoulder at y = -4.75."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_VEHICLE
from craft_lightning.roads.route import Route
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
