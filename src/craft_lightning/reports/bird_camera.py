"""Moving bird's-eye pictures: the town painted once, cut out around the ego for every frame."""

import dataclasses
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import cv2
import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.roads.area import AreaPainter
from craft_lightning.roads.kinds import DRIVING, OTHER, SHOULDER
from craft_lightning.roads.signals import STOP_SIGN
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_OFF, LIGHT_RED, LIGHT_YELLOW, WorldView, box_corners

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.route import Route

Colour = tuple[int, int, int]
# Red, green, blue.
_GROUND: Colour = (233, 230, 220)
_SURFACES: tuple[tuple[int, Colour], ...] = (
    (OTHER, (216, 210, 196)),
    (SHOULDER, (203, 199, 188)),
    (DRIVING, (176, 182, 191)),
)
_MARKING: Colour = (255, 255, 255)
_ROUTE: Colour = (150, 190, 245)
_EGO: Colour = (21, 80, 216)
_CAST: Colour = (214, 58, 40)
_EDGE: Colour = (40, 42, 48)
_AGENTS = {
    AGENT_VEHICLE: (84, 90, 100),
    AGENT_CYCLIST: (0, 140, 140),
    AGENT_WALKER: (255, 140, 30),
    AGENT_STATIC: (150, 142, 120),
}
_LIGHTS = {
    LIGHT_RED: (224, 24, 45),
    LIGHT_YELLOW: (245, 168, 0),
    LIGHT_GREEN: (18, 161, 80),
    LIGHT_OFF: (119, 119, 122),
}
_SIGN_RED: Colour = (209, 32, 47)
KEY_COLOURS: tuple[Colour, ...] = (
    _EGO,
    _CAST,
    _EDGE,
    _ROUTE,
    _MARKING,
    _SIGN_RED,
    *_AGENTS.values(),
    *_LIGHTS.values(),
)
"""Colours that a palette must hold."""
_CELL = 0.2  # metres of a cell of the painted town
_MOST_CELLS = 60_000_000
_MARGIN = 12.0
_SHIFT = 4
_SIGN_BESIDE, _SIGN_SIZE = 1.6, 1.3  # metres from the end of a sign's line to its middle, and to its rim
_LEAST = 0.45  # metres of half a body's side, so that pedestrians are seen


@dataclasses.dataclass(frozen=True)
class Window:
    """What a frame shows: metres behind, ahead and to either side of the ego, and pixels a metre."""

    behind: float = 16.0
    ahead: float = 48.0
    side: float = 32.0
    scale: float = 5.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return round(2.0 * self.side * self.scale), round((self.behind + self.ahead) * self.scale)


class BirdCamera:
    """Paints frames of one town.

    Args:
        network: the town.
        window: what a frame shows.

    """

    def __init__(self, network: "RoadNetwork", window: Window | None = None) -> None:
        self.network, self.window = network, window or Window()
        low = np.array([network.x.min(), network.y.min()]) - _MARGIN
        high = np.array([network.x.max(), network.y.max()]) + _MARGIN
        self._cell = max(_CELL, float(np.sqrt((high - low).prod() / _MOST_CELLS)))
        self._origin = low
        self._town = self._paint(np.ceil((high - low) / self._cell).astype(int))

    def _paint(self, size: np.ndarray) -> np.ndarray:
        network, cell = self.network, self._cell
        shape = (int(size[1]), int(size[0]))
        town = np.full((*shape, 3), _GROUND, np.uint8)
        for kind, colour in _SURFACES:
            if (network.lane_kind == kind).any():
                town[AreaPainter(network, (kind,)).paint(self._origin, shape, cell).astype(bool)] = colour
        pixels = np.round((network.marking_xy - self._origin) / cell * (1 << _SHIFT)).astype(np.int32)
        lines = [pixels[a:b] for a, b in zip(network.marking_start[:-1], network.marking_start[1:], strict=True)]
        cv2.polylines(town, lines, False, _MARKING, 1, cv2.LINE_AA, _SHIFT)
        return town

    def frame(
        self,
        view: WorldView,
        route: "Route | None" = None,
        cast: Collection[int] = (),
        caption: str = "",
        window: Window | None = None,
    ) -> np.ndarray:
        """Return one moment [H, W, 3] uint8, red first, the ego pointing up.

        Args:
            view: the moment; it must hold an ego.
            route: drawn as a wide band.
            cast: ids of the scenario's actors, which are drawn red.
            caption: along the bottom.
            window: what it shows, where that is not the camera's own.

        """
        window = window or self.window
        x, y, yaw = view.ego_pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        width, height = window.size
        # From a pixel of the frame to a cell of the town.
        step = 1.0 / (window.scale * self._cell)
        corner = (
            np.array([x, y]) - self._origin + window.ahead * np.array([cos, sin]) - window.side * np.array([sin, -cos])
        ) / self._cell
        matrix = np.array([[sin * step, -cos * step, corner[0]], [-cos * step, -sin * step, corner[1]]])
        picture = cv2.warpAffine(
            self._town,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_GROUND,
        )

        def place(points: np.ndarray) -> np.ndarray:
            """World points [..., 2] as fixed-point pixels."""
            dx, dy = points[..., 0] - x, points[..., 1] - y
            right, up = dx * sin - dy * cos, dx * cos + dy * sin
            pixels = np.stack([(right + window.side) * window.scale, (window.ahead - up) * window.scale], -1)
            return np.round(np.clip(pixels, -4000.0, 4000.0) * (1 << _SHIFT)).astype(np.int32)

        if route is not None:
            band = picture.copy()
            near = np.hypot(*(np.asarray(route.xy) - (x, y)).T) < 90.0
            cv2.polylines(band, [place(np.asarray(route.xy)[near])], False, _ROUTE, 9, cv2.LINE_AA, _SHIFT)
            picture = cv2.addWeighted(band, 0.55, picture, 0.45, 0.0)
        self._signs(picture, view, place)
        self._lights(picture, view, place)
        self._bodies(picture, view, place, frozenset(cast))
        if caption:
            cv2.rectangle(picture, (0, height - 20), (width, height), (250, 250, 248), -1)
            cv2.putText(picture, caption, (6, height - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _EDGE, 1, cv2.LINE_AA)
        return picture

    def _signs(self, picture: np.ndarray, view: WorldView, place: "Placer") -> None:
        """Paint the line of every stop and yield sign, and the sign itself at the kerb."""
        lines = np.asarray(self.network.sign_xy, np.float64).reshape(-1, 2, 2)
        near = np.hypot(*(lines.mean(1) - view.ego_pose[:2]).T) < 80.0
        for line, kind in zip(lines[near], self.network.sign_type[near], strict=True):
            cv2.polylines(picture, [place(line)], False, _MARKING, 3, cv2.LINE_AA, _SHIFT)
            across = line[1] - line[0]
            middle = line[1] + across * (_SIGN_BESIDE / max(float(np.hypot(*across)), 1e-6))
            # Seen from above, turned so that it is upright in the picture: eight corners, or three with one below.
            corners, first = (8, math.pi / 8.0) if kind == STOP_SIGN else (3, math.pi)
            angle = view.ego_pose[2] + first + np.arange(corners) * (2.0 * math.pi / corners)
            rim = _SIGN_SIZE * np.stack([np.cos(angle), np.sin(angle)], 1)
            cv2.fillConvexPoly(picture, place(middle + rim * 1.3), _MARKING, cv2.LINE_AA, _SHIFT)
            cv2.fillConvexPoly(picture, place(middle + rim), _SIGN_RED, cv2.LINE_AA, _SHIFT)
            if kind != STOP_SIGN:
                cv2.fillConvexPoly(picture, place(middle + rim * 0.5), _MARKING, cv2.LINE_AA, _SHIFT)

    def _lights(self, picture: np.ndarray, view: WorldView, place: "Placer") -> None:
        lines = np.asarray(self.network.line_xy, np.float64).reshape(-1, 2, 2)
        for line, signal in zip(lines, self.network.line_signal, strict=True):
            state = view.signals.get(str(signal))
            if state is not None and np.hypot(*(line.mean(0) - view.ego_pose[:2])) < 80.0:
                cv2.polylines(picture, [place(line)], False, _LIGHTS.get(state, _EDGE), 4, cv2.LINE_AA, _SHIFT)

    def _bodies(self, picture: np.ndarray, view: WorldView, place: "Placer", cast: frozenset[int]) -> None:
        length, width = np.maximum(view.length, 2.0 * _LEAST), np.maximum(view.width, 2.0 * _LEAST)
        corners = place(box_corners(view.x, view.y, view.yaw, length, width))
        underground = view.z < view.z[view.ego] - 3.0  # scenarios park their actors there
        order = [row for row in range(len(view)) if row != view.ego and not underground[row]]
        for row in [*order, view.ego]:
            colour = _AGENTS.get(int(view.kind[row]), _AGENTS[AGENT_STATIC])
            if row == view.ego:
                colour = _EGO
            elif int(view.ids[row]) in cast:
                colour = _CAST
            cv2.fillConvexPoly(picture, corners[row], colour, cv2.LINE_AA, _SHIFT)
            cv2.polylines(picture, [corners[row]], True, _EDGE, 1, cv2.LINE_AA, _SHIFT)
            if view.kind[row] in (AGENT_VEHICLE, AGENT_CYCLIST):
                front_left, front_right, rear_right, rear_left = corners[row].astype(float)
                nose = 0.5 * (front_left + front_right)
                waist = [
                    front + 0.3 * (rear - front) for front, rear in ((front_left, rear_left), (front_right, rear_right))
                ]
                tip = np.round([nose + 0.05 * (0.5 * (rear_left + rear_right) - nose), *waist]).astype(np.int32)
                cv2.fillConvexPoly(picture, tip, (245, 245, 245), cv2.LINE_AA, _SHIFT)


if TYPE_CHECKING:
    from collections.abc import Callable

    Placer = Callable[[np.ndarray], np.ndarray]
