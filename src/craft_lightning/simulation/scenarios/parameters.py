"""Parameters of scenarios, checked: what is wrong is said in one sentence before anything is spawned."""

import math
from typing import TYPE_CHECKING, Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.scenarios.base import parameter

if TYPE_CHECKING:
    from craft_lightning.roads.routes import ScenarioConfig

KMH = 1.0 / 3.6  # m/s; route files give speeds in km/h


def number(config: "ScenarioConfig", name: str, default: float, low: float, high: float) -> float:
    """Return a number of a scenario that must lie between two others.

    Args:
        config: of the route file.
        name: of the parameter.
        default: where it is missing.
        low: least value allowed.
        high: greatest value allowed.

    Raises:
        CraftError: it is no number, or not in the range.

    """
    value = float(parameter(config, name, default))
    if not low <= value <= high:  # False for NaN as well
        raise _wrong(config, name, f"{value:g}", f"a number between {low:g} and {high:g}")
    return value


def side(config: "ScenarioConfig", default: str = "right") -> float:
    """Return 1 for a ``direction`` of left, -1 for right.

    Raises:
        CraftError: it is neither.

    """
    value = parameter(config, "direction", default).lower()
    if value not in ("left", "right"):
        raise _wrong(config, "direction", value, "'left' or 'right'")
    return 1.0 if value == "left" else -1.0


def interval(config: "ScenarioConfig", name: str, default: tuple[float, float]) -> tuple[float, float]:
    """Return the two ends of a range, given as from and to or as one number.

    Raises:
        CraftError: the ends are no numbers, not positive, or the wrong way round.

    """
    value = config.parameters.get(name)
    if value is None:
        return default
    try:
        if isinstance(value, dict) and "from" in value:
            low, high = float(value["from"]), float(value["to"])
        else:
            low = high = float(value["value"] if isinstance(value, dict) else value)
    except (TypeError, ValueError, KeyError) as error:
        raise _wrong(config, name, str(value), "a number, or two as from and to") from error
    if not (0.0 < low <= high and math.isfinite(high)):
        raise _wrong(config, name, f"{low:g} to {high:g}", "a range of positive numbers")
    return low, high


def place(config: "ScenarioConfig", name: str) -> tuple[float, float] | None:
    """Return x and y of a place in the world frame, None where it is not given.

    Raises:
        CraftError: it is no place.

    """
    value = config.parameters.get(name)
    if value is None:
        return None
    try:
        return float(value["x"]), float(value["y"])
    except (TypeError, KeyError, ValueError) as error:
        raise _wrong(config, name, str(value), "a place with x and y") from error


def _wrong(config: "ScenarioConfig", name: str, value: Any, wanted: str) -> CraftError:
    return CraftError(
        f"scenario '{config.name}' ({config.type}): parameter '{name}' is '{value}', not {wanted}; "
        "correct it in the route file"
    )
