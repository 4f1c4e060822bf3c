"""What finders share: the site itself, and routes that pass a chosen place."""

import dataclasses
from collections.abc import Callable

import numpy as np

from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.route_points import Visit, build_route
from craft_lightning.roads.routes import ScenarioConfig

# Metres kept from a lane's ends where a route begins or ends.
_END_ROOM = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """A route with one scenario on it.

    Args:
        route: the planned route.
        scenario: the scenario; its trigger point lies on the route.

    """

    route: Route
    scenario: ScenarioConfig


Finder = Callable[[RoadNetwork, np.random.Generator], Site | None]


def route_through(
    network: RoadNetwork,
    rng: np.random.Generator,
    lane: int,
    at: float,
    before: float,
    after: float,
    onward: tuple[int, ...] = (),
    junctions_before: int = 99,
) -> tuple[Route, float] | None:
    """Return a route that passes a place, and the metres of route at which it does.

    Args:
        network: the town.
        rng: draws the way where it forks.
        lane: lane of the place, a junction's or any other driving lane.
        at: metres along that lane.
        before: metres of route before the place.
        after: metres of route behind it.
        onward: lanes that follow ``lane`` in this order; beyond them the way is drawn.
        junctions_before: how many junction lanes the way to the place may use.

    Returns:
        None where the town ends too early, or the route would begin or end inside a junction.

    """
    length = network.lane_length
    way = [lane, *onward]
    room = at - before
    while room < 0.0:
        used = sum(bool(network.lane_junction[one]) for one in way[: way.index(lane)])
        lanes = [one for one in network.predecessors[way[0]] if network.lane_kind[one] == DRIVING and one not in way]
        lanes = [one for one in lanes if used < junctions_before or not network.lane_junction[one]]
        if not lanes:
            return None
        way.insert(0, int(rng.choice(lanes)))
        room += float(length[way[0]])
    left = after - (float(length[lane]) - at) - sum(float(length[one]) for one in onward)
    while left > 0.0:
        lanes = [one for one in network.successors[way[-1]] if network.lane_kind[one] == DRIVING and one not in way]
        if not lanes:
            return None
        way.append(int(rng.choice(lanes)))
        left -= float(length[way[-1]])
    begin, end = max(room, _END_ROOM), min(float(length[way[-1]]) + left, float(length[way[-1]]) - _END_ROOM)
    if network.lane_junction[way[0]] or network.lane_junction[way[-1]] or end < _END_ROOM:
        return None
    if len(way) == 1:
        route = build_route(network, [Visit(lane, begin / float(length[lane]), end / float(length[lane]))])
    else:
        visits = [Visit(one, None, None) for one in way]
        visits[0] = Visit(way[0], begin / float(length[way[0]]), None)
        visits[-1] = Visit(way[-1], None, end / float(length[way[-1]]))
        route = build_route(network, visits)
    x, y, *_ = network.lane_at(lane, at)
    gap = np.hypot(route.xy[:, 0] - x, route.xy[:, 1] - y)
    return route, float(route.s[int(gap.argmin())])


def trigger_pose(route: Route, s: float) -> tuple[float, float, float, float]:
    """Return x, y, z, yaw of a place on the route, as a scenario's trigger point."""
    x, y, yaw = route.at(s).tolist()
    return x, y, float(np.interp(s, route.s, route.z)), (yaw + np.pi) % (2.0 * np.pi) - np.pi


def clear_of_junctions(
    network: RoadNetwork, route: Route, behind: float, ahead: float, first: float, last: float
) -> np.ndarray:
    """Return arc lengths between ``first`` and ``last`` with no junction from ``behind`` before to ``ahead`` after."""
    inside = network.lane_junction[route.lane].astype(np.int64)
    passed = np.concatenate([[0], np.cumsum(inside)])
    begin = np.clip(np.floor(route.s - behind).astype(int), 0, len(route.s) - 1)
    end = np.clip(np.ceil(route.s + ahead).astype(int), 0, len(route.s) - 1)
    clear = passed[end + 1] == passed[begin]
    return route.s[clear & (route.s >= first) & (route.s <= last)]
