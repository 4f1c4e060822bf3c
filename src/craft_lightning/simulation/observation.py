"""What a policy sees: the ego-centred bird's-eye raster, the ego's own state and the route ahead."""

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from craft_lightning.conventions import (
    AGENT_CYCLIST,
    AGENT_STATIC,
    AGENT_VEHICLE,
    AGENT_WALKER,
    BEV_CELLS,
    BEV_CHANNELS,
    BEV_METRES_AHEAD,
    BEV_METRES_PER_CELL,
    MAX_AGENTS,
    MAX_CLOSED_LINES,
    MAX_OBJECTS,
    OBJECT_CLOSED_LINE,
    OBJECT_FEATURES,
    ROUTE_FEATURE_POINTS,
    ROUTE_FEATURE_SPACING,
)
from craft_lightning.simulation.criteria_lights import RouteLines
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import LIGHT_RED, LIGHT_YELLOW, WorldView, box_corners

if TYPE_CHECKING:
    from craft_lightning.roads.raster import StaticRaster

_CHANNEL = {name: index for index, name in enumerate(BEV_CHANNELS)}
_CHANNEL_OF_KIND = {
    **dict.fromkeys((AGENT_VEHICLE, AGENT_CYCLIST, AGENT_STATIC), _CHANNEL["vehicle"]),
    AGENT_WALKER: _CHANNEL["walker"],
}
_HALF_SIDE = 0.5 * BEV_CELLS * BEV_METRES_PER_CELL
_REACH = math.hypot(max(BEV_METRES_AHEAD, BEV_CELLS * BEV_METRES_PER_CELL - BEV_METRES_AHEAD), _HALF_SIDE)
_FIRST_CELL = np.array([_HALF_SIDE, BEV_METRES_AHEAD])
_AHEAD = np.arange(0.0, _REACH + 2.0, 1.0)
_ROUTE_AHEAD = np.arange(ROUTE_FEATURE_POINTS) * ROUTE_FEATURE_SPACING
# Drawing coordinates carry 4 fractional bits, so that boxes move smoothly over the cells.
_SHIFT = 4
_PEN = 2  # OpenCV paints three cells for it: routes and stop lines are 1.5 m wide
# A walker's own box would be one cell.
_SMALLEST_METRES = 1.0


def to_ego(points: np.ndarray, pose: tuple[float, float, float]) -> np.ndarray:
    """Return world points [..., 2] in the ego frame of world pose (x, y, yaw)."""
    x, y, yaw = pose
    cos, sin = math.cos(yaw), math.sin(yaw)
    gap_x, gap_y = points[..., 0] - x, points[..., 1] - y
    turned = np.empty(points.shape)
    np.add(gap_x * cos, gap_y * sin, out=turned[..., 0])
    np.subtract(gap_y * cos, gap_x * sin, out=turned[..., 1])
    return turned


def bev_cells(points: np.ndarray) -> np.ndarray:
    """Return ego-frame points [..., 2] (metres) as (column, row) of the raster; cell centres are whole numbers."""
    return (_FIRST_CELL - points[..., ::-1]) / BEV_METRES_PER_CELL - 0.5


class BirdsEye:
    """Draws the raster of BEV_CHANNELS: uint8 [6, 96, 96], 0 or 255, row 0 farthest ahead, column 0 farthest left.

    The channels are the drivable area, lane markings, the route ahead, vehicles (cyclists and static obstacles
    included, the ego left out), walkers, and the stop lines of the route's lights that do not show green (red or
    yellow).

    Args:
        raster: static layers of the town.

    """

    def __init__(self, raster: "StaticRaster") -> None:
        self.raster = raster

    def draw(self, view: WorldView, progress: RouteProgress, ends: np.ndarray) -> np.ndarray:
        """Return the raster of one full view; ``ends`` are those of the ``closed_lines``."""
        pose = view.ego_pose
        image = np.zeros((len(BEV_CHANNELS), BEV_CELLS, BEV_CELLS), np.uint8)
        image[_CHANNEL["drivable"]], image[_CHANNEL["lane_marking"]] = self.raster.crop(*pose)
        _polylines(image[_CHANNEL["route"]], to_ego(progress.ahead(_AHEAD), pose)[None])
        self._draw_agents(image, view, pose)
        if len(ends):
            near = np.hypot(ends[..., 0], ends[..., 1]).min(1) < _REACH
            _polylines(image[_CHANNEL["stop_line_red"]], ends[near])
        return image

    def _draw_agents(self, image: np.ndarray, view: WorldView, pose: tuple[float, float, float]) -> None:
        rows = view.others
        rows = rows[view.gaps < _REACH + 0.5 * np.maximum(view.length[rows], view.width[rows])]
        if not len(rows):
            return
        length, width = np.maximum(view.length[rows], _SMALLEST_METRES), np.maximum(view.width[rows], _SMALLEST_METRES)
        corners = box_corners(view.x[rows], view.y[rows], view.yaw[rows], length, width)
        cells = _fixed_point(bev_cells(to_ego(corners, pose)))
        for kind, polygon in zip(view.kind[rows].tolist(), cells, strict=True):
            channel = _CHANNEL_OF_KIND.get(kind)
            if channel is not None:
                cv2.fillConvexPoly(image[channel], polygon, 255, shift=_SHIFT)


def _fixed_point(cells: np.ndarray) -> np.ndarray:
    return np.rint(cells * (1 << _SHIFT)).astype(np.int32)


def _polylines(canvas: np.ndarray, lines: np.ndarray) -> None:
    """Draw ego-frame polylines [n, P, 2]."""
    cv2.polylines(canvas, list(_fixed_point(bev_cells(lines))), False, 255, _PEN, cv2.LINE_8, _SHIFT)


def closed_lines(view: WorldView, lines: RouteLines) -> np.ndarray:
    """Return the ends [n, 2, 2] of the route's stop lines whose lights do not show green, in the ego frame."""
    closed = [row for row, state in enumerate(lines.states(view.signals)) if state in (LIGHT_RED, LIGHT_YELLOW)]
    return to_ego(lines.xy[closed].reshape(-1, 2, 2), view.ego_pose)


def agent_rows(view: WorldView, most: int = MAX_AGENTS) -> np.ndarray:
    """Return the rows of a view that are not the ego, nearest to it first, at most ``most``."""
    return view.nearest[:most]


def visible_objects(view: WorldView, ends: np.ndarray) -> np.ndarray:
    """Return what a policy without a raster sees: the nearest road users, then the nearest closed stop lines.

    Args:
        view: a full view.
        ends: [n, 2, 2] as ``closed_lines`` answers.

    Returns:
        [24, 7] float32 with the columns OBJECT_FEATURES in the ego frame: MAX_OBJECTS rows of road users (kind
        AGENT_*), MAX_CLOSED_LINES of stop lines (kind OBJECT_CLOSED_LINE, ``width`` across the lane, ``yaw`` along
        it); zeros where there are fewer.

    """
    objects = np.zeros((MAX_OBJECTS + MAX_CLOSED_LINES, len(OBJECT_FEATURES)), np.float32)
    rows = agent_rows(view, MAX_OBJECTS)
    seen = objects[: len(rows)]
    seen[:, :3] = view.around[:, : len(rows)].T
    for column, values in enumerate((view.speed, view.length, view.width, view.kind), 3):
        seen[:, column] = values[rows]
    if not len(ends):
        return objects
    middle = ends.mean(1)
    nearest = np.argsort(np.hypot(middle[:, 0], middle[:, 1]), kind="stable")[:MAX_CLOSED_LINES]
    across = ends[nearest, 0] - ends[nearest, 1]  # the first end is the left one
    block = objects[MAX_OBJECTS : MAX_OBJECTS + len(nearest)]
    block[:, :2] = middle[nearest]
    block[:, 2] = _wrapped(np.arctan2(across[:, 1], across[:, 0]) - 0.5 * np.pi)
    block[:, 5] = np.hypot(across[:, 0], across[:, 1])
    block[:, 6] = OBJECT_CLOSED_LINE
    return objects


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return np.arctan2(np.sin(angle), np.cos(angle))


def observe(
    bird: BirdsEye, view: WorldView, progress: RouteProgress, lines: RouteLines, steer: float
) -> dict[str, np.ndarray]:
    """Return one ``structures.Observation`` as numpy arrays, without the batch axis.

    Args:
        bird: the raster's painter.
        view: a full view.
        progress: the ego's place on the route.
        lines: the route's stop lines.
        steer: steering applied in the last tick, [-1, 1], left positive.

    Returns:
        bev uint8 [6, 96, 96]; ego float32 [5] EGO_FEATURES; route float32 [20, 2], points every 2 m from the ego's
        projection on the route, ego frame; objects float32 [24, 7] as ``visible_objects`` answers.

    """
    row = view.ego
    limit = float(progress.route.speed_limit[progress.index])
    ego = np.array([view.speed[row], view.acceleration[row], view.yaw_rate[row], steer, limit], np.float32)
    route = to_ego(progress.ahead(_ROUTE_AHEAD), view.ego_pose).astype(np.float32)
    ends = closed_lines(view, lines)
    return {
        "bev": bird.draw(view, progress, ends),
        "ego": ego,
        "route": route,
        "objects": visible_objects(view, ends),
    }
