"""Bird's-eye pictures of a moment or an episode: roads, lights, boxes, route, plan and candidates, ego pointing up."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.roads.kinds import DRIVING, SHOULDER
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_OFF, LIGHT_RED, LIGHT_YELLOW, WorldView, box_corners

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route

_GROUND, _ROAD, _SHOULDER, _SIDEWALK, _MARKING = "#e9e6dc", "#b9bec6", "#cdc8ba", "#dcd7c9", "#ffffff"
_ROUTE, _EGO, _PLAN = "#6fb1ff", "#1550d8", "#0a2a80"
_LIGHTS = {LIGHT_RED: "#e0182d", LIGHT_YELLOW: "#f5a800", LIGHT_GREEN: "#12a150", LIGHT_OFF: "#77777a"}
_AGENTS = {
    AGENT_VEHICLE: ("#4a4f59", "#23262c"),
    AGENT_CYCLIST: ("#008c8c", "#004d4d"),
    AGENT_WALKER: ("#ff7f0e", "#8a3f00"),
    AGENT_STATIC: ("#8d8674", "#55503f"),
}
_WALKER_SIZE = 1.1  # metres: the least size at which a pedestrian is drawn
_ADVANTAGE_MAP = "RdYlBu"  # red bad, blue good; told apart by the colour-blind as well


@dataclasses.dataclass(frozen=True)
class Extent:
    """What a picture shows around the ego, in metres.

    Args:
        behind: metres behind the ego.
        ahead: metres ahead of it.
        side: metres to either side.

    """

    behind: float = 14.0
    ahead: float = 46.0
    side: float = 28.0


def draw_scene(
    network: "RoadNetwork",
    view: WorldView,
    route: "Route | None" = None,
    plan: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
    path: str | Path = "scene.png",
    *,
    advantages: np.ndarray | None = None,
    title: str = "",
    extent: Extent | None = None,
) -> Path:
    """Draw one moment into a PNG file and return its path.

    Args:
        network: the town.
        view: the moment; it must hold an ego.
        route: drawn as a wide band.
        plan: [T, 3] poses at 0.1 s in the ego frame, drawn with a dot every half second.
        candidates: [K, T, 3] poses in the ego frame.
        path: of the file.
        advantages: [K], colours the candidates from red (worse than the group's mean) to blue (better); NaN = masked.
        title: above the picture; time and speed if empty.
        extent: what is shown.

    """
    figure = Figure(figsize=(6.4, 7.0), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    paint_scene(axes, network, view, route, plan, candidates, advantages, title=title, extent=extent)
    legend(axes, view, route is not None, plan is not None)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)
    return target


def episode_strip(
    network: "RoadNetwork",
    views: Sequence[WorldView],
    route: "Route | None" = None,
    plans: Sequence[np.ndarray | None] | None = None,
    path: str | Path = "episode.png",
    *,
    frames: int = 6,
    titles: Sequence[str] | None = None,
    extent: Extent | None = None,
) -> Path:
    """Draw an episode as a row of moments, evenly spaced in time, into a PNG file and return its path.

    Args:
        network: the town.
        views: moments of the episode, in order.
        route: drawn as a wide band.
        plans: [T, 3] or None, one a view.
        path: of the file.
        frames: number of moments drawn, at most.
        titles: one a view.
        extent: what each shows.

    Raises:
        ValueError: there is no view.

    """
    if not views:
        raise ValueError("an episode strip needs at least one view")
    chosen = np.unique(np.linspace(0, len(views) - 1, min(frames, len(views))).round().astype(int))
    around = extent or Extent(10.0, 34.0, 15.0)
    height = 4.6
    width = height * 2.0 * around.side / (around.ahead + around.behind)
    figure = Figure(figsize=(width * len(chosen) + 0.2, height + 0.4), dpi=120, layout="constrained")
    for place, index in enumerate(chosen):
        axes = figure.add_subplot(1, len(chosen), place + 1)
        plan = plans[index] if plans is not None else None
        title = titles[index] if titles is not None else ""
        paint_scene(axes, network, views[index], route, plan, title=title, extent=around)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)
    return target


def paint_scene(
    axes: Axes,
    network: "RoadNetwork",
    view: WorldView,
    route: "Route | None" = None,
    plan: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
    advantages: np.ndarray | None = None,
    *,
    title: str = "",
    extent: Extent | None = None,
) -> None:
    """Paint one moment into given axes; arguments as in ``draw_scene``.

    Raises:
        ValueError: the view has no ego.

    """
    if view.ego < 0:
        raise ValueError("the view has no ego to draw the picture around")
    around = extent or Extent()
    frame = _Frame(*view.ego_pose)
    reach = math.hypot(around.side, max(around.ahead, around.behind)) + 5.0
    axes.set_facecolor(_GROUND)
    _paint_roads(axes, network, frame, reach)
    if route is not None:
        xy = frame.up(np.asarray(route.xy))
        axes.plot(*xy.T, color=_ROUTE, linewidth=9.0, alpha=0.45, solid_capstyle="round", zorder=3)
    _paint_lights(axes, network, view, frame, reach)
    _paint_agents(axes, view, frame, reach)
    if candidates is not None:
        _paint_candidates(axes, np.asarray(candidates), advantages)
    if plan is not None:
        xy = _forward_up(np.concatenate([np.zeros((1, 2)), np.asarray(plan)[:, :2]]))
        axes.plot(*xy.T, color="white", linewidth=4.5, zorder=8, solid_capstyle="round")
        axes.plot(*xy.T, color=_PLAN, linewidth=2.5, zorder=8.1, solid_capstyle="round")
        axes.plot(*xy[5::5].T, "o", color=_PLAN, markeredgecolor="white", markersize=4.5, zorder=8.2)
    _paint_scale(axes, around)
    axes.set_xlim(-around.side, around.side)
    axes.set_ylim(-around.behind, around.ahead)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title or f"t = {view.time:.1f} s   v = {view.ego_speed:.1f} m/s", fontsize=9)


@dataclasses.dataclass(frozen=True)
class _Frame:
    """The ego's pose; turns the world so that the ego points up."""

    x: float
    y: float
    yaw: float

    def up(self, points: np.ndarray) -> np.ndarray:
        """Turn world points [..., 2] into picture coordinates [..., 2] (right, up)."""
        dx, dy = points[..., 0] - self.x, points[..., 1] - self.y
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return np.stack([dx * sin - dy * cos, dx * cos + dy * sin], -1)


def _forward_up(points: np.ndarray) -> np.ndarray:
    """Turn ego-frame points [..., 2] (forward, left) into picture coordinates (right, up)."""
    return np.stack([-points[..., 1], points[..., 0]], -1)


def _paint_roads(axes: Axes, network: "RoadNetwork", frame: _Frame, reach: float) -> None:
    left, right = network.edges()
    near = np.hypot(network.x - frame.x, network.y - frame.y) < reach + 10.0
    lanes = np.unique(network.point_lane[near])
    for kind, colour, order in ((None, _SIDEWALK, 0.5), (SHOULDER, _SHOULDER, 0.7), (DRIVING, _ROAD, 1.0)):
        shapes = []
        for lane in lanes:
            actual = int(network.lane_kind[lane])
            if actual != kind and not (kind is None and actual not in (DRIVING, SHOULDER)):
                continue
            part = network.lane_slice(int(lane))
            shapes.append(frame.up(np.concatenate([left[part], right[part][::-1]])))
        # The edge of the same colour closes the hairlines between neighbouring lanes.
        axes.add_collection(PolyCollection(shapes, facecolor=colour, edgecolor=colour, linewidth=0.6, zorder=order))
    for broken, style in ((True, (0, (5.0, 5.0))), (False, "solid")):
        lines = []
        for marking in np.flatnonzero(network.marking_broken == broken):
            points = network.marking_xy[network.marking_start[marking] : network.marking_start[marking + 1]]
            if len(points) > 1 and np.hypot(*(points - (frame.x, frame.y)).T).min() < reach:
                lines.append(frame.up(points))
        axes.add_collection(LineCollection(lines, colors=_MARKING, linewidths=1.1, linestyles=[style], zorder=2))


def _paint_lights(axes: Axes, network: "RoadNetwork", view: WorldView, frame: _Frame, reach: float) -> None:
    lines = np.asarray(network.line_xy, np.float64).reshape(-1, 2, 2)
    for line, signal in zip(lines, network.line_signal, strict=True):
        state = view.signals.get(str(signal))
        if state is None or np.hypot(*(line.mean(0) - (frame.x, frame.y))) > reach:
            continue
        ends = frame.up(line)
        axes.plot(*ends.T, color="white", linewidth=6.0, solid_capstyle="butt", zorder=4)
        axes.plot(*ends.T, color=_LIGHTS.get(state, "#77777a"), linewidth=4.5, solid_capstyle="butt", zorder=4.1)


def _paint_agents(axes: Axes, view: WorldView, frame: _Frame, reach: float) -> None:
    for row in view.others:
        place = np.array([view.x[row], view.y[row]])
        if np.hypot(*(place - (frame.x, frame.y))) > reach:
            continue
        kind = int(view.kind[row])
        fill, edge = _AGENTS.get(kind, _AGENTS[AGENT_STATIC])
        if kind == AGENT_WALKER:
            x, y = frame.up(place)
            axes.add_patch(_disc(x, y, 0.5 * max(_WALKER_SIZE, float(view.length[row])), fill, edge))
        else:
            _paint_box(axes, view, row, frame, fill, edge, zorder=6.0, nose=kind != AGENT_STATIC)
        # One second of motion.
        velocity = np.array([view.vx[row], view.vy[row]])
        tip = frame.up(np.stack([place, place + velocity]))
        axes.plot(*tip.T, color=edge, linewidth=1.3, zorder=5.5)
    _paint_box(axes, view, view.ego, frame, _EGO, "white", zorder=9.0, nose=True)


def _paint_box(
    axes: Axes, view: WorldView, row: int, frame: _Frame, fill: str, edge: str, zorder: float, nose: bool
) -> None:
    one = slice(row, row + 1)
    corners = frame.up(box_corners(view.x[one], view.y[one], view.yaw[one], view.length[one], view.width[one])[0])
    axes.add_patch(Polygon(corners, facecolor=fill, edgecolor=edge, linewidth=1.4, joinstyle="round", zorder=zorder))
    if nose:
        front_left, front_right, rear_right, rear_left = corners
        back = 0.35
        base = front_left + back * (rear_left - front_left), front_right + back * (rear_right - front_right)
        tip = 0.5 * (front_left + front_right)
        tip = tip + 0.06 * (0.5 * (rear_left + rear_right) - tip)
        inner = [base[0] + 0.15 * (base[1] - base[0]), base[1] + 0.15 * (base[0] - base[1]), tip]
        axes.add_patch(Polygon(inner, facecolor="white", alpha=0.75, linewidth=0.0, zorder=zorder + 0.1))


def _disc(x: float, y: float, radius: float, fill: str, edge: str) -> Polygon:
    angle = np.linspace(0.0, 2.0 * math.pi, 20)
    circle = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], -1)
    return Polygon(circle, facecolor=fill, edgecolor=edge, linewidth=1.2, zorder=6.5)


def _paint_candidates(axes: Axes, candidates: np.ndarray, advantages: np.ndarray | None) -> None:
    start = np.zeros((len(candidates), 1, 2))
    lines = _forward_up(np.concatenate([start, candidates[:, :, :2]], 1))
    if advantages is None:
        axes.add_collection(LineCollection(list(lines), colors="#7d3cb5", linewidths=0.9, alpha=0.6, zorder=7))
        return
    value = np.asarray(advantages, np.float64)
    known = np.isfinite(value)
    top = float(np.abs(value[known]).max()) if known.any() else 1.0
    scale = Normalize(-top or -1.0, top or 1.0)
    palette: Colormap = matplotlib.colormaps[_ADVANTAGE_MAP]
    # The best are drawn last, on top; a dark rim lifts the pale middle of the palette off the road.
    order = np.flatnonzero(known)[np.argsort(value[known], kind="stable")]
    for rank, index in enumerate(order):
        z = 7.0 + 0.5 * rank / max(len(order), 1)
        axes.plot(*lines[index].T, color="#33363c", linewidth=2.1, alpha=0.55, zorder=z, solid_capstyle="round")
        axes.plot(*lines[index].T, color=palette(scale(value[index])), linewidth=1.4, zorder=z, solid_capstyle="round")
    bar = axes.figure.colorbar(ScalarMappable(scale, palette), ax=axes, shrink=0.5, pad=0.01)
    bar.set_label("advantage", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _paint_scale(axes: Axes, around: Extent) -> None:
    x, y = -around.side + 2.0, -around.behind + 2.0
    axes.plot([x, x + 10.0], [y, y], color="#23262c", linewidth=2.5, solid_capstyle="butt", zorder=10)
    axes.text(x + 5.0, y + 0.6, "10 m", ha="center", va="bottom", fontsize=7, color="#23262c", zorder=10)


def legend(axes: Axes, view: WorldView, route: bool, plan: bool) -> None:
    """Add a legend of what the picture holds.

    Args:
        axes: painted by ``paint_scene``.
        view: the moment.
        route: whether a route is drawn.
        plan: whether a plan is drawn.

    """

    def square(colour: str, label: str) -> Line2D:
        return Line2D([], [], marker="s", linestyle="", color=colour, markersize=8, label=label)

    names = {AGENT_VEHICLE: "vehicle", AGENT_CYCLIST: "cyclist", AGENT_WALKER: "pedestrian", AGENT_STATIC: "object"}
    entries = [square(_EGO, "ego")]
    present = set(view.kind[view.others].tolist())
    entries += [square(_AGENTS[kind][0], name) for kind, name in names.items() if kind in present]
    if route:
        entries.append(Line2D([], [], color=_ROUTE, linewidth=6.0, alpha=0.6, label="route"))
    if plan:
        entries.append(Line2D([], [], color=_PLAN, linewidth=2.5, marker="o", markersize=4, label="plan (dot: 0.5 s)"))
    axes.legend(handles=entries, loc="upper right", fontsize=7, framealpha=0.9)
