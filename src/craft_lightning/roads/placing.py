"""Where on a route a scenario has room."""

from collections.abc import Callable

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.roads.sites.base import clear_of_junctions, trigger_pose

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
    places = clear_of_junctions(network, route, behind=5.0, ahead=30.0, first=45.0, last=route.length - 45.0)
    if not len(places):
        return None
    return ScenarioConfig("HardBreakRoute_1", "HardBreakRoute", trigger_pose(route, float(rng.choice(places))), {})


def _crossing(network: RoadNetwork, route: Route, rng: np.random.Generator) -> ScenarioConfig | None:
    """Cross between junctions, far enough from the start for the ego to be up to speed."""
    # The crossing needs a few metres of ordinary road before it, where a blocker stands, and behind it.
    places = clear_of_junctions(network, route, behind=14.0, ahead=8.0, first=55.0, last=route.length - 25.0)
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
    trigger = trigger_pose(route, max(place - distance, 2.0))
    parameters["distance"] = round(place - max(place - distance, 2.0), 1)
    return ScenarioConfig("DynamicObjectCrossing_1", "DynamicObjectCrossing", trigger, parameters)


PLACERS: dict[str, Placer] = {"HardBreakRoute": _hard_brake, "DynamicObjectCrossing": _crossing}
"""Scenario types that the generator can place."""
