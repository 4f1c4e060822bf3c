"""Infraction score and driving score of the four leaderboard variants, as pure functions of numbers.

Sources: Thinklab-SJTU/Bench2Drive@7ec25d1 and carla-simulator/leaderboard, branches leaderboard-1.0 (2165f5e), -2.0
(a87a341) and -2.1 (cfecdc8), each ``leaderboard/leaderboard/utils/statistics_manager.py``.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from craft_lightning.errors import CraftError

# Factor for each event of a kind (Bench2Drive; minimum speed is not scored there).
BENCH2DRIVE: Mapping[str, float] = {
    "collisions_pedestrian": 0.50,
    "collisions_vehicle": 0.60,
    "collisions_layout": 0.65,
    "red_light": 0.70,
    "stop_sign": 0.80,
    "scenario_timeout": 0.70,
    "yield_emergency": 0.70,
}
# The order of counts wherever they are an array.
COUNTED = tuple(BENCH2DRIVE)


@dataclasses.dataclass(frozen=True)
class Variant:
    """How one leaderboard turns counts into an infraction score.

    Args:
        name: its name.
        coefficients: for each kind of ``COUNTED`` the factor of an event, or with ``additive`` its summand.
        min_speed: loss of a min-speed event at standstill, as a share (or with ``additive`` as a summand).
        additive: RC (1 - o) / (1 + sum) instead of RC (1 - o) product.

    """

    name: str
    coefficients: Mapping[str, float]
    min_speed: float = 0.0
    additive: bool = False


VARIANTS: Mapping[str, Variant] = {
    # Events that a variant does not know cost nothing there.
    "lb1.0": Variant("lb1.0", {**BENCH2DRIVE, "scenario_timeout": 1.0, "yield_emergency": 1.0}),
    "lb2.0": Variant("lb2.0", BENCH2DRIVE, min_speed=0.3),
    "lb2.1": Variant(
        "lb2.1",
        dict(zip(COUNTED, (1.0, 0.7, 0.6, 0.4, 0.25, 0.4, 0.4), strict=True)),
        min_speed=0.4,
        additive=True,
    ),
    "b2d": Variant("b2d", BENCH2DRIVE),
}


def score_variant(name: str, coefficients: Mapping[str, float] | None = None) -> Variant:
    """Return a variant, with single coefficients replaced.

    Args:
        name: a key of ``VARIANTS``.
        coefficients: entries that differ, e.g. ``{"stop_sign": 1.0}`` for Longest6.

    Raises:
        CraftError: an unknown variant or infraction, or a coefficient that rewards: a factor outside (0, 1], a negative
            summand.

    """
    if name not in VARIANTS:
        raise CraftError(f"there is no score variant '{name}'; use one of: {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    table = dict(variant.coefficients)
    for kind, value in (coefficients or {}).items():
        if kind not in table:
            raise CraftError(f"coefficients has no infraction '{kind}'; use: {', '.join(COUNTED)}")
        if variant.additive and not 0.0 <= value < np.inf:
            raise CraftError(f"coefficients.{kind} is {value}; give a summand of at least 0")
        if not variant.additive and not 0.0 < value <= 1.0:
            raise CraftError(f"coefficients.{kind} is {value}; give a factor in (0, 1]")
        table[kind] = float(value)
    return dataclasses.replace(variant, coefficients=table)


def coefficient_vector(coefficients: Mapping[str, float] | None = None) -> np.ndarray:
    """Return factors [7] in the order of ``COUNTED``; ``coefficients`` replaces single entries of Bench2Drive's table.

    Raises:
        CraftError: an unknown infraction, or a factor outside (0, 1].

    """
    table = score_variant("b2d", coefficients).coefficients
    return np.array([table[name] for name in COUNTED])


def variant_score(
    variant: Variant, counts: ArrayLike, outside_percent: float, min_speed: Sequence[float] = ()
) -> float:
    """Return the infraction score of a variant, in [0, 1].

    Args:
        variant: coefficients and formula.
        counts: events of each kind [7] in the order of ``COUNTED``.
        outside_percent: percent of the way outside the route's lanes, 0 to 100.
        min_speed: percentages of the min-speed events; those above 100 cost nothing.

    """
    numbers = np.asarray(counts, dtype=np.float64)
    table = np.array([variant.coefficients[name] for name in COUNTED])
    short = 1.0 - np.minimum(np.asarray(min_speed, dtype=np.float64), 100.0) / 100.0
    inside = 1.0 - outside_percent / 100.0
    if variant.additive:
        return float(inside / (1.0 + table @ numbers + variant.min_speed * short.sum()))
    return float(inside * np.prod(table**numbers) * np.prod(1.0 - variant.min_speed * short))


def infraction_score(
    counts: Sequence[int] | ArrayLike, outside_percent: float, coefficients: Mapping[str, float] | None = None
) -> float:
    """Return Bench2Drive's product of all factors, in [0, 1].

    ``(1 - o / 100) * prod_c f_c ** n_c`` with o the percentage driven outside the route's lanes.

    Args:
        counts: events of each kind [7] in the order of ``COUNTED``.
        outside_percent: o, 0 to 100.
        coefficients: factors that differ from Bench2Drive's.

    """
    return variant_score(score_variant("b2d", coefficients), counts, outside_percent)


def driving_score(route_completion: float, infractions: float) -> float:
    """Return route completion [0, 100] times infraction score [0, 1], never below 0."""
    return max(float(route_completion) * float(infractions), 0.0)
