"""A RoadGrid as the contiguous arrays that kernels read."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from craft_lightning.errors import CraftError

# Layers of a cell and columns of a lane-centre segment.
SDF, NEAREST = range(2)
SEGMENT_X, SEGMENT_Y, SEGMENT_COS, SEGMENT_SIN, SEGMENT_LANE, SEGMENT_SHOULDER, SEGMENT_FREE, SEGMENT_DRIVING = range(8)

# What counts as "outside the grid": as far off the road as RoadGrid.sdf can say.
BEYOND = -10.0

# Metres to the segment that stands for "no lane near": farther than any deviation can tell.
NO_LANE = 1e6

# Lane kinds of roads.network.
DRIVING, SHOULDER = 1, 2

# Whole numbers up to here are exact in single precision.
LARGEST_INDEX = 2**24


@dataclasses.dataclass(frozen=True, eq=False)  # itself a key: what was copied to a GPU is kept with it
class GridArrays:
    """Arrays of one ``roads.grid.RoadGrid``: C-contiguous, single precision, what is read together lies together.

    Attributes:
        origin: [2] float64, world x, y (metres) of the centre of cell [0, 0].
        resolution: metres a cell.
        shape: [2] uint32, rows H and columns W.
        cells: [H * W + 1, 2], metres to the edge of the drivable area (positive inside) and the nearest lane-centre
            segment; the last row is what lies beyond the grid.
        segments: [S + 1, 8], x0, y0 relative to the origin, cosine and sine of the direction of travel, lane; then 1
            where it holds and else 0: on a shoulder, outside junctions, on a driving lane outside junctions. The last
            row stands for "no lane near".

    """

    origin: np.ndarray
    resolution: float
    shape: np.ndarray
    cells: np.ndarray
    segments: np.ndarray

    @classmethod
    def of(cls, grid: Any) -> Self:
        """Read anything that has the fields of a RoadGrid.

        Raises:
            CraftError: if it has more segments than single precision can count.

        """
        lane, nearest = np.asarray(grid.segment_lane, np.int64), np.asarray(grid.nearest)
        count = len(lane)
        if count >= LARGEST_INDEX:
            raise CraftError(f"A RoadGrid has {count} segments: give one of less than {LARGEST_INDEX}.")
        kind, junction = np.asarray(grid.lane_kind)[lane], np.asarray(grid.lane_junction)[lane]
        segments = np.zeros((count + 1, 8), np.float32)
        segments[:count, :SEGMENT_LANE] = np.asarray(grid.segments)
        segments[:count, SEGMENT_LANE] = lane
        segments[:count, SEGMENT_SHOULDER] = kind == SHOULDER
        segments[:count, SEGMENT_FREE] = junction == 0
        segments[:count, SEGMENT_DRIVING] = (junction == 0) & (kind == DRIVING)
        segments[count, : SEGMENT_LANE + 1] = NO_LANE, 0.0, 0.0, 1.0, -1.0
        cells = np.empty((nearest.size + 1, 2), np.float32)
        cells[:-1, SDF] = np.asarray(grid.sdf).ravel()
        cells[:-1, NEAREST] = np.where(nearest < 0, count, nearest).ravel()
        cells[-1] = BEYOND, count
        shape = np.array(nearest.shape, np.uint32)
        return cls(np.asarray(grid.origin, dtype=np.float64), float(grid.resolution), shape, cells, segments)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order of the kernels' arguments."""
        return self.shape, self.cells, self.segments


def grid_frames(ego_pose: np.ndarray, town: np.ndarray, grids: Sequence[GridArrays]) -> np.ndarray:
    """Where the ego stands relative to its grid's origin, subtracted in double precision.

    Args:
        ego_pose: [B, 3] float64 world pose.
        town: [B] index into ``grids``.
        grids: the grids.

    Returns:
        [B, 4] float32: x, y in metres from the centre of cell [0, 0], cosine and sine of the world heading.

    """
    origins = np.stack([grid.origin for grid in grids]) if grids else np.zeros((0, 2))
    frame = np.empty((len(town), 4))
    frame[:, :2] = ego_pose[:, :2] - origins[town]
    frame[:, 2], frame[:, 3] = np.cos(ego_pose[:, 2]), np.sin(ego_pose[:, 2])
    return frame.astype(np.float32)
