"""The one door for result files: leaderboard 1.0, leaderboard 2.x shards, Bench2Drive's merged file, and our own."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.leaderboard import OWN, STARTED, build_row, composed_score, parse_row, route_key
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import FORMAT, Protocol, parse_results
from craft_lightning.metrics.scores import VARIANTS, driving_score, score_variant

# A score recomputed from sentences (percentages rounded to 0.01) may differ from the file's own by 0.005.
ROUNDING = 0.006


@dataclasses.dataclass(frozen=True)
class Route:
    """One route of a result file.

    Args:
        record: its numbers; ``index`` is the place in the suite in our own files, in other files among the routes.
        row: the row it came from, in the leaderboard's schema.
        composed: the driving score that the file itself states, None where it states none.

    """

    record: RouteRecord
    row: Mapping[str, Any]
    composed: float | None


@dataclasses.dataclass(frozen=True)
class ResultDocument:
    """A result file, read.

    Args:
        path: the file.
        routes: at most one entry a route.
        protocol: name of the protocol it was driven under: its own stamp, or the one that fits its fields and scores.
            For a run under limits of its own, the one whose formulas score it.
        stamp: what craft-lightning noted about the run, None in other files.
        planned: routes that the run was to drive, where the file says so.
        duplicates: ids of routes that the file holds more than once; the last one counts.
        notes: what a reader should know, one sentence each.

    """

    path: str
    routes: list[Route]
    protocol: str
    stamp: Protocol | None = None
    planned: int | None = None
    duplicates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judged_by(self) -> str:
        """The protocol that judged the routes, or ``OWN_LIMITS``."""
        return self.protocol if self.stamp is None else self.stamp.judged_by

    @property
    def records(self) -> list[RouteRecord]:
        """The records alone."""
        return [route.record for route in self.routes]


def read_document(path: str | Path) -> ResultDocument:
    """Read a result file of any dialect.

    Raises:
        CraftError: one sentence naming the file and what is wrong: missing, empty, cut off, no result file, or the
            route and field that is missing or malformed.

    """
    document = load_json(path)
    if isinstance(document, Mapping) and document.get("format") == FORMAT:
        return _own(path, document)
    checkpoint = document.get("_checkpoint") if isinstance(document, Mapping) else None
    rows = checkpoint.get("records") if isinstance(checkpoint, Mapping) else None
    if not isinstance(checkpoint, Mapping) or not isinstance(rows, list):
        raise CraftError(
            f"{path} is not a CARLA leaderboard result file (it lacks the field _checkpoint.records) "
            f"and not a {FORMAT} file"
        )
    notes: list[str] = []
    begun = [row for row in rows if isinstance(row, Mapping) and row.get("status") == STARTED]
    if begun:
        notes.append(f"{len(begun)} routes were begun and never judged; they count as missing")
        rows = [row for row in rows if row not in begun]
    try:
        records = [parse_row(index, row) for index, row in enumerate(rows)]
        stamp = _stamp(document)
    except CraftError as error:
        raise CraftError(f"{path}: {error}") from error
    kept, duplicates = _last_of_each(records)
    routes = [
        Route(
            records[place] if OWN in rows[place] else dataclasses.replace(records[place], index=index),
            rows[place],
            composed_score(rows[place]),
        )
        for index, place in enumerate(kept)
    ]
    if duplicates:
        notes.append(f"{len(duplicates)} routes occur more than once, the last counts: {shortened(duplicates)}")
    progress = checkpoint.get("progress")
    planned = (
        progress[1] if isinstance(progress, list) and len(progress) == 2 and isinstance(progress[1], int) else None
    )
    merged = "eval num" in document
    protocol = fitting_protocol(routes, merged) if stamp is None else stamp.formulas.name
    return ResultDocument(str(path), routes, protocol, stamp, planned, tuple(duplicates), tuple(notes))


def load_json(path: str | Path) -> Any:
    """Return the JSON of a file.

    Raises:
        CraftError: no such file, not readable, empty, or no complete JSON (with the place and the field before it).

    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CraftError(f"result file {path} does not exist; correct the path") from None
    except IsADirectoryError:
        raise CraftError(
            f"result file {path} is a folder; `craft-lightning merge {path}` makes one file of it"
        ) from None
    except UnicodeDecodeError:
        raise CraftError(f"result file {path} holds no text, so it is no result file; give a .json") from None
    except OSError as error:
        raise CraftError(f"result file {path} cannot be read: {error}") from error
    if not text.strip():
        raise CraftError(f"result file {path} is empty, as a run leaves it that was just begun; drive its routes again")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        names = re.findall(r'"([^"\\\n]*)"\s*:', text[: error.pos])
        ends = "is cut off" if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg else "is no JSON"
        raise CraftError(
            f"result file {path} {ends} at line {error.lineno}, column {error.colno}"
            f"{f', in the field {names[-1]}' if names else ''}: {error.msg}; write or copy it again"
        ) from None


def consistency(routes: Sequence[Route], variant_name: str) -> tuple[int, float]:
    """Return how many routes' own scores another formula contradicts, and the largest difference."""
    variant = score_variant(variant_name)
    differences = [
        abs(driving_score(route.record.route_completion, route.record.variant_score(variant)) - route.composed)
        for route in routes
        if route.composed is not None
    ]
    return sum(value > ROUNDING for value in differences), max(differences, default=0.0)


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Return a list of names as text, cut after ``most``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _own(path: str | Path, document: Mapping[str, Any]) -> ResultDocument:
    try:
        stamp, records = parse_results(document)
    except CraftError as error:
        raise CraftError(f"{path}: {error}") from error
    kept, duplicates = _last_of_each(records)
    rules = stamp.formulas
    variant = VARIANTS[rules.variant]
    routes = [Route(records[place], build_row(records[place], variant), None) for place in kept]
    return ResultDocument(str(path), routes, rules.name, stamp, stamp.num_routes, tuple(duplicates))


def _stamp(document: Mapping[str, Any]) -> Protocol | None:
    own = document.get(OWN)
    if own is None:
        return None
    if not isinstance(own, Mapping) or not isinstance(own.get("protocol"), Mapping):
        raise CraftError(
            f"field {OWN}.protocol is {own!r}; it should be the protocol that the routes were driven under"
        )
    return Protocol.from_dict(own["protocol"])


def _last_of_each(records: Sequence[RouteRecord]) -> tuple[list[int], list[str]]:
    """Return the places of the records that count, in order, and the ids that occur more than once."""
    last: dict[tuple[str, int], int] = {}
    duplicates: dict[str, None] = {}
    for place, record in enumerate(records):
        key = route_key(record.route_id)
        if key in last:
            duplicates[record.route_id] = None
            del last[key]  # so that the later one also takes the later place
        last[key] = place
    return list(last.values()), list(duplicates)


def fitting_protocol(routes: Sequence[Route], merged: bool = False) -> str:
    """Return the protocol whose lists, keys and scores a file without a stamp has.

    Args:
        routes: its routes.
        merged: whether the file has the heads of Bench2Drive's merged file.

    """
    if not routes:
        return "bench2drive" if merged else "leaderboard-2.0"
    if all("scenario_timeouts" not in route.row.get("infractions", {}) for route in routes):
        return "leaderboard-1.0"
    # Bench2Drive alone keeps these keys, judges every checkpoint and has a cap on ticks.
    if merged or any(
        "save_name" in route.row
        or any(value >= 100.0 for value in route.record.min_speed)
        or route.record.status == "Failed - TickRuntime"
        for route in routes
    ):
        return "bench2drive"
    # Of formulas that contradict equally few routes the first one is taken.
    order = ("leaderboard-2.0", "leaderboard-2.1", "bench2drive")
    return min(order, key=lambda name: consistency(routes, protocol_rules(name).variant)[0])
