"""Sites at junctions whose flows are given by their places: entering flows, interurban merges, bicycles."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from craft_lightning.roads.junctions import LEFT, RIGHT, STRAIGHT, Movement, lane_line, lead_in, lead_out
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.sites.base import Finder
from craft_lightning.roads.sites.junction_sites import Crossing, finder, flow_parameters

_FAST_ROAD = 13.5  # m/s of a road that counts as interurban
_KERB = 0.7  # metres from the edge of a lane at which bicycles ride


def way_of_flow(network: RoadNetwork, movement: Movement, before: float, after: float) -> np.ndarray | None:
    """Return a flow's way [N, 3] through a junction, ``before`` metres before it to ``after`` metres behind.

    None where the town ends too early or one of the ends would lie in a junction.
    """
    length = network.lane_length
    first = [*lead_in(network, movement.approach, before - float(length[movement.approach])), movement.approach]
    last = [movement.exit, *lead_out(network, movement.exit, after - float(length[movement.exit]))]
    head, tail = lane_line(network, first), lane_line(network, last)
    if len(head) <= before or len(tail) <= after:
        return None
    room = float(length[first].sum()) - before
    for lane in first:
        if room < float(length[lane]):
            break
        room -= float(length[lane])
    beyond = after
    for end in last:
        if beyond < float(length[end]):
            break
        beyond -= float(length[end])
    if network.lane_junction[lane] or network.lane_junction[end]:
        return None
    return np.concatenate([head[-int(before) - 1 :], lane_line(network, movement.inside), tail[: int(after) + 1]])


def place(point: np.ndarray) -> dict[str, float]:
    """Return a point [3] as a place of a route file."""
    x, y, z = point.tolist()
    return {"x": round(x, 2), "y": round(y, 2), "z": round(z, 2)}


def _aside(line: np.ndarray, index: int, left: float) -> np.ndarray:
    """Return a point of a line moved ``left`` metres to the left."""
    before, after = line[max(index - 1, 0)], line[min(index + 1, len(line) - 1)]
    dx, dy = after[:2] - before[:2]
    size = max(float(np.hypot(dx, dy)), 1e-6)
    return line[index] + left * np.array([-dy / size, dx / size, 0.0])


def _ways(crossing: Crossing, wishes: Sequence[tuple[str, str]]) -> list[Movement]:
    """Return the ways of others into the ego's exit."""
    return [other for side, manoeuvre in wishes for other in crossing.comes(side, manoeuvre, True)]


_INTO = {RIGHT: ((LEFT, STRAIGHT),), LEFT: ((RIGHT, STRAIGHT), (STRAIGHT, RIGHT)), STRAIGHT: ()}


def _enters(crossing: Crossing) -> bool:
    return not crossing.signalised and len(_ways(crossing, _INTO[crossing.movement.manoeuvre])) > 0


def _enter(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any] | None:
    ways = _ways(crossing, _INTO[crossing.movement.manoeuvre])
    line = way_of_flow(network, ways[int(rng.integers(len(ways)))], float(rng.integers(38, 56)), 40.0)
    if line is None:
        return None
    return {
        "start_actor_flow": place(line[0]),
        "end_actor_flow": place(line[-1]),
        **flow_parameters(rng, 9, 13, 18, 38),
    }


def _advance(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any] | None:
    if network.lane_speed[crossing.movement.exit] < _FAST_ROAD:
        return None
    ways = _ways(crossing, _INTO[RIGHT])
    line = way_of_flow(network, ways[int(rng.integers(len(ways)))], float(rng.integers(50, 71)), 60.0)
    if line is None:
        return None
    return {
        "direction": "right",
        "start_actor_flow": place(line[0]),
        "end_actor_flow": place(line[-1]),
        **flow_parameters(rng, 13, 17, 36, 90),
    }


def _crosses_bicycles(crossing: Crossing) -> bool:
    return crossing.movement.manoeuvre == LEFT and len(crossing.comes(STRAIGHT, STRAIGHT, False)) > 0


def _bicycles(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any] | None:
    ways = crossing.comes(STRAIGHT, STRAIGHT, False)
    # Bicycles ride on the right-most lane.
    way = min(ways, key=lambda other: int(network.right_neighbour[other.approach] >= 0))
    line = way_of_flow(network, way, float(rng.integers(30, 41)), 16.0)
    if line is None:
        return None
    half = 0.5 * float(network.width[network.lane_start[way.approach + 1] - 1])
    left = _KERB - half
    return {
        "start_actor_flow": place(_aside(line, 0, left)),
        "end_actor_flow": place(_aside(line, len(line) - 1, left)),
        **flow_parameters(rng, 6, 10, 8, 26),
    }


def _enters_fast(crossing: Crossing) -> bool:
    return not crossing.signalised and crossing.movement.manoeuvre == RIGHT and len(_ways(crossing, _INTO[RIGHT])) > 0


FINDERS: dict[str, Finder] = {
    "CrossingBicycleFlow": finder("CrossingBicycleFlow", _crosses_bicycles, _bicycles),
    "EnterActorFlow": finder("EnterActorFlow", _enters, _enter),
    "InterurbanAdvancedActorFlow": finder("InterurbanAdvancedActorFlow", _enters_fast, _advance),
}
