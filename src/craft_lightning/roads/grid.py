"""The road grid: what kernels of the counterfactual world read of a town."""

import dataclasses

import cv2
import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.roads.area import AreaPainter
from craft_lightning.roads.cache import cache_directory, cached_arrays
from craft_lightning.roads.kinds import OTHER
from craft_lightning.roads.network import NETWORK_VERSION, RoadNetwork

GRID_VERSION = 1
SDF_LIMIT = 10.0
NEAREST_LIMIT = 12.0
# Pixels a cell side of the raster on which distances are measured; odd, so that a pixel lies at each cell's centre.
_FINE = 5
_TILE = 512  # cells a tile side
_CANDIDATES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class RoadGrid:
    """Signed distance to the edge of the drivable area and nearest lane segment, on one grid of a town.

    Drivable are driving lanes and shoulder, stop and parking lanes; segments are those of the same lanes. The grid has
    one storey: where roads cross on two levels, both count.

    Rows run along y, columns along x. The world position of cell [row, column] is
    ``origin + resolution * (column, row)``.

    Args:
        name: name of the town.
        digest: sha256 of its OpenDRIVE text.
        origin: [2] float64, world x, y of the centre of cell [0, 0].
        resolution: metres a cell.
        sdf: [H, W] float32, metres to the edge of the drivable area, positive inside, clipped to +-10.
        nearest: [H, W] int32, index of the nearest lane-centre segment, -1 farther than 12 m.
        segments: [S, 4] float32, x0, y0 relative to ``origin``, cosine and sine of the direction of travel.
        segment_lane: [S] int32, index into the network's lanes.
        lane_kind: [L] int32, DRIVING, SHOULDER or OTHER.
        lane_junction: [L] int32, 1 on a connecting road of a junction.

    """

    name: str
    digest: str
    origin: np.ndarray
    resolution: float
    sdf: np.ndarray
    nearest: np.ndarray
    segments: np.ndarray
    segment_lane: np.ndarray
    lane_kind: np.ndarray
    lane_junction: np.ndarray

    @classmethod
    def from_network(cls, network: RoadNetwork, resolution: float = 0.5) -> "RoadGrid":
        """Build the grid of ``network``, or read it from the disk cache.

        Args:
            network: the road network.
            resolution: metres a cell.

        """
        key = f"{network.digest}-{NETWORK_VERSION}.{GRID_VERSION}-{round(1000 * resolution)}mm.npz"
        arrays = cached_arrays(cache_directory("grids") / key, lambda: build_arrays(network, resolution))
        return cls(name=network.name, digest=network.digest, resolution=float(resolution), **arrays)

    def cell(self, x: float | np.ndarray, y: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column of the cells that hold world positions, clipped to the grid."""
        column = np.rint((np.asarray(x) - self.origin[0]) / self.resolution).astype(np.int64)
        row = np.rint((np.asarray(y) - self.origin[1]) / self.resolution).astype(np.int64)
        return np.clip(row, 0, self.sdf.shape[0] - 1), np.clip(column, 0, self.sdf.shape[1] - 1)

    def distance(self, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
        """Return the signed distance at world positions (bilinear between cell centres; -10 outside the grid)."""
        column = (np.asarray(x, np.float64) - self.origin[0]) / self.resolution
        row = (np.asarray(y, np.float64) - self.origin[1]) / self.resolution
        height, width = self.sdf.shape
        inside = (column >= 0) & (row >= 0) & (column <= width - 1) & (row <= height - 1)
        c0 = np.clip(np.floor(column).astype(np.int64), 0, width - 2)
        r0 = np.clip(np.floor(row).astype(np.int64), 0, height - 2)
        fc, fr = column - c0, row - r0
        value = (self.sdf[r0, c0] * (1 - fc) + self.sdf[r0, c0 + 1] * fc) * (1 - fr) + (
            self.sdf[r0 + 1, c0] * (1 - fc) + self.sdf[r0 + 1, c0 + 1] * fc
        ) * fr
        return np.where(inside, value, -SDF_LIMIT)

    def lane(self, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
        """Return the lane index at world positions, -1 farther than 12 m from every lane centre."""
        segment = self.nearest[self.cell(x, y)]
        return np.where(segment >= 0, self.segment_lane[segment], -1)


def build_arrays(network: RoadNetwork, resolution: float) -> dict[str, np.ndarray]:
    """Return the array fields of ``RoadGrid``."""
    painter = AreaPainter(network)
    low, high = painter.bounds
    margin = NEAREST_LIMIT + 2 * resolution
    origin = np.floor((low - margin) / resolution) * resolution
    width, height = np.ceil((high + margin - origin) / resolution).astype(int) + 1
    segments, segment_lane, segment_width = lane_segments(network, origin)
    return {
        "origin": origin,
        "sdf": _signed_distance(painter, origin, (int(height), int(width)), resolution),
        "nearest": _nearest(segments, segment_width, (int(height), int(width)), resolution),
        "segments": segments[:, :4].astype(np.float32),
        "segment_lane": segment_lane,
        "lane_kind": network.lane_kind.astype(np.int32),
        "lane_junction": network.lane_junction.astype(np.int32),
    }


def lane_segments(network: RoadNetwork, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the centres of driving and shoulder lanes into segments.

    Returns:
        [S, 5] x0, y0 relative to ``origin``, cosine and sine of the direction, length; lane [S] int32; width [S].

    """
    lane = network.point_lane
    first = np.flatnonzero((lane[1:] == lane[:-1]) & (network.lane_kind[lane[:-1]] != OTHER))
    dx = network.x[first + 1] - network.x[first]
    dy = network.y[first + 1] - network.y[first]
    length = np.hypot(dx, dy)
    keep = length > 1e-6
    first, dx, dy, length = first[keep], dx[keep], dy[keep], length[keep]
    start = np.stack([network.x[first] - origin[0], network.y[first] - origin[1]], axis=1)
    table = np.column_stack([start, dx / length, dy / length, length])
    return table, lane[first].astype(np.int32), network.width[first]


def _nearest(segments: np.ndarray, widths: np.ndarray, shape: tuple[int, int], resolution: float) -> np.ndarray:
    """Return the segment of every cell: among the nearest ones, that whose lane the cell lies in or is closest to.

    Lanes differ in width (a shoulder of half a metre beside a lane of four), so the distance to the lane's edge decides
    and not the distance to its centre.
    """
    middle = segments[:, :2] + 0.5 * segments[:, 4:5] * segments[:, 2:4]
    tree = cKDTree(middle)
    nearest = np.full(shape, -1, np.int32)
    # Only cells near some segment are asked: a coarse mask of segments, widened by the limit.
    near = np.zeros(shape, np.uint8)
    rows = np.clip(np.rint(middle[:, 1] / resolution).astype(int), 0, shape[0] - 1)
    columns = np.clip(np.rint(middle[:, 0] / resolution).astype(int), 0, shape[1] - 1)
    near[rows, columns] = 1
    reach = cv2.distanceTransform(1 - near, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * resolution
    cells = np.argwhere(reach <= NEAREST_LIMIT + resolution)
    count = min(_CANDIDATES, len(middle))
    for begin in range(0, len(cells), 1 << 18):
        part = cells[begin : begin + (1 << 18)]
        points = resolution * part[:, ::-1].astype(np.float64)
        distance, index = tree.query(points, k=count, distance_upper_bound=NEAREST_LIMIT)
        distance, index = distance.reshape(len(part), count), index.reshape(len(part), count)
        found = index < len(middle)
        safe = np.where(found, index, 0)
        delta = points[:, None] - segments[safe, :2]
        along = np.clip(np.einsum("nkd,nkd->nk", delta, segments[safe, 2:4]), 0.0, segments[safe, 4])
        gap = np.linalg.norm(delta - along[..., None] * segments[safe, 2:4], axis=-1)
        cost = np.where(found, gap - 0.5 * widths[safe], np.inf)
        best = cost.argmin(axis=1)
        row = np.arange(len(part))
        nearest[part[:, 0], part[:, 1]] = np.where(found[row, best], index[row, best], -1)
    return nearest


def _signed_distance(painter: AreaPainter, origin: np.ndarray, shape: tuple[int, int], resolution: float) -> np.ndarray:
    """Return the signed distance at every cell centre, tile by tile, measured on a raster five times as fine."""
    sdf = np.full(shape, -SDF_LIMIT, np.float32)
    pixel = resolution / _FINE
    halo = int(np.ceil(SDF_LIMIT / resolution)) + 1
    for row in range(0, shape[0], _TILE):
        for column in range(0, shape[1], _TILE):
            rows, columns = min(_TILE, shape[0] - row), min(_TILE, shape[1] - column)
            low = origin + resolution * np.array([column - halo, row - halo])
            high = low + resolution * np.array([columns + 2 * halo, rows + 2 * halo])
            if not painter.touches(low, high):
                continue
            # Pixel centres: the middle pixel of each cell lies on the cell's centre.
            corner = low - pixel * (_FINE // 2)
            mask = painter.paint(corner, ((rows + 2 * halo) * _FINE, (columns + 2 * halo) * _FINE), pixel)
            inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            centre = slice(halo * _FINE + _FINE // 2, None, _FINE)
            inside, outside = inside[centre, centre][:rows, :columns], outside[centre, centre][:rows, :columns]
            # The edge lies half a pixel before the first pixel of the other side. OpenCV also paints every pixel that
            # an edge touches, which widens the area by about half a pixel more.
            metres = np.where(inside > 0, inside - 1.0, -outside) * pixel
            sdf[row : row + rows, column : column + columns] = np.clip(metres, -SDF_LIMIT, SDF_LIMIT)
    return sdf
