"""Inputs of CARLA's own agents, made of what a rig measures: pictures, lidar histograms, target points, commands.

Frames turn here: upstream's ego frame is CARLA's, x forward and y right.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from craft_lightning.conventions import ROUTE_FEATURE_SPACING
from craft_lightning.policies.observation import sensed
from craft_lightning.rig import COUNT, Camera, Lidar, Rig
from craft_lightning.structures import Observation

LEFT, RIGHT, STRAIGHT, FOLLOW = range(4)  # agents.navigation.RoadOption, less one
COMMANDS = 6
_BEND = math.radians(30.0)
_MOST_HITS = 5.0


def cameras_and_lidar(rig: Rig) -> tuple[list[Camera], Lidar]:
    """Return the cameras of a rig, in order, and its only lidar."""
    [lidar] = [sensor for sensor in rig if isinstance(sensor, Lidar)]
    return [sensor for sensor in rig if isinstance(sensor, Camera)], lidar


def stitched(observation: Observation, cameras: Sequence[Camera]) -> Tensor:
    """Return pictures side by side, [B, 3, H, sum of W] float32 in 0..255, red first."""
    return torch.cat([sensed(observation, camera) for camera in cameras], 2).movedim(-1, 1).float()


def lidar_histogram(
    observation: Observation,
    lidar: Lidar,
    ahead: tuple[float, float],
    right: tuple[float, float],
    above: float,
    cells_per_metre: float = 4.0,
) -> Tensor:
    """Count lidar points by cells of the ground, at most five, in fifths (TransFuser, ``lidar_to_histogram_features``).

    Args:
        observation: B states.
        lidar: the lidar.
        ahead: metres of the first and the last column, forward of the vehicle.
        right: metres of the first and the last row, to its right.
        above: points at most this high over the ground are left out, metres.
        cells_per_metre: resolution.

    Returns:
        [B, 1, rows, columns] float32 in 0..1; row 0 is farthest left, column 0 farthest back.

    """
    points = sensed(observation, lidar)
    count: Tensor = observation.sensors[f"{lidar.name}{COUNT}"]  # type: ignore[index]
    rows, columns = (round((high - low) * cells_per_metre) for low, high in (right, ahead))
    row = ((-points[..., 1] - right[0]) * cells_per_metre).floor().long()
    column = ((points[..., 0] - ahead[0]) * cells_per_metre).floor().long()
    there = torch.arange(points.shape[1], device=points.device) < count[:, None]
    there &= (points[..., 2] > above) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    cell = torch.where(there, row * columns + column, rows * columns)
    hits = points.new_zeros(len(points), rows * columns + 1)
    hits.scatter_add_(1, cell, torch.ones_like(cell, dtype=hits.dtype))
    return hits[:, :-1].clamp(max=_MOST_HITS).div(_MOST_HITS).view(-1, 1, rows, columns)


def route_point(observation: Observation, metres: float) -> Tensor:
    """Return the route's point [B, 2] ``metres`` ahead, x forward and y right.

    Upstream's target points are those of a sparse plan, some tens of metres apart; this is a point at a fixed distance.
    """
    index = min(round(metres / ROUTE_FEATURE_SPACING), observation.route.shape[1] - 1)
    return observation.route[:, index].float() * observation.route.new_tensor([1.0, -1.0], dtype=torch.float32)


def command(observation: Observation) -> Tensor:
    """Return the navigation command as one-hot [B, 6]: left or right where the route bends by 30 degrees, else follow.

    Straight on at junctions and lane changes cannot be told from the points of a route and are never given.
    """
    route = observation.route.float()
    first, last = route[:, 2] - route[:, 0], route[:, -1] - route[:, -3]
    bend = torch.atan2(last[:, 1], last[:, 0]) - torch.atan2(first[:, 1], first[:, 0])
    bend = torch.atan2(bend.sin(), bend.cos())
    chosen = torch.full_like(bend, FOLLOW, dtype=torch.int64)
    chosen = torch.where(bend > _BEND, LEFT, torch.where(bend < -_BEND, RIGHT, chosen))
    return torch.nn.functional.one_hot(chosen, COMMANDS).float()
