"""Reads result files of the CARLA leaderboard (1.0 and 2.x) and Bench2Drive into route records.

Numbers that those files hide in sentences are taken out here and nowhere else.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord

# Our field -> the name of the message list in the file.
LISTS = {
    "collisions_pedestrian": "collisions_pedestrian",
    "collisions_vehicle": "collisions_vehicle",
    "collisions_layout": "collisions_layout",
    "red_light": "red_light",
    "stop_sign": "stop_infraction",
    "scenario_timeout": "scenario_timeouts",
    "yield_emergency": "yield_emergency_vehicle_infractions",
    "route_deviation": "route_dev",
    "vehicle_blocked": "vehicle_blocked",
    "route_timeout": "route_timeout",
}
_OUTSIDE = re.compile(r"\((\d+(?:\.\d+)?)% of the completed route\)")


def read_leaderboard(path: str | Path) -> list[RouteRecord]:
    """Read one result file (a shard or a merged one).

    The percentage outside the route's lanes is rounded to 0.01 in these files, so a driving score recomputed from the
    records differs from the file's own by at most 0.005.

    Returns:
        The records in the file's order; ``index`` is the position in the file, since merged files drop their own.

    Raises:
        CraftError: naming the file, the route and the field.

    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = document["_checkpoint"]["records"]
    except FileNotFoundError:
        raise CraftError(f"result file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CraftError(f"{path} is not a CARLA leaderboard result file: {error!r}") from error
    try:
        return [_record(index, row) for index, row in enumerate(rows)]
    except CraftError as error:
        raise CraftError(f"{path}: {error}") from error


def _record(index: int, row: Mapping[str, Any]) -> RouteRecord:
    route = row.get("route_id", f"number {index}")
    try:
        infractions, scores, meta = row["infractions"], row["scores"], row["meta"]
        return RouteRecord(
            route_id=route,
            index=index,
            status=row["status"],
            route_completion=scores["score_route"],
            town=row.get("town_name") or "",
            scenario=re.sub(r"_\d+$", "", row.get("scenario_name") or ""),
            outside_percent=_outside(route, infractions["outside_route_lanes"]),
            length_m=meta["route_length"],
            duration_s=meta["duration_game"],
            # Leaderboard 1.0 has no scenario timeouts and no emergency vehicles.
            **{field: len(infractions.get(name, ())) for field, name in LISTS.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CraftError(f"route '{route}' lacks a well-formed field: {error!r}") from error


def _outside(route: str, messages: list[str]) -> float:
    """Return the percentage outside the route's lanes; several messages multiply as the score does."""
    inside = 1.0
    for message in messages:
        found = _OUTSIDE.search(message)
        if not found:
            raise CraftError(f"route '{route}': no percentage in the field outside_route_lanes: {message!r}")
        inside *= 1.0 - float(found.group(1)) / 100.0
    return 100.0 * (1.0 - inside)
