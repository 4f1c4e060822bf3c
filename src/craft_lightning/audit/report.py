"""The audit as two tables, a JSON document and a picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table

from craft_lightning.audit.choice import weights
from craft_lightning.audit.forecasts import FORECASTS
from craft_lightning.audit.statistics import ADVANTAGES, Estimate, estimate

TITLES = {
    "decay": "decay (the proxy)",
    "constant_velocity": "constant velocity",
    "idm": "IDM along lanes",
    "recorded": "the world's own future",
}
WORTHS = {
    "followed": "followed, proxy's horizon",
    "driven": "one decision, then policy",
    "grounded": "the same, events alone",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito
_FEW = 8  # groups whose sum still leaves room for each of them
_BINS = 8
_LEGEND = 0.25  # of a panel's height, kept free under its rows


def summarise(states: Sequence[Mapping[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures overall and of every scenario type, by name; overall first."""
    groups = {"all": list(states)}
    for kind in sorted({state["type"] for state in states}):
        groups[kind] = [state for state in states if state["type"] == kind]
    return {name: estimate(group, seed) for name, group in groups.items()}


def plain(summary: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a summary as JSON knows it; figures that are not defined are null."""

    def number(value: float) -> float | None:
        return round(value, 6) if np.isfinite(value) else None

    return {
        group: {
            name: [number(part) for part in dataclasses.astuple(value)] if isinstance(value, Estimate) else value
            for name, value in found.items()
        }
        for group, found in summary.items()
    }


def print_tables(summary: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print calibration and blind zone a forecast, and what Prop 3.2 says, a scenario type and overall."""
    forecasts = Table(title="Predicted against realised, candidates followed over the proxy's horizon")
    for column in ("scenario", "forecast", "states", "branches", "correlation", "bias", "error"):
        forecasts.add_column(column)
    for column in ("real collisions", "charged too", "not charged", "charged, none"):
        forecasts.add_column(column, justify="right")
    for group, found in summary.items():
        for row, name in enumerate(FORECASTS):
            head = (group, TITLES[name], str(found["states"]), str(found["branches"]))
            forecasts.add_row(
                *(head if row == 0 else ("", TITLES[name], "", "")),
                *(found[f"{name}.{figure}"].text() for figure in ("correlation", "bias", "error")),
                *(str(found["hits"]), *(str(found[f"{name}.{count}_count"]) for count in ("both", "blind", "phantom"))),
                end_section=row == len(FORECASTS) - 1,
            )
    console.print(forecasts)
    variance = Table(title="Proposition 3.2: Phi takes variance away where Cov / Var is above 1/2")
    columns = ("scenario", "A_real", "Cov(A, Phi)", "Var(Phi)", "Cov/Var", "Var(A - Phi)/Var(A)", "Cov/Var, uniform")
    for column in (*columns, "corr(residual, G)"):
        variance.add_column(column)
    for group, found in summary.items():
        for row, name in enumerate(ADVANTAGES):
            key = f"{name}.policy"
            cells = [found[f"{key}.{figure}"].text() for figure in ("covariance", "variance", "ratio", "left")]
            cells += [found[f"{name}.uniform.ratio"].text(), found[f"{name}.stand_in"].text()]
            variance.add_row(group if row == 0 else "", WORTHS[name], *cells, end_section=row == len(ADVANTAGES) - 1)
    console.print(variance)


def draw_audit(
    path: Path, states: Sequence[Mapping[str, Any]], summary: Mapping[str, Mapping[str, Any]], foot: str
) -> None:
    """Draw calibration, collisions and Cov/Var into a PNG.

    Args:
        path: the picture's file.
        states: audited states.
        summary: of ``summarise``.
        foot: small print.

    """
    rows = len(summary)
    figure = Figure(figsize=(16.0, 5.2 + 0.55 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1.0, 1.0), height_ratios=(4.0 + 0.25 * rows, 0.6 + 0.3 * rows))
    _calibration(figure.add_subplot(grid[0, 0]), states)
    _collisions(figure.add_subplot(grid[0, 1]), summary)
    _ratios(figure.add_subplot(grid[0, 2]), summary)
    _table(figure.add_subplot(grid[1, :]), summary)
    figure.supxlabel(
        f"{foot}\nblind: real collisions that a forecast does not charge; phantom: charged ones that none are",
        fontsize=7,
        color="#555555",
        wrap=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _calibration(axes: Axes, states: Sequence[Mapping[str, Any]]) -> None:
    real = np.concatenate([state["followed"] for state in states])
    decay = np.concatenate([state["predicted"]["decay"] for state in states])
    hit = np.concatenate([state["followed_collision"] for state in states]) >= 0
    axes.scatter(decay[~hit], real[~hit], s=5, color="#bbbbbb", linewidths=0, label="a branch (decay)")
    axes.scatter(
        decay[hit], real[hit], s=9, color="black", marker="x", linewidths=0.7, label="... that really collided"
    )
    weight = np.concatenate([_uniform(state) for state in states])
    for number, name in enumerate(FORECASTS):
        predicted = np.concatenate([state["predicted"][name] for state in states])
        edges = np.unique(np.quantile(predicted[weight > 0.0], np.linspace(0.0, 1.0, _BINS + 1)))
        place = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, max(len(edges) - 2, 0))
        xs, ys = [], []
        for one in range(len(edges) - 1):
            inside = (place == one) & (weight > 0.0)
            if inside.any():
                xs.append(np.average(predicted[inside], weights=weight[inside]))
                ys.append(np.average(real[inside], weights=weight[inside]))
        axes.plot(xs, ys, marker="o", markersize=4, linewidth=1.2, color=COLOURS[number], label=TITLES[name])
    low, high = float(min(real.min(), decay.min())), float(max(real.max(), decay.max()))
    axes.plot([low, high], [low, high], color="black", linewidth=0.6, linestyle=":")
    axes.set_xlabel("predicted return (CRAFT, equation 37)")
    axes.set_ylabel("realised return (the same)")
    axes.set_title("calibration: candidates followed over the proxy's horizon", fontsize=10)
    axes.legend(fontsize=7, loc="upper left")


def _uniform(state: Mapping[str, Any]) -> np.ndarray:
    inclusion = np.array(state["inclusion"])
    spread = np.zeros(len(inclusion))
    spread[inclusion > 0.0] = weights(np.ones(int((inclusion > 0.0).sum())), inclusion[inclusion > 0.0])
    return spread


def _collisions(axes: Axes, summary: Mapping[str, Mapping[str, Any]]) -> None:
    # The sum over many types would leave nothing of each to see; the table has it.
    groups = [group for group in summary if group != "all" or len(summary) <= _FEW]
    for number, name in enumerate(FORECASTS):
        rows = np.arange(len(groups)) + 0.2 * (number - 1.5)
        both = [summary[group][f"{name}.both_count"] for group in groups]
        blind = [summary[group][f"{name}.blind_count"] for group in groups]
        phantom = [-summary[group][f"{name}.phantom_count"] for group in groups]
        axes.barh(rows, both, 0.18, color=COLOURS[number], label=TITLES[name])
        axes.barh(rows, blind, 0.18, left=both, color="white", edgecolor=COLOURS[number], hatch="////", linewidth=0.8)
        axes.barh(rows, phantom, 0.18, color=COLOURS[number], alpha=0.35)
    axes.axvline(0.0, color="black", linewidth=0.8)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1.1), max(high, 1.1))  # few collisions still are whole ones
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
    axes.set_xlabel("branches; left: charged, no collision; right: real collisions (hatched: not charged)", fontsize=8)
    axes.set_title("collisions, predicted against real", fontsize=10)
    axes.legend(fontsize=7, loc="lower right")


def _ratios(axes: Axes, summary: Mapping[str, Mapping[str, Any]]) -> None:
    groups = list(summary)
    for number, name in enumerate(ADVANTAGES):
        found = [summary[group][f"{name}.policy.ratio"] for group in groups]
        rows = np.arange(len(groups)) + 0.22 * (number - 1)
        for row, one in zip(rows, found, strict=True):
            if np.isfinite(one.value):
                axes.plot([one.low, one.high], [row, row], color=COLOURS[number], linewidth=1.6)
        axes.plot([one.value for one in found], rows, "o", markersize=5, color=COLOURS[number], label=WORTHS[name])
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylim(len(groups) - 0.5 + _LEGEND * len(groups), -0.5)
    axes.set_xlabel("Cov(A_real, Phi) / Var(Phi) under the policy, 95 % over states", fontsize=8)
    axes.set_title("right of 1/2: variance is taken away (Prop 3.2)", fontsize=10)
    axes.legend(fontsize=7, loc="lower right")


def _table(axes: Axes, summary: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the main figures under the panels."""
    axes.axis("off")
    head = ("scenario", "states", "branches", "collisions", *(f"{TITLES[name]}: blind | phantom" for name in FORECASTS))
    head += ("correlation (decay)", "Cov/Var, followed", "Cov/Var, driven", "corr(residual, G)")
    cells = [
        [
            *(group, found["states"], found["branches"], found["hits"]),
            *(f"{found[f'{name}.blind_count']} | {found[f'{name}.phantom_count']}" for name in FORECASTS),
            *(found[name].text() for name in ("decay.correlation", "followed.policy.ratio", "driven.policy.ratio")),
            found["driven.stand_in"].text(),
        ]
        for group, found in summary.items()
    ]
    table = axes.table(cells, colLabels=[text.replace(": ", ":\n") for text in head], loc="center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    table.auto_set_column_width(list(range(len(head))))
    table.scale(1.0, 1.3)
    for column in range(len(head)):
        table[0, column].set_height(1.6 * table[0, column].get_height())
