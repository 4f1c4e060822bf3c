"""What never moves, painted once: layers that bird's-eye views are cut from."""

import dataclasses
import functools

import cv2
import numpy as np

from craft_lightning.conventions import BEV_CELLS, BEV_METRES_AHEAD, BEV_METRES_PER_CELL
from craft_lightning.roads.area import AreaPainter
from craft_lightning.roads.cache import cache_directory, cached_arrays
from craft_lightning.roads.network import NETWORK_VERSION, RoadNetwork

RASTER_VERSION = 1
LAYERS = ("drivable", "lane_marking")
_MARGIN = 5.0
_SHIFT = 4


@dataclasses.dataclass(frozen=True, eq=False)
class StaticRaster:
    """Painted layers of one town. Rows run along y (row 0 is southmost), columns along x.

    Args:
        name: name of the town.
        origin: [2] float64, world x, y of the centre of cell [0, 0].
        resolution: metres a cell.
        layers: [2, H, W] uint8, 0 or 255: drivable, lane_marking (``LAYERS``).

    """

    name: str
    origin: np.ndarray
    resolution: float
    layers: np.ndarray

    @classmethod
    def from_network(cls, network: RoadNetwork, resolution: float = 0.5) -> "StaticRaster":
        """Paint ``network``, or read the painting from the disk cache."""
        key = f"{network.digest}-{NETWORK_VERSION}.{RASTER_VERSION}-{round(1000 * resolution)}mm.npz"
        arrays = cached_arrays(cache_directory("rasters") / key, lambda: paint_arrays(network, resolution))
        return cls(name=network.name, resolution=float(resolution), **arrays)

    @property
    def drivable(self) -> np.ndarray:
        """[H, W] uint8, the drivable area."""
        return self.layers[0]

    @property
    def lane_marking(self) -> np.ndarray:
        """[H, W] uint8, lane markings outside junctions."""
        return self.layers[1]

    @functools.cached_property
    def interleaved(self) -> np.ndarray:
        """[H, W, 2] uint8, the layers as OpenCV wants them."""
        return np.ascontiguousarray(np.moveaxis(self.layers, 0, 2))

    def crop(
        self,
        x: float,
        y: float,
        yaw: float,
        cells: int = BEV_CELLS,
        metres_per_cell: float = BEV_METRES_PER_CELL,
        metres_ahead: float = BEV_METRES_AHEAD,
    ) -> np.ndarray:
        """Cut an ego-centred view.

        Args:
            x: world x of the ego.
            y: world y of the ego.
            yaw: heading of the ego, radians.
            cells: rows and columns of the view.
            metres_per_cell: resolution of the view.
            metres_ahead: distance from the ego to the front edge.

        Returns:
            [2, cells, cells] uint8; row 0 is farthest ahead, column 0 farthest to the left, the ego in the middle
            column.

        """
        cos, sin = np.cos(yaw), np.sin(yaw)
        scale = metres_per_cell / self.resolution
        # Centre of view cell (0, 0) in the ego frame.
        forward = metres_ahead - 0.5 * metres_per_cell
        left = (0.5 * cells - 0.5) * metres_per_cell
        first = np.array([x + forward * cos - left * sin, y + forward * sin + left * cos])
        start = (first - self.origin) / self.resolution
        # View column + 1 = one cell to the right, view row + 1 = one cell back.
        matrix = np.array([[sin * scale, -cos * scale, start[0]], [-cos * scale, -sin * scale, start[1]]])
        view = cv2.warpAffine(
            self.interleaved, matrix, (cells, cells), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        return np.ascontiguousarray(np.moveaxis(view, 2, 0))


def paint_arrays(network: RoadNetwork, resolution: float) -> dict[str, np.ndarray]:
    """Return the array fields of ``StaticRaster``."""
    painter = AreaPainter(network)
    low, high = painter.bounds
    origin = np.floor((low - _MARGIN) / resolution) * resolution
    width, height = (np.ceil((high + _MARGIN - origin) / resolution).astype(int) + 1).tolist()
    drivable = painter.paint(origin, (height, width), resolution) * np.uint8(255)
    marking = np.zeros((height, width), np.uint8)
    pixels = np.round((network.marking_xy - origin) / resolution * (1 << _SHIFT)).astype(np.int32)
    lines = [pixels[a:b] for a, b in zip(network.marking_start[:-1], network.marking_start[1:], strict=True)]
    cv2.polylines(marking, lines, False, 255, 1, cv2.LINE_8, _SHIFT)
    return {"origin": origin, "layers": np.stack([drivable, marking])}
