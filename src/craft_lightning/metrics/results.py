"""Result files: the records of one run on one suite, with the protocol they were driven under.

A file is rewritten whole after every route (a temporary file beside it, then a rename), so that it is never half
written and an interrupted run goes on where it stopped. The world is part of the protocol: what was driven in the
embedded world is stamped so and is not comparable with published CARLA or Bench2Drive results.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from craft_lightning.conventions import TICK_SECONDS, TICKS_PER_DECISION
from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import FORMULAS_OF_OWN_LIMITS, OWN_LIMITS, Rules, protocol_rules
from craft_lightning.metrics.records import RouteRecord

FORMAT = "craft-lightning results"
VERSION = 1
EMBEDDED_NOTE = "driven in craft-lightning's embedded world; not a CARLA or Bench2Drive result"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Under which conditions records were driven; records of different protocols are never mixed in a file.

    Args:
        town: the town.
        suite: name of the route suite.
        num_routes: routes of the suite, the denominator of scores.
        world: "embedded" for our own server, "carla" for an Unreal server.
        tick_seconds: simulated seconds of a tick.
        ticks_per_decision: ticks between two decisions of the policy.
        seed: base seed of traffic and scenarios.
        trained_on_evaluation: whether the policy was trained on routes of the suite, which is refused unless asked for.
        rules: name of the evaluation protocol, a key of ``protocols.PROTOCOLS``; "" = limits of the run's own.
        traffic: who drove the background vehicles, "sumo" or "traffic_manager"; files without it were driven by SUMO.
        changed: further options of the episodes that were not the defaults, as "name=value, ...".

    """

    town: str
    suite: str
    num_routes: int
    world: Literal["embedded", "carla"] = "embedded"
    tick_seconds: float = TICK_SECONDS
    ticks_per_decision: int = TICKS_PER_DECISION
    seed: int = 0
    trained_on_evaluation: bool = False
    rules: str = ""
    traffic: str = "sumo"
    changed: str = ""

    def __post_init__(self) -> None:
        if self.world not in ("embedded", "carla"):
            raise CraftError(f"protocol field world is {self.world!r}; use 'embedded' or 'carla'")
        if not isinstance(self.num_routes, int) or self.num_routes < 1:
            raise CraftError(
                f"protocol field num_routes is {self.num_routes!r}; give the number of routes of the suite"
            )
        if self.rules:
            protocol_rules(self.rules)

    @property
    def judged_by(self) -> str:
        """Who judged: ``rules``, or ``OWN_LIMITS``."""
        return self.rules or OWN_LIMITS

    @property
    def formulas(self) -> Rules:
        """The rules whose formulas score the run."""
        return protocol_rules(self.rules or FORMULAS_OF_OWN_LIMITS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a protocol from its dictionary; the stamp that ``to_dict`` adds is ignored.

        Raises:
            CraftError: a missing or unknown field.

        """
        given = {name: value for name, value in values.items() if name != "note"}
        names = {field.name for field in dataclasses.fields(cls)}
        wrong = sorted(set(given) - names) or sorted({"town", "suite", "num_routes"} - set(given))
        if wrong:
            raise CraftError(f"protocol field '{wrong[0]}' is {'unknown' if wrong[0] in given else 'missing'}")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return the protocol as plain values, stamped where the world is the embedded one."""
        return {**dataclasses.asdict(self), **({"note": EMBEDDED_NOTE} if self.world == "embedded" else {})}

    def __str__(self) -> str:
        """Return one line, without the seed, for the head or foot of a table."""
        decision = self.tick_seconds * self.ticks_per_decision
        stamp = ", TRAINED ON THESE ROUTES" if self.trained_on_evaluation else ""
        rules = f"protocol {self.rules}, " if self.rules else ""
        traffic = "" if self.traffic == "sumo" else f", traffic {self.traffic}"
        stamp = (f", {self.changed}" if self.changed else "") + stamp
        return (
            f"{rules}world {self.world}{traffic}, town {self.town}, suite {self.suite} ({self.num_routes} routes), "
            f"tick {self.tick_seconds:g} s, decision {decision:g} s{stamp}"
        )


class ResultFile:
    """The records of one run, kept on disk after every route.

    Args:
        path: the JSON file; an existing one of the same protocol is continued.
        protocol: conditions of this run.

    Raises:
        CraftError: the file exists but is no result file, or was driven under another protocol.

    """

    def __init__(self, path: str | Path, protocol: Protocol) -> None:
        self.path, self.protocol = Path(path), protocol
        self._records: dict[int, RouteRecord] = {}
        if self.path.exists():
            found, records = read_results(self.path)
            for field in dataclasses.fields(Protocol):
                old, new = getattr(found, field.name), getattr(protocol, field.name)
                if old != new:
                    raise CraftError(
                        f"{self.path} was driven with {field.name}={old!r}, this run has {new!r}; "
                        "choose another output file or move the old one away"
                    )
            self._records = {record.index: record for record in records}

    @property
    def records(self) -> list[RouteRecord]:
        """All records in the order of their routes."""
        return [self._records[index] for index in sorted(self._records)]

    @property
    def missing(self) -> list[int]:
        """Indices of the suite's routes that have no record yet."""
        return [index for index in range(self.protocol.num_routes) if index not in self._records]

    def add(self, record: RouteRecord) -> None:
        """Take a record (replacing one of the same route) and write the file.

        Raises:
            CraftError: a record whose index is not in the suite.

        """
        _check_index(record, self.protocol.num_routes)
        self._records[record.index] = record
        write_results(self.path, self.protocol, self.records)


def write_results(path: str | Path, protocol: Protocol, records: Iterable[RouteRecord]) -> None:
    """Write a result file in one step: readers see the old file or the new one, never half of one."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "protocol": protocol.to_dict(),
        "records": [record.to_dict() for record in records],
    }
    write_json(path, document)


def read_results(path: str | Path) -> tuple[Protocol, list[RouteRecord]]:
    """Read a result file.

    Returns:
        The protocol, and the records in the file's order, at most one a route.

    Raises:
        CraftError: naming the file and what is wrong: missing, no JSON, no result file, a wrong field, a route twice.

    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CraftError(f"result file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CraftError(f"result file {path} cannot be read as JSON: {error}") from error
    try:
        return parse_results(document)
    except CraftError as error:
        raise CraftError(f"{path}: {error}") from error


def parse_results(document: Any) -> tuple[Protocol, list[RouteRecord]]:
    """Return the protocol and the records of a result file's JSON, at most one record a route.

    Raises:
        CraftError: no result file, another version, a wrong field, a route twice; the sentence lacks the file's name.

    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CraftError(f"this is not a {FORMAT} file (field 'format')")
    if document.get("version") != VERSION:
        raise CraftError(f"the file has version {document.get('version')!r}; this craft-lightning reads {VERSION}")
    try:
        protocol = Protocol.from_dict(document["protocol"])
        records = [RouteRecord.from_dict(values) for values in document["records"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise CraftError(f"it lacks a well-formed 'protocol' or 'records': {error!r}") from error
    for record in records:
        _check_index(record, protocol.num_routes)
    if len({record.index for record in records}) != len(records):
        raise CraftError("a route index occurs twice in field 'records'")
    return protocol, records


def write_json(path: str | Path, document: Any, indent: int | None = 1) -> None:
    """Write a JSON document in one step (temporary file beside it, then a rename); NaN is refused."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=indent, allow_nan=False)
            stream.write("\n")
        os.chmod(temporary, 0o644)  # temporary files are private, results are not
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _check_index(record: RouteRecord, num_routes: int) -> None:
    if not 0 <= record.index < num_routes:
        raise CraftError(
            f"route '{record.route_id}': field index is {record.index} but the suite has {num_routes} routes"
        )
