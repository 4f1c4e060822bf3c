"""Forecasts of the other road users besides the decay: straight on, along the lanes with IDM, and what SUMO did."""

import dataclasses

import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_NONE, AGENT_STATIC, AGENT_VEHICLE, TRACKER_SECONDS
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.simulation.prediction import LanePaths, line_state
from craft_lightning.simulation.view import LIGHT_RED, LIGHT_YELLOW, WorldView

FORECASTS = ("decay", "constant_velocity", "idm", "recorded")
"""decay: the kernels' own; recorded: what the others really did in a branch where the ego followed one fixed plan."""


@dataclasses.dataclass(frozen=True)
class IdmParameters:
    """Intelligent driver model (Treiber, Hennecke and Helbing 2000), near the means of the world's own traffic.

    Args:
        acceleration: m/s2.
        braking: comfortable, m/s2.
        headway: seconds.
        gap: metres at standstill.
        hardest: m/s2 of braking at most.
        line_braking: m/s2 up to which a red or yellow line is respected.
        look_ahead: metres of lane on which leaders are looked for.

    """

    acceleration: float = 2.6
    braking: float = 3.0
    headway: float = 1.2
    gap: float = 2.5
    hardest: float = 8.0
    line_braking: float = 5.0
    look_ahead: float = 60.0


def to_frame(poses: np.ndarray, origin: tuple[float, float, float]) -> np.ndarray:
    """Return poses [..., >=3] x, y, yaw as [..., 4] x, y, cosine, sine in the frame of ``origin``."""
    x0, y0, yaw0 = origin
    dx, dy = poses[..., 0] - x0, poses[..., 1] - y0
    cos, sin = np.cos(yaw0), np.sin(yaw0)
    yaw = poses[..., 2] - yaw0
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, np.cos(yaw), np.sin(yaw)], -1)


def constant_velocity(agents: np.ndarray, kind: np.ndarray, steps: int) -> np.ndarray:
    """Move the agents of a scene straight on.

    Args:
        agents: [A, 8] of a Scene.
        kind: [A] AGENT_*.
        steps: of 0.1 s.

    Returns:
        [A, steps, 4] x, y, cosine, sine in the scene's frame.

    """
    time = TRACKER_SECONDS * np.arange(1, steps + 1)
    yaw = agents[:, 2].astype(np.float64)
    speed = np.where(kind == AGENT_STATIC, 0.0, agents[:, 3])
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    travel = speed[:, None] * time
    ones = np.ones_like(travel)
    return np.stack([agents[:, :1] + cos * travel, agents[:, 1:2] + sin * travel, cos * ones, sin * ones], -1)


def recorded(others: np.ndarray, ids: np.ndarray, wanted: np.ndarray, origin: tuple[float, float, float]) -> np.ndarray:
    """Return recorded poses as a forecast; an actor that left stays where it was seen last.

    Args:
        others: [N, T + 1, 4] of a ``Branch``, world frame, now first.
        ids: [N] their actors, ascending.
        wanted: [A] actors of the scene's agents, each among ``ids``.
        origin: pose of the ego now.

    Returns:
        [A, T, 4] x, y, cosine, sine in the ego frame.

    """
    poses = others[np.searchsorted(ids, wanted)].copy()
    for step in range(1, poses.shape[1]):
        gone = np.isnan(poses[:, step, 0])
        poses[gone, step] = poses[gone, step - 1]
    return to_frame(poses[:, 1:], origin)


def idm(
    network: RoadNetwork, view: WorldView, rows: np.ndarray, steps: int, p: IdmParameters | None = None
) -> np.ndarray:
    """Let vehicles follow their lanes behind whoever is ahead, and stop at red and yellow lines.

    Of several ways on, a vehicle takes the one that its present turn points to. The ego and whoever is on no lane go
    straight on, and are followed like all others. The world's real right of way is not modelled.

    Args:
        network: the town.
        view: a full view.
        rows: [A] rows of the agents.
        steps: of 0.1 s.
        p: parameters.

    Returns:
        [A, steps, 3] x, y, yaw in the world frame.

    """
    p = p or IdmParameters()
    paths = LanePaths.of(network)
    poses = np.empty((len(view), steps, 3))
    time = TRACKER_SECONDS * np.arange(1, steps + 1)
    moving = np.where(np.isin(view.kind, (AGENT_STATIC, AGENT_NONE)), 0.0, 1.0)
    poses[..., 0] = view.x[:, None] + (moving * view.vx)[:, None] * time
    poses[..., 1] = view.y[:, None] + (moving * view.vy)[:, None] * time
    poses[..., 2] = view.yaw[:, None]
    lane, along, aside = paths.locate(view.x, view.y, view.yaw)
    wheels = np.isin(view.kind, (AGENT_VEHICLE, AGENT_CYCLIST)) & (lane >= 0) & (np.abs(aside) < 2.5)
    wheels[view.ego] = False
    followers = np.flatnonzero(wheels)
    if len(followers):
        chains = [_way(paths, int(lane[row]), view, int(row), float(along[row])) for row in followers]
        _follow(
            poses, followers, chains, view, along[followers], aside[followers], network.lane_speed[lane[followers]], p
        )
    return poses[rows]


def _way(paths: LanePaths, lane: int, view: WorldView, row: int, along: float) -> object:
    """Return the way on that lies nearest to where the vehicle's present turn takes it."""
    ways = paths.chains(lane)
    if len(ways) == 1:
        return ways[0]
    reach = max(float(view.speed[row]), 2.0) * 1.5
    turn = float(view.yaw[row]) + 0.5 * float(view.yaw_rate[row]) * 1.5
    x, y = float(view.x[row]) + reach * np.cos(turn), float(view.y[row]) + reach * np.sin(turn)

    def miss(way: object) -> float:
        points = way.points  # type: ignore[attr-defined]
        point = points[min(int(along + reach), len(points) - 1)]
        return float(np.hypot(point[0] - x, point[1] - y))

    return min(ways, key=miss)


def _follow(
    poses: np.ndarray,
    followers: np.ndarray,
    chains: list,
    view: WorldView,
    along: np.ndarray,
    aside: np.ndarray,
    limit: np.ndarray,
    p: IdmParameters,
) -> None:
    """Write the poses [N, steps, 3] of the followers; all others' are there already."""
    count, longest = len(followers), max(len(chain.points) for chain in chains)
    points = np.empty((count, longest, 4))
    for row, chain in enumerate(chains):
        points[row, : len(chain.points)] = chain.points
        points[row, len(chain.points) :] = chain.points[-1]
    last = np.array([len(chain.points) - 1 for chain in chains])
    length, width = view.length, view.width
    front = 0.5 * length[followers]
    v, s = np.maximum(view.speed[followers], 0.0), along.astype(np.float64)
    wish = np.maximum(limit, 1.0)
    line = np.array([_line(chain, view, s[row] + front[row], v[row], p) for row, chain in enumerate(chains)])
    place = np.stack([view.x, view.y, view.yaw], -1)
    pace = np.where(np.isin(view.kind, (AGENT_STATIC, AGENT_NONE)), 0.0, np.hypot(view.vx, view.vy))
    index = np.arange(longest)
    own = np.arange(len(view))[None] == followers[:, None]
    for step in range(poses.shape[1]):
        # Leaders: whoever's box covers a point of the lane ahead.
        gap_x = points[:, :, None, 0] - place[None, None, :, 0]
        gap_y = points[:, :, None, 1] - place[None, None, :, 1]
        distance = np.hypot(gap_x, gap_y)
        ahead = (index >= s[:, None]) & (index <= np.minimum(s + p.look_ahead, last)[:, None])
        distance = np.where(ahead[:, :, None], distance, np.inf)
        nearest = distance.argmin(1)  # [F, N]
        there = np.take_along_axis(points, nearest[..., None].repeat(4, -1), 1)
        facing = there[..., 2] * np.cos(place[:, 2]) + there[..., 3] * np.sin(place[:, 2])
        across = np.sqrt(np.maximum(1.0 - facing**2, 0.0))
        reach_aside = 0.5 * (np.abs(facing) * width + across * length)
        reach_along = 0.5 * (np.abs(facing) * length + across * width)
        room = 0.5 * width[followers][:, None] + reach_aside
        meets = (distance.min(1) < room) & ~own
        gaps = np.where(meets, nearest - s[:, None] - front[:, None] - reach_along, np.inf)
        leader = gaps.argmin(1)
        gap = gaps[np.arange(count), leader]
        pace_ahead = np.maximum(pace[leader] * facing[np.arange(count), leader], 0.0)
        to_line = line - s - front
        stopping = to_line < gap
        gap, pace_ahead = np.where(stopping, to_line, gap), np.where(stopping, 0.0, pace_ahead)
        wanted = p.gap + np.maximum(
            v * p.headway + v * (v - pace_ahead) / (2.0 * np.sqrt(p.acceleration * p.braking)), 0.0
        )
        push = p.acceleration * (1.0 - (v / wish) ** 4 - np.square(wanted / np.maximum(gap, 0.1)))
        faster = np.maximum(v + np.clip(push, -p.hardest, p.acceleration) * TRACKER_SECONDS, 0.0)
        s = s + 0.5 * (v + faster) * TRACKER_SECONDS
        v = faster
        base = np.clip(np.floor(s).astype(int), 0, np.maximum(last - 1, 0))
        here, next_one = points[np.arange(count), base], points[np.arange(count), np.minimum(base + 1, last)]
        share = np.minimum(s - base, 1.0)[:, None]
        point = here + share * (next_one - here)
        beyond = np.maximum(s - last, 0.0)
        x = point[:, 0] + beyond * point[:, 2] - aside * point[:, 3]
        y = point[:, 1] + beyond * point[:, 3] + aside * point[:, 2]
        poses[followers, step] = np.stack([x, y, np.arctan2(point[:, 3], point[:, 2])], -1)
        place, pace = poses[:, step], pace.copy()
        pace[followers] = v


def _line(chain: object, view: WorldView, front: float, speed: float, p: IdmParameters) -> float:
    """Return the metres along a chain of the next red or yellow line at which the vehicle can still stop."""
    for place, signals in chain.lines:  # type: ignore[attr-defined]
        closed = line_state(view, signals) in (LIGHT_RED, LIGHT_YELLOW)
        if closed and place > front - 1.0 and speed**2 <= 2.0 * p.line_braking * max(place - front, 0.5):
            return float(place)
    return float("inf")
