"""From lanes visited to a route: points one metre apart, lane changes drawn smoothly, legal lanes collected."""

import dataclasses
import itertools

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route

JOIN_WITHIN = 30.0
# A lane change takes this many metres where there is room.
CHANGE_LENGTH = 25.0
# Inside a junction a lane counts as overlapped when its centre comes this close to the route.
_OVERLAP = 1.6


@dataclasses.dataclass(frozen=True)
class Visit:
    """One lane of a path; ``first`` and ``last`` are fractions of it that a waypoint pins (None = not pinned)."""

    lane: int
    first: float | None
    last: float | None


def build_route(network: RoadNetwork, visits: list[Visit]) -> Route:
    """Return the route along ``visits``: consecutive visits are either successors or neighbours (a lane change)."""
    xyz: list[np.ndarray] = []
    lanes: list[np.ndarray] = []
    index = 0
    while index < len(visits):
        end = index + 1
        while end < len(visits) and _changes(network, visits[end - 1].lane, visits[end].lane):
            end += 1
        points, point_lanes = _run_points(network, visits[index:end], first=index == 0, last=end == len(visits))
        xyz.append(points)
        lanes.append(point_lanes)
        index = end
    points, point_lanes = np.concatenate(xyz), np.concatenate(lanes)
    step = np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1]))
    keep = np.concatenate([[True], step > 1e-3])
    points, point_lanes = points[keep], point_lanes[keep]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1])))])
    s = np.arange(0.0, max(along[-1], 1.0) + 1e-6, 1.0)
    if along[-1] < 1.0:
        # Shorter than the spacing: one step ahead in the lane's direction.
        heading = network.lane_at(int(point_lanes[0]), 0.0)[3]
        ahead = points[0] + np.array([np.cos(heading), np.sin(heading), 0.0])
        points, point_lanes, along = np.stack([points[0], ahead]), point_lanes[[0, 0]], np.array([0.0, 1.0])
    xy = np.stack([np.interp(s, along, points[:, 0]), np.interp(s, along, points[:, 1])], axis=1)
    lane = point_lanes[np.clip(np.searchsorted(along, s + 1e-9, side="right") - 1, 0, len(point_lanes) - 1)]
    heading = np.arctan2(np.gradient(xy[:, 1]), np.gradient(xy[:, 0]))
    return Route(
        xy=xy,
        z=np.interp(s, along, points[:, 2]),
        heading=heading,
        s=s,
        lane=lane,
        speed_limit=network.lane_speed[lane],
        length=float(s[-1]),
        legal_s=_legal_lanes(network, xy, s, lane),
    )


def _changes(network: RoadNetwork, lane: int, other: int) -> bool:
    return other in (network.left_neighbour[lane], network.right_neighbour[lane])


def _run_points(network: RoadNetwork, run: list[Visit], first: bool, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sample lanes that lie side by side in one section; more than one means lane changes.

    Returns:
        Points [n, 3] x, y, z and the lane [n] of each.

    """
    length = float(network.lane_length[run[0].lane])
    pinned_begin, pinned_end = run[0].first if first else None, run[-1].last if last else None
    begin = 0.0 if pinned_begin is None else pinned_begin
    end = max(begin, 1.0 if pinned_end is None else pinned_end)
    spans = _change_spans(run, begin, end, CHANGE_LENGTH / length)
    count = max(2, int(np.ceil((end - begin) * length / 0.5)) + 1)
    fractions = np.linspace(begin, end, count)
    points = network.lane_at(run[0].lane, fractions * length)[:, :3]
    lanes = np.full(count, run[0].lane, np.int64)
    for visit, (start, stop) in zip(run[1:], spans, strict=True):
        other = network.lane_at(visit.lane, fractions * float(network.lane_length[visit.lane]))[:, :3]
        t = np.clip((fractions - start) / max(stop - start, 1e-9), 0.0, 1.0)
        # Fifth-order blend: no jump in lateral speed or acceleration at either end.
        blend = t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
        points = points + blend[:, None] * (other - points)
        lanes[blend > 0.5] = visit.lane
    return points, lanes


def _change_spans(run: list[Visit], begin: float, end: float, size: float) -> list[tuple[float, float]]:
    """Return where each lane change of a run begins and ends, as fractions of the section.

    A change begins after the last place that a waypoint pins on the old lane and ends before the place pinned on the
    new one; without pins the changes share what is left of the section.
    """
    spans: list[tuple[float, float]] = []
    position = begin
    for k, (old, new) in enumerate(itertools.pairwise(run)):
        earliest = position if old.last is None else max(position, old.last)
        if new.last is not None and earliest < new.last < end:
            room = new.last - earliest
        else:
            room = max(0.0, end - earliest) / (len(run) - 1 - k)
        position = earliest + min(room, size)
        spans.append((earliest, position))
    return spans


def _legal_lanes(network: RoadNetwork, xy: np.ndarray, s: np.ndarray, lane: np.ndarray) -> dict[int, float]:
    """Return the lanes that a car on the route may be on, with their places along the route."""
    legal: dict[int, float] = {}
    for one in dict.fromkeys(lane.tolist()):
        place = float(s[lane == one].mean())
        legal.setdefault(one, place)
        for neighbours in (network.left_neighbour, network.right_neighbour):
            other, seen = int(neighbours[one]), {one}
            while other >= 0 and other not in seen:
                legal.setdefault(other, place)
                seen.add(other)
                other = int(neighbours[other])
    # Lanes all of which lies within 30 m of joining.
    queue = [(one, 0.0) for one in list(legal)]
    while queue:
        one, distance = queue.pop()
        for before in network.predecessors[one]:
            reach = distance + float(network.lane_length[before])
            if before not in legal and network.lane_kind[before] == DRIVING and reach <= JOIN_WITHIN:
                legal[before] = legal[one]
                queue.append((before, reach))
    for one, place in _overlapped(network, xy, s, lane):
        legal.setdefault(one, place)
    return legal


def _overlapped(network: RoadNetwork, xy: np.ndarray, s: np.ndarray, lane: np.ndarray) -> list[tuple[int, float]]:
    """Return junction lanes whose centres come within ``_OVERLAP`` of the route inside its junctions."""
    inside = np.flatnonzero(network.lane_junction[lane])
    if not len(inside):
        return []
    junctions = np.unique(network.lane_junction_id[lane[inside]])
    lanes = np.flatnonzero((network.lane_kind == DRIVING) & np.isin(network.lane_junction_id, junctions))
    points = np.concatenate([np.arange(network.lane_start[one], network.lane_start[one + 1]) for one in lanes])
    distance, nearest = cKDTree(xy[inside]).query(np.stack([network.x[points], network.y[points]], axis=1))
    close = distance < _OVERLAP
    found: dict[int, float] = {}
    for one, place in zip(network.point_lane[points[close]].tolist(), s[inside[nearest[close]]].tolist(), strict=True):
        found.setdefault(one, place)
    return list(found.items())
