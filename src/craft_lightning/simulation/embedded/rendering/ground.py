"""The ground of a town as a picture that rays look into: materials, paint at several resolutions, heights.

Frame: CARLA's (x forward, y right, metres); rows run along y, columns along x.
"""

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from craft_lightning import frames
from craft_lightning.roads.area import AreaPainter
from craft_lightning.roads.cache import cache_directory, cached_arrays
from craft_lightning.roads.kinds import DRIVING, OTHER, SHOULDER
from craft_lightning.roads.network import NETWORK_VERSION, RoadNetwork
from craft_lightning.simulation.embedded.rendering.materials import KERB, ROAD, SHOULDER_SURFACE, SIDEWALK

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.town import TownAssets

# Raise when what is painted changes.
GROUND_VERSION = 2
TEXEL = 0.125  # m, where the town is small enough
MOST_TEXELS = 48_000_000
HEIGHT_CELL = 2.0  # m
LEVELS = 6
_MARGIN = 8.0  # m around the lanes
_SHIFT = 4
LINE_WIDTH, STOP_LINE_WIDTH = 0.14, 0.4  # m
DASH, GAP = 3.0, 6.0  # m of a broken line
STRIPE = 0.5  # m, width of a zebra crossing's stripes and of what is between them


@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """One town's ground.

    Attributes:
        material: [R, C] uint8 of ``materials``.
        paint: flat uint8, coverage with paint, all levels one after the other.
        levels: [K, 3] int64 offset, rows and columns of each level; a texel of the next one is twice as wide.
        heights: [r, c] float32 [m], cells of ``HEIGHT_CELL``; [1, 1] where the town is flat.
        frame: float64: x, y of the middle of texel [0, 0], texel [m], cell of the heights [m], steepest slope.

    """

    material: np.ndarray
    paint: np.ndarray
    levels: np.ndarray
    heights: np.ndarray
    frame: np.ndarray

    @classmethod
    def from_town(cls, town: "TownAssets") -> "Ground":
        """Paint a town's ground, or read it from the disk cache."""
        key = f"{town.network.digest}-{NETWORK_VERSION}.{GROUND_VERSION}.npz"
        stored = cached_arrays(cache_directory("grounds") / key, lambda: _paint(town))
        paint, levels = _pyramid(stored.pop("cover"))
        return cls(paint=paint, levels=levels, **stored)


def _paint(town: "TownAssets") -> dict[str, np.ndarray]:
    """Return material, cover (paint at full resolution), heights and frame."""
    network = town.network
    low = np.array([network.x.min(), -network.y.max()]) - _MARGIN
    high = np.array([network.x.max(), -network.y.min()]) + _MARGIN
    texel = max(TEXEL, float(np.sqrt((high - low).prod() / MOST_TEXELS)))
    shape = tuple((np.ceil((high - low) / texel).astype(int) + 1).tolist()[::-1])
    canvas = _Canvas(low, texel, (shape[0], shape[1]))
    material = _materials(network, canvas)
    cover = np.zeros(canvas.shape, np.uint8)
    _paint_lines(network, canvas, cover)
    _paint_crossings(town.opendrive.carla_map(), canvas, cover)
    cover[material == 0] = 0
    heights, slope = _heights(town, low, high)
    frame = np.array([*low, texel, HEIGHT_CELL, slope])
    return {"material": material, "cover": cover, "heights": heights, "frame": frame}


@dataclasses.dataclass(frozen=True)
class _Canvas:
    """Where texels lie: CARLA's x, y of the middle of texel [0, 0], metres a texel, rows and columns."""

    origin: np.ndarray
    texel: float
    shape: tuple[int, int]

    def fixed(self, points: np.ndarray) -> np.ndarray:
        """Return places as OpenCV's fixed-point coordinates."""
        return np.round((points - self.origin) / self.texel * (1 << _SHIFT)).astype(np.int32)


def _materials(network: RoadNetwork, canvas: _Canvas) -> np.ndarray:
    rows = canvas.shape[0]
    # The painter works in the world frame, where y runs the other way.
    corner = np.array([canvas.origin[0], -(canvas.origin[1] + (rows - 1) * canvas.texel)])

    def mask(kind: int) -> np.ndarray:
        return AreaPainter(network, (kind,)).paint(corner, canvas.shape, canvas.texel)[::-1].astype(bool)

    walk, road = mask(OTHER), mask(DRIVING)
    material = np.where(walk, np.uint8(SIDEWALK), np.uint8(0))
    material[mask(SHOULDER)] = SHOULDER_SURFACE
    wide = max(3, round(0.15 / canvas.texel) * 2 + 1)
    beside = cv2.dilate(road.astype(np.uint8), np.ones((wide, wide), np.uint8)).astype(bool)
    material[walk & beside] = KERB
    material[road] = ROAD
    return np.ascontiguousarray(material)


def _paint_lines(network: RoadNetwork, canvas: _Canvas, cover: np.ndarray) -> None:
    thick = max(1, round(LINE_WIDTH / canvas.texel))
    marking = frames.points_to_carla(network.marking_xy)
    lines: list[np.ndarray] = []
    for number, (first, last) in enumerate(itertools.pairwise(network.marking_start.tolist())):
        points = marking[first:last]
        lines += _dashes(points) if network.marking_broken[number] else [points]
    cv2.polylines(cover, [canvas.fixed(line) for line in lines], False, 255, thick, cv2.LINE_AA, _SHIFT)
    stops = frames.points_to_carla(network.line_xy.reshape(-1, 2, 2))
    thick = max(1, round(STOP_LINE_WIDTH / canvas.texel))
    cv2.polylines(cover, [canvas.fixed(line) for line in stops], False, 255, thick, cv2.LINE_AA, _SHIFT)


def _dashes(points: np.ndarray) -> list[np.ndarray]:
    """Cut a line [n, 2] into dashes."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    pieces = []
    for begin in np.arange(0.5 * GAP, along[-1] - 0.5 * DASH, DASH + GAP):
        end = min(begin + DASH, along[-1])
        inside = along[(along > begin) & (along < end)]
        s = np.concatenate([[begin], inside, [end]])
        pieces.append(np.stack([np.interp(s, along, points[:, 0]), np.interp(s, along, points[:, 1])], 1))
    return pieces


def _paint_crossings(carla_map: Any, canvas: _Canvas, cover: np.ndarray) -> None:
    for outline in _outlines(carla_map.get_crosswalks()):
        if len(outline) != 4:
            cv2.polylines(cover, [canvas.fixed(outline)], True, 255, 1, cv2.LINE_AA, _SHIFT)
            continue
        sides = np.roll(outline, -1, axis=0) - outline
        # People walk along the longer side; stripes lie across it.
        first = int(np.hypot(*sides.T)[:2].argmax())
        corner, walk, wide = outline[first], sides[first], -sides[first - 1]
        length = float(np.hypot(*walk))
        for begin in np.arange(0.5 * STRIPE, length - STRIPE, 2.0 * STRIPE):
            near, far = walk * (begin / length), walk * ((begin + STRIPE) / length)
            stripe = np.array([corner + near, corner + far, corner + far + wide, corner + near + wide])
            cv2.fillConvexPoly(cover, canvas.fixed(stripe), 255, cv2.LINE_AA, _SHIFT)


def _outlines(locations: Any) -> list[np.ndarray]:
    """Split carla.Map's list of crosswalk points, in which each outline ends with its first point."""
    outlines: list[np.ndarray] = []
    current: list[tuple[float, float]] = []
    for location in locations:
        point = (location.x, location.y)
        if len(current) > 2 and np.hypot(point[0] - current[0][0], point[1] - current[0][1]) < 1e-3:
            outlines.append(np.array(current))
            current = []
        else:
            current.append(point)
    return outlines


def _heights(town: "TownAssets", low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the grid of heights and the steepest slope in it, as metres up a metre along."""
    if town.flat:
        return np.zeros((1, 1), np.float32), 0.0
    columns, rows = (np.ceil((high - low) / HEIGHT_CELL).astype(int) + 2).tolist()
    x, y = low[0] + HEIGHT_CELL * np.arange(columns), low[1] + HEIGHT_CELL * np.arange(rows)
    places = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    heights = town.ground_many(places).reshape(rows, columns)
    # Where two roads at different heights are nearest to neighbouring cells, the ground between them is a ramp.
    heights = cv2.blur(heights, (5, 5))
    rise = max(float(np.abs(np.diff(heights, axis=axis)).max()) for axis in (0, 1)) / HEIGHT_CELL
    return heights.astype(np.float32), min(1.5 * rise + 0.02, 3.0)


def _pyramid(cover: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all levels of the paint in one flat array, and where each lies."""
    parts, levels, start = [cover], [(0, *cover.shape)], cover.size
    for _ in range(LEVELS - 1):
        rows, columns = (max(side // 2, 2) for side in parts[-1].shape)
        parts.append(cv2.resize(parts[-1], (columns, rows), interpolation=cv2.INTER_AREA))
        levels.append((start, rows, columns))
        start += parts[-1].size
    return np.concatenate([part.ravel() for part in parts]), np.array(levels, np.int64)
