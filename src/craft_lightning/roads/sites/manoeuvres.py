"""Where the route itself makes the scenario: turns at junctions, bends, several lanes, motorways."""

from collections.abc import Callable

import numpy as np

from craft_lightning.roads.cross_section import CrossSections, neighbour, oncoming
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route_points import CHANGE_LENGTH, Visit, build_route
from craft_lightning.roads.sites.base import Finder, Site, route_through
from craft_lightning.roads.sites.places import LENGTH, Room, draw_place, has_either, site, two_way

_TURN = 0.7  # radians of a junction's lane that count as a turn
_BEND = 0.3  # radians of a road that count as a bend
_TOWN = 17.0  # m/s


def _junction_lane(network: RoadNetwork, rng: np.random.Generator, turning: bool) -> int | None:
    """Draw a lane of a junction, with a turn or any."""
    lanes = np.flatnonzero((network.lane_kind == DRIVING) & network.lane_junction & (network.lane_speed <= _TOWN))
    if turning:
        begin, end = network.heading[network.lane_start[lanes]], network.heading[network.lane_start[lanes + 1] - 1]
        lanes = lanes[np.abs(np.angle(np.exp(1j * (end - begin)))) > _TURN]
    return int(rng.choice(lanes)) if len(lanes) else None


def _at_junction(kind: str, turning: bool) -> Finder:
    """Return the finder of what happens where the ego enters a junction, or leaves it after a turn."""

    def find(network: RoadNetwork, rng: np.random.Generator) -> Site | None:
        lane = _junction_lane(network, rng, turning)
        if lane is None:
            return None
        lead = float(rng.integers(30, 41))
        before = 60.0 + lead
        passed = route_through(
            network, rng, lane, 0.0, before, float(rng.uniform(*LENGTH)) - before, junctions_before=1
        )
        if passed is None:
            return None
        route, begin = passed
        # Nothing but ordinary road from the trigger to the junction, and a little behind it.
        inside = network.lane_junction[route.lane]
        approach = (route.s > begin - lead - 2.0) & (route.s < begin - 2.0)
        leaving = begin + float(network.lane_length[lane])
        beyond = (route.s > leaving + 2.0) & (route.s < leaving + 14.0)
        if inside[approach].any() or inside[beyond].any() or not beyond.any():
            return None
        return site(kind, route, begin - lead, {})

    return find


def _invading(network: RoadNetwork, rng: np.random.Generator) -> Site | None:
    """Find a bend of a road with one lane a direction."""
    distance = float(rng.integers(50, 61))
    found = draw_place(network, rng, Room(20.0, 20.0, (0.0, 0.0), beside=two_way, straight=False))
    if found is None:
        return None
    before = 55.0 + 0.5 * distance
    passed = route_through(network, rng, *found, before, float(rng.uniform(*LENGTH)) - before)
    if passed is None:
        return None
    route, place = passed
    trigger = place - 0.5 * distance
    stretch = (route.s >= trigger) & (route.s <= trigger + distance)
    if network.lane_junction[route.lane[stretch]].any() or np.ptp(np.unwrap(route.heading)[stretch]) < _BEND:
        return None
    sections = CrossSections.of(network)
    ends = (route.at(trigger + share * distance).tolist() for share in (0.1, 0.9))
    if any(oncoming(sections.at(*end)) is None for end in ends):
        return None
    offset = round(float(rng.uniform(0.18, 0.35)), 2)
    return site("InvadingTurn", route, trigger, {"distance": distance, "offset": offset})


def _highway_cut_in(network: RoadNetwork, rng: np.random.Generator) -> Site | None:
    """Find a road with two lanes or more, clear of junctions for a while; the other begins in the lane beside."""
    found = draw_place(network, rng, Room(15.0, 65.0, (0.0, 0.0), beside=has_either, straight=False))
    if found is None:
        return None
    before = 60.0
    passed = route_through(network, rng, *found, before, float(rng.uniform(*LENGTH)) - before)
    if passed is None:
        return None
    route, trigger = passed
    sections = CrossSections.of(network)
    strips = sections.at(*route.at(trigger + 10.0).tolist())
    side = -1.0 if neighbour(strips, -1.0) is not None else 1.0
    strip = neighbour(strips, side)
    if strip is None:
        return None
    x, y, z, *_ = network.lane_at(strip.lane, strip.s).tolist()
    there = {"x": round(x, 1), "y": round(y, 1), "z": round(z, 1)}
    far = route.at(trigger + 80.0).tolist()
    height = float(np.interp(trigger + 80.0, route.s, route.z))
    end = {"x": round(far[0], 1), "y": round(far[1], 1), "z": round(height, 1)}
    return site("HighwayCutIn", route, trigger, {"other_actor_location": there, "end_location": end})


def _emergency(network: RoadNetwork, rng: np.random.Generator) -> Site | None:
    """Find a road with two lanes or more, clear of junctions long enough to make way."""
    found = draw_place(network, rng, Room(10.0, 75.0, (0.0, 0.0), beside=has_either, straight=False))
    if found is None:
        return None
    passed = route_through(network, rng, *found, 60.0, float(rng.uniform(*LENGTH)) - 60.0)
    if passed is None:
        return None
    route, trigger = passed
    return site("YieldToEmergencyVehicle", route, trigger, {"distance": float(rng.integers(26, 31))})


def _lane_changes(network: RoadNetwork, rng: np.random.Generator) -> Site | None:
    """Build a route that changes lane twice or more on a road with two lanes or more."""
    found = draw_place(network, rng, Room(5.0, 60.0, (0.0, 0.0), beside=has_either, straight=False))
    if found is None:
        return None
    lane, at = found
    length, total = network.lane_length, float(rng.uniform(*LENGTH))
    visits = [Visit(lane, at / float(length[lane]), None)]
    position, travelled, since, changes = at, 0.0, 0.0, 0
    first = 0.0
    while True:
        room = float(length[lane])
        spacing = float(rng.uniform(42.0, 60.0))
        beside = [int(one) for one in (network.left_neighbour[lane], network.right_neighbour[lane]) if one >= 0]
        begin = position + max(spacing - since, 0.0)
        fits = begin + CHANGE_LENGTH + 8.0 < room and travelled + begin - position + 40.0 < total
        if beside and fits and not network.lane_junction[lane]:
            visits[-1] = Visit(lane, visits[-1].first, begin / room)
            travelled += begin + CHANGE_LENGTH - position
            first = first or travelled - CHANGE_LENGTH
            # Both lanes lie in one section, so fractions carry over.
            share = (begin + CHANGE_LENGTH) / room
            lane = int(rng.choice(beside))
            position, since, changes = share * float(length[lane]), 0.0, changes + 1
            visits.append(Visit(lane, None, None))
            continue
        if travelled + room - position >= total:
            end = position + total - travelled
            break
        onward = [one for one in network.successors[lane] if network.lane_kind[one] == DRIVING]
        onward = [one for one in onward if one not in {visit.lane for visit in visits}]
        if not onward:
            return None
        travelled += room - position
        since += room - position
        position, lane = 0.0, int(rng.choice(onward))
        visits.append(Visit(lane, None, None))
    if changes < 2 or network.lane_junction[lane]:
        return None
    visits[-1] = Visit(lane, visits[-1].first, min(end, room - 2.0) / room)
    return site("SequentialLaneChange", build_route(network, visits), max(first - 35.0, 2.0), {})


FINDERS: dict[str, Callable[[RoadNetwork, np.random.Generator], Site | None]] = {
    "PedestrianCrossing": _at_junction("PedestrianCrossing", turning=False),
    "VehicleTurningRoute": _at_junction("VehicleTurningRoute", turning=True),
    "VehicleTurningRoutePedestrian": _at_junction("VehicleTurningRoutePedestrian", turning=True),
    "InvadingTurn": _invading,
    "HighwayCutIn": _highway_cut_in,
    "YieldToEmergencyVehicle": _emergency,
    "SequentialLaneChange": _lane_changes,
}
