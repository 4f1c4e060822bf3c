"""Sites where the ego has to change lanes through a flow: motorway exits, mergers, left turns off interurban roads."""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from craft_lightning.roads.junctions import LEFT, STRAIGHT, Junctions, Movement, lane_line, lead_in
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route_points import Visit, build_route
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.roads.sites.base import Finder, Site, trigger_pose
from craft_lightning.roads.sites.flow_places import place
from craft_lightning.roads.sites.junction_sites import flow_parameters

_LENGTH = (206.0, 245.0)  # metres of route
_CHANGE = 30.0  # metres that a lane change takes, about
_APPROACH = (30.0, 45.0)  # metres from the trigger point to the beginning of the change
_BEHIND = 28.0  # metres behind the trigger point at which the flow begins
_AFTER = 108.0  # metres of route from the beginning of the change to its end at least
_JOINED = 65.0  # metres of the flow's way behind the change
_SHORTEST = 85.0  # metres of the two lanes side by side
_FAST, _INTERURBAN = 20.0, 15.0  # m/s of a motorway, of an interurban road


@dataclasses.dataclass(frozen=True)
class Change:
    """A change from a lane to the one beside it that the way demands.

    Args:
        old: the lane that does not lead there.
        new: the lane beside it.
        movement: the way on from the new lane.
        through: the way that the flow takes from the new lane.
        merging: lanes that lead to the new lane from another road than to the old one, in order; () where none do.

    """

    old: int
    new: int
    movement: Movement
    through: Movement
    merging: tuple[int, ...]


def changes(network: RoadNetwork) -> list[Change]:
    """Return the changes of a town; found once."""
    found = _CHANGES.get(id(network))
    if found is None:
        found = _CHANGES[id(network)] = _find(network)
        weakref.finalize(network, _CHANGES.pop, id(network), None)
    return found


_CHANGES: dict[int, list[Change]] = {}


def _find(network: RoadNetwork) -> list[Change]:
    by_approach: dict[int, list[Movement]] = {}
    for movement in Junctions.of(network).movements:
        by_approach.setdefault(movement.approach, []).append(movement)
    found = []
    for new, ways in by_approach.items():
        if network.lane_length[new] < _SHORTEST:
            continue
        for old in (int(network.left_neighbour[new]), int(network.right_neighbour[new])):
            if old < 0 or network.lane_kind[old] != DRIVING or network.lane_junction[old]:
                continue
            reached = {int(network.lane_road[way.exit]) for way in by_approach.get(old, [])}
            onward = [way for way in ways if int(network.lane_road[way.exit]) not in reached]
            if not onward:
                continue
            through = next((way for way in ways if way.manoeuvre == STRAIGHT), onward[0])
            found += [Change(old, new, way, through, _merging(network, old, new)) for way in onward]
    return found


def _merging(network: RoadNetwork, old: int, new: int) -> tuple[int, ...]:
    """Return the lanes of a road that joins here as the new lane."""
    beside = {int(network.lane_road[lane]) for lane in lead_in(network, old, 80.0) if not network.lane_junction[lane]}
    way = lead_in(network, new, 80.0)
    outside = [lane for lane in way if not network.lane_junction[lane]]
    if not outside or int(network.lane_road[outside[-1]]) in beside:
        return ()
    return tuple(way)


Accept = Callable[[RoadNetwork, Change], bool]
Draw = Callable[[np.random.Generator], dict[str, Any]]


def change_site(
    kind: str, accept: Accept, draw: Draw, from_ramp: bool, network: RoadNetwork, rng: np.random.Generator
) -> Site | None:
    """Make one try for a lane change through a flow.

    Args:
        kind: the scenario type.
        accept: whether a change suits it.
        draw: the flow's speed and distances.
        from_ramp: let the flow come from the road that joins.
        network: the town.
        rng: source of the draws.

    """
    suited = [change for change in changes(network) if accept(network, change)]
    if not suited:
        return None
    change = suited[int(rng.integers(len(suited)))]
    length = network.lane_length
    side = float(length[change.old])
    first = 25.0 if from_ramp else 42.0
    if side - _CHANGE - 8.0 <= first:
        return None
    begin = float(rng.uniform(first, side - _CHANGE - 8.0))
    wanted = float(rng.uniform(*_LENGTH))
    onward = _onward(network, rng, change.movement)
    behind = side - begin + sum(float(length[lane]) for lane in onward)
    if behind < _AFTER + 4.0:
        return None
    after = float(rng.uniform(_AFTER, min(behind - 4.0, wanted - 75.0)))
    route_lanes = _back(network, rng, change.old, wanted - after - begin)
    if route_lanes is None:
        return None
    start = begin - (wanted - after)
    for lane in route_lanes:
        start += float(length[lane])
    visits = [Visit(lane, None, None) for lane in route_lanes]
    visits += [Visit(change.old, None, begin / side), Visit(change.new, None, None)]
    left = after - (side - begin)
    for lane in onward:
        visits.append(Visit(lane, None, None))
        left -= float(length[lane])
        if left <= 0.0:
            break
    last = visits[-1].lane
    if left > 0.0 or network.lane_junction[last] or network.lane_junction[visits[0].lane]:
        return None
    end = float(length[last]) + left
    if end < 4.0 or start < 2.0:
        return None
    visits[0] = dataclasses.replace(visits[0], first=start / float(length[visits[0].lane]))
    visits[-1] = dataclasses.replace(visits[-1], last=end / float(length[last]))
    route = build_route(network, visits)
    if not 200.0 <= route.length <= 250.0:
        return None
    trigger_at = begin - float(rng.uniform(*_APPROACH))
    trigger = float(wanted - after) + trigger_at - begin
    if trigger < 10.0:
        return None
    flow = _flow_line(network, change, trigger_at, begin, set(route_lanes) | {change.old}, from_ramp)
    if flow is None:
        return None
    parameters = {"start_actor_flow": place(flow[0]), "end_actor_flow": place(flow[-1]), **draw(rng)}
    return Site(route, ScenarioConfig(f"{kind}_1", kind, trigger_pose(route, trigger), parameters))


def _onward(network: RoadNetwork, rng: np.random.Generator, movement: Movement) -> list[int]:
    """Return the lanes of a movement and a way on from its exit."""
    way = [*movement.inside, movement.exit]
    while sum(float(network.lane_length[lane]) for lane in way) < 120.0:
        after = [one for one in network.successors[way[-1]] if network.lane_kind[one] == DRIVING and one not in way]
        if not after:
            break
        way.append(int(rng.choice(after)))
    return way


def _back(network: RoadNetwork, rng: np.random.Generator, lane: int, metres: float) -> list[int] | None:
    """Return lanes that lead to ``lane``, at least ``metres`` long together."""
    way: list[int] = []
    while metres > 0.0:
        before = [
            one
            for one in network.predecessors[way[0] if way else lane]
            if network.lane_kind[one] == DRIVING and one not in way and one != lane
        ]
        if not before:
            return None
        way.insert(0, int(rng.choice(before)))
        metres -= float(network.lane_length[way[0]])
    return way


def _flow_line(
    network: RoadNetwork, change: Change, trigger_at: float, begin: float, own: set[int], from_ramp: bool
) -> np.ndarray | None:
    """Return the flow's way [N, 3]: along the new lane and on from it; it begins on no lane of the ego's own way."""
    start = trigger_at - _BEHIND
    before = list(change.merging) if from_ramp else lead_in(network, change.new, 80.0)
    if not from_ramp:
        while before and set(before) & own:
            before.pop(0)
    ahead = lane_line(network, [change.new, *change.through.inside, change.through.exit])
    if before:
        head = lane_line(network, before)
        count = min(max(int(50.0 if from_ramp else -start), 0), len(head) - 3)
        line = np.concatenate([head[-count:], ahead]) if count > 0 else ahead[max(int(start), 0) :]
    else:
        line = ahead[max(int(start), 2) :]
    # It ends well behind the place where the ego has joined it.
    line = line[: min(len(line) - len(ahead) + int(begin + _CHANGE + _JOINED), len(line) - 3)]
    return line if len(line) > 60 else None


# -- what a type asks of a change --------------------------------------------------------------------------------------


def _motorway(network: RoadNetwork, change: Change) -> bool:
    return bool(network.lane_speed[change.new] >= _FAST) and abs(change.movement.turn) < 1.0


def _ramp(network: RoadNetwork, change: Change) -> bool:
    return _motorway(network, change) and len(change.merging) > 0


def _left_turn(network: RoadNetwork, change: Change) -> bool:
    return change.movement.manoeuvre == LEFT and bool(network.lane_speed[change.new] >= _INTERURBAN)


def _finder(kind: str, accept: Accept, draw: Draw, from_ramp: bool = False) -> Finder:
    return functools.partial(change_site, kind, accept, draw, from_ramp)


FINDERS: dict[str, Finder] = {
    "HighwayExit": _finder(
        "HighwayExit", _motorway, functools.partial(flow_parameters, slow=10, fast=14, near=16, far=44)
    ),
    "InterurbanActorFlow": _finder(
        "InterurbanActorFlow", _left_turn, functools.partial(flow_parameters, slow=13, fast=16, near=42, far=95)
    ),
    "MergerIntoSlowTraffic": _finder(
        "MergerIntoSlowTraffic", _motorway, functools.partial(flow_parameters, slow=8, fast=10, near=14, far=42)
    ),
    "MergerIntoSlowTrafficV2": _finder(
        "MergerIntoSlowTrafficV2", _ramp, functools.partial(flow_parameters, slow=9, fast=11, near=11, far=34), True
    ),
}
