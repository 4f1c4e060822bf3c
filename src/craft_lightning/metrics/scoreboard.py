"""The table that ``craft-lightning score`` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from craft_lightning.tables import table_console


def print_scoreboard(summaries: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print one table with a column a file, then the notes.

    Args:
        summaries: results of ``summary.summarise``.
        console: where to; None = standard output, as wide as its lines need where it is no terminal.

    """
    console = console or table_console(60 + 30 * len(summaries))
    table = Table(title=None, show_lines=False)
    table.add_column("")
    names = _names([str(summary["file"]) for summary in summaries])
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for label, cells in _rows(summaries):
        if cells is None:
            table.add_section()
        else:
            table.add_row(label, *cells)
    console.print(table)
    for name, summary in zip(names, summaries, strict=True):
        if summary["trained_on_evaluation"]:
            console.print(f"{name}: TRAINED ON THESE ROUTES", markup=False, highlight=False, soft_wrap=True)
        if summary["stamp"]:
            console.print(f"{name}: {summary['stamp']}", markup=False, highlight=False, soft_wrap=True)
        for note in summary["notes"]:
            console.print(f"{name}: {note}", markup=False, highlight=False, soft_wrap=True)


def _names(paths: Sequence[str]) -> list[str]:
    """Return file names, with their folder where two are the same."""
    short = [Path(path).name for path in paths]
    return [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]


def _rows(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, list[str] | None]]:
    def row(label: str, read: Any, digits: int = 4) -> tuple[str, list[str] | None]:
        return label, [_text(read(summary), digits) for summary in summaries]

    gap: tuple[str, None] = ("", None)
    rows: list[tuple[str, list[str] | None]] = [
        row("protocol", lambda s: s["protocol"]),
        row("world", lambda s: s["world"] or "-"),
        row("tick / decision, s", _clock),
        row("routes evaluated", lambda s: f"{s['routes_evaluated']} of {s['routes_suite']}"),
        gap,
    ]
    for label, key in (
        ("driving score", "driving_score"),
        ("success rate %", "success_rate"),
        ("route completion %", "route_completion"),
        ("infraction score", "infraction_score"),
    ):
        rows.append(row(f"{label}, over the suite", lambda s, key=key: s[key]))
        rows.append(row(f"{label}, over evaluated", lambda s, key=key: s["over_evaluated"][key]))
    rows += [
        gap,
        row("driving efficiency", lambda s: s["driving_efficiency"], 3),
        row("driving smoothness, strict", lambda s: (s["driving_smoothness"] or {}).get("strict")),
        row("driving smoothness, repaired", lambda s: (s["driving_smoothness"] or {}).get("repaired")),
        gap,
    ]
    if any(summary["abilities"] for summary in summaries):
        rows.append(row("ability formula", lambda s: s["ability_formula"]))
        found = next(summary["abilities"] for summary in summaries if summary["abilities"])
        for name in found:
            label = "abilities, mean" if name == "mean" else name.replace("_", " ")
            rows.append(row(f"{label} %", lambda s, name=name: _percent((s["abilities"] or {}).get(name)), 2))
        rows.append(gap)
    for name in summaries[0]["infractions_per_km"]:
        outside = name == "outside_route_lanes"
        label = name.replace("_", " ") + (", km" if outside else " / km")
        rows.append(row(label, lambda s, name=name: s["infractions_per_km"][name], 3))
    return rows


def _clock(summary: dict[str, Any]) -> str | None:
    if summary["tick_seconds"] is None:
        return None
    return f"{summary['tick_seconds']:g} / {summary['decision_seconds']:g}"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value


def _text(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
