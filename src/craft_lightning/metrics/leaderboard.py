"""Rows of leaderboard files (CARLA leaderboard 1.0 and 2.x, Bench2Drive) to route records and back."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.messages import (
    COUNT_LISTS,
    LISTS,
    event_messages,
    min_speed_message,
    outside_message,
    parse_min_speed,
    parse_outside,
)
from craft_lightning.metrics.records import COLLIDED, PERFECT, STATUSES, RouteRecord
from craft_lightning.metrics.scores import Variant, driving_score

# Our key in a row and in a file; other tools pass over it.
OWN = "craft_lightning"
# Rows of routes that were begun and never judged.
STARTED = "Started"
_ROUNDED = 1e-3  # by which sums and products of rounded numbers leave their range
_ID = re.compile(r"^RouteScenario_(?P<id>.+?)(?:_rep(?P<repetition>\d+))?$")


def route_key(route_id: str) -> tuple[str, int]:
    """Return (id in the route file, repetition) of "RouteScenario_1711_rep0", or of a bare id."""
    found = _ID.match(route_id)
    return (found["id"], int(found["repetition"] or 0)) if found else (route_id, 0)


def natural_key(route_id: str) -> tuple[Any, ...]:
    """Return a key that sorts route ids by their numbers, then their repetition."""
    identity, repetition = route_key(route_id)
    parts = re.split(r"(\d+)", identity)
    return (*((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part), (2, repetition, ""))


def leaderboard_id(route_id: str, repetition: int = 0) -> str:
    """Return a route's id as leaderboard files spell it; tools split it at underscores, so that the id has none."""
    if _ID.match(route_id):
        return route_id
    return f"RouteScenario_{route_id.replace('_', '-')}_rep{repetition}"


def read_leaderboard(path: str | Path) -> list[RouteRecord]:
    """Read one result file of any dialect (a shard or a merged one); see ``documents.read_document``.

    The percentage outside the route's lanes is rounded to 0.01 in these files, so a driving score recomputed from the
    records differs from the file's own by at most 0.005.

    Returns:
        The records in the file's order, at most one a route (the last); ``index`` is the position among them.

    Raises:
        CraftError: naming the file, the route and the field.

    """
    from craft_lightning.metrics.documents import read_document

    return read_document(path).records


def parse_row(index: int, row: Mapping[str, Any]) -> RouteRecord:
    """Return the record of one row.

    Args:
        index: the route's place in its suite.
        row: an entry of ``_checkpoint.records``; what craft-lightning noted in it is believed, so that its own files
            come back exactly.

    Raises:
        CraftError: naming the route and the field that is missing or malformed.

    """
    where = f"route '{row.get('route_id', f'number {index}')}'" if isinstance(row, Mapping) else f"record {index}"
    if not isinstance(row, Mapping):
        raise CraftError(f"{where} is no JSON object")
    own = row.get(OWN)
    if isinstance(own, Mapping):
        return RouteRecord.from_dict(own)
    infractions = _field(row, where, dict, "infractions")
    outside_m, outside = parse_outside(_field(row, where, list, "infractions", "outside_route_lanes"), where)
    counts = {}
    for field, name in COUNT_LISTS.items():
        # Leaderboard 1.0 has no scenario timeouts, no emergency vehicles and no min speed.
        optional = name in ("scenario_timeouts", "yield_emergency_vehicle_infractions")
        counts[field] = len(
            _field(row, where, list, "infractions", name) if name in infractions or not optional else ()
        )
    speeds = infractions.get("min_speed_infractions", [])
    if not isinstance(speeds, list):
        raise CraftError(f"{where}: field infractions.min_speed_infractions is {speeds!r}; it should be a list")
    _require_scores(row, where)
    scenario_name = str(row.get("scenario_name") or "")
    return RouteRecord(
        route_id=str(_field(row, where, (str, int), "route_id")),
        index=index,
        status=_status(_field(row, where, str, "status"), where),
        # Sums of percentages end a hair above 100.
        route_completion=_capped(_field(row, where, (int, float), "scores", "score_route"), 100.0),
        town=str(row.get("town_name") or ""),
        scenario=re.sub(r"_\d+$", "", scenario_name),
        scenario_name=scenario_name,
        weather_id=str(row.get("weather_id") if row.get("weather_id") is not None else ""),
        save_name=str(row.get("save_name") or ""),
        outside_percent=outside,
        outside_m=outside_m,
        min_speed=parse_min_speed(speeds, where),
        length_m=_field(row, where, (int, float), "meta", "route_length"),
        duration_s=max(_field(row, where, (int, float), "meta", "duration_game"), 0.0),
        duration_system_s=max(_field(row, where, (int, float), "meta", "duration_system"), 0.0),
        **counts,
    )


def _require_scores(row: Mapping[str, Any], where: str) -> None:
    """Refuse the scores that a row states of itself where they are no numbers in their range."""
    scores = row.get("scores")
    for name, most in (("score_composed", 100.0), ("score_penalty", 1.0)):
        value = scores.get(name) if isinstance(scores, Mapping) else None
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CraftError(f"{where}: field scores.{name} is {value!r}; give a finite number or leave it out")
        if not -_ROUNDED <= value <= most + _ROUNDED:
            raise CraftError(
                f"{where}: field scores.{name} is {value!r}, which is not between 0 and {most:g}; correct it or leave "
                "it out"
            )


def composed_score(row: Mapping[str, Any]) -> float | None:
    """Return the driving score that a row itself states, None where it states none."""
    scores = row.get("scores")
    value = scores.get("score_composed") if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def build_row(
    record: RouteRecord, variant: Variant, incidents: Sequence[Any] = (), repetition: int = 0
) -> dict[str, Any]:
    """Return the row of one record, as leaderboard 2.x and Bench2Drive write it.

    Args:
        record: the record.
        variant: formula of the scores.
        incidents: places of the events, see ``messages.event_messages``.
        repetition: k of "RouteScenario_<id>_rep<k>".

    """
    infractions: dict[str, list[str]] = {}
    for field, name in LISTS.items():
        if field in COUNT_LISTS:
            infractions[name] = event_messages(field, getattr(record, field), incidents)
    metres = record.outside_m or record.outside_percent / 100.0 * record.route_completion / 100.0 * record.length_m
    spoiled = record.outside_percent > 0.0 or record.outside_m > 0.0
    infractions["outside_route_lanes"] = [outside_message(metres, record.outside_percent)] if spoiled else []
    infractions["min_speed_infractions"] = [min_speed_message(value) for value in record.min_speed]
    infractions = {name: infractions[name] for name in LISTS.values()}
    events = sum(map(len, infractions.values()))
    penalty = record.variant_score(variant)
    return {
        "index": record.index,
        "route_id": leaderboard_id(record.route_id, repetition),
        "scenario_name": record.scenario_name or (f"{record.scenario}_1" if record.scenario else ""),
        "weather_id": record.weather_id,
        "save_name": record.save_name,
        "town_name": record.town,
        "status": _leaderboard_status(record.status, events),
        "num_infractions": events,
        "infractions": infractions,
        "scores": {
            "score_route": round(record.route_completion, 6),
            "score_penalty": round(penalty, 6),
            "score_composed": round(driving_score(record.route_completion, penalty), 6),
        },
        "meta": {
            "route_length": round(record.length_m, 3),
            "duration_game": round(record.duration_s, 3),
            "duration_system": round(record.duration_system_s, 3),
        },
        OWN: record.to_dict(),
    }


def _leaderboard_status(status: str, events: int) -> str:
    """Map our statuses to the leaderboard's, whose "Perfect" means that no list has an entry."""
    if status == PERFECT and events:
        return "Completed"
    # The leaderboard knows no end at a collision; a route that simply stops short is "Failed" there.
    return "Failed" if status == COLLIDED else status


def _status(status: str, where: str) -> str:
    if status in STATUSES:
        return status
    if status.startswith("Failed"):  # forks have failures of their own
        return "Failed"
    raise CraftError(f"{where}: field status is {status!r}; it should be one of: {', '.join(STATUSES)}")


def _capped(value: float, top: float) -> float:
    return top if top < value <= top + 1e-3 else value


def _field(row: Mapping[str, Any], where: str, kind: type | tuple[type, ...], *names: str) -> Any:
    """Return a nested field, or say which one is missing or of another kind."""
    value: Any = row
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            raise CraftError(f"{where} lacks the field {'.'.join(names)}")
        value = value[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds: Iterable[type] = kind if isinstance(kind, tuple) else (kind,)
        readable = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
        wanted = " or ".join(dict.fromkeys(readable[item] for item in kinds))
        raise CraftError(f"{where}: field {'.'.join(names)} is {value!r}; it should be {wanted}")
    return value
