"""Bench2Drive's five abilities: which scenario type asks for which, and when a route's first sign counts as passed.

Source: Thinklab-SJTU/Bench2Drive@7ec25d1, tools/ability_benchmark.py (formula 0.0.4) and the versions before it (0.0.3,
under which everything up to 2026 was published).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord

_OVERTAKING = (
    "Accident AccidentTwoWays ConstructionObstacle ConstructionObstacleTwoWays HazardAtSideLane "
    "HazardAtSideLaneTwoWays ParkedObstacle ParkedObstacleTwoWays VehicleOpensDoorTwoWays"
)
_MERGING = (
    "CrossingBicycleFlow EnterActorFlow HighwayExit InterurbanActorFlow HighwayCutIn InterurbanAdvancedActorFlow "
    "MergerIntoSlowTrafficV2 MergerIntoSlowTraffic NonSignalizedJunctionLeftTurn NonSignalizedJunctionRightTurn "
    "NonSignalizedJunctionLeftTurnEnterFlow ParkingExit SequentialLaneChange SignalizedJunctionLeftTurn "
    "SignalizedJunctionRightTurn SignalizedJunctionLeftTurnEnterFlow"
)
_EMERGENCY_BRAKE = (
    "BlockedIntersection DynamicObjectCrossing HardBreakRoute OppositeVehicleTakingPriority "
    "OppositeVehicleRunningRedLight ParkingCutIn PedestrianCrossing ParkingCrossingPedestrian StaticCutIn "
    "VehicleTurningRoute VehicleTurningRoutePedestrian ControlLoss"
)
_TRAFFIC_SIGNS = (
    "BlockedIntersection CrossingBicycleFlow EnterActorFlow NonSignalizedJunctionLeftTurn "
    "NonSignalizedJunctionLeftTurnEnterFlow NonSignalizedJunctionRightTurn OppositeVehicleRunningRedLight "
    "OppositeVehicleTakingPriority PedestrianCrossing SignalizedJunctionLeftTurn SignalizedJunctionLeftTurnEnterFlow "
    "SignalizedJunctionRightTurn T_Junction VanillaNonSignalizedTurn VanillaNonSignalizedTurnEncounterStopsign "
    "VanillaSignalizedTurnEncounterGreenLight VanillaSignalizedTurnEncounterRedLight VehicleTurningRoute "
    "VehicleTurningRoutePedestrian"
)
SIGNS = "Traffic_Signs"
# Ability -> its scenario types; a type may ask for two.
ABILITIES: Mapping[str, frozenset[str]] = {
    "Overtaking": frozenset(_OVERTAKING.split()),
    "Merging": frozenset(_MERGING.split()),
    "Emergency_Brake": frozenset(_EMERGENCY_BRAKE.split()),
    "Give_Way": frozenset(["InvadingTurn", "YieldToEmergencyVehicle"]),
    SIGNS: frozenset(_TRAFFIC_SIGNS.split()),
}
FORMULAS = ("0.0.3", "0.0.4")
# Points behind the first one inside the junction, so that a stop line's trigger is passed for certain.
BEHIND_TRIGGER = 8
# Where neither map nor route file tells: the middle of Bench2Drive's routes whose town's map is public (34 to 74).
TYPICAL_SIGN = 46.0


@dataclasses.dataclass(frozen=True)
class SignPass:
    """Whether a route's first junction was passed without running a light or a stop.

    Args:
        passed: the answer.
        certain: False where it hangs on a junction whose place is only estimated.

    """

    passed: bool
    certain: bool = True


def sign_percent(stations: Sequence[float] | np.ndarray, junction: float) -> float:
    """Return the route completion (percent) above which a route's first junction counts as passed.

    The official tool traces the way from waypoint to waypoint of the route file in points 1 m apart, ending each trace
    within 2 m of its goal, and takes ``(count + 8) / all``, where ``count`` is the first point inside a junction. Two
    waypoints L metres apart thus make L - 0.5 points on average, at least one.

    Args:
        stations: [N >= 2] arc lengths of the route file's waypoints along the way, metres, ascending.
        junction: arc length at which the first junction begins.

    """
    s = np.maximum.accumulate(np.asarray(stations, dtype=np.float64))
    points = np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(s) - 0.5, 1.0))])
    return float(100.0 * (np.interp(junction, s, points) + 1.0 + BEHIND_TRIGGER) / points[-1])


def estimate_sign_percent(waypoints: np.ndarray, trigger: tuple[float, float] | None = None) -> float:
    """Return an estimate of ``sign_percent`` from a route file alone, where the town's map is missing.

    Bench2Drive's first junction begins about 3 m behind the waypoint at which the way turns or, where it does not turn
    soon, about 23 m behind the scenario's trigger point.

    Args:
        waypoints: [N, 2 or 3] of the route file, metres.
        trigger: x, y of the scenario's trigger point.

    """
    way = np.asarray(waypoints, dtype=np.float64)[:, :2]
    steps = np.diff(way, axis=0)
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*steps.T))])
    if s[-1] <= 0.0:
        return TYPICAL_SIGN
    heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    begin = 0.0
    if trigger is not None:
        begin = float(s[int(np.argmin(np.hypot(way[:, 0] - trigger[0], way[:, 1] - trigger[1])))])
    turned = np.abs(heading - heading[np.maximum(np.arange(len(heading)) - 3, 0)]) > 0.17
    turned &= (s[:-1] >= begin) & (s[:-1] <= begin + 30.0)
    return sign_percent(s, float(s[int(np.argmax(turned))]) + 3.0 if turned.any() else begin + 23.0)


def passed_sign(record: RouteRecord, threshold: float | None = None, certain: bool = True) -> SignPass:
    """Return whether a route's first junction counts as passed.

    Args:
        record: the route's record; its own ``sign_percent`` comes before ``threshold``.
        threshold: ``sign_percent`` or an estimate of it; None = unknown.
        certain: whether ``threshold`` comes from a map.

    """
    if record.red_light or record.stop_sign:
        return SignPass(False)
    if record.sign_percent >= 0.0:
        return SignPass(record.route_completion > record.sign_percent)
    if record.route_completion >= 100.0:
        return SignPass(True)  # the junction lies before the end
    if record.route_completion <= 0.0:
        return SignPass(False)
    if threshold is None:
        threshold, certain = TYPICAL_SIGN, False
    return SignPass(record.route_completion > threshold, certain)


def check_formula(formula: str) -> str:
    """Return a formula's name, or refuse an unknown one.

    Raises:
        CraftError: not "0.0.3" or "0.0.4".

    """
    if formula not in FORMULAS:
        raise CraftError(f"formula is '{formula}'; use one of: {', '.join(FORMULAS)}")
    return formula


def ability_scores(
    rows: Iterable[tuple[frozenset[str] | set[str], bool, bool]], formula: str = "0.0.3"
) -> dict[str, float]:
    """Return the five abilities and their mean, each in [0, 1].

    Traffic_Signs counts successes and passed signs over twice the routes (0.0.3), or successes and the failures that
    passed their sign over the routes (0.0.4). Denominators are the routes given, so that missing ones shrink them.

    Args:
        rows: for each route its abilities, whether it succeeded, and whether its sign was passed.
        formula: "0.0.3" or "0.0.4".

    Returns:
        Ability to share, NaN for an ability without a route; "mean" is the plain mean of those with one.

    """
    check_formula(formula)
    gained = dict.fromkeys(ABILITIES, 0)
    asked = dict.fromkeys(ABILITIES, 0)
    for abilities, success, passed in rows:
        for ability in abilities:
            asked[ability] += 1
            gained[ability] += success
            if ability == SIGNS and formula == "0.0.3":
                asked[ability] += 1
                gained[ability] += passed
            elif ability == SIGNS:
                gained[ability] += passed and not success
    scores = {name: gained[name] / asked[name] if asked[name] else math.nan for name in ABILITIES}
    present = [value for value in scores.values() if not math.isnan(value)]
    return {**scores, "mean": sum(present) / len(present) if present else math.nan}


def abilities_of(scenario: str) -> frozenset[str]:
    """Return the abilities that a scenario type asks for, none for an unknown type."""
    return frozenset(name for name, types in ABILITIES.items() if scenario in types)


def scenario_type(name: str) -> str:
    """Return the type in a scenario's name ("Accident_1")."""
    head, _, tail = name.rpartition("_")
    return head if head and tail.isdigit() else name


def as_json(scores: Mapping[str, float]) -> dict[str, Any]:
    """Return scores with None for NaN."""
    return {name: None if math.isnan(value) else value for name, value in scores.items()}
