"""Parameters of scenarios, checked: what is wrong is said in one sentence before anything is spawned."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.scenarios.base import parameter

if TYPE_CHECKING:
    from craft_lightning.roads.routes import ScenarioConfig

KMH = 1.0 / 3.6  # m/s; route files give most speeds in km/h

# Least and greatest value of every number: metres, km/h, degrees, and m/s of ``flow_speed``.
RANGES: Mapping[str, tuple[float, float]] = {
    "distance": (1.0, 200.0),
    "speed": (5.0, 130.0),
    "offset": (0.0, 1.5),
    "crossing_angle": (-180.0, 180.0),
    "bicycle_speed": (2.0, 40.0),
    "bicycle_drive_distance": (1.0, 400.0),
    "front_vehicle_distance": (6.0, 60.0),
    "behind_vehicle_distance": (6.0, 60.0),
    "flow_speed": (1.0, 50.0),
}
INTERVALS = ("frequency", "flow_distance", "source_dist_interval", "spawn_range")  # metres
PLACES = ("other_actor_location", "end_location", "start_actor_flow", "end_actor_flow")
DIRECTIONS = ("left", "right", "opposite")


def check(config: "ScenarioConfig") -> None:
    """Look at all parameters of a scenario whose names are known, before anything starts.

    Raises:
        CraftError: a value that cannot be meant.

    """
    for name in config.parameters:
        if name in RANGES:
            number(config, name, RANGES[name][0])
        elif name in INTERVALS:
            interval(config, name, (1.0, 1.0))
        elif name in PLACES:
            place(config, name)
        elif name == "direction":
            direction(config)


def number(config: "ScenarioConfig", name: str, default: float) -> float:
    """Return a number of a scenario, which must lie in its range of ``RANGES``.

    Args:
        config: of the route file.
        name: of the parameter.
        default: where it is missing.

    Raises:
        CraftError: it is no number, or not in the range.

    """
    low, high = RANGES[name]
    value = float(parameter(config, name, default))
    if not low <= value <= high:  # False for NaN as well
        raise _wrong(config, name, f"{value:g}", f"a number between {low:g} and {high:g}")
    return value


def direction(config: "ScenarioConfig", allowed: Sequence[str] = DIRECTIONS) -> str:
    """Return the ``direction``, in small letters; right where it is missing.

    Raises:
        CraftError: it is none of those allowed.

    """
    value = parameter(config, "direction", "right").lower()
    if value not in allowed:
        raise _wrong(config, "direction", value, " or ".join(f"'{word}'" for word in allowed))
    return value


def side(config: "ScenarioConfig") -> float:
    """Return 1 for a ``direction`` of left, -1 for right.

    Raises:
        CraftError: it is neither.

    """
    return 1.0 if direction(config, ("left", "right")) == "left" else -1.0


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


def place(config: "ScenarioConfig", name: str) -> tuple[float, float, float] | None:
    """Return x, y and z (0 where it has none) of a place in the world frame, None where it is not given.

    Raises:
        CraftError: it is no place.

    """
    value = config.parameters.get(name)
    if value is None:
        return None
    try:
        x, y, z = float(value["x"]), float(value["y"]), float(value.get("z", 0.0))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _wrong(config, name, str(value), "a place with x and y") from error
    if not all(map(math.isfinite, (x, y, z))):
        raise _wrong(config, name, str(value), "a place whose x, y and z are finite")
    return x, y, z


def needed_place(config: "ScenarioConfig", name: str) -> tuple[float, float, float]:
    """Return what ``place`` returns.

    Raises:
        CraftError: it is no place, or not given.

    """
    found = place(config, name)
    if found is None:
        raise _wrong(config, name, "missing", "a place with x and y")
    return found


def _wrong(config: "ScenarioConfig", name: str, value: Any, wanted: str) -> CraftError:
    return CraftError(
        f"scenario '{config.name}' ({config.type}): parameter '{name}' is '{value}', not {wanted}; "
        "correct it in the route file"
    )
