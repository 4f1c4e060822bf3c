"""The picture of a comparison: what every driver scored, and how far each is from the reference."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from craft_lightning.metrics.paired import PairedInterval

# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = ("#7f7f7f", "#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7")


def draw_comparison(
    path: str | Path,
    measures: Mapping[str, str],
    means: Mapping[str, Mapping[str, float]],
    differences: Mapping[str, Mapping[str, PairedInterval]],
    reference: str,
    foot: str,
) -> None:
    """Draw means as bars and paired differences as intervals, and write a PNG.

    Args:
        path: the picture's file; its folder is made.
        measures: short name -> axis title, one column of panels each; all on a scale of 0 to 100.
        means: driver -> measure -> mean.
        differences: driver -> measure -> paired difference to the reference.
        reference: name of the reference driver.
        foot: small print under the panels.

    """
    height = 3.0 + 0.35 * (len(means) + len(differences))
    figure = Figure(figsize=(3.1 * len(measures) + 1.4, height), layout="constrained")
    FigureCanvasAgg(figure)
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(means)}
    ratios = [len(means), max(len(differences), 1)]
    grid = figure.subplots(2, len(measures), squeeze=False, sharey="row", height_ratios=ratios)
    for column, (measure, title) in enumerate(measures.items()):
        _bars(grid[0, column], {name: values[measure] for name, values in means.items()}, colour)
        grid[0, column].set_title(f"{measure}: {title}", fontsize=10)
        _intervals(grid[1, column], {name: values[measure] for name, values in differences.items()}, colour)
    grid[1, 0].set_ylabel(f"minus {reference}", fontsize=9)
    figure.supxlabel(foot, fontsize=7, color="#555555", wrap=True)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


def _bars(axes: Axes, values: Mapping[str, float], colour: Mapping[str, str]) -> None:
    rows = list(range(len(values)))
    axes.barh(rows, list(values.values()), color=[colour[name] for name in values], height=0.65)
    axes.set_yticks(rows, list(values), fontsize=9)
    for row, value in zip(rows, values.values(), strict=True):
        axes.text(value + 1.5, row, f"{value:.1f}", va="center", fontsize=8)
    axes.set_xlim(0, 115)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_ylim(len(values) - 0.4, -0.6)  # the first driver on top
    axes.spines[["top", "right"]].set_visible(False)


def _intervals(axes: Axes, values: Mapping[str, PairedInterval], colour: Mapping[str, str]) -> None:
    for row, (name, interval) in enumerate(values.items()):
        filled = interval.significant
        axes.plot([interval.low, interval.high], [row, row], color=colour[name], linewidth=2.0, solid_capstyle="butt")
        axes.plot(
            interval.difference,
            row,
            marker="o",
            markersize=6.5,
            color=colour[name],
            markerfacecolor=colour[name] if filled else "white",
        )
        if not filled:
            axes.annotate(
                "no difference", (interval.difference, row), (0, 7), textcoords="offset points", ha="center", fontsize=7
            )
    axes.axvline(0.0, color="#333333", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(values)), list(values), fontsize=9)
    axes.set_ylim(max(len(values), 1) - 0.4, -0.6)
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
