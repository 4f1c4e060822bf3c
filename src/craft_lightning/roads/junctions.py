"""Ways through the junctions of a town: where they come from, where they lead, what crosses them."""

import dataclasses
import functools
import math
import weakref
from collections.abc import Sequence

import numpy as np

from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route

LEFT, RIGHT, STRAIGHT, BACK = "left", "right", "straight", "back"
_STRAIGHT = math.radians(35.0)
_BACK = math.radians(150.0)
_OPPOSITE = math.radians(135.0)
_DEEPEST = 6  # junction lanes in a row


@dataclasses.dataclass(frozen=True)
class Movement:
    """One way through a junction.

    Args:
        junction: junction number of the network.
        approach: lane before the junction.
        inside: junction lanes in order.
        exit: lane behind the junction.
        turn: radians from the approach's direction to the exit's, left positive.
        heading: direction of the approach at its end, radians.

    """

    junction: int
    approach: int
    inside: tuple[int, ...]
    exit: int
    turn: float
    heading: float

    @property
    def manoeuvre(self) -> str:
        """``LEFT``, ``RIGHT``, ``STRAIGHT`` or ``BACK``."""
        if abs(self.turn) < _STRAIGHT:
            return STRAIGHT
        if abs(self.turn) > _BACK:
            return BACK
        return LEFT if self.turn > 0.0 else RIGHT

    @property
    def lanes(self) -> tuple[int, ...]:
        """Approach, junction lanes and exit."""
        return (self.approach, *self.inside, self.exit)

    def side(self, other: "Movement") -> str:
        """Return where another movement comes from, seen by a driver of this one.

        ``LEFT``, ``RIGHT``, ``STRAIGHT`` (from the opposite side) or ``BACK`` (from the own side).
        """
        turn = _wrap(other.heading - self.heading)
        if abs(turn) > _OPPOSITE:
            return STRAIGHT
        if abs(turn) < math.pi - _OPPOSITE:
            return BACK
        return RIGHT if turn > 0.0 else LEFT


class Junctions:
    """All movements of a town.

    Args:
        network: the town.

    Attributes:
        movements: all of them, ordered by their lanes.
        signals: OpenDRIVE ids of the lights that a lane obeys, for lanes that obey any.

    """

    def __init__(self, network: RoadNetwork) -> None:
        self.network = network
        self.signals: dict[int, tuple[str, ...]] = {}
        for lane, signal in zip(network.line_lane.tolist(), network.line_signal, strict=True):
            self.signals[lane] = (*self.signals.get(lane, ()), str(signal))
        self.movements: list[Movement] = []
        for lane in np.flatnonzero((network.lane_kind == DRIVING) & ~network.lane_junction).tolist():
            for after in network.successors[lane]:
                if network.lane_junction[after] and network.lane_kind[after] == DRIVING:
                    self.movements += [self._movement(lane, way) for way in self._through((after,))]

    @classmethod
    def of(cls, network: RoadNetwork) -> "Junctions":
        """Return the one instance of a network."""
        found = _INSTANCES.get(id(network))
        if found is None:
            found = _INSTANCES[id(network)] = cls(network)
            weakref.finalize(network, _INSTANCES.pop, id(network), None)
        return found

    def _through(self, way: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the ways on from junction lanes to the first lane outside."""
        network, found = self.network, []
        for after in network.successors[way[-1]]:
            if network.lane_kind[after] != DRIVING or after in way:
                continue
            if not network.lane_junction[after]:
                found.append((*way, after))
            elif len(way) < _DEEPEST:
                found += self._through((*way, after))
        return found

    def _movement(self, approach: int, way: tuple[int, ...]) -> Movement:
        network = self.network
        end = float(network.heading[network.lane_start[approach + 1] - 1])
        begin = float(network.heading[network.lane_start[way[-1]]])
        junction = int(network.lane_junction_id[way[0]])
        return Movement(junction, approach, way[:-1], way[-1], _wrap(begin - end), end)

    @functools.cached_property
    def by_junction(self) -> dict[int, list[Movement]]:
        """Movements of each junction."""
        found: dict[int, list[Movement]] = {}
        for movement in self.movements:
            found.setdefault(movement.junction, []).append(movement)
        return found

    def others(self, movement: Movement) -> list[Movement]:
        """Return the movements of the same junction that begin on other roads."""
        found = self.by_junction[movement.junction]
        return [other for other in found if movement.side(other) != BACK]

    def signalised(self, movement: Movement) -> bool:
        """Whether a light rules the approach."""
        return movement.approach in self.signals

    def on_route(self, route: Route, s: float) -> tuple[Movement, float, float] | None:
        """Return the next movement of a route.

        Args:
            route: the route.
            s: metres of route from which on to look; a junction in which that place lies counts.

        Returns:
            The movement, and the metres of route where the junction begins and ends; None where there is none.

        """
        inside = self.network.lane_junction[route.lane]
        start = int(np.searchsorted(route.s, s))
        if start >= len(inside):
            return None
        while start > 0 and inside[start] and inside[start - 1]:
            start -= 1
        found = np.flatnonzero(inside[start:])
        if not len(found):
            return None
        first = start + int(found[0])
        last = first
        while last + 1 < len(inside) and inside[last + 1]:
            last += 1
        if first == 0 or last + 1 == len(inside):
            return None
        approach, goal = int(route.lane[first - 1]), int(route.lane[last + 1])
        way = tuple(dict.fromkeys(route.lane[first : last + 1].tolist()))
        return self._movement(approach, (*way, goal)), float(route.s[first]), float(route.s[last])


_INSTANCES: dict[int, Junctions] = {}


def lane_line(network: RoadNetwork, lanes: Sequence[int], spacing: float = 1.0) -> np.ndarray:
    """Return the centre line [N, 3] x, y, z of lanes that follow each other, points ``spacing`` metres apart."""
    parts = [network.lane_slice(lane) for lane in lanes]
    points = np.concatenate([np.stack([network.x[part], network.y[part], network.z[part]], 1) for part in parts])
    return resample(points, spacing)


def resample(points: np.ndarray, spacing: float = 1.0) -> np.ndarray:
    """Return a polyline [N, 3] with its points ``spacing`` metres apart, the first kept."""
    step = np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1]))
    keep = np.concatenate([[True], step > 1e-3])
    points = points[keep]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1])))])
    s = np.arange(0.0, along[-1] + 1e-6, spacing)
    return np.stack([np.interp(s, along, points[:, column]) for column in range(3)], 1)


def lead_in(network: RoadNetwork, lane: int, metres: float) -> list[int]:
    """Return the lanes that lead to a lane, straightest first of all, until they are ``metres`` long together."""
    way: list[int] = []
    while metres > 0.0:
        onward = way[0] if way else lane
        start = float(network.heading[network.lane_start[onward]])
        before = [one for one in network.predecessors[onward] if network.lane_kind[one] == DRIVING]
        before = [one for one in before if one not in way and one != lane]
        if not before:
            break
        ends = {one: float(network.heading[network.lane_start[one + 1] - 1]) for one in before}
        way.insert(0, min(before, key=lambda one: (abs(_wrap(ends[one] - start)), _bend(network, one))))
        metres -= float(network.lane_length[way[0]])
    return way


def lead_out(network: RoadNetwork, lane: int, metres: float) -> list[int]:
    """Return the lanes on from a lane, the least bent at every fork, until they are ``metres`` long together."""
    way: list[int] = []
    while metres > 0.0:
        last = way[-1] if way else lane
        after = [one for one in network.successors[last] if network.lane_kind[one] == DRIVING]
        after = [one for one in after if one not in way and one != lane]
        if not after:
            break
        way.append(min(after, key=lambda one: _bend(network, one)))
        metres -= float(network.lane_length[way[-1]])
    return way


def _bend(network: RoadNetwork, lane: int) -> float:
    """Return the radians by which a lane turns from its beginning to its end."""
    part = network.lane_slice(lane)
    return abs(_wrap(float(network.heading[part][-1] - network.heading[part][0])))


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
