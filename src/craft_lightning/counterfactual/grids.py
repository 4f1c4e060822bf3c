"""A RoadGrid as the contiguous arrays that kernels read."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class GridArrays:
    """Arrays of one ``roads.grid.RoadGrid``, C-contiguous, writable and of the kernels' types.

    Attributes:
        origin: [2] float64, world x, y (metres) of the centre of cell [0, 0].
        resolution: metres a cell.
        sdf: [H, W] float32, metres to the edge of the drivable area, positive inside.
        nearest: [H, W] int32, nearest lane-centre segment, -1 for none.
        segments: [S, 4] float32, x0, y0 relative to the origin, cosine and sine of the direction of travel.
        segment_lane: [S] int32.
        lane_kind: [L] int32, 1 driving, 2 shoulder, 0 other.
        lane_junction: [L] int32.

    """

    origin: np.ndarray
    resolution: float
    sdf: np.ndarray
    nearest: np.ndarray
    segments: np.ndarray
    segment_lane: np.ndarray
    lane_kind: np.ndarray
    lane_junction: np.ndarray

    @classmethod
    def of(cls, grid: Any) -> Self:
        """Read anything that has the fields of a RoadGrid; arrays that already fit are not copied."""
        return cls(
            origin=np.asarray(grid.origin, dtype=np.float64),
            resolution=float(grid.resolution),
            sdf=_writable(grid.sdf, np.float32),
            nearest=_writable(grid.nearest, np.int32),
            segments=_writable(grid.segments, np.float32),
            segment_lane=_writable(grid.segment_lane, np.int32),
            lane_kind=_writable(grid.lane_kind, np.int32),
            lane_junction=_writable(grid.lane_junction, np.int32),
        )

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The six arrays in the order of the kernels' arguments."""
        return self.sdf, self.nearest, self.segments, self.segment_lane, self.lane_kind, self.lane_junction


def _writable(values: np.ndarray, dtype: type) -> np.ndarray:
    # numba compiles a second version for read-only arrays (such as memory-mapped caches); one copy is cheaper.
    return np.require(values, dtype=dtype, requirements=["C", "W"])


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
