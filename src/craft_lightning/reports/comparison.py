"""Compares drivers on the same held-out routes: one table, one picture, one JSON file.

Statistics and rendering only: who drives, and how, is the caller's business.
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from craft_lightning.errors import CraftError
from craft_lightning.metrics.paired import PairedInterval, paired_interval
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol, write_json
from craft_lightning.metrics.scores import driving_score, score_variant
from craft_lightning.reports.comparison_picture import draw_comparison
from craft_lightning.tables import table_console

FORMAT = "craft-lightning comparison"
FEW_ROUTES = 20  # below this a percentile bootstrap covers much less than it says
TITLES = {
    "expert": "privileged expert",
    "pretrained": "pre-trained",
    "craft": "fine-tuned",
    "zero_weights": "all loss weights 0",
}
# Columns: short name, long name, the value of one route (a protocol of another formula replaces DS and IS).
MEASURES: dict[str, tuple[str, Callable[[RouteRecord], float]]] = {
    "DS": ("driving score", lambda record: record.driving_score),
    "RC": ("route completion, %", lambda record: record.route_completion),
    "IS": ("infraction score, %", lambda record: 100.0 * record.infraction_score),
    "SR": ("success rate, %", lambda record: 100.0 * record.success),
}

Drive = Callable[[str, int], Sequence[RouteRecord]]
"""Drives one arm with one seed over the whole suite and returns one record a route."""


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One driver's scores.

    Args:
        means: mean over routes and seeds of every measure.
        differences: paired difference to the reference of every measure; empty for the reference itself.

    """

    means: dict[str, float]
    differences: dict[str, PairedInterval]


@dataclasses.dataclass(frozen=True)
class ComparisonResult:
    """What a comparison found.

    Args:
        protocol: conditions that all arms shared.
        reference: the arm that the others are compared with.
        seeds: seeds of traffic and scenarios.
        arms: scores of every arm, in the order driven.

    """

    protocol: Protocol
    reference: str
    seeds: tuple[int, ...]
    arms: dict[str, ArmResult]


@dataclasses.dataclass
class Comparison:
    """Which drivers are compared after a fit, and where the result goes.

    Args:
        arms: drivers in the order of the table: "expert", "pretrained", "craft" (the policy just trained) and
            "zero_weights" (the same recipe trained with every loss weight at 0).
        reference: the arm that differences are taken from.
        seeds: seeds of traffic and scenarios; every arm drives every route once with each.
        output: folder for comparison.json and comparison.png; empty = the run's log folder.
        resamples: bootstrap resamples.
        confidence: confidence level of the intervals.

    Raises:
        CraftError: no arms, an arm twice, or a reference that is not among them.

    """

    arms: list[str] = dataclasses.field(default_factory=lambda: ["expert", "pretrained", "craft", "zero_weights"])
    reference: str = "pretrained"
    seeds: list[int] = dataclasses.field(default_factory=lambda: [0])
    output: str = ""
    resamples: int = 10_000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.arms or len(set(self.arms)) != len(self.arms):
            raise CraftError(f"comparison.arms is {self.arms}; name each arm once")
        if self.reference not in self.arms:
            raise CraftError(f"comparison.reference is '{self.reference}'; use one of comparison.arms: {self.arms}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise CraftError(f"comparison.seeds is {self.seeds}; name each seed once")

    def run(
        self, drive: Drive, protocol: Protocol, folder: str | Path | None = None, console: Console | None = None
    ) -> ComparisonResult:
        """Let every arm drive, print the table, and write JSON and picture.

        Args:
            drive: drives one arm with one seed over the suite.
            protocol: conditions of the drives.
            folder: where files go; None = ``output``.
            console: where the table goes; None = standard output.

        Raises:
            CraftError: an arm that did not drive exactly the suite's routes.

        """
        records = {arm: [list(drive(arm, seed)) for seed in self.seeds] for arm in self.arms}
        result = self.evaluate(records, protocol)
        target = Path(folder if folder is not None else self.output or ".")
        self.write(result, records, target)
        (console or table_console()).print(comparison_table(result), comparison_verdicts(result), sep="\n")
        return result

    def evaluate(self, records: Mapping[str, Sequence[Sequence[RouteRecord]]], protocol: Protocol) -> ComparisonResult:
        """Return means and paired intervals.

        Args:
            records: arm -> one list of records a seed, each covering the suite.
            protocol: conditions of the drives.

        Raises:
            CraftError: an arm that did not drive exactly the suite's routes.

        """
        values = {arm: _route_values(arm, runs, protocol) for arm, runs in records.items()}
        arms = {}
        for arm, measures in values.items():
            means = {name: statistics.fmean(column) for name, column in measures.items()}
            differences = {
                name: paired_interval(values[self.reference][name], column, 0, self.resamples, self.confidence)
                for name, column in measures.items()
                if arm != self.reference
            }
            arms[arm] = ArmResult(means, differences)
        return ComparisonResult(protocol, self.reference, tuple(self.seeds), arms)

    def write(
        self, result: ComparisonResult, records: Mapping[str, Sequence[Sequence[RouteRecord]]], folder: Path
    ) -> None:
        """Write comparison.json (with every record) and comparison.png into a folder."""
        document = {
            "format": FORMAT,
            "version": 1,
            "protocol": result.protocol.to_dict(),
            "reference": result.reference,
            "seeds": list(result.seeds),
            "confidence": self.confidence,
            "resamples": self.resamples,
            "arms": {name: dataclasses.asdict(arm) for name, arm in result.arms.items()},
            "records": {arm: [[record.to_dict() for record in run] for run in runs] for arm, runs in records.items()},
        }
        write_json(folder / "comparison.json", document)
        draw_comparison(
            folder / "comparison.png",
            {name: title for name, (title, _) in MEASURES.items()},
            {arm_title(name): arm.means for name, arm in result.arms.items()},
            {arm_title(name): arm.differences for name, arm in result.arms.items() if arm.differences},
            arm_title(result.reference),
            _foot(result),
        )


def arm_title(arm: str) -> str:
    """Return how an arm is called in tables and pictures."""
    return TITLES.get(arm, arm)


def comparison_table(result: ComparisonResult) -> Table:
    """Return the table: means of every arm, and below each its paired difference to the reference."""
    legend = ", ".join(f"{name} {title.removesuffix(', %')}" for name, (title, _) in MEASURES.items())
    table = Table(
        title="Driving on the evaluation routes", caption=f"{legend}. {_foot(result)}", caption_justify="left"
    )
    table.add_column("driver")
    for name, (title, _) in MEASURES.items():
        table.add_column(f"{name} %" if title.endswith("%") else name, justify="right", no_wrap=True)
    for name, arm in result.arms.items():
        table.add_row(Text(arm_title(name), style="bold"), *(f"{arm.means[measure]:.1f}" for measure in MEASURES))
        if arm.differences:
            cells = (_difference(arm.differences[measure]) for measure in MEASURES)
            table.add_row(f"[dim]  minus {arm_title(result.reference)}[/dim]", *cells, end_section=True)
        else:
            table.add_section()
    return table


def comparison_verdicts(result: ComparisonResult) -> str:
    """Return one sentence an arm: where its interval excludes 0, else "no difference"."""
    lines = []
    for name, arm in result.arms.items():
        found = [
            f"{measure} {'higher' if interval.difference > 0 else 'lower'} by {abs(interval.difference):.1f}"
            for measure, interval in arm.differences.items()
            if interval.significant
        ]
        if arm.differences:
            lines.append(f"{arm_title(name)} vs {arm_title(result.reference)}: {', '.join(found) or 'no difference'}")
    return "\n".join(lines)


def _difference(interval: PairedInterval) -> Text:
    text = f"{interval.difference:+.1f}\n[{interval.low:+.1f}, {interval.high:+.1f}]"
    if not interval.significant:
        return Text(f"{text}\nno difference", style="dim")
    return Text(text, style="green" if interval.difference > 0 else "red")


def _foot(result: ComparisonResult) -> str:
    """Return the small print: what the intervals are, the protocol, and what this is not."""
    intervals = [interval for arm in result.arms.values() for interval in arm.differences.values()]
    seeds = ", ".join(map(str, result.seeds))
    text = f"{result.protocol}, evaluation seeds {seeds}."
    if intervals:
        text = f"{100 * intervals[0].confidence:g} % paired bootstrap intervals over routes; {text}"
    if intervals and result.protocol.num_routes < FEW_ROUTES:
        text += f" Only {result.protocol.num_routes} routes: the intervals are too narrow to conclude from."
    note: Any = result.protocol.to_dict().get("note")
    return f"{text} {note[:1].upper()}{note[1:]}." if note else text


def _route_values(arm: str, runs: Sequence[Sequence[RouteRecord]], protocol: Protocol) -> dict[str, list[float]]:
    """Return every measure's value of every route, averaged over seeds, in route order."""
    routes = protocol.num_routes
    variant = score_variant(protocol_rules(protocol.rules or "bench2drive").variant)

    def penalty(record: RouteRecord) -> float:
        return record.variant_score(variant)

    measures: dict[str, Callable[[RouteRecord], float]] = {
        **{name: value for name, (_, value) in MEASURES.items()},
        "DS": lambda record: driving_score(record.route_completion, penalty(record)),
        "IS": lambda record: 100.0 * penalty(record),
    }
    for records in runs:
        if sorted(record.index for record in records) != list(range(routes)):
            raise CraftError(
                f"comparison arm '{arm}' has {len(records)} records for {routes} routes; "
                "give exactly one record a route with index 0, 1, ..."
            )
    ordered = [sorted(records, key=lambda record: record.index) for records in runs]
    return {
        name: [statistics.fmean(value(run[route]) for run in ordered) for route in range(routes)]
        for name, value in measures.items()
    }
