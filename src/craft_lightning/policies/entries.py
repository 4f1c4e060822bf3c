"""Constants of a vocabulary that a scorer computes with: what an entry is like and which cells of a map it passes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from craft_lightning.conventions import BEV_CELLS, BEV_METRES_AHEAD, BEV_METRES_PER_CELL
from craft_lightning.frames import sensor_axes
from craft_lightning.rig import Camera

_NEAREST = 0.5  # m before a lens


def entry_features(trajectories: Tensor, dt: float, samples: int = 8) -> Tensor:
    """Describe every entry by a few poses and speeds.

    Args:
        trajectories: [K, T, 3] in the ego frame.
        dt: seconds between poses.
        samples: poses taken, evenly spaced, the last one included.

    Returns:
        [K, samples * 5 + 1] numbers near one: x, y, cos yaw, sin yaw and speed at the samples, and the initial speed.

    """
    poses = trajectories.shape[1]
    step = torch.diff(trajectories[..., :2], dim=1, prepend=torch.zeros_like(trajectories[:, :1, :2]))
    speed = torch.linalg.vector_norm(step, dim=-1) / dt
    index = sample_index(poses, samples)
    x, y, yaw = trajectories[:, index].unbind(-1)
    columns = [x / 20.0, y / 5.0, yaw.cos(), yaw.sin() * 2.0, speed[:, index] / 10.0, speed[:, :1] / 10.0]
    return torch.cat(columns, 1)


def sample_index(poses: int, samples: int) -> Tensor:
    """Return [samples] indices of evenly spaced poses, ending with the last."""
    return (torch.arange(1, samples + 1) * poses) // samples - 1


def sampling_matrix(trajectories: Tensor, cells: int, samples: int = 8) -> Tensor:
    """Return the weights that read a raster feature map along every entry.

    Because a static vocabulary is fixed in the ego frame, bilinear sampling is one constant matrix: with features
    [B, cells * cells, C], ``matrix @ features`` gives [B, K * samples, C].

    Args:
        trajectories: [K, T, 3] in the ego frame.
        cells: rows and columns of the feature map, which covers the whole raster of ``conventions``.
        samples: pieces of an entry; a piece's weights are the mean over its poses.

    Returns:
        [K * samples, cells * cells] float32; rows sum to at most 1, to less where the entry leaves the raster.

    """
    metres = BEV_METRES_PER_CELL * BEV_CELLS / cells
    # Row 0 is farthest ahead and column 0 is leftmost; -0.5 because features sit at cell centres.
    row = (BEV_METRES_AHEAD - trajectories[..., 0]) / metres - 0.5
    column = (BEV_CELLS * BEV_METRES_PER_CELL / 2.0 - trajectories[..., 1]) / metres - 0.5
    return _bilinear(row, column, (cells, cells), samples)


def seen_matrix(
    trajectories: Tensor, cameras: Sequence[Camera], size: tuple[int, int], samples: int, height: float
) -> Tensor:
    """Return the weights that read feature maps of cameras where every entry's poses are seen.

    Args:
        trajectories: [K, T, 3] in the ego frame, on flat ground.
        cameras: the cameras, whose places are known.
        size: rows and columns of the feature map of one picture.
        samples: pieces of an entry; a piece's weights are the mean over its poses.
        height: metres above the ground that are looked at.

    Returns:
        [K * samples, N * rows * columns] float32 for N cameras; rows sum to at most 1 a camera, to less where poses are
        out of sight.

    """
    place = torch.cat([trajectories[..., :2].double(), torch.full_like(trajectories[..., :1], height).double()], -1)
    parts = []
    for camera in cameras:
        assert camera.place is not None  # whoever asks has looked
        assert camera.field_of_view is not None
        axes = torch.from_numpy(sensor_axes(camera.yaw, camera.pitch, camera.roll))
        ahead, left, up = ((place - torch.tensor(camera.place, dtype=torch.float64)) @ axes).unbind(-1)
        focal = 0.5 * size[1] / math.tan(0.5 * math.radians(camera.field_of_view))
        near = ahead.clamp_min(_NEAREST)
        column = 0.5 * size[1] - focal * left / near - 0.5
        row = 0.5 * size[0] - focal * up / near - 0.5
        # What is behind the lens is nowhere in the picture.
        row = torch.where(ahead > _NEAREST, row, -1e6)
        parts.append(_bilinear(row.float(), column.float(), size, samples))
    return torch.cat(parts, 1)


def _bilinear(row: Tensor, column: Tensor, size: tuple[int, int], samples: int) -> Tensor:
    """Return [K * samples, rows * columns] weights of places [K, T] on a map, the mean over the poses of a piece."""
    count, poses = row.shape
    rows, columns = size
    piece = torch.bucketize(torch.arange(poses), sample_index(poses, samples))
    share = 1.0 / torch.bincount(piece, minlength=samples)[piece]
    target = torch.arange(count)[:, None] * samples + piece
    matrix = torch.zeros(count * samples, rows * columns)
    for row_shift in (0, 1):
        for column_shift in (0, 1):
            r, c = row.floor() + row_shift, column.floor() + column_shift
            weight = (1.0 - (row - r).abs()) * (1.0 - (column - c).abs()) * share
            inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            cell = (r * columns + c).clamp(0, rows * columns - 1).long()
            matrix.index_put_((target[inside], cell[inside]), weight[inside], accumulate=True)
    return matrix
