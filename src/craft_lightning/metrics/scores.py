"""Bench2Drive's infraction score and driving score as pure functions of counts."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from craft_lightning.errors import CraftError

# Factor for each event of a kind. Source: Thinklab-SJTU/Bench2Drive@7ec25d1,
# leaderboard/leaderboard/utils/statistics_manager.py (the product of leaderboard 2.0; minimum speed is not scored).
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


def coefficient_vector(coefficients: Mapping[str, float] | None = None) -> np.ndarray:
    """Return factors [7] in the order of ``COUNTED``; ``coefficients`` replaces single entries of Bench2Drive's table.

    Raises:
        CraftError: an unknown infraction, or a factor outside (0, 1].

    """
    table = dict(BENCH2DRIVE)
    for name, value in (coefficients or {}).items():
        if name not in table:
            raise CraftError(f"coefficients has no infraction '{name}'; use: {', '.join(COUNTED)}")
        if not 0.0 < value <= 1.0:
            raise CraftError(f"coefficients.{name} is {value}; give a factor in (0, 1]")
        table[name] = float(value)
    return np.array([table[name] for name in COUNTED])


def infraction_score(
    counts: Sequence[int] | ArrayLike, outside_percent: float, coefficients: Mapping[str, float] | None = None
) -> float:
    """Return the product of all factors, in [0, 1].

    ``(1 - o / 100) * prod_c f_c ** n_c`` with o the percentage driven outside the route's lanes.

    Args:
        counts: events of each kind [7] in the order of ``COUNTED``.
        outside_percent: o, 0 to 100.
        coefficients: factors that differ from Bench2Drive's.

    """
    product = np.prod(coefficient_vector(coefficients) ** np.asarray(counts, dtype=np.float64))
    return float(product * (1.0 - outside_percent / 100.0))


def driving_score(route_completion: float, infractions: float) -> float:
    """Return route completion [0, 100] times infraction score [0, 1], never below 0."""
    return max(float(route_completion) * float(infractions), 0.0)
