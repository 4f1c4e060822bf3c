"""Where the others are as seen from a path: how far along it, and how far to its left."""

import dataclasses

import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_NONE, AGENT_STATIC, AGENT_WALKER
from craft_lightning.simulation.view import WorldView

_REACH = 14.0  # metres from the path up to which somebody is looked at


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The boxes of the actors near a path, in its frame.

    Attributes:
        actor: [N] ids.
        low: [N] metres of path where the box begins; ``high`` where it ends.
        high: [N] metres.
        right: [N] metres to the left of the path of its right-hand side; ``left`` of its left-hand side.
        left: [N] metres.
        pace: [N] m/s along the path, negative against it.
        facing: [N] cosine between its heading and the path.
        static: [N] bool, a prop; ``cyclist`` and ``walker`` likewise.
        cyclist: [N] bool.
        walker: [N] bool.

    """

    actor: np.ndarray
    low: np.ndarray
    high: np.ndarray
    right: np.ndarray
    left: np.ndarray
    pace: np.ndarray
    facing: np.ndarray
    static: np.ndarray
    cyclist: np.ndarray
    walker: np.ndarray


def boxes_along(xy: np.ndarray, s: np.ndarray, view: WorldView, first: float, last: float) -> Boxes:
    """Return the actors near a stretch of a path, the ego left out.

    Args:
        xy: [M, 2] path, world frame, metres, one metre apart.
        s: [M] metres of path.
        view: of the world.
        first: metres of path where the stretch begins.
        last: metres where it ends.

    """
    inside = np.flatnonzero((s >= first) & (s <= last))
    inside = inside if len(inside) > 1 else np.arange(min(2, len(s)))
    points, along = xy[inside], s[inside]
    if first < along[0] - 1.0:  # whoever comes up from before the path's beginning
        back = np.arange(first, along[0] - 0.5)
        way = (points[1] - points[0]) / max(float(np.hypot(*(points[1] - points[0]))), 1e-6)
        points = np.concatenate([points[0] + (back - along[0])[:, None] * way, points])
        along = np.concatenate([back, along])
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-6)[:, None]
    wanted = view.kind != AGENT_NONE
    if view.ego >= 0:
        wanted[view.ego] = False
        wanted &= np.abs(view.z - view.z[view.ego]) < 5.0
    (x0, y0), (x1, y1) = points.min(0) - _REACH, points.max(0) + _REACH
    wanted &= (view.x > x0) & (view.x < x1) & (view.y > y0) & (view.y < y1)
    rows = np.flatnonzero(wanted)
    centre = np.stack([view.x[rows], view.y[rows]], -1)
    gap = np.hypot(*(centre[:, None] - points[None]).transpose(2, 0, 1)) if len(rows) else np.zeros((0, len(points)))
    close = gap.min(-1) < _REACH if len(rows) else np.zeros(0, bool)
    rows, nearest = rows[close], gap[close].argmin(-1) if len(rows) else np.zeros(0, np.int64)
    direction = tangent[nearest]
    corners = view.corners(rows) - points[nearest][:, None]
    forward = corners[..., 0] * direction[:, None, 0] + corners[..., 1] * direction[:, None, 1]
    aside = corners[..., 1] * direction[:, None, 0] - corners[..., 0] * direction[:, None, 1]
    place = along[nearest][:, None] + forward
    pace = view.vx[rows] * direction[:, 0] + view.vy[rows] * direction[:, 1]
    facing = np.cos(view.yaw[rows]) * direction[:, 0] + np.sin(view.yaw[rows]) * direction[:, 1]
    kind = view.kind[rows]
    return Boxes(
        actor=view.ids[rows],
        low=place.min(-1),
        high=place.max(-1),
        right=aside.min(-1),
        left=aside.max(-1),
        pace=pace,
        facing=facing,
        static=kind == AGENT_STATIC,
        cyclist=kind == AGENT_CYCLIST,
        walker=kind == AGENT_WALKER,
    )
