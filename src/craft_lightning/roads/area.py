"""The drivable area as pixels: lanes drawn as quadrilaterals, small holes inside junctions filled."""

import cv2
import numpy as np

from craft_lightning.roads.kinds import DRIVING, SHOULDER
from craft_lightning.roads.network import RoadNetwork

# Connecting lanes leave slivers of asphalt between them uncovered; islands larger than this are kept as islands.
LARGEST_HOLE = 60.0
# Fraction bits of the coordinates given to OpenCV: 1/16 of a pixel.
_SHIFT = 4


class AreaPainter:
    """Draws lanes of one network into windows of any resolution.

    Args:
        network: the road network.
        kinds: kinds of lanes that count as drivable.

    """

    def __init__(self, network: RoadNetwork, kinds: tuple[int, ...] = (DRIVING, SHOULDER)) -> None:
        left, right = network.edges()
        lane = network.point_lane
        # One quadrilateral between two neighbouring points of a lane.
        first = np.flatnonzero((lane[1:] == lane[:-1]) & np.isin(network.lane_kind[lane[:-1]], kinds))
        quads = np.stack([left[first], left[first + 1], right[first + 1], right[first]], axis=1)
        joints, joint_lane = _joints(network, left, right, kinds)
        self._quads = np.concatenate([quads, joints])
        owner = np.concatenate([lane[first], joint_lane])
        self._low = self._quads.min(axis=1)
        self._high = self._quads.max(axis=1)
        self._holes = _junction_holes(self._quads, network.lane_junction_id[owner])

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner [2] of everything drawn."""
        return self._low.min(axis=0), self._high.max(axis=0)

    def touches(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Tell whether anything is drawn between two corners."""
        return bool(((self._low <= high) & (self._high >= low)).all(axis=1).any())

    def paint(self, corner: np.ndarray, shape: tuple[int, int], pixel: float) -> np.ndarray:
        """Return a uint8 mask [H, W], 1 where drivable.

        Args:
            corner: world position [2] of the centre of pixel [0, 0].
            shape: rows (y) and columns (x).
            pixel: metres a pixel.

        """
        high = corner + pixel * np.array([shape[1], shape[0]])
        near = ((self._low <= high) & (self._high >= corner - pixel)).all(axis=1)
        mask = np.zeros(shape, np.uint8)
        for quad in _fixed(self._quads[near], corner, pixel):
            cv2.fillConvexPoly(mask, quad, 1, cv2.LINE_8, _SHIFT)
        for hole in self._holes:
            if (hole.min(axis=0) <= high).all() and (hole.max(axis=0) >= corner).all():
                cv2.fillPoly(mask, [_fixed(hole, corner, pixel)], 1, cv2.LINE_8, _SHIFT)
        return mask


def _fixed(points: np.ndarray, corner: np.ndarray, pixel: float) -> np.ndarray:
    """Return world points as OpenCV fixed-point pixel coordinates."""
    return np.round((points - corner) / pixel * (1 << _SHIFT)).astype(np.int32)


def _joints(
    network: RoadNetwork, left: np.ndarray, right: np.ndarray, kinds: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return quadrilaterals [J, 4, 2] that close the millimetres between a lane's end and its successors' starts."""
    tail = np.repeat(np.arange(network.num_lanes), np.diff(network.successor_start))
    head = network.successor_lane
    keep = np.isin(network.lane_kind[tail], kinds) & np.isin(network.lane_kind[head], kinds)
    tail, head = tail[keep], head[keep]
    end, start = network.lane_start[tail + 1] - 1, network.lane_start[head]
    gap = np.hypot(network.x[start] - network.x[end], network.y[start] - network.y[end])
    near = gap < 0.5
    end, start = end[near], start[near]
    return np.stack([left[end], left[start], right[start], right[end]], axis=1), head[near]


def _junction_holes(quads: np.ndarray, junction: np.ndarray) -> list[np.ndarray]:
    """Return the outlines [n, 2] of small holes that the lanes of one junction enclose, in world coordinates."""
    pixel = 0.2
    holes: list[np.ndarray] = []
    for number in np.unique(junction[junction >= 0]):
        part = quads[junction == number]
        corner = part.min(axis=(0, 1)) - 1.0
        extent = part.max(axis=(0, 1)) + 1.0 - corner
        mask = np.zeros((int(extent[1] / pixel) + 1, int(extent[0] / pixel) + 1), np.uint8)
        for quad in _fixed(part, corner, pixel):
            cv2.fillConvexPoly(mask, quad, 1, cv2.LINE_8, _SHIFT)
        contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        if hierarchy is None:
            continue
        for contour, row in zip(contours, hierarchy[0], strict=True):
            if row[3] >= 0 and len(contour) > 2 and cv2.contourArea(contour) * pixel**2 < LARGEST_HOLE:
                holes.append(corner + pixel * contour[:, 0].astype(np.float64))
    return holes
