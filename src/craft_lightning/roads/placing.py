"""Where on a route a scenario has room."""

from collections.abc import Callable

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.routes import ScenarioConfig

Placer = Callable[[RoadNetwork, Route, np.random.Generator], ScenarioConfig | None]

BLOCKERS = (
    "none",
    "static.prop.vendingmachine",
    "static.prop.advertisement",
    "static.prop.busstoplb",
    "static.prop.container",
)


def place_scenario(kind: str, network: RoadNetwork, route: Route, rng: np.random.Generator) -> ScenarioConfig | None:
    """Put one scenario on a route.

    Args:
        kind: a key of ``PLACERS``.
        network: the road network.
        route: the route.
        rng: source of the draws.

    Returns:
        The scenario, or None where the route has no room for it.

    Raises:
        CraftError: ``kind`` has no placer.

    """
    if kind not in PLACERS:
        raise CraftError(f"scenario type '{kind}' cannot be placed on generated routes; choose {', '.join(PLACERS)}")
    return PLACERS[kind](network, route, rng)


def _hard_brake(network: RoadNetwork, route: Route, rng: np.random.Generator) -> ScenarioConfig | None:
    """Trigger where the ego is up to speed and the lead can brake to a stop before the next junction."""
    places = _open_places(network, route, behind=5.0, ahead=30.0, first=45.0, last=route.length - 45.0)
    if not len(places):
        return None
    return ScenarioConfig("HardBreakRoute_1", "HardBreakRoute", _pose(route, float(rng.choice(places))), {})


def _crossing(network: RoadNetwork, route: Route, rng: np.random.Generator) -> ScenarioConfig | None:
    """Cross between junctions, far enough from the start for the ego to be up to speed."""
    # The crossing needs a few metres of ordinary road before it, where a blocker stands, and behind it.
    places = _open_places(network, route, behind=14.0, ahead=8.0, first=55.0, last=route.length - 25.0)
    if not len(places):
        return None
    place = float(rng.choice(places))
    distance = float(rng.integers(30, 46))
    parameters = {
        "distance": distance,
        "direction": "right" if rng.random() < 0.75 else "left",
        "blocker_model": str(rng.choice(BLOCKERS)),
        "crossing_angle": float(rng.integers(0, 16)),
    }
    trigger = _pose(route, max(place - distance, 2.0))
    parameters["distance"] = round(place - max(place - distance, 2.0), 1)
    return ScenarioConfig("DynamicObjectCrossing_1", "DynamicObjectCrossing", trigger, parameters)


PLACERS: dict[str, Placer] = {"HardBreakRoute": _hard_brake, "DynamicObjectCrossing": _crossing}
"""Scenario types that the generator can place."""


def _open_places(
    network: RoadNetwork, route: Route, behind: float, ahead: float, first: float, last: float
) -> np.ndarray:
    """Return arc lengths between ``first`` and ``last`` with no junction from ``behind`` before to ``ahead`` after."""
    inside = network.lane_junction[route.lane].astype(np.int64)
    passed = np.concatenate([[0], np.cumsum(inside)])
    begin = np.clip(np.floor(route.s - behind).astype(int), 0, len(route.s) - 1)
    end = np.clip(np.ceil(route.s + ahead).astype(int), 0, len(route.s) - 1)
    clear = passed[end + 1] == passed[begin]
    return route.s[clear & (route.s >= first) & (route.s <= last)]


def _pose(route: Route, s: float) -> tuple[float, float, float, float]:
    """Return x, y, z, yaw of a place on the route."""
    x, y, yaw = route.at(s).tolist()
    return x, y, float(np.interp(s, route.s, route.z)), (yaw + np.pi) % (2.0 * np.pi) - np.pi
