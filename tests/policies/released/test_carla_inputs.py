"""Inputs of CARLA's agents made of a rig, against numpy's own histogram and routes known by hand."""

import math

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from craft_lightning.policies.released.carla_inputs import (
    FOLLOW,
    LEFT,
    RIGHT,
    cameras_and_lidar,
    command,
    lidar_histogram,
    route_point,
    stitched,
)
from craft_lightning.rigs import RIGS
from craft_lightning.structures import Observation
from craft_lightning.testing.subject import measured_at_random


def seen(route=None, sensors=None, states=3):
    route = torch.zeros(states, 20, 2) if route is None else route
    bev = torch.zeros(states, 6, 96, 96, dtype=torch.uint8)
    return Observation(bev=bev, ego=torch.zeros(states, 5), route=route, sensors=sensors, batch_size=[states])


def test_the_histogram_is_numpys_in_carlas_frame():
    """Counts by x ahead and y to the right, at most 5, transposed: rows to the right, columns ahead."""
    _, lidar = cameras_and_lidar(RIGS["transfuser"])
    sensors = measured_at_random(RIGS["transfuser"], 3, 0)
    sensors["lidar"][0, :9, :3] = torch.tensor([10.1, 3.1, 1.0])  # nine hits in one cell
    found = lidar_histogram(seen(sensors=sensors), lidar, (-32.0, 32.0), (-32.0, 32.0), 0.2)
    edges = np.linspace(-32, 32, 257)
    for state in range(3):
        points = sensors["lidar"][state][: int(sensors["lidar.count"][state])].numpy().astype(np.float64)
        points = points[points[:, 2] > 0.2]
        counts = np.histogramdd(points[:, :2] * [1.0, -1.0], bins=(edges, edges))[0].clip(max=5.0) / 5.0
        # An edge belongs to one cell or the other as single precision has it.
        assert float(np.abs(found[state, 0].numpy() - counts.T).sum()) < 0.01 * counts.sum()
    row, column = math.floor((-3.1 + 32.0) * 4.0), math.floor((10.1 + 32.0) * 4.0)
    assert float(found[0, 0, row, column]) == 1.0


def test_spare_rows_and_ground_are_not_counted():
    _, lidar = cameras_and_lidar(RIGS["transfuser"])
    points = torch.zeros(1, lidar.beams, 4)
    points[0, :3, :3] = torch.tensor([[5.0, 1.0, 1.0], [6.0, 1.0, 0.1], [7.0, 1.0, 1.0]])
    sensors = TensorDict({"lidar": points, "lidar.count": torch.tensor([2])}, batch_size=[1])
    found = lidar_histogram(seen(sensors=sensors, states=1), lidar, (-32.0, 32.0), (-32.0, 32.0), 0.2)
    assert float(found.sum()) == pytest.approx(0.2)


def test_pictures_stand_side_by_side_from_left_to_right():
    cameras, _ = cameras_and_lidar(RIGS["tfv6"])
    assert [camera.yaw for camera in cameras] == [54.5, 0.0, -54.5]
    sensors = measured_at_random(RIGS["tfv6"], 2, 0)
    found = stitched(seen(sensors=sensors, states=2), cameras)
    assert found.shape == (2, 3, 384, 3 * 384)
    assert torch.equal(found[1, :, :, 384:768], sensors["rgb_2"][1].movedim(-1, 0).float())


def test_commands_and_points_follow_the_route():
    along = torch.arange(20) * 2.0

    straight = torch.stack([along, torch.zeros(20)], -1)
    turn = along / 38.0 * math.radians(80.0)
    left = torch.stack([turn.sin(), 1.0 - turn.cos()], -1) * 27.0
    right = left * torch.tensor([1.0, -1.0])
    observation = seen(route=torch.stack([straight, left, right]))
    assert command(observation).argmax(1).tolist() == [FOLLOW, LEFT, RIGHT]
    assert command(observation).shape == (3, 6)
    points = route_point(observation, 30.0)
    assert points[0].tolist() == [30.0, 0.0]
    assert points[1, 1] < -5.0, "left is negative in CARLA's frame"
    assert points[2, 1] > 5.0
