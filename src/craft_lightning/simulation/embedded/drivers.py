"""Who drives in traffic: a vehicle model and a temperament drawn once for each vehicle."""

from typing import Any

import libsumo
import numpy as np

from craft_lightning.simulation.embedded.blueprints import COLOR, PALETTE, STRING, Blueprint, BlueprintLibrary
from craft_lightning.simulation.embedded.traffic_options import TrafficOptions
from craft_lightning.simulation.embedded.vehicle_types import RECKLESS, SHARES

__all__ = ["PALETTE", "attributes", "put_in"]

# Draws are kept within these bounds: headway [s], wanted speed over the limit, gap at standstill [m].
TAU_BOUNDS = (0.6, 2.5)
SPEED_FACTOR_BOUNDS = (0.7, 1.3)
MIN_GAP_BOUNDS = (1.2, 4.0)


def put_in(
    name: str,
    way: list[str],
    lane: int,
    position: float,
    options: TrafficOptions,
    library: BlueprintLibrary,
    random: np.random.Generator,
) -> str:
    """Ask SUMO to put a vehicle on the road in its next step, as fast as is safe there; returns its blueprint's name.

    Args:
        name: name in SUMO.
        way: edges it drives along.
        lane: index of the lane of the first edge.
        position: metres of the front bumper along it.
        options: means and spreads of the temperament.
        library: the blueprints.
        random: source of all draws; the number of draws does not depend on their outcome.

    """
    draws = random.random(3)
    normals = random.standard_normal(3)
    shares = np.cumsum(list(SHARES.values()))
    base = list(SHARES)[int(np.searchsorted(shares / shares[-1], draws[0], side="right"))]
    models = library.vehicles(frozenset({base}))
    blueprint = models[int(draws[1] * len(models))]
    kind = blueprint.name + (RECKLESS if draws[2] < options.ignore_foe_share else "")
    libsumo.route.add(name, way)
    libsumo.vehicle.add(
        name, name, kind, depart="now", departLane=str(lane), departPos=f"{position:.3f}", departSpeed="max"
    )
    libsumo.vehicle.setTau(name, _draw(options.tau, options.tau_spread, normals[0], TAU_BOUNDS))
    libsumo.vehicle.setSpeedFactor(
        name, _draw(options.speed_factor, options.speed_factor_spread, normals[1], SPEED_FACTOR_BOUNDS)
    )
    libsumo.vehicle.setMinGap(name, _draw(options.min_gap, options.min_gap_spread, normals[2], MIN_GAP_BOUNDS))
    return blueprint.name


def _draw(mean: float, spread: float, normal: float, bounds: tuple[float, float]) -> float:
    return float(np.clip(mean + spread * normal, *bounds))


def attributes(blueprint: Blueprint, colour: str) -> list[list[Any]]:
    """Return the attributes of a vehicle that SUMO drives."""
    own = [[attribute.name, attribute.kind, attribute.value] for attribute in blueprint.attributes]
    given = {"role_name": (STRING, "traffic"), "color": (COLOR, colour)}
    return [[name, kind, given[name][1] if name in given else value] for name, kind, value in own]
