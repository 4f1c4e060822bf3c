"""Frames, reference points and time steps of released policies."""

import math

import pytest
import torch

from craft_lightning.policies.released.frames import (
    BENCH2DRIVE_LIDAR,
    CARLA_EGO,
    NAVSIM,
    ModelFrame,
    approach,
    headings,
    path_to_poses,
    poses_to_poses,
    resample,
    speeds_to_distance,
    to_ego,
    turn_axes,
    waypoints_to_poses,
)

PLAIN = ModelFrame("forward_left")


def left_turn(times, radius=20.0, speed=5.0):
    """Poses of the centre on a circle to the left, forward-left."""
    yaw = speed * times / radius
    return torch.stack([radius * yaw.sin(), radius * (1 - yaw.cos()), yaw], -1)


def test_axes_turn_the_same_motion_into_the_same_poses():
    ours = left_turn(torch.arange(1, 9) * 0.5)
    x, y, yaw = ours.unbind(-1)
    lidar = torch.stack([-y, x, yaw + math.pi / 2], -1)
    carla = torch.stack([x, -y, -yaw], -1)
    for theirs, axes in ((ours, "forward_left"), (lidar, "right_forward"), (carla, "forward_right")):
        torch.testing.assert_close(turn_axes(theirs, axes), ours)
        torch.testing.assert_close(turn_axes(theirs[:, :2], axes), ours[:, :2])


def test_a_rear_axle_is_not_the_centre():
    # Turning on the rear axle moves the centre on an arc about it.
    turned = to_ego(torch.tensor([[0.0, 0.0, math.pi / 2]]), NAVSIM)
    torch.testing.assert_close(turned, torch.tensor([[-1.461, 1.461, math.pi / 2]]))
    # Straight on nothing changes.
    straight = torch.tensor([[3.0, 0.0, 0.0]])
    assert torch.equal(to_ego(straight, NAVSIM), straight)


def test_the_rear_axle_of_a_known_motion_gives_the_centres_motion():
    times = torch.arange(1, 41) * 0.1
    # The rear axle drives a circle; the centre is 1.461 m before it at every pose.
    rear = left_turn(times)
    expected = rear + 1.461 * torch.stack([rear[:, 2].cos() - 1, rear[:, 2].sin(), torch.zeros(40)], -1)
    found = poses_to_poses(left_turn(torch.arange(1, 9) * 0.5), 0.5, NAVSIM)
    # Half a second apart, a circle of 20 m has its chords within 4 cm.
    torch.testing.assert_close(found, expected, atol=0.04, rtol=0)


def test_resampling_hits_the_poses_that_are_given():
    poses = left_turn(torch.arange(1, 9) * 0.5)
    found = resample(poses, 0.5)
    torch.testing.assert_close(found[4::5], poses)
    # Five hertz and 1.2 s: the last speed goes on.
    short = resample(left_turn(torch.arange(1, 7) * 0.2), 0.2)
    torch.testing.assert_close(short[1:12:2], left_turn(torch.arange(1, 7) * 0.2))
    pace = (short[13:, :2] - short[12:-1, :2]).norm(dim=-1)
    torch.testing.assert_close(pace, torch.full_like(pace, 0.5), atol=1e-2, rtol=0)


def test_resampling_turns_the_short_way():
    poses = torch.tensor([[1.0, 0.0, 3.1], [2.0, 0.0, -3.1]])
    yaw = resample(poses, 0.5)[4:10, 2]
    assert (yaw.diff().abs() < 0.05).all()


def test_headings_of_who_stands_and_who_drives_off():
    still = torch.zeros(6, 2)
    assert torch.equal(headings(still), torch.zeros(6))
    noisy = torch.tensor([[0.001, -0.002]]).expand(6, 2)
    assert torch.equal(headings(noisy), torch.zeros(6))
    stops = torch.tensor([[2.0, 2.0], [4.0, 4.0], [4.0, 4.0], [4.0, 4.0]])
    torch.testing.assert_close(headings(stops), torch.full((4,), math.pi / 4))
    gradient = still.clone().requires_grad_(True)
    headings(gradient).sum().backward()
    assert torch.isfinite(gradient.grad).all()


def test_waypoints_of_the_lidar_frame():
    ours = left_turn(torch.arange(1, 7) * 0.5)
    lidar = torch.stack([-ours[:, 1], ours[:, 0]], -1)
    found = waypoints_to_poses(lidar, 0.5, ModelFrame("right_forward"))
    torch.testing.assert_close(found[4:30:5], ours, atol=0.08, rtol=0)
    # Its own origin is 0.39 m behind the centre: in a left turn the centre is farther left than the LIDAR.
    assert found[29, 1] < waypoints_to_poses(lidar, 0.5, BENCH2DRIVE_LIDAR)[29, 1]


def test_a_vehicle_on_a_path():
    path = torch.tensor([[0.0, 5.0], [5.0, 5.0]])
    # From the origin to the left by 5 m, then ahead, then on and on.
    distance = torch.tensor([2.0, 5.0, 7.0, 10.0, 14.0])
    found = path_to_poses(path, distance, PLAIN)
    # The yaw turns evenly: from that of the ego to the mean of both pieces at the corner, and on to the last one's.
    corner = math.pi / 4
    expected = torch.tensor([[0, 2, 0.4 * corner], [0, 5, corner], [2, 5, 0.6 * corner], [5, 5, 0], [9, 5, 0]])
    torch.testing.assert_close(found, expected)
    carla = path_to_poses(path * torch.tensor([1.0, -1.0]), distance, CARLA_EGO)
    torch.testing.assert_close(carla, expected)


def test_who_stands_keeps_its_pose_whatever_its_path():
    path = torch.tensor([[1.0, 1.0], [1.0, 3.0]])
    assert torch.equal(path_to_poses(path, torch.zeros(40), NAVSIM), torch.zeros(40, 3))


def test_a_circle_as_a_path():
    arc = torch.arange(1.0, 21.0)
    path = torch.stack([20 * (arc / 20).sin(), 20 * (1 - (arc / 20).cos())], -1)
    distance = torch.linspace(0.25, 10.0, 40)
    expected = torch.stack([20 * (distance / 20).sin(), 20 * (1 - (distance / 20).cos()), distance / 20], -1)
    torch.testing.assert_close(path_to_poses(path, distance, PLAIN), expected, atol=0.02, rtol=0)


def test_a_path_of_coinciding_points_is_finite():
    path = torch.zeros(5, 2)
    assert torch.isfinite(path_to_poses(path, torch.linspace(0, 3, 40), PLAIN)).all()


def test_many_paths_with_many_speeds():
    path = torch.rand(2, 3, 1, 6, 2).cumsum(-2)
    distance = torch.rand(2, 1, 4, 40).cumsum(-1)
    both = path_to_poses(path, distance, PLAIN)
    assert both.shape == (2, 3, 4, 40, 3)
    torch.testing.assert_close(both[1, 2, 3], path_to_poses(path[1, 2, 0], distance[1, 0, 3], PLAIN))


def test_speeds_become_metres():
    speeds = torch.tensor([2.0, 4.0, 0.0])
    driven = speeds_to_distance(speeds, 0.5)
    torch.testing.assert_close(driven[4], torch.tensor(1.0))
    torch.testing.assert_close(driven[9], torch.tensor(3.0))
    torch.testing.assert_close(driven[6], torch.tensor(1.0 + 0.2 * 4.0))
    torch.testing.assert_close(driven[20:], torch.full((20,), 3.0))
    assert (speeds_to_distance(torch.tensor([-1.0, 1.0]), 0.5)[:5] == 0).all()


@pytest.mark.parametrize(("start", "target"), [(0.0, 5.0), (10.0, 0.0), (6.0, 6.0)])
def test_approaching_a_speed(start, target):
    driven = approach(torch.tensor(start), torch.tensor(target), 2.5, 5.0)
    speed = torch.diff(driven, prepend=torch.zeros(1)) / 0.1
    assert speed[0] == pytest.approx(start, abs=0.51)
    assert speed[-1] == pytest.approx(target, abs=1e-4)
    change = speed.diff()
    assert change.max() <= 0.25 + 1e-4
    assert change.min() >= -0.5 - 1e-4
