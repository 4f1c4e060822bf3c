"""A whole town from above: ``python -m craft_lightning.reports.town_map TOWN PICTURE``."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from craft_lightning.errors import CraftError
from craft_lightning.roads.signals import STOP_SIGN
from craft_lightning.roads.towns import load_town

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

_COLOURS = {"driving": "#9aa0a8", "shoulder": "#d3c9a8", "parking": "#a9c4e4", "sidewalk": "#dedad0"}
_SURFACE = "#f4f2ea"
_LINES = (("stop sign", "#d1202f"), ("yield sign", "#e8890c"), ("traffic light", "#0d8a4f"))
_MARGIN = 15.0  # m around the town
_WIDTH = 11.0  # inches


def draw_town(network: "RoadNetwork", path: str | Path) -> Path:
    """Draw lanes by type, markings, and the lines of signs and lights into a PNG file; return its path.

    Args:
        network: the town.
        path: of the file.

    """
    low = np.array([network.x.min(), network.y.min()]) - _MARGIN
    high = np.array([network.x.max(), network.y.max()]) + _MARGIN
    height = _WIDTH * float((high - low)[1] / (high - low)[0])
    figure = Figure(figsize=(_WIDTH, height + 0.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", facecolor=_SURFACE)
    axes.set_title(network.name, loc="left")
    axes.set_xlabel("m east")
    axes.set_ylabel("m north")
    _lanes(axes, network)
    signs = network.sign_type == STOP_SIGN
    handles: list[Line2D | Patch] = [
        Patch(color=_COLOURS[kind], label=kind) for kind in _COLOURS if (network.lane_type == kind).any()
    ]
    lines = (network.sign_xy[signs], network.sign_xy[~signs], network.line_xy)
    for (label, colour), xy in zip(_LINES, lines, strict=True):
        if len(xy):
            axes.add_collection(LineCollection(xy.reshape(-1, 2, 2), colors=colour, linewidths=2.5, capstyle="butt"))
            handles.append(Line2D([], [], color=colour, linewidth=2.5, label=label))
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)
    return target


def _lanes(axes: Axes, network: "RoadNetwork") -> None:
    left, right = network.edges()
    # Junctions first: where connecting roads overlap the shoulders of an approach, the approach is on top.
    for lane in np.argsort(~network.lane_junction, kind="stable").tolist():
        part = network.lane_slice(lane)
        outline = np.concatenate([left[part], right[part][::-1]])
        colour = _COLOURS.get(str(network.lane_type[lane]), _COLOURS["driving"])
        axes.add_collection(PolyCollection([outline], facecolors=colour, edgecolors=colour, linewidths=0.2))
    starts = network.marking_start
    marks = [network.marking_xy[first:last] for first, last in itertools.pairwise(starts)]
    styles = [(0, (4, 4)) if broken else "solid" for broken in network.marking_broken]
    axes.add_collection(LineCollection(marks, colors="#ffffff", linewidths=0.5, linestyles=styles))


def main(arguments: Sequence[str]) -> None:
    """Draw a built-in town, or one of a file: TOWN PICTURE."""
    if len(arguments) != 2:
        raise CraftError("give a town (built-in name or path of an .xodr file) and the PNG file to write")
    print(draw_town(load_town(arguments[0]).network, arguments[1]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CraftError as error:
        sys.exit(f"error: {error}")
