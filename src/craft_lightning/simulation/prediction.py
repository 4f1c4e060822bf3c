"""Where the others will be: vehicles follow their lanes and stop at red lights, walkers walk on."""

import dataclasses
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.simulation.intentions import Intention, foresee
from craft_lightning.simulation.view import (
    LIGHT_GREEN,
    LIGHT_OFF,
    LIGHT_RED,
    LIGHT_UNKNOWN,
    LIGHT_YELLOW,
    WorldView,
)

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

PREDICTION_SECONDS = 0.2  # between predicted poses
PREDICTION_STEPS = 30  # six seconds
_REACH = 90.0  # metres of lane kept beyond the end of an agent's own lane
_MAX_BRANCHES = 4
_RED_BRAKING = 5.0  # m/s2 that others are believed to spend on a red or yellow line


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predicted boxes of H hypotheses at T + 1 times, ``PREDICTION_SECONDS`` apart, now included, world frame.

    Attributes:
        row: [H] row of the agent in the view; an agent at a fork has several hypotheses.
        x: [H, T + 1] metres; ``y`` likewise.
        y: [H, T + 1].
        cos: [H, T + 1] of the heading; ``sin`` likewise.
        sin: [H, T + 1].
        speed: [H, T + 1] m/s along the heading.

    """

    row: np.ndarray
    x: np.ndarray
    y: np.ndarray
    cos: np.ndarray
    sin: np.ndarray
    speed: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Chain:
    """A lane and one way on from it, points 1 m apart, with the signals met on the way."""

    points: np.ndarray  # [M, 4] x, y, cos, sin
    lines: list[tuple[float, tuple[str, ...]]]  # metres from the start of the lane, OpenDRIVE ids of its lights


class LanePaths:
    """The ways on from every lane of a town, made when they are first asked for.

    Args:
        network: the town's lanes.

    """

    def __init__(self, network: "RoadNetwork") -> None:
        self._network = network
        self._points = np.stack([network.x, network.y], -1)
        self._heading = np.asarray(network.heading, dtype=np.float64)
        self._lane = np.repeat(np.arange(len(network.lane_start) - 1), np.diff(network.lane_start))
        self._driving = np.flatnonzero(network.lane_kind[self._lane] == 1)
        self._tree = cKDTree(self._points[self._driving])
        self._chains: dict[int, list[_Chain]] = {}
        self._lines: dict[int, dict[float, tuple[str, ...]]] = {}
        middle = 0.5 * (network.line_xy[:, :2] + network.line_xy[:, 2:]) if len(network.line_lane) else np.zeros((0, 2))
        for line, lane in enumerate(network.line_lane):
            first, last = network.lane_start[lane], network.lane_start[lane + 1]
            gap = np.hypot(*(self._points[first:last] - middle[line]).T)
            place = float(network.s[first + int(gap.argmin())])
            here = self._lines.setdefault(int(lane), {})
            here[place] = (*here.get(place, ()), str(network.line_signal[line]))

    @classmethod
    def of(cls, network: "RoadNetwork") -> "LanePaths":
        """Return the one instance of a network."""
        found = _INSTANCES.get(id(network))
        if found is None:
            found = _INSTANCES[id(network)] = cls(network)
            weakref.finalize(network, _INSTANCES.pop, id(network), None)
        return found

    def locate(self, x: np.ndarray, y: np.ndarray, yaw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the lane that each vehicle follows: near its centre and within 45 degrees of its heading.

        Args:
            x: [N] metres; ``y`` likewise.
            y: [N].
            yaw: [N] radians.

        Returns:
            lane [N], -1 where there is none; metres along it [N]; metres to the left of its centre [N].

        """
        count = len(x)
        near = min(8, len(self._driving))
        distance, found = self._tree.query(np.stack([x, y], -1), k=near, distance_upper_bound=3.0)
        distance, found = distance.reshape(count, near), found.reshape(count, near)
        missing = ~np.isfinite(distance)
        points = self._driving[np.where(missing, 0, found)]
        turn = np.abs(np.angle(np.exp(1j * (self._heading[points] - yaw[:, None]))))
        # Among overlapping lanes (junctions) the direction tells more than the distance.
        cost = np.where(missing | (turn > np.pi / 4), np.inf, distance + 6.0 * turn)
        best = cost.argmin(-1)
        rows = np.arange(count)
        point = points[rows, best]
        lane = np.where(np.isfinite(cost[rows, best]), self._lane[point], -1)
        dx, dy = x - self._points[point, 0], y - self._points[point, 1]
        cos, sin = np.cos(self._heading[point]), np.sin(self._heading[point])
        along = np.asarray(self._network.s)[point] + dx * cos + dy * sin
        return lane, along, dy * cos - dx * sin

    def chains(self, lane: int) -> list[_Chain]:
        """Return the ways on from a lane: one for each branch at the first fork."""
        if lane not in self._chains:
            self._chains[lane] = [self._chain(way) for way in self._ways(lane)]
        return self._chains[lane]

    def _ways(self, lane: int) -> list[list[int]]:
        network = self._network
        length = np.diff(network.lane_start)
        ways, done = [[lane]], []
        while ways:
            way = ways.pop(0)
            onward = [int(after) for after in network.successors[way[-1]] if after not in way]
            if not onward or sum(int(length[part]) for part in way[1:]) >= _REACH:
                done.append(way)
                continue
            forked = len(ways) + len(done) > 0
            ways.extend([*way, after] for after in (onward[:1] if forked else onward[:_MAX_BRANCHES]))
        return done

    def _chain(self, way: list[int]) -> _Chain:
        network = self._network
        pieces: list[np.ndarray] = []
        lines: list[tuple[float, tuple[str, ...]]] = []
        travelled = 0.0
        for lane in way:
            first, last = network.lane_start[lane], network.lane_start[lane + 1]
            lines += [(travelled + place, signals) for place, signals in self._lines.get(lane, {}).items()]
            pieces.append(self._points[first:last])
            travelled += float(network.s[last - 1])
        path = np.concatenate(pieces)
        step = np.hypot(*np.diff(path, axis=0).T)
        path = path[np.concatenate([[True], step > 1e-3])]
        s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
        metres = np.arange(0.0, s[-1] + 0.5)
        x, y = np.interp(metres, s, path[:, 0]), np.interp(metres, s, path[:, 1])
        if len(metres) < 2:
            heading = np.full(1, float(network.heading[network.lane_start[way[0]]]))
        else:
            heading = np.arctan2(np.gradient(y), np.gradient(x))
        return _Chain(np.stack([x, y, np.cos(heading), np.sin(heading)], -1), lines)


_INSTANCES: dict[int, LanePaths] = {}


def line_state(view: WorldView, signals: tuple[str, ...]) -> int:
    """Return the LIGHT_* state of a stop line from its lights.

    A line with one light for each movement is open while any of them is, as in the criteria: which movement a light is
    for is not known.
    """
    states = [view.signals[signal] for signal in signals if signal in view.signals]
    for state in (LIGHT_GREEN, LIGHT_OFF, LIGHT_YELLOW, LIGHT_RED):
        if state in states:
            return state
    return LIGHT_UNKNOWN


def predict(
    paths: LanePaths, view: WorldView, rows: np.ndarray, intentions: Mapping[int, Intention] | None = None
) -> Prediction:
    """Predict the agents in ``rows`` for six seconds.

    Vehicles keep their speed, or their braking until they stand, along their lanes and all ways on from the next fork,
    and stop at red and yellow lines that they can still stop at; off the lanes they and all walkers go straight on.
    Whose intentions are known keeps to them.

    Args:
        paths: lanes of the town.
        view: a complete view.
        rows: [N] rows of the agents.
        intentions: by actor id.

    """
    time = PREDICTION_SECONDS * np.arange(PREDICTION_STEPS + 1)
    known = [row for row in rows.tolist() if intentions and int(view.ids[row]) in intentions]
    if intentions and known:
        plans = [intentions[int(view.ids[row])] for row in known]
        foreseen = Prediction(np.array(known), *foresee(plans, view.speed[known], time))
        rest = predict(paths, view, rows[~np.isin(rows, known)])
        return Prediction(
            *(
                np.concatenate([getattr(rest, field.name), getattr(foreseen, field.name)])
                for field in dataclasses.fields(Prediction)
            )
        )
    kind = view.kind[rows]
    on_road = (kind == AGENT_VEHICLE) | (kind == AGENT_CYCLIST)
    lane = np.full(len(rows), -1)
    along, aside = np.zeros(len(rows)), np.zeros(len(rows))
    if on_road.any():
        wheels = rows[on_road]
        lane[on_road], along[on_road], aside[on_road] = paths.locate(view.x[wheels], view.y[wheels], view.yaw[wheels])
    lane[np.abs(aside) > 2.5] = -1

    row, x, y, cos, sin, speed = [], [], [], [], [], []
    straight = np.flatnonzero(lane < 0)
    if len(straight):
        chosen = rows[straight]
        still = np.where(kind[straight] == AGENT_STATIC, 0.0, 1.0)
        vx, vy = view.vx[chosen] * still, view.vy[chosen] * still
        # Someone who walks backwards or is pushed still moves along the velocity; the box keeps its heading.
        row.append(chosen)
        x.append(view.x[chosen, None] + vx[:, None] * time)
        y.append(view.y[chosen, None] + vy[:, None] * time)
        cos.append(np.repeat(np.cos(view.yaw[chosen])[:, None], len(time), 1))
        sin.append(np.repeat(np.sin(view.yaw[chosen])[:, None], len(time), 1))
        walkers = kind[straight] == AGENT_WALKER
        pace = np.where(walkers, np.hypot(vx, vy), np.abs(view.speed[chosen]) * still)
        speed.append(np.repeat(pace[:, None], len(time), 1))

    agents, chains = [], []
    for agent in np.flatnonzero(lane >= 0):
        ways = paths.chains(int(lane[agent]))
        agents += [agent] * len(ways)
        chains += ways
    if chains:
        agent_of = np.array(agents)
        followed = _follow_chains(time, view, rows[agent_of], chains, along[agent_of], aside[agent_of])
        for column, part in zip((row, x, y, cos, sin, speed), followed, strict=True):
            column.append(part)
    if not row:
        empty = np.zeros((0, len(time)))
        return Prediction(np.zeros(0, np.int64), empty, empty, empty, empty, empty)
    return Prediction(*(np.concatenate(part) for part in (row, x, y, cos, sin, speed)))


def _follow_chains(
    time: np.ndarray, view: WorldView, rows: np.ndarray, chains: list[_Chain], along: np.ndarray, aside: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Move vehicles along chains; return row [H], x, y, cos, sin and speed [H, T].

    Args:
        time: [T] seconds.
        view: a complete view.
        rows: [H] rows of the vehicles, those of one vehicle together.
        chains: H ways on.
        along: [H] metres along the chain now.
        aside: [H] metres to the left of it now.

    """
    v = np.maximum(view.speed[rows], 0.0)
    room = np.array([_red_gap(chain, view, along[h], rows[h]) for h, chain in enumerate(chains)])
    travel, pace = _travel(time, v, -view.acceleration[rows], room)

    points = np.concatenate([chain.points for chain in chains])
    count = np.array([len(chain.points) for chain in chains])
    start = np.cumsum(count) - count
    place = along[:, None] + travel
    last = np.maximum(count - 2, 0)[:, None]
    index = np.minimum(np.maximum(np.floor(place).astype(int), 0), last)
    share = place - index
    here = points[start[:, None] + index]
    there = points[start[:, None] + np.minimum(index + 1, count[:, None] - 1)]
    inner = np.minimum(np.maximum(share, 0.0), 1.0)[..., None]
    point = here + inner * (there - here)
    # Past the end of the chain its last direction goes on.
    point[..., :2] += np.maximum(share - 1.0, 0.0)[..., None] * point[..., 2:]
    # SUMO changes lanes by sliding sideways; a second of it is believed.
    yaw = view.yaw[rows]
    slide = view.vy[rows] * np.cos(yaw) - view.vx[rows] * np.sin(yaw)
    slide *= np.minimum(1.0, np.abs(slide) / 0.3)
    offset = aside[:, None] + slide[:, None] * np.minimum(time, 1.0)
    x, y = point[..., 0] - offset * point[..., 3], point[..., 1] + offset * point[..., 2]

    # Ways of one vehicle that part only beyond the horizon count once.
    keep = np.ones(len(rows), bool)
    for h in range(1, len(rows)):
        for other in range(h - 1, -1, -1):
            if rows[other] != rows[h]:
                break
            if keep[other] and abs(x[h, -1] - x[other, -1]) + abs(y[h, -1] - y[other, -1]) < 0.5:
                keep[h] = False
                break
    return rows[keep], x[keep], y[keep], point[keep, :, 2], point[keep, :, 3], pace[keep]


def _travel(
    time: np.ndarray, speed: np.ndarray, braking: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return metres travelled [H, T] and speeds [H, T] of vehicles that keep braking and stop within ``room``."""
    rate = np.where(braking > 0.5, braking, 0.0)
    stopping = speed * speed < 2.0 * _RED_BRAKING * room
    with np.errstate(invalid="ignore"):
        needed = np.where(np.isfinite(room) & stopping, speed * speed / (2.0 * np.maximum(room, 0.1)), 0.0)
    rate = np.maximum(np.maximum(rate, needed), 1e-6)[:, None]
    v = speed[:, None]
    lasting = np.minimum(time, v / rate)
    return v * lasting - 0.5 * rate * lasting**2, np.maximum(v - rate * lasting, 0.0)


def _red_gap(chain: _Chain, view: WorldView, along: float, row: int) -> float:
    """Return the metres from a vehicle's front bumper to the next red or yellow line on its way, inf if none."""
    front = along + 0.5 * float(view.length[row])
    for place, signals in chain.lines:
        if place > front - 1.0 and line_state(view, signals) in (LIGHT_RED, LIGHT_YELLOW):
            return max(place - front, 0.0)
    return float("inf")
