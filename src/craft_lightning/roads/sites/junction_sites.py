"""Sites at junctions: turns across and into flows, priority takers, blocked exits, vanilla turns, T junctions."""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from craft_lightning.roads.junctions import BACK, LEFT, RIGHT, STRAIGHT, Junctions, Movement, lane_line
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.roads.signals import STOP_SIGN
from craft_lightning.roads.sites.base import Finder, Site, route_through, trigger_pose

_LENGTH = (204.0, 246.0)  # metres of route
_BEFORE = 80.0  # metres of route before the junction at least: room to get up to speed
_AFTER = 70.0  # metres of route behind it at least: room for the scenario to end
_TRIGGER = (38.0, 55.0)  # metres from the trigger point to the junction
_SHORTEST_APPROACH = 25.0  # metres of the lane before the junction
_MEETING = 2.0  # metres between two ways that count as meeting


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A way through a junction and the ways of others that it meets."""

    movement: Movement
    others: tuple[Movement, ...]
    signalised: bool
    stop_sign: bool
    roads: int  # number of roads from which one can enter the junction

    def comes(self, side: str, manoeuvre: str | None = None, same_exit: bool | None = None) -> list[Movement]:
        """Return the ways of others that come from a side."""
        return [
            other
            for other in self.others
            if self.movement.side(other) == side
            and manoeuvre in (None, other.manoeuvre)
            and same_exit in (None, other.exit == self.movement.exit)
        ]


Accept = Callable[[Crossing], bool]
Describe = Callable[[RoadNetwork, np.random.Generator, Crossing], dict[str, Any] | None]


def crossings(network: RoadNetwork) -> list[Crossing]:
    """Return the crossings of a town; found once."""
    found = _CROSSINGS.get(id(network))
    if found is None:
        found = _CROSSINGS[id(network)] = _find(network)
        weakref.finalize(network, _CROSSINGS.pop, id(network), None)
    return found


_CROSSINGS: dict[int, list[Crossing]] = {}


def _find(network: RoadNetwork) -> list[Crossing]:
    junctions = Junctions.of(network)
    signs = set(network.sign_lane[network.sign_type == STOP_SIGN].tolist())
    lines: dict[tuple[int, ...], np.ndarray] = {}
    found = []
    for movement in junctions.movements:
        if network.lane_length[movement.approach] < _SHORTEST_APPROACH or movement.manoeuvre == BACK:
            continue
        own = _line(network, lines, movement)
        others = []
        for other in junctions.others(movement):
            theirs = _line(network, lines, other)
            gap = np.hypot(own[:, None, 0] - theirs[:, 0], own[:, None, 1] - theirs[:, 1])
            if gap.min() < _MEETING and other.manoeuvre != BACK:
                others.append(other)
        roads = {round(other.heading, 1) for other in junctions.by_junction[movement.junction]}
        found.append(
            Crossing(
                movement,
                tuple(others),
                junctions.signalised(movement),
                movement.approach in signs,
                len(roads),
            )
        )
    return found


def _line(network: RoadNetwork, lines: dict[tuple[int, ...], np.ndarray], movement: Movement) -> np.ndarray:
    if movement.inside not in lines:
        lines[movement.inside] = lane_line(network, movement.inside)
    return lines[movement.inside]


def junction_site(
    kind: str, accept: Accept, describe: Describe, network: RoadNetwork, rng: np.random.Generator
) -> Site | None:
    """Make one try for a scenario at a junction.

    Args:
        kind: the scenario type.
        accept: whether a crossing suits it.
        describe: its parameters, None where the draw does not fit.
        network: the town.
        rng: source of the draws.

    """
    suited = [crossing for crossing in crossings(network) if accept(crossing)]
    if not suited:
        return None
    crossing = suited[int(rng.integers(len(suited)))]
    movement = crossing.movement
    inside = float(sum(network.lane_length[lane] for lane in movement.inside))
    length = float(rng.uniform(*_LENGTH))
    if length - inside < _BEFORE + _AFTER:
        return None
    before = float(rng.uniform(_BEFORE, length - inside - _AFTER))
    onward = (*movement.inside[1:], movement.exit)
    found = route_through(network, rng, movement.inside[0], 0.0, before, length - before, onward, junctions_before=2)
    if found is None:
        return None
    route, entry = found
    # Behind the junction before, which would be taken for the one that is meant.
    inside_others = network.lane_junction[route.lane] & (route.s < entry - 2.0)
    earliest = float(route.s[inside_others][-1]) + 3.0 if inside_others.any() else 20.0
    trigger = max(entry - float(rng.uniform(*_TRIGGER)), earliest)
    if entry - trigger < _SHORTEST_APPROACH - 5.0:
        return None
    if trigger < 20.0 or not 200.0 <= route.length <= 250.0 or _loops(route):
        return None
    parameters = describe(network, rng, crossing)
    if parameters is None:
        return None
    return Site(route, ScenarioConfig(f"{kind}_1", kind, trigger_pose(route, trigger), parameters))


def _loops(route: Route) -> bool:
    """Whether a route passes a place twice."""
    rough = route.xy[::5]
    gap = np.hypot(rough[:, None, 0] - rough[:, 0], rough[:, None, 1] - rough[:, 1])
    apart = np.abs(np.arange(len(rough))[:, None] - np.arange(len(rough))) > 6
    return bool((gap[apart] < 8.0).any())


# -- what a type asks of a junction ------------------------------------------------------------------------------------


def _turning(manoeuvre: str, signalised: bool, side: str, theirs: str, same_exit: bool, crossing: Crossing) -> bool:
    """Whether the ego turns so and meets somebody who comes from there and does that."""
    return (
        crossing.movement.manoeuvre == manoeuvre
        and crossing.signalised == signalised
        and len(crossing.comes(side, theirs, same_exit)) > 0
    )


def _any_turn(signalised: bool, stop_sign: bool | None, crossing: Crossing) -> bool:
    return (
        crossing.movement.manoeuvre in (LEFT, RIGHT)
        and crossing.signalised == signalised
        and stop_sign in (None, crossing.stop_sign)
    )


def _prioritised(signalised: bool, crossing: Crossing) -> bool:
    """Whether somebody may come from the side or, against a left turn, from the opposite side."""
    if crossing.signalised != signalised or crossing.stop_sign or crossing.movement.manoeuvre == RIGHT:
        return False
    return len(_directions(crossing)) > 0


def _directions(crossing: Crossing) -> list[str]:
    names = [("left", LEFT), ("right", RIGHT)]
    if crossing.movement.manoeuvre == LEFT:
        names.append(("opposite", STRAIGHT))
    return [name for name, side in names if crossing.comes(side, STRAIGHT)]


def _any_exit(crossing: Crossing) -> bool:
    return crossing.roads >= 3


def _tee(crossing: Crossing) -> bool:
    return crossing.roads == 3 and crossing.movement.manoeuvre in (LEFT, RIGHT) and len(crossing.others) > 0


# -- parameters ------------------------------------------------------------------------------------------------------


def _nothing(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any]:
    return {}


def flow_parameters(rng: np.random.Generator, slow: int, fast: int, near: int, far: int) -> dict[str, Any]:
    """Draw ``flow_speed`` and ``source_dist_interval``."""
    nearest = int(rng.integers(near, (near + far) // 2 + 1))
    farthest = int(rng.integers(nearest + 1, far + 1))
    return {
        "flow_speed": float(rng.integers(slow, fast + 1)),
        "source_dist_interval": {"from": float(nearest), "to": float(farthest)},
    }


def _flow(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any]:
    return flow_parameters(rng, 8, 11, 16, 29)


def _direction(network: RoadNetwork, rng: np.random.Generator, crossing: Crossing) -> dict[str, Any]:
    return {"direction": str(rng.choice(_directions(crossing)))}


def finder(kind: str, accept: Accept, describe: Describe) -> Finder:
    """Return the finder of a type."""
    return functools.partial(junction_site, kind, accept, describe)


def _turn(manoeuvre: str, signalised: bool, side: str, theirs: str, same_exit: bool) -> Accept:
    return functools.partial(_turning, manoeuvre, signalised, side, theirs, same_exit)


_ACCEPTED: dict[str, tuple[Accept, Describe]] = {
    "BlockedIntersection": (_any_exit, _nothing),
    "NonSignalizedJunctionLeftTurn": (_turn(LEFT, False, STRAIGHT, STRAIGHT, False), _flow),
    "NonSignalizedJunctionLeftTurnEnterFlow": (_turn(LEFT, False, RIGHT, STRAIGHT, True), _flow),
    "NonSignalizedJunctionRightTurn": (_turn(RIGHT, False, LEFT, STRAIGHT, True), _flow),
    "OppositeVehicleRunningRedLight": (functools.partial(_prioritised, True), _direction),
    "OppositeVehicleTakingPriority": (functools.partial(_prioritised, False), _direction),
    "SignalizedJunctionLeftTurn": (_turn(LEFT, True, STRAIGHT, STRAIGHT, False), _flow),
    "SignalizedJunctionLeftTurnEnterFlow": (_turn(LEFT, True, STRAIGHT, RIGHT, True), _flow),
    "SignalizedJunctionRightTurn": (_turn(RIGHT, True, LEFT, STRAIGHT, True), _flow),
    "T_Junction": (_tee, _nothing),
    "VanillaNonSignalizedTurn": (functools.partial(_any_turn, False, False), _nothing),
    "VanillaNonSignalizedTurnEncounterStopsign": (functools.partial(_any_turn, False, True), _nothing),
    "VanillaSignalizedTurnEncounterGreenLight": (functools.partial(_any_turn, True, None), _nothing),
    "VanillaSignalizedTurnEncounterRedLight": (functools.partial(_any_turn, True, None), _nothing),
}

FINDERS: dict[str, Finder] = {kind: finder(kind, *parts) for kind, parts in _ACCEPTED.items()}
