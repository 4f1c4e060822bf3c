"""Official verdicts and ours on the same drives, route by route."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.tables import table_console

COUNTS = (
    "collisions_pedestrian",
    "collisions_vehicle",
    "collisions_layout",
    "red_light",
    "stop_sign",
    "route_deviation",
    "vehicle_blocked",
    "route_timeout",
)
"""What both judge. Scenario time-outs and emergency vehicles are judged by the evaluator's own scenarios alone."""


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What both say about one drive; ``theirs`` also counts what only scenarios can say."""

    theirs: RouteRecord
    ours: RouteRecord

    @property
    def differences(self) -> list[str]:
        """What they disagree on, in words: counts, more than 0.5 of route completion, 0.5 outside, or the end."""
        found = [
            f"{name} {getattr(self.theirs, name)} / {getattr(self.ours, name)}"
            for name in COUNTS
            if getattr(self.theirs, name) != getattr(self.ours, name)
        ]
        for name in ("route_completion", "outside_percent"):
            theirs, ours = getattr(self.theirs, name), getattr(self.ours, name)
            if abs(theirs - ours) > 0.5:
                found.append(f"{name} {theirs:.2f} / {ours:.2f}")
        # Our own "Perfect" needs no event at all; an evaluator that cuts a drive off leaves ours without an end.
        ends = {status.replace("Perfect", "Completed") for status in (self.theirs.status, self.ours.status)}
        if len(ends) > 1:
            found.append(f"{self.theirs.status} / {self.ours.status}")
        return found


def read_verdicts(official: Path, ours: Path) -> list[Verdicts]:
    """Pair the routes of an evaluator's result file with our own verdicts, which were written in the same order.

    Raises:
        CraftError: a file that is missing or broken, or drives that only one of the two has.

    """
    theirs = read_document(official).records
    try:
        lines = [json.loads(line) for line in ours.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise CraftError(f"{ours} cannot be read ({error}); let the evaluator drive the routes again") from error
    if len(lines) != len(theirs):
        raise CraftError(
            f"{official} has {len(theirs)} routes and {ours} {len(lines)}: a drive was cut off or resumed; let the "
            "evaluator drive them all again"
        )
    pairs = []
    for record, line in zip(theirs, lines, strict=True):
        values = {name: value for name, value in line.items() if name != "incidents"}
        pairs.append(Verdicts(record, RouteRecord.from_dict({"route_id": record.route_id, **values})))
    return pairs


def print_agreement(verdicts: list[Verdicts], console: Console | None = None) -> None:
    """Print one line a route: official number / ours, and where they differ."""
    console = console or table_console(200)
    table = Table(title="official / ours, on the same drives")
    for name in ("route", "RC %", "infractions x", "score", "outside %", "min speed %", "differences"):
        table.add_column(name)
    for pair in verdicts:
        a, b = pair.theirs, pair.ours
        table.add_row(
            a.route_id.removeprefix("RouteScenario_"),
            f"{a.route_completion:.2f} / {b.route_completion:.2f}",
            f"{a.infraction_score:.3f} / {b.infraction_score:.3f}",
            f"{a.driving_score:.2f} / {b.driving_score:.2f}",
            f"{a.outside_percent:.2f} / {b.outside_percent:.2f}",
            f"{_mean(a.min_speed)} / {_mean(b.min_speed)}",
            "; ".join(pair.differences) or "-",
        )
    if verdicts:
        a_mean, b_mean = (
            float(np.mean([getattr(pair, side).driving_score for pair in verdicts])) for side in ("theirs", "ours")
        )
        table.add_section()
        table.add_row("mean", "", "", f"{a_mean:.2f} / {b_mean:.2f}", "", "", "")
    console.print(table)


def _mean(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.1f} ({len(values)})" if values else "-"
