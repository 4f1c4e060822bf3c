"""Lines for the vehicles of a scenario: beside the ego's route, across it, or against it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.roads.cross_section import CrossSections, Strip, neighbour, oncoming
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.route import Route
from craft_lightning.simulation.scenarios.stage import Stage, Track

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

_GAP = 1.0  # metres between two lanes that still belong together
_PARKED = 1.2  # metres from the driving lanes' edge to the middle of a parked car


def track(stage: Stage, xy: np.ndarray, speed_limit: float = 13.9) -> Track:
    """Return a track through points.

    Args:
        stage: of the scenario.
        xy: [N, 2] world frame, metres, any spacing.
        speed_limit: m/s.

    """
    step = np.hypot(*np.diff(xy, axis=0).T)
    xy = xy[np.concatenate([[True], step > 1e-3])]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    s = np.arange(0.0, max(float(along[-1]), 2.0) + 1e-6, 1.0)
    if along[-1] < 2.0:
        raise ValueError("a track needs at least two metres")
    points = np.stack([np.interp(s, along, xy[:, 0]), np.interp(s, along, xy[:, 1])], -1)
    heading = np.arctan2(np.gradient(points[:, 1]), np.gradient(points[:, 0]))
    nowhere = np.full(len(s), -1)
    limit = np.full(len(s), speed_limit)
    # The height is the route's where the track is nearest to it: roads are level across.
    gap = np.hypot(stage.xy[None, :, 0] - points[:, None, 0], stage.xy[None, :, 1] - points[:, None, 1])
    z = np.asarray(stage.route.z, np.float64)[gap.argmin(-1)]
    return Track(stage, Route(points, z, heading, s, nowhere, limit, float(s[-1]), {}))


def beside(stage: Stage, places: Sequence[float], lefts: Sequence[float], speed_limit: float | None = None) -> Track:
    """Return a track along the route whose distance to the left of it changes smoothly.

    Args:
        stage: of the scenario.
        places: metres of route, ascending; at least two.
        lefts: metres to the left at those places; in between a cubic without a kink.
        speed_limit: m/s; the route's at the first place by default.

    """
    s = np.arange(places[0], places[-1], 0.5)
    index = np.clip(np.searchsorted(places, s, side="right") - 1, 0, len(places) - 2)
    begin, end = np.asarray(places)[index], np.asarray(places)[index + 1]
    u = (s - begin) / np.maximum(end - begin, 1e-6)
    share = u * u * (3.0 - 2.0 * u)
    left = np.asarray(lefts)[index] + share * (np.asarray(lefts)[index + 1] - np.asarray(lefts)[index])
    poses = [stage.pose(place, aside)[:2] for place, aside in zip(s.tolist(), left.tolist(), strict=True)]
    limit = stage.speed_limit(places[0]) if speed_limit is None else speed_limit
    return track(stage, np.array(poses), limit)


def across(stage: Stage, s: float, start: float, turn: float, length: float) -> Track:
    """Return a straight track from a place beside the route.

    Args:
        stage: of the scenario.
        s: metres of route.
        start: metres to the left where it begins.
        turn: radians counter-clockwise from the direction of the route.
        length: metres.

    """
    x, y, heading = stage.pose(s, start)
    reach = np.linspace(0.0, length, max(round(length), 2) + 1)
    way = heading + turn
    return track(stage, np.stack([x + reach * math.cos(way), y + reach * math.sin(way)], -1))


def against(stage: Stage, s: float, ahead: float, behind: float, aside: float = 0.0) -> Track | None:
    """Return the oncoming lane's centre line past a place of the route, in its direction of travel.

    Args:
        stage: of the scenario.
        s: metres of route.
        ahead: metres before the place (seen from the ego) at which it begins at the latest.
        behind: metres behind the place at which it ends.
        aside: metres to its right (towards the ego's lane where negative).

    Returns:
        None where there is no oncoming lane.

    """
    network = stage.network
    if network is None:
        return None
    strip = oncoming(CrossSections.of(network).at(*stage.pose(s)))
    if strip is None:
        return None
    points = chain(network, strip.lane, strip.s, ahead, behind)
    if aside:
        heading = np.arctan2(np.gradient(points[:, 1]), np.gradient(points[:, 0]))
        points = points + aside * np.stack([np.sin(heading), -np.cos(heading)], -1)
    return track(stage, points, float(network.lane_speed[strip.lane]))


def own_lane(stage: Stage, s: float, behind: float, ahead: float, strip: Strip | None = None) -> Track:
    """Return the centre line of the route's lane at a place, or of one beside it, and of the lanes that it leads to.

    Args:
        stage: of the scenario.
        s: metres of route.
        behind: metres behind the place at which it begins.
        ahead: metres ahead of it at which it ends.
        strip: the lane beside that is meant.

    """
    network = stage.network
    if network is None:
        return beside(stage, (s - behind, s + ahead), (0.0, 0.0))
    strips = CrossSections.of(network).at(*stage.pose(s))
    own = strip or min((one for one in strips if one.same and one.driving), key=_distance, default=None)
    if own is None:
        return beside(stage, (s - behind, s + ahead), (0.0, 0.0))
    return track(stage, chain(network, own.lane, own.s, behind, ahead), float(network.lane_speed[own.lane]))


def along(way: Track, x: float, y: float) -> float:
    """Return the metres of track of the point nearest to (x, y), world frame, metres."""
    return float(way.s[int(np.hypot(way.xy[:, 0] - x, way.xy[:, 1] - y).argmin())])


def free_lane(stage: Stage, s: float, side: float) -> float | None:
    """Return the metres to the left of the route of the next lane of its direction on one side, None without one."""
    if stage.network is None:
        return None
    strip = neighbour(CrossSections.of(stage.network).at(*stage.pose(s)), side)
    return None if strip is None else strip.left


def roadside(stage: Stage, s: float, side: float) -> float:
    """Return where somebody parks beside the route, metres to the left of it: just off the driving lanes.

    That is on the parking lane or shoulder where there is one, else on the verge.

    Args:
        stage: of the scenario.
        s: metres of route.
        side: 1 for the left, -1 for the right.

    """
    return parked(stage.network, stage.pose(s), side)


def parked(network: "RoadNetwork | None", pose: tuple[float, float, float], side: float) -> float:
    """Return where somebody parks beside a pose on a lane's centre; as ``roadside``."""
    edge = 1.75
    strips = [] if network is None else CrossSections.of(network).at(*pose)
    for strip in sorted(strips, key=_distance):
        reach = side * strip.left
        if strip.driving and reach > -1.0 and reach - 0.5 * strip.width < edge + _GAP:
            edge = max(edge, reach + 0.5 * strip.width) if reach > 1.0 else reach + 0.5 * strip.width
    return side * (edge + _PARKED)


def _distance(strip: Strip) -> float:
    return abs(strip.left)


def chain(network: "RoadNetwork", lane: int, s: float, before: float, after: float) -> np.ndarray:
    """Return points [N, 2] of the straightest way to and from a place on a lane.

    Args:
        network: the town.
        lane: lane index.
        s: metres along it.
        before: metres of way before the place, as far as the town goes.
        after: metres behind it, likewise.

    """
    way, room = [lane], s
    while room < before:
        found = [one for one in network.predecessors[way[0]] if network.lane_kind[one] == DRIVING and one not in way]
        if not found:
            break
        way.insert(0, min(found, key=lambda one: (abs(_bend(network, one)), one)))
        room += float(network.lane_length[way[0]])
    left = float(network.lane_length[lane]) - s
    while left < after:
        found = [one for one in network.successors[way[-1]] if network.lane_kind[one] == DRIVING and one not in way]
        if not found:
            break
        way.append(min(found, key=lambda one: (abs(_bend(network, one)), one)))
        left += float(network.lane_length[way[-1]])
    pieces = [network.lane_slice(one) for one in way]
    xy = np.concatenate([np.stack([network.x[part], network.y[part]], -1) for part in pieces])
    step = np.hypot(*np.diff(xy, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(step)])
    # Where the place is, measured along the points themselves.
    place = float(sum(float(network.lane_length[one]) for one in way[: way.index(lane)])) + s
    keep = (along >= place - before) & (along <= place + after)
    return xy[keep]


def _bend(network: "RoadNetwork", lane: int) -> float:
    part = network.heading[network.lane_slice(lane)]
    return float(np.angle(np.exp(1j * (part[-1] - part[0]))))
