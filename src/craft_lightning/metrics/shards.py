"""Result shards in the leaderboard's schema, which CARLA's and Bench2Drive's tools read, written after every route."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.leaderboard import OWN, build_row
from craft_lightning.metrics.messages import LISTS
from craft_lightning.metrics.records import COMPLETED, CRASHED, PERFECT, RouteRecord
from craft_lightning.metrics.results import Protocol, write_json
from craft_lightning.metrics.scores import score_variant
from craft_lightning.metrics.summary import infractions_per_km

# Lists in the order of the leaderboard's labels.
LABELS = {
    "collisions_pedestrian": "Collisions with pedestrians",
    "collisions_vehicle": "Collisions with vehicles",
    "collisions_layout": "Collisions with layout",
    "red_light": "Red lights infractions",
    "stop_infraction": "Stop sign infractions",
    "outside_route_lanes": "Off-road infractions",
    "route_dev": "Route deviations",
    "route_timeout": "Route timeouts",
    "vehicle_blocked": "Agent blocked",
    "yield_emergency_vehicle_infractions": "Yield emergency vehicles infractions",
    "scenario_timeouts": "Scenario timeouts",
    "min_speed_infractions": "Min speed infractions",
}
SCORES = ("score_composed", "score_route", "score_penalty")


class ShardFile:
    """The routes of one run (or of one worker of it), in a file that is never cleared and never half written.

    Args:
        path: the JSON file; an existing one of the same protocol is continued.
        protocol: conditions of the run; ``protocol.rules`` names the formula of the scores ("" = Bench2Drive's).
        routes: routes that this file will hold when it is finished; None = the whole suite.
        sensors: the leaderboard's names of the driver's sensors, e.g. "carla_imu".

    Raises:
        CraftError: the file exists but cannot be continued: broken, not written by craft-lightning, or driven under
            another protocol. It is left as it is.

    """

    def __init__(
        self, path: str | Path, protocol: Protocol, routes: int | None = None, sensors: Sequence[str] = ()
    ) -> None:
        self.path, self.protocol = Path(path), protocol
        self.total = protocol.num_routes if routes is None else routes
        self.sensors = list(sensors)
        self.rules = protocol.formulas
        self._rows: dict[int, dict[str, Any]] = {}
        self._records: dict[int, RouteRecord] = {}
        if self.path.exists():
            self._continue()

    def _continue(self) -> None:
        found = read_document(self.path)
        if found.stamp is None:
            raise CraftError(f"{self.path} was not written by craft-lightning; choose another output file")
        for field in dataclasses.fields(Protocol):
            old, new = getattr(found.stamp, field.name), getattr(self.protocol, field.name)
            if old != new:
                raise CraftError(
                    f"{self.path} was driven with {field.name}={old!r}, this run has {new!r}; "
                    "choose another output file or move the old one away"
                )
        self._rows = {route.record.index: dict(route.row) for route in found.routes}
        self._records = {route.record.index: route.record for route in found.routes}

    @property
    def done(self) -> frozenset[int]:
        """Indices (places in the suite) of the routes that have a record."""
        return frozenset(self._records)

    @property
    def records(self) -> list[RouteRecord]:
        """All records in the order of the suite."""
        return [self._records[index] for index in sorted(self._records)]

    def add(self, record: RouteRecord, incidents: Sequence[Any] = ()) -> None:
        """Take a record (replacing one of the same route) and write the file.

        Args:
            record: the route's record; its ``index`` is the place in the suite.
            incidents: what happened where, for the sentences (``simulation.criteria.Incident`` or dictionaries).

        Raises:
            CraftError: a record whose index is not in the suite, or a file that cannot be written.

        """
        if not 0 <= record.index < self.protocol.num_routes:
            raise CraftError(
                f"route '{record.route_id}': field index is {record.index} but the suite has "
                f"{self.protocol.num_routes} routes"
            )
        self._rows[record.index] = build_row(record, score_variant(self.rules.variant), incidents)
        self._records[record.index] = record
        self.write()

    def write(self) -> None:
        """Write the file in one step; ``add`` does it, a run without a route may.

        Raises:
            CraftError: the file cannot be written.

        """
        try:
            write_json(self.path, self.to_json())
        except OSError as error:
            raise CraftError(f"result file {self.path} cannot be written: {error.strerror}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        rows = [self._rows[index] for index in sorted(self._rows)]
        status = self._entry_status()
        overall = global_record(rows, self.records, self.total) if rows else {}
        means = [overall["scores_mean"][name] for name in SCORES] if overall else []
        per_km = [overall["infractions"][name] for name in LABELS] if overall else []
        heads = ["Avg. driving score", "Avg. route completion", "Avg. infraction penalty", *LABELS.values()]
        return {
            "_checkpoint": {
                "global_record": overall,
                "progress": [len(rows), max(self.total, len(rows))],
                "records": rows,
            },
            "entry_status": status,
            "eligible": status == "Finished",
            "sensors": self.sensors,
            "values": [str(value) for value in (*means, *per_km)],
            "labels": heads if overall else [],
            # The field's tools pass over keys that they do not know.
            OWN: {"protocol": self.protocol.to_dict(), "rules": self._stamped_rules()},
        }

    def _stamped_rules(self) -> dict[str, Any]:
        """Return all limits of the protocol; of a run under limits of its own, whose formulas score it."""
        if self.protocol.rules:
            return self.rules.to_dict()
        return {"name": self.protocol.judged_by, "variant": self.rules.variant, "ability": self.rules.ability}

    def _entry_status(self) -> str:
        if len(self._records) < self.total:
            return "Started"
        crashed = any(record.status == CRASHED for record in self._records.values())
        return "Crashed" if crashed else "Finished"


def global_record(rows: Sequence[Mapping[str, Any]], records: Sequence[RouteRecord], total: int) -> dict[str, Any]:
    """Return the leaderboard's summary of a shard.

    Means divide by ``total``, so that routes still to drive count 0; the standard deviation is the leaderboard's own:
    the squares of the routes present around the rounded mean, over ``total - 1``.

    Args:
        rows: the shard's rows.
        records: their records, in the same order.
        total: routes of the shard.

    """
    total = max(total, len(rows))
    means, deviations = {}, {}
    for name in SCORES:
        values = [float(row["scores"][name]) for row in rows]
        means[name] = round(math.fsum(values) / total, 6)
        squares = math.fsum((value - means[name]) ** 2 for value in values)
        deviations[name] = round(math.sqrt(squares / (total - 1)), 3) if total > 1 else 0
    statuses = [str(row["status"]) for row in rows]
    failed = [
        [row["route_id"], row["index"], status]
        for row, status in zip(rows, statuses, strict=True)
        if status.startswith("Failed")
    ]
    perfect = all(status == PERFECT for status in statuses)
    per_km = infractions_per_km(records)
    return {
        "index": -1,
        "route_id": -1,
        "status": "Failed" if failed else (PERFECT if perfect else COMPLETED),
        "infractions": {name: round(per_km[name], 3) for name in LISTS.values()},
        "scores_mean": means,
        "scores_std_dev": deviations,
        "meta": {
            "total_length": math.fsum(row["meta"]["route_length"] for row in rows),
            "duration_game": math.fsum(row["meta"]["duration_game"] for row in rows),
            "duration_system": math.fsum(row["meta"]["duration_system"] for row in rows),
            "exceptions": failed,
        },
    }
