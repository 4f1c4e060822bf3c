"""A RoadGrid as the contiguous arrays that kernels read."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from craft_lightning.errors import CraftError

# Layers of a cell and columns of a lane-centre segment.
SDF, NEAREST = range(2)
LANE_X, LANE_Y, LANE_COS, LANE_SIN, LANE_INDEX, LANE_RULE = range(6)

# What may be driven on a segment: a shoulder, a driving lane, neither; FREE outside junctions.
RULE_SHOULDER, RULE_DRIVING, RULE_FREE = 1, 2, 4

# Lane kinds of roads.network.
DRIVING, SHOULDER = 1, 2

# Whole numbers up to here are exact in single precision.
LARGEST_INDEX = 2**24


@dataclasses.dataclass(frozen=True)
class GridArrays:
    """Arrays of one ``roads.grid.RoadGrid``: C-contiguous, single precision, what is read together lies together.

    Attributes:
        origin: [2] float64, world x, y (metres) of the centre of cell [0, 0].
        resolution: metres a cell.
        cells: [H, W, 2], metres to the edge of the drivable area (positive inside) and the nearest lane-centre
            segment, -1 for none.
        segments: [S, 8], x0, y0 relative to the origin, cosine and sine of the direction of travel, lane, the sum of
            the RULE constants that hold there; two unused columns make a segment half a line of a cache.

    """

    origin: np.ndarray
    resolution: float
    cells: np.ndarray
    segments: np.ndarray

    @classmethod
    def of(cls, grid: Any) -> Self:
        """Read anything that has the fields of a RoadGrid.

        Raises:
            CraftError: if it has more segments than single precision can count.

        """
        lane = np.asarray(grid.segment_lane, np.int64)
        if len(lane) >= LARGEST_INDEX:
            raise CraftError(f"A RoadGrid has {len(lane)} segments: give one of less than {LARGEST_INDEX}.")
        kind, junction = np.asarray(grid.lane_kind)[lane], np.asarray(grid.lane_junction)[lane]
        segments = np.zeros((len(lane), 8), np.float32)
        segments[:, :LANE_INDEX] = np.asarray(grid.segments)
        segments[:, LANE_INDEX] = lane
        segments[:, LANE_RULE] = (
            RULE_SHOULDER * (kind == SHOULDER) + RULE_DRIVING * (kind == DRIVING) + RULE_FREE * (junction == 0)
        )
        cells = np.stack([np.asarray(grid.sdf), np.asarray(grid.nearest)], -1, dtype=np.float32, casting="same_kind")
        return cls(np.asarray(grid.origin, dtype=np.float64), float(grid.resolution), cells, segments)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order of the kernels' arguments."""
        return self.cells, self.segments


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
