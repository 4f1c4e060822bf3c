"""The sentences in which leaderboard files hide their numbers: written here, read here, and nowhere else."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from craft_lightning.errors import CraftError

# Our field -> the name of the message list in the file, in the file's order.
LISTS = {
    "collisions_layout": "collisions_layout",
    "collisions_pedestrian": "collisions_pedestrian",
    "collisions_vehicle": "collisions_vehicle",
    "red_light": "red_light",
    "stop_sign": "stop_infraction",
    "outside_m": "outside_route_lanes",
    "min_speed": "min_speed_infractions",
    "yield_emergency": "yield_emergency_vehicle_infractions",
    "scenario_timeout": "scenario_timeouts",
    "route_deviation": "route_dev",
    "vehicle_blocked": "vehicle_blocked",
    "route_timeout": "route_timeout",
}
# Lists whose length is the number, unlike the two whose sentences hold it.
COUNT_LISTS = {field: name for field, name in LISTS.items() if field not in ("outside_m", "min_speed")}
# Where a list's own last digit rounds to nothing, something was still driven there.
SMALLEST_OUTSIDE = 0.0005

_OUTSIDE = re.compile(r"about (\d+(?:\.\d+)?) meters \((\d+(?:\.\d+)?)% of the completed route\)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s?%")
_PLACED = {
    "collisions_layout": ("Agent collided against object with type={actor} and id={id} at {place}", "a static object"),
    "collisions_pedestrian": ("Agent collided against object with type={actor} and id={id} at {place}", "a pedestrian"),
    "collisions_vehicle": ("Agent collided against object with type={actor} and id={id} at {place}", "a vehicle"),
    "red_light": ("Agent ran a red light {actor} at {place}", ""),
    "stop_sign": ("Agent ran a stop with id={id} at {place}", ""),
    "route_deviation": ("Agent deviated from the route at {place}", ""),
    "vehicle_blocked": ("Agent got blocked at {place}", ""),
}
_PLAIN = {
    "red_light": "Agent ran a red light",
    "stop_sign": "Agent ran a stop",
    "route_deviation": "Agent deviated from the route",
    "vehicle_blocked": "Agent got blocked",
    "yield_emergency": "Agent failed to yield to an emergency vehicle",
    "scenario_timeout": "Agent timed out a scenario",
    "route_timeout": "Route timeout.",
}


def number(value: float) -> str:
    """Return a number as it stands in a sentence: the shortest text that reads back as the same number."""
    return format(Decimal(repr(float(value))), "f")  # never with an exponent, which tools do not look for


def outside_message(metres: float, percent: float) -> str:
    """Return the sentence about driving outside the route's lanes."""
    return (
        f"Agent went outside its route lanes for about {number(metres)} meters "
        f"({number(percent)}% of the completed route)"
    )


def min_speed_message(percent: float) -> str:
    """Return the sentence of a min-speed event."""
    return f"Average speed is {number(percent)}% of the surrounding traffic's one"


def event_messages(field: str, count: int, incidents: Sequence[Any] = ()) -> list[str]:
    """Return ``count`` sentences for the events of one kind.

    Args:
        field: a key of ``COUNT_LISTS``.
        count: events.
        incidents: where and with whom they happened: ``simulation.criteria.Incident`` or such dictionaries (kind, x and
            y in metres in the right-handed world frame, actor); those of other kinds are passed over, and events
            without one get a sentence without a place.

    """
    known = [incident if isinstance(incident, Mapping) else vars(incident) for incident in incidents]
    own = [incident for incident in known if incident.get("kind") == field][:count]
    sentence, thing = _PLACED.get(field, ("", ""))
    placed = []
    for incident in own if sentence else []:
        # CARLA's frame is left-handed.
        x, y, z = float(incident["x"]), -float(incident["y"]), float(incident.get("z", 0.0))
        place = f"(x={round(x, 3)}, y={round(y, 3)}, z={round(z, 3)})"
        placed.append(sentence.format(actor=incident.get("actor") or "unknown", id=incident.get("id", -1), place=place))
    plain = _PLAIN.get(field) or f"Agent collided against {thing}"
    return placed + [plain] * (count - len(placed))


def parse_outside(messages: Sequence[str], where: str) -> tuple[float, float]:
    """Return (metres, percent) of driving outside the route's lanes; several sentences multiply as the score does.

    Args:
        messages: the list of the file.
        where: the beginning of an error's sentence.

    Raises:
        CraftError: a sentence without its two numbers.

    """
    metres, percentages = 0.0, []
    for message in messages:
        found = _OUTSIDE.search(str(message))
        if not found:
            raise CraftError(f"{where}: no metres and percentage in the field outside_route_lanes: {message!r}")
        metres += max(float(found[1]), SMALLEST_OUTSIDE)
        percentages.append(min(float(found[2]), 100.0))
    # A single sentence is taken as it is: 100 (1 - (1 - p / 100)) is not p to the last digit.
    if len(percentages) == 1:
        return metres, percentages[0]
    return metres, 100.0 * (1.0 - math.prod(1.0 - percent / 100.0 for percent in percentages))


def parse_min_speed(messages: Sequence[str], where: str) -> tuple[float, ...]:
    """Return the percentages of min-speed events.

    Args:
        messages: the list of the file.
        where: the beginning of an error's sentence.

    Raises:
        CraftError: a sentence without a percentage.

    """
    values = []
    for message in messages:
        found = _PERCENT.search(str(message))
        if not found:
            raise CraftError(f"{where}: no percentage in the field min_speed_infractions: {message!r}")
        values.append(float(found[1]))
    return tuple(values)
