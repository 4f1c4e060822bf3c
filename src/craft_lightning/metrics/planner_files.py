"""Tables of sub-scores, as NAVSIM writes them: read, composed and summarised without torch."""

import csv
import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.metrics.planner_scores import EPDMS, NUPLAN, PDMS, Composition, nuplan_scenario_score

COMPOSITIONS: Mapping[str, Composition] = {"pdms": PDMS, "epdms": EPDMS, "nuplan": NUPLAN}
# A column by which each score's table is known.
_SIGNS = {"nuplan": "no_ego_at_fault_collisions", "epdms": "traffic_light_compliance", "pdms": "comfort"}
# First words of the tokens of NAVSIM's summary rows, and the suffixes of its two-stage tables.
_SUMMARIES = ("average", "extended_pdm_score")
_STAGES = ("_stage_one", "_stage_two")


@dataclasses.dataclass(frozen=True)
class SubScoreTable:
    """A table of sub-scores, a row a scene.

    Args:
        path: the file.
        kind: "pdms", "epdms" or "nuplan".
        tokens: [N] names of the scenes.
        columns: [N] float64 by name, NaN where a cell is empty.
        stage: [N] 1 or 2 in a two-stage table, else 0.
        repeated: scenes that the file holds more than once, all their lines alike; each counts once.

    """

    path: str
    kind: str
    tokens: list[str]
    columns: Mapping[str, np.ndarray]
    stage: np.ndarray
    repeated: tuple[str, ...] = ()

    def scores(self) -> np.ndarray:
        """Scores [N]; NaN for a scene that failed."""
        composition = COMPOSITIONS[self.kind]
        if self.kind == "nuplan":
            return nuplan_scenario_score(self.columns, composition)
        return composition.compose_rows(self.columns)

    def summary(self) -> dict[str, Any]:
        """Return what a user wants to know, as plain values."""
        scores = self.scores()
        known = ~np.isnan(scores)
        result: dict[str, Any] = {
            "file": self.path,
            "score_name": COMPOSITIONS[self.kind].name,
            "score": _mean(scores),
            "scenes": int(known.sum()),
            "failed": int((~known).sum()),
            "sub_scores": {
                name: _mean(values) for name, values in self.columns.items() if name in COMPOSITIONS[self.kind].columns
            },
        }
        if self.repeated:
            result["repeated_scenes"] = list(self.repeated)
        if self.stage.any():
            result["by_stage"] = {f"stage {stage}": _mean(scores[self.stage == stage]) for stage in (1, 2)}
        if "score" in self.columns and (both := known & ~np.isnan(self.columns["score"])).any():
            result["largest_difference_to_score_column"] = float(np.abs(scores - self.columns["score"])[both].max())
        return result


def read_sub_scores(path: str | Path, kind: str | None = None) -> SubScoreTable:
    """Read a .csv of sub-scores.

    NAVSIM's tables come as they are: its index column and summary rows are passed over, the columns of both stages
    (``..._stage_one``, ``..._stage_two``) are put together. Other columns than numbers are ignored. A scene that is
    repeated word for word counts once.

    Args:
        path: the file.
        kind: "pdms", "epdms" or "nuplan"; None tells by the columns.

    Raises:
        CraftError: no such file, no table, a column that is missing or no number, an unknown kind, or a scene with two
            different lines.

    """
    if kind is not None and kind not in COMPOSITIONS:
        raise CraftError(f"--score is '{kind}'; use pdms, epdms or nuplan")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise CraftError(f"{path} does not exist; correct the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CraftError(f"{path} cannot be read as a table: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise CraftError(f"{path} has no rows; give a .csv with a line of column names and one line a scene")
    names = [name for name in rows[0] if name]
    token_name = next((name for name in ("token", "scenario", "scenario_name") if name in names), None)
    tokens = [str(row[token_name]) if token_name else str(place) for place, row in enumerate(rows)]
    keep = [place for place, token in enumerate(tokens) if not token.startswith(_SUMMARIES)]
    plain, stage = _staged(path, [rows[place] for place in keep], names)
    kind = kind or next((key for key, sign in _SIGNS.items() if sign in plain), None)
    if kind is None:
        raise CraftError(f"{path} holds no known sub-scores; PDMS needs {', '.join(PDMS.columns)}")
    composition = COMPOSITIONS[kind]
    if kind != "nuplan" and (lacking := composition.missing(list(plain))):
        near = difflib.get_close_matches(lacking[0], plain, n=1, cutoff=0.8)
        hint = f" (did you mean to rename {near[0]}?)" if near else ""
        raise CraftError(f"{path} has no column {lacking[0]}{hint}; {composition.name} needs it")
    if not any(name in plain for name in composition.columns):
        raise CraftError(f"{path} has none of the columns of {composition.name}: {', '.join(composition.columns)}")
    wanted = {name: plain[name] for name in (*composition.columns, "score") if name in plain}
    columns = {name: _numbers(path, name, cells) for name, cells in wanted.items()}
    return _once(SubScoreTable(str(path), kind, [tokens[place] for place in keep], columns, stage))


def _once(table: SubScoreTable) -> SubScoreTable:
    """Return the table with every scene once, the first time it comes."""
    first: dict[str, int] = {}
    again = []
    for place, token in enumerate(table.tokens):
        if (earlier := first.setdefault(token, place)) == place:
            continue
        again.append(token)
        for name, values in (*table.columns.items(), ("stage", table.stage)):
            if not np.array_equal(values[earlier], values[place], equal_nan=True):
                raise CraftError(
                    f"{table.path}: scene '{token}' comes twice, with {name} {values[earlier]:g} and "
                    f"{values[place]:g}; a scene counts once, so remove the line that does not count, or "
                    "give each run a file of its own"
                )
    if not again:
        return table
    rows = list(first.values())
    return SubScoreTable(
        table.path,
        table.kind,
        list(first),
        {name: values[rows] for name, values in table.columns.items()},
        table.stage[rows],
        tuple(dict.fromkeys(again)),
    )


def _staged(path: str | Path, rows: list[dict[str, str]], names: list[str]) -> tuple[dict[str, list[str]], np.ndarray]:
    """Cells by column with both stages put together, and the stage of each row."""
    if any(None in row or None in row.values() for row in rows):
        raise CraftError(f"{path}: a line has another number of cells than the line of column names")
    cells: dict[str, list[str]] = {}
    stage = np.zeros(len(rows), np.int64)
    for name in names:
        suffix = next((number for number, end in enumerate(_STAGES, 1) if name.endswith(end)), 0)
        base = name.removesuffix(_STAGES[suffix - 1]) if suffix else name
        column = cells.setdefault(base, [""] * len(rows))
        for place, row in enumerate(rows):
            if row[name].strip():
                column[place] = row[name]
                if suffix and base in EPDMS.columns:
                    stage[place] = suffix
    return cells, stage


def _numbers(path: str | Path, name: str, cells: list[str]) -> np.ndarray:
    values = np.full(len(cells), np.nan)
    for place, cell in enumerate(cells):
        if not cell.strip():
            continue
        try:
            word = cell.strip().lower()
            values[place] = float(word == "true") if word in ("true", "false") else float(word)
        except ValueError as error:
            raise CraftError(f"{path}: column {name} of scene {place + 1} is '{cell}'; give a number") from error
        if name != "score" and not (np.isnan(values[place]) or 0.0 <= values[place] <= 1.0):
            raise CraftError(f"{path}: column {name} of scene {place + 1} is {cell}; sub-scores lie between 0 and 1")
    return values


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def print_table(summary: Mapping[str, Any]) -> None:
    """Print a summary for people."""
    from rich.table import Table

    from craft_lightning.tables import table_console

    table = Table(title=summary["file"], title_justify="left")
    table.add_column("sub-score")
    table.add_column("mean", justify="right")
    for name, value in summary["sub_scores"].items():
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    table.add_section()
    table.add_row(summary["score_name"], "-" if summary["score"] is None else f"{summary['score']:.4f}")
    for name, value in summary.get("by_stage", {}).items():
        table.add_row(f"  {name}", "-" if value is None else f"{value:.4f}")
    console = table_console()
    console.print(table)
    console.print(f"{summary['scenes']} scenes, {summary['failed']} failed")
    if repeated := summary.get("repeated_scenes"):
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        console.print(f"in the file more than once, counted once: {', '.join(repeated[:5])}{more}", markup=False)
    if "largest_difference_to_score_column" in summary:
        console.print(
            f"largest difference to the file's own score: {summary['largest_difference_to_score_column']:.2g}"
        )
    if "by_stage" in summary:
        console.print("the combined two-stage score also needs the groups and places of the scenes: TwoStagePDMScore")
