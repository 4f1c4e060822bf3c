"""Tiny roads and a closed loop without a server, for the expert."""

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.control import BicycleParameters, Tracker, bicycle_step
from craft_lightning.conventions import AGENT_VEHICLE
from craft_lightning.roads.route import Route
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.view import WorldView


@dataclasses.dataclass
class Agent:
    """A scripted object: state(t) -> x, y, yaw, speed, acceleration."""

    state: Callable[[float], tuple[float, float, float, float, float]]
    kind: int = AGENT_VEHICLE
    length: float = 4.5
    width: float = 1.9


class Network(SimpleNamespace):
    """Fields of a RoadNetwork; a class of its own because a bare namespace takes no weak reference."""


def make_network(lanes: list[np.ndarray], lines: list[tuple[int, str]] = (), successors=None, limit: float = 13.9):
    """A network of lane centre lines [n, 2]; a line stands at the end of a lane."""
    xy = np.concatenate(lanes)
    heading = np.concatenate([np.arctan2(np.gradient(lane[:, 1]), np.gradient(lane[:, 0])) for lane in lanes])
    s = np.concatenate([np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(lane, axis=0).T))]) for lane in lanes])
    count = len(lanes)
    line_xy = []
    for lane, _ in lines:
        end, turn = lanes[lane][-1], heading[sum(map(len, lanes[: lane + 1])) - 1]
        aside = 1.75 * np.array([-math.sin(turn), math.cos(turn)])
        line_xy.append([*(end + aside), *(end - aside)])
    return Network(
        x=xy[:, 0],
        y=xy[:, 1],
        heading=heading,
        s=s,
        width=np.full(len(xy), 3.5),
        lane_start=np.concatenate([[0], np.cumsum([len(lane) for lane in lanes])]),
        lane_kind=np.ones(count, int),
        lane_type=np.full(count, "driving"),
        lane_speed=np.full(count, limit),
        lane_junction=np.zeros(count, bool),
        successors=successors or [[] for _ in lanes],
        line_xy=np.array(line_xy).reshape(-1, 4),
        line_lane=np.array([lane for lane, _ in lines], int),
        line_signal=np.array([signal for _, signal in lines], dtype=object),
        marking_start=np.array([0]),
        marking_xy=np.zeros((0, 2)),
    )


def make_route(xy: np.ndarray, limit: float = 13.9):
    """A route along points one metre apart."""
    heading = np.arctan2(np.gradient(xy[:, 1]), np.gradient(xy[:, 0]))
    s = np.arange(float(len(xy)))
    return Route(
        xy=xy,
        z=np.zeros(len(xy)),
        heading=heading,
        s=s,
        lane=np.zeros(len(xy), int),
        speed_limit=np.full(len(xy), limit),
        length=float(s[-1]),
        legal_s={0: 0.0},
    )


def turn(radius: float, left: float = 1.0) -> np.ndarray:
    """Thirty metres straight, a quarter circle, sixty metres straight, from the origin along x, one metre apart."""
    arc = np.linspace(0.0, 0.5 * math.pi, max(round(0.5 * math.pi * radius), 4) + 1)[1:]
    curve = np.stack([30.0 + radius * np.sin(arc), left * radius * (1.0 - np.cos(arc))], -1)
    end = curve[-1]
    return np.concatenate(
        [straight(0.0, 0.0, 30.0, 0.0), curve, straight(end[0], end[1] + left, end[0], end[1] + 60.0 * left)]
    )


def straight(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Points one metre apart on a straight line."""
    count = round(math.hypot(x1 - x0, y1 - y0)) + 1
    return np.stack([np.linspace(x0, x1, count), np.linspace(y0, y1, count)], -1)


def make_view(time: float, ego, agents: list[Agent], signals: dict[str, int]) -> WorldView:
    """A view of the ego (x, y, yaw, speed) and the agents at a time."""
    rows = [(*ego, 0.0, 4.5, 1.9, AGENT_VEHICLE)]
    rows += [(*agent.state(time), agent.length, agent.width, agent.kind) for agent in agents]
    x, y, yaw, speed, acceleration, length, width, kind = (
        np.array(column, dtype=float) for column in zip(*rows, strict=True)
    )
    count = len(rows)
    return WorldView(
        frame=round(time / 0.05),
        time=time,
        ego=0,
        ids=np.arange(1, count + 1),
        kind=kind.astype(np.int64),
        x=x,
        y=y,
        z=np.zeros(count),
        yaw=yaw,
        speed=speed,
        vx=speed * np.cos(yaw),
        vy=speed * np.sin(yaw),
        acceleration=acceleration,
        yaw_rate=np.zeros(count),
        length=length,
        width=width,
        signals=signals,
    )


@dataclasses.dataclass
class Drive:
    """What came of a closed loop: rows of (time, x, y, yaw, speed), smallest gap to any box, reasons."""

    rows: np.ndarray
    clearance: float
    reasons: list[str]


def closed_loop(
    expert: Expert,
    seconds: float,
    agents: list[Agent] = (),
    signals: Callable[[float], dict[str, int]] = lambda time: {},
    ego=(0.0, 0.0, 0.0, 10.0),
    blind: bool = False,
) -> Drive:
    """Drive the bicycle by plans every 0.5 s through the tracker; the ego is two discs for the clearance."""
    tracker, parameters = Tracker(), BicycleParameters().as_array()
    x, y, yaw, speed = ego
    rows, reasons, clearance = [], [], math.inf
    control = (0.0, 0.0, 0.0)
    for step in range(round(seconds / 0.05)):
        time = step * 0.05
        view = make_view(time, (x, y, yaw, speed), list(agents), signals(time))
        if step % 10 == 0:
            seen = make_view(time, (x, y, yaw, speed), [], {}) if blind else view
            tracker.plan(expert.plan(seen), (x, y, yaw))
            reasons.append(expert.reason)
        if step % 2 == 0:
            control = tracker.control((x, y, yaw), speed)
        x, y, yaw, speed = bicycle_step(x, y, yaw, speed, control[0], control[1], control[2], 2.8, 0.05, parameters)
        rows.append((time, x, y, yaw, speed))
        for agent in agents:
            ax, ay, turn, _, _ = agent.state(time + 0.05)
            for offset in (-1.3, 0.0, 1.3):
                dx, dy = x + offset * math.cos(yaw) - ax, y + offset * math.sin(yaw) - ay
                beyond = abs(dx * math.cos(turn) + dy * math.sin(turn)) - 0.5 * agent.length
                beside = abs(dy * math.cos(turn) - dx * math.sin(turn)) - 0.5 * agent.width
                clearance = min(clearance, math.hypot(max(beyond, 0.0), max(beside, 0.0)) - 0.95)
    return Drive(np.array(rows), clearance, reasons)


@pytest.fixture
def lab() -> SimpleNamespace:
    """The helpers of this file."""
    return SimpleNamespace(
        Agent=Agent,
        make_network=make_network,
        make_route=make_route,
        straight=straight,
        turn=turn,
        make_view=make_view,
        closed_loop=closed_loop,
    )
