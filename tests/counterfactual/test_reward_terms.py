"""Every term of the reward against numbers worked out by hand, for both backends."""

import math

import pytest
import torch

from craft_lightning.control import BicycleParameters
from craft_lightning.conventions import AGENT_STATIC, LINE_RED, LINE_STOP_SIGN
from craft_lightning.counterfactual import CounterfactualWorld, RewardParameters
from craft_lightning.testing.straight_road import (
    add_agent,
    constant_acceleration_plans,
    empty_scene,
    straight_road,
)

SPEED = 6.0
METRES = 0.6  # a step
GAMMA = 0.98
SERIES = (1.0 - GAMMA**20) / (1.0 - GAMMA)


@pytest.fixture(params=["numba", "torch"])
def world(request):
    # Without drag, a plan at the current speed is driven at exactly that speed: positions are known by hand.
    return CounterfactualWorld(bicycle=BicycleParameters(drag=0.0), backend=request.param, threads=1)


def drive(world, scene, road=None, plans=None, **options):
    plans = constant_acceleration_plans(SPEED, [0.0]) if plans is None else plans
    mask = torch.ones(scene.town.shape[0], plans.shape[0], dtype=torch.bool)
    return world.rollout(scene, plans[None], mask, [road or straight_road()], keep_rewards=True, **options)


def test_progress_alone(world):
    answer = drive(world, empty_scene(speed=SPEED))
    # (40): 0.6 m of 1.2 m is one half; nothing deviates, so eta is 1 and r = 8 * 0.5.
    assert answer.rewards[0, 0].tolist() == pytest.approx([4.0] * 20, abs=1e-4)
    assert answer.returns[0, 0].item() == pytest.approx(4.0 * SERIES, abs=1e-3)
    assert answer.first_returns[0, 0].item() == pytest.approx(
        4.0 * (1 + 0.98 + 0.9604 + 0.941192 + 0.92236816), abs=1e-4
    )
    assert answer.progress[0, 0].item() == pytest.approx(12.0, abs=1e-4)
    assert answer.final[0, 0].tolist() == pytest.approx([12.0, 0.0, 0.0, 6.0], abs=1e-4)
    assert not answer.flags.any()


def test_progress_saturates_at_twelve_metres_a_second(world):
    answer = drive(world, empty_scene(speed=20.0), plans=constant_acceleration_plans(20.0, [0.0]))
    assert answer.rewards[0, 0].tolist() == pytest.approx([8.0] * 20, abs=1e-3)


def test_route_and_lane_deviation(world):
    # 0.7 m right of lane and route: d_g = 0.2, d_c = 0.4; both above the dead band but neither changes.
    scene = empty_scene(speed=SPEED)
    scene.ego_pose[:, 1] = -0.7
    scene.route[..., 1] = 0.7
    expected = 4.0 * math.exp(-3.0 * 0.2 - 0.8 * 0.4)
    assert drive(world, scene).rewards[0, 0].tolist() == pytest.approx([expected] * 20, abs=1e-4)


def test_deviations_end_at_one(world):
    # The route 3.9 m to the left (still on the route, 4 m is the limit), the lane centre 1.75 m: both deviations are 1.
    scene = empty_scene(speed=SPEED)
    scene.route[..., 1] = 3.9
    scene.ego_pose[:, 1] = 1.7499
    expected = 4.0 * math.exp(-3.0 - 0.8)
    answer = drive(world, scene)
    assert answer.rewards[0, 0, 5].item() == pytest.approx(expected, abs=1e-3)
    assert not answer.flag("offroute").any()


def test_heading_and_recovery(world):
    # The ego heads 0.3 rad to the right of a route and road through its centre and drives straight on, getting farther.
    angle = 0.3
    scene = empty_scene(speed=SPEED)
    scene.ego_pose[:, 2] = -angle
    arc = torch.arange(110) - 10.0
    scene.route[..., 0], scene.route[..., 1] = arc * math.cos(angle), arc * math.sin(angle)
    answer = drive(world, scene, straight_road(3, shoulder=4.0))
    share = METRES * math.cos(angle) / 1.2
    for step in range(1, 9):
        side = METRES * step * math.sin(angle)
        d_g, d_h = side / 3.5, angle / (math.pi / 2)
        change = METRES * math.sin(angle) / 3.5
        # To the right of lane 0 lies the shoulder, whose centre is 3.75 m away: until half of that the lane is nearest.
        d_c = min(side / 1.75, 1.0)
        if side > 1.6:
            break
        recovery = -0.4 * min(change, 0.1) * (d_g > 0.08) - 0.2 * min(change * 2.0, 0.1) * (d_c > 0.08)
        eta = math.exp(-3.0 * d_g - 0.8 * d_c - 2.0 * d_h)
        expected = 8.0 * share * eta + recovery * (0.5 + 0.5 * share)
        assert answer.rewards[0, 0, step - 1].item() == pytest.approx(expected, abs=1e-4), step
    assert step > 5


def test_recovery_is_paid_for_getting_nearer(world):
    # Standing beside the route pays nothing; driving towards it at 45 degrees pays the clipped decrease.
    scene = empty_scene(speed=SPEED)
    arc = torch.arange(110) - 10.0
    cos = math.cos(math.pi / 4)
    scene.route[..., 0], scene.route[..., 1] = arc * cos + 2.0 * cos, -arc * cos + 2.0 * cos
    scene.ego_pose[:, 2] = math.pi / 4
    answer = drive(world, scene, straight_road(3, shoulder=4.0))
    # Distance to the route falls from 2 m by 0.6 sin 45 a step: dd_g = -0.1212 is clipped to -0.1. The lane's offset
    # rises by 0.4243 m, dd_c = +0.2424 clipped to +0.1, above the dead band from the first step.
    d_g = (2.0 - 0.6 * cos) / 3.5
    d_c = 0.6 * cos / 1.75
    share = 0.6 * cos / 1.2
    expected = 8 * share * math.exp(-3 * d_g - 0.8 * d_c - 1.0) + (0.4 * 0.1 - 0.2 * 0.1) * (0.5 + 0.5 * share)
    assert answer.rewards[0, 0, 0].item() == pytest.approx(expected, abs=1e-4)


def test_offroad_begins_beyond_the_tolerance(world):
    # The road ends 1.75 m right of lane 0; the ego is 1.9 m wide: its side is out by y - 0.8.
    for offset, outside in ((-0.95, False), (-1.05, True)):
        scene = empty_scene(speed=0.0)
        scene.ego_pose[:, 1] = offset
        scene.route[..., 1] = -offset
        answer = drive(world, scene, plans=torch.zeros(1, 40, 3))
        assert answer.flag("offroad").item() is outside
        assert answer.rewards[0, 0].tolist() == pytest.approx([-1.5 if outside else 0.0] * 20, abs=1e-5)


def test_emergency_opposite_and_offroute(world):
    scene = empty_scene(speed=0.0)
    road = straight_road(1, opposite=1, shoulder=3.0)
    stand = torch.zeros(1, 40, 3)
    scene.ego_pose[:, 1] = -3.25  # the shoulder's centre; the route is 3.25 m to the left
    scene.route[..., 1] = 3.25
    answer = drive(world, scene, road, stand)
    assert answer.rewards[0, 0].tolist() == pytest.approx([-1.0] * 20, abs=1e-5)
    assert [
        name for name in ("emergency_lane", "opposite_lane", "offroute", "offroad") if answer.flag(name).item()
    ] == ["emergency_lane"]
    scene.ego_pose[:, 1] = 3.5  # the opposite lane
    scene.route[..., 1] = -3.5
    assert drive(world, scene, road, stand).rewards[0, 0].tolist() == pytest.approx([-0.1] * 20, abs=1e-5)
    scene.route[..., 1] = -4.1
    assert drive(world, scene, road, stand).rewards[0, 0].tolist() == pytest.approx([-1.6] * 20, abs=1e-5)
    scene.ego_pose[:, 2] = math.pi  # heading along that lane is not driving against it
    answer = drive(world, scene, road, stand)
    assert not answer.flag("opposite_lane").any()


def test_lanes_of_the_route(world):
    scene = empty_scene(speed=0.0)
    stand = torch.zeros(1, 40, 3)
    scene.route_lanes[0, :2] = torch.tensor([1, 3])
    answer = drive(world, scene, straight_road(4), stand)  # stands on lane 0
    assert answer.rewards[0, 0].tolist() == pytest.approx([-1.5] * 20, abs=1e-5)
    scene.route_lanes[0, 2] = 0
    assert not drive(world, scene, straight_road(4), stand).flag("offroute").any()


def test_collision_is_charged_once_and_ends_rewards(world):
    # The front reaches the rear after 10.3 - 4.6 = 5.7 m: within the tenth step, index 9.
    scene = add_agent(empty_scene(speed=SPEED), 0, 10.3, kind=AGENT_STATIC)
    answer = drive(world, scene)
    assert answer.collision_step.item() == 9
    charge = 40.0 * (1.0 + 6.0 / 12.0)
    assert answer.rewards[0, 0].tolist() == pytest.approx([4.0] * 9 + [4.0 - charge] + [0.0] * 10, abs=1e-3)
    expected = 4.0 * (1.0 - GAMMA**9) / (1.0 - GAMMA) + GAMMA**9 * (4.0 - charge)
    assert answer.returns.item() == pytest.approx(expected, abs=1e-2)


def test_charges_go_on_after_a_collision(world):
    scene = add_agent(empty_scene(speed=SPEED), 0, 10.3, kind=AGENT_STATIC)
    scene.route_lanes[0, 0] = 1
    answer = drive(world, scene)
    assert (answer.rewards <= 4.0).all()
    assert answer.rewards[0, 0, 10:].tolist() == pytest.approx([0.0] * 10, abs=1e-5)  # 4 - 1.5 is cut to 0
    stand = drive(world, scene, plans=torch.zeros(1, 40, 3))
    assert stand.rewards[0, 0, -1].item() == pytest.approx(-1.5, abs=1e-5)


def test_rewards_after_collision_can_be_kept(world):
    world.reward = RewardParameters(reward_after_collision=True)
    scene = add_agent(empty_scene(speed=SPEED), 0, 10.3, kind=AGENT_STATIC)
    assert drive(world, scene).rewards[0, 0, 10:].tolist() == pytest.approx([4.0] * 10, abs=1e-4)


def test_red_light(world):
    scene = empty_scene(speed=SPEED)
    scene.stop_lines[:, 0] = torch.tensor([5.0, -1.75, 5.0, 1.75])
    scene.stop_kind[:, 0] = LINE_RED
    answer = drive(world, scene)
    # The bumper is 2.3 m ahead and crosses 2.7 m later, in step 5, index 4: within the first 0.5 s.
    assert answer.flag("red_light").item()
    assert answer.returns.item() == pytest.approx(4.0 * SERIES - 40.0, abs=1e-3)
    assert answer.first_returns.item() == pytest.approx(4.0 * (1.0 - GAMMA**5) / (1.0 - GAMMA) - 40.0, abs=1e-3)
    for line in ([5.0, 1.75, 5.0, 5.25], [2.2, -1.75, 2.2, 1.75], [14.4, -1.75, 14.4, 1.75]):  # beside, behind, beyond
        scene.stop_lines[:, 0] = torch.tensor(line)
        assert not drive(world, scene).flag("red_light").item(), line


def test_stop_sign(world):
    go = constant_acceleration_plans(0.0, [3.0])
    for start, speed, honoured in ((5.0, 0.0, True), (6.4, 0.0, False), (5.0, 1.0, False)):
        scene = empty_scene(speed=speed)
        scene.stop_lines[:, 0] = torch.tensor([start, -1.75, start, 1.75])
        scene.stop_kind[:, 0] = LINE_STOP_SIGN
        answer = drive(world, scene, plans=go)
        assert answer.progress.item() > start - 2.3  # it crosses the line
        assert answer.flag("stop_sign").item() is not honoured, (start, speed)
        free = drive(world, empty_scene(speed=speed), plans=go)
        assert (free.returns - answer.returns).item() == pytest.approx(0.0 if honoured else 40.0, abs=1e-3)
