"""A seeded generator of routes for any town."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.placing import place_scenario
from craft_lightning.roads.route import Route
from craft_lightning.roads.route_points import Visit, build_route
from craft_lightning.roads.routes import RouteConfig, leak_guard, write_routes

SCENARIO_TYPES: tuple[str | None, ...] = ("HardBreakRoute", "DynamicObjectCrossing", None)
"""What a route gets, in equal shares; None is traffic alone."""

MANOEUVRES = ("straight", "left", "right", "mixed")
_WAYPOINT_SPACING = 8.0
_TURN = math.radians(40.0)
_SHORTEST_LANE = 12.0
# Metres kept from the ends of the first and the last lane: a start with room to see the first light, an end behind the
# last junction.
_START_ROOM = 20.0
_END_ROOM = 6.0
_SAME_WAY = 12.0
_TRIES = 600


def generate_routes(
    network: RoadNetwork,
    count: int,
    seed: int,
    length: tuple[float, float] = (150.0, 220.0),
    scenario_types: Sequence[str | None] = SCENARIO_TYPES,
    town: str | None = None,
    prefix: str = "",
) -> list[RouteConfig]:
    """Draw routes over driving lanes: straight ahead, left turns, right turns and mixtures in equal shares.

    No two of the routes are the same way: they pass different sequences of lanes (as far as the town has enough of
    them) and lie apart by more than 12 m on average.

    Args:
        network: the road network.
        count: number of routes.
        seed: seed of every draw; the same seed gives the same routes.
        length: shortest and longest route, m.
        scenario_types: drawn in turn, so that each gets an equal share; None is traffic alone. A route on which the
            scenario has no room gets the next one that has.
        town: name of the town in the routes; the network's by default.
        prefix: put before the routes' numbers.

    Raises:
        CraftError: the town has no room for so many different routes of that length.

    """
    if count < 1 or not 0 < length[0] <= length[1]:
        raise CraftError(f"cannot generate {count} routes of {length[0]:g} to {length[1]:g} m; give sensible numbers")
    rng = np.random.default_rng(seed)
    drawer = _Drawer(network, rng, length)
    configs: list[RouteConfig] = []
    for number in range(count):
        route = drawer.route(MANOEUVRES[number % len(MANOEUVRES)])
        if route is None:
            raise CraftError(
                f"{network.name} has room for {number} different routes of {length[0]:g} to {length[1]:g} m, not for "
                f"{count}; ask for fewer routes or other lengths"
            )
        scenario = None
        for shift in range(len(scenario_types)):
            kind = scenario_types[(number // len(MANOEUVRES) + number + shift) % len(scenario_types)]
            scenario = None if kind is None else place_scenario(kind, network, route, rng)
            if kind is None or scenario is not None:
                break
        configs.append(
            RouteConfig(
                id=f"{prefix}{number}",
                town=town or network.name,
                waypoints=_waypoints(route),
                scenarios=(scenario,) if scenario else (),
            )
        )
    return configs


def write_suites(
    network: RoadNetwork,
    directory: Path,
    train: int = 240,
    evaluation: int = 60,
    seed: int = 0,
    town: str | None = None,
) -> tuple[Path, Path]:
    """Write ``TOWN_train.xml`` and ``TOWN_eval.xml``, two disjoint suites of one draw.

    Args:
        network: the road network.
        directory: folder of the files.
        train: number of training routes.
        evaluation: number of evaluation routes.
        seed: seed of the draw.
        town: name of the town; the network's by default.

    Raises:
        CraftError: the town has no room for so many routes.

    """
    name = town or network.name
    routes = generate_routes(network, train + evaluation, seed, town=name)
    # Evaluation takes whole cycles of manoeuvres and scenarios from the front.
    judging = [dataclasses.replace(route, id=f"e{k}") for k, route in enumerate(routes[:evaluation])]
    training = [dataclasses.replace(route, id=f"t{k}") for k, route in enumerate(routes[evaluation:])]
    leak_guard(training, judging)
    paths = directory / f"{name}_train.xml", directory / f"{name}_eval.xml"
    for path, suite in zip(paths, (training, judging), strict=True):
        write_routes(path, suite)
    return paths


@dataclasses.dataclass(frozen=True)
class _Walk:
    """A random walk: lanes passed, and the metres on the first and the last where it begins and ends."""

    lanes: tuple[int, ...]
    begin: float
    end: float


class _Drawer:
    """Draws routes that differ from those it drew before."""

    def __init__(self, network: RoadNetwork, rng: np.random.Generator, length: tuple[float, float]) -> None:
        self._network, self._rng, self._length = network, rng, length
        room = network.lane_length
        usable = (network.lane_kind == DRIVING) & ~network.lane_junction & (room >= _SHORTEST_LANE + _START_ROOM)
        self._starts = np.flatnonzero(usable)
        if not len(self._starts):
            raise CraftError(f"{network.name} has no driving lane of {_SHORTEST_LANE + _START_ROOM:g} m to start on")
        self._odds = room[self._starts] / room[self._starts].sum()
        self._ways: set[tuple[int, ...]] = set()
        self._outlines = np.zeros((0, 16, 2))

    def route(self, manoeuvre: str) -> Route | None:
        """Return a new route of one manoeuvre, or None where the town seems to have no more."""
        for attempt in range(_TRIES):
            walk = self._walk()
            # A town without left turns still gives routes, and so does one with few ways: wishes are dropped in turn.
            if walk is None or (attempt < _TRIES // 2 and _manoeuvre(self._network, walk.lanes) != manoeuvre):
                continue
            if attempt < _TRIES * 3 // 4 and walk.lanes in self._ways:
                continue
            route = self._build(walk)
            if not self._length[0] - 1.5 <= route.length <= self._length[1]:
                continue
            outline = route.at(np.linspace(0.0, route.length, 16))[:, :2]
            gap = np.linalg.norm(self._outlines - outline, axis=2).mean(axis=1)
            if len(gap) and gap.min() < _SAME_WAY:
                continue
            self._ways.add(walk.lanes)
            self._outlines = np.concatenate([self._outlines, outline[None]])
            return route
        return None

    def _walk(self) -> _Walk | None:
        """Walk at random from a random place; None where the walk ends badly."""
        network, rng = self._network, self._rng
        lanes = [int(rng.choice(self._starts, p=self._odds))]
        wanted = float(rng.uniform(*self._length))
        room = float(network.lane_length[lanes[0]])
        begin = float(rng.uniform(2.0, room - _START_ROOM))
        travelled = room - begin
        while travelled < wanted:
            onward = [
                after
                for after in network.successors[lanes[-1]]
                if network.lane_kind[after] == DRIVING and after not in lanes
            ]
            if not onward:
                return None
            lanes.append(int(rng.choice(onward)))
            travelled += float(network.lane_length[lanes[-1]])
        end = float(network.lane_length[lanes[-1]]) - (travelled - wanted)
        if network.lane_junction[lanes[-1]] or end < _END_ROOM or len(lanes) < 2:
            return None
        return _Walk(tuple(lanes), begin, end)

    def _build(self, walk: _Walk) -> Route:
        length = self._network.lane_length
        first, *between, last = walk.lanes
        visits = [Visit(first, walk.begin / float(length[first]), None)]
        visits += [Visit(lane, None, None) for lane in between]
        visits.append(Visit(last, None, walk.end / float(length[last])))
        return build_route(self._network, visits)


def _manoeuvre(network: RoadNetwork, lanes: Sequence[int]) -> str:
    """Tell what a way does at its junctions: one kind of turn, nothing but straight on, or a mixture."""
    turns: set[str] = set()
    passed = False
    for lane in lanes:
        if network.lane_junction[lane]:
            passed = True
            part = network.lane_slice(lane)
            bend = np.unwrap(network.heading[part])
            turn = float(bend[-1] - bend[0])
            if abs(turn) > _TURN:
                turns.add("left" if turn > 0 else "right")
    if len(turns) == 2:
        return "mixed"
    return turns.pop() if turns else ("straight" if passed else "mixed")


def _waypoints(route: Route) -> np.ndarray:
    """Return every eighth point of a route and its last one, [N, 3]."""
    s = np.arange(0.0, route.length - 0.5 * _WAYPOINT_SPACING, _WAYPOINT_SPACING)
    rows = np.append(np.rint(s).astype(int), len(route.s) - 1)
    # Centimetres, as route files keep them: a route read back has the same fingerprint.
    return np.round(np.column_stack([route.xy[rows], route.z[rows]]), 2)
