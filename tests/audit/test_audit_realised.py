"""What was driven gets the proxy's own reward: a motion of the proxy's, handed over as driven, scores the same."""

import dataclasses
import importlib.util
import pathlib

import numpy as np
import pytest
import torch

from craft_lightning.audit.realised import grounded_return, realised
from craft_lightning.conventions import EVENTS
from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.counterfactual.reference import follow_plans
from craft_lightning.simulation.branching import Branch


@pytest.fixture(scope="module")
def case():
    """A state with all agents far away, its proxy scores and the same motions as branches in the world frame."""
    path = pathlib.Path(__file__).parents[1] / "counterfactual" / "busy_scenes.py"
    spec = importlib.util.spec_from_file_location("busy_scenes_for_audit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scene, plans, mask, grids = module.busy_scenes(seed=2)
    scene, plans = scene[:1], plans[:1].double()
    scene.agents[..., :2] += 1e4
    scene.stop_kind[:] = 0
    world = CounterfactualWorld(backend="torch")
    mask = torch.ones(1, plans.shape[1], dtype=torch.bool)
    plans = torch.nan_to_num(plans)
    scores = world.rollout(scene, plans, mask, grids)
    size = scene.ego_size.double()
    ego = follow_plans(plans, scene.ego_motion[:, :1].double(), size[:, 2:3], 20, world.tracker, world.bicycle)
    x0, y0, yaw0 = scene.ego_pose[0].tolist()
    x, y = ego.x[0].numpy(), ego.y[0].numpy()
    poses = np.stack(
        [
            x0 + np.cos(yaw0) * x - np.sin(yaw0) * y,
            y0 + np.sin(yaw0) * x + np.cos(yaw0) * y,
            yaw0 + ego.yaw[0].numpy(),
            ego.speed[0].numpy(),
        ],
        -1,
    )
    branches = [_branch(one) for one in poses]
    return world, scene, branches, grids, scores


def _branch(poses, steps=20):
    nothing = np.zeros((steps, len(EVENTS)), bool)
    return Branch(poses, nothing[::5].astype(np.float32), nothing, -1, 0.0, False, "", [])


def test_a_motion_of_the_proxy_scores_the_same(case):
    world, scene, branches, grids, scores = case
    found = realised(world, scene, branches, grids)
    assert np.abs(found.returns - scores.returns[0].numpy()).max() < 1e-6
    assert np.ptp(found.returns) > 5.0
    assert (found.collision_step == -1).all()


def test_what_happened_is_charged_and_nothing_after_the_end(case):
    world, scene, branches, grids, _ = case
    free = realised(world, scene, branches, grids).returns
    red = dataclasses.replace(branches[0], flags=branches[0].flags.copy())
    red.flags[7, EVENTS.index("red_light")] = True
    stop = dataclasses.replace(branches[0], flags=branches[0].flags.copy())
    stop.flags[3, EVENTS.index("stop_sign")] = True
    # It hit something in step 11, which took its speed away and ended the episode.
    row = int(np.argmax([branch.ego[11, 3] for branch in branches]))
    hit = _branch(branches[row].ego[:13].copy(), 12)
    hit.flags[11, EVENTS.index("collision")] = True
    speed = hit.ego[11, 3]
    hit.ego[12, 3] = 0.0
    longer = dataclasses.replace(branches[row], ego=np.concatenate([branches[row].ego, branches[row].ego[-1:] + 5.0]))
    found = realised(world, scene, [red, stop, hit, longer], grids)
    p = world.reward
    assert found.returns[0] == pytest.approx(free[0] - p.red_light)
    assert found.returns[1] == pytest.approx(free[0] - p.stop_sign)
    assert found.collision_step.tolist() == [-1, -1, 11, -1]
    relative = np.clip(speed / p.collision_speed, p.collision_speed_min, p.collision_speed_max)
    charge = p.collision * (1.0 + p.collision_speed_gain * relative) * p.discount**11
    part = realised(CounterfactualWorld(1.2), scene, [_branch(branches[row].ego[:13].copy(), 12)], grids).returns[0]
    assert found.returns[2] == pytest.approx(part - charge, abs=1e-6)
    assert found.returns[3] == pytest.approx(free[row])


def test_grounded_returns():
    events = np.zeros((3, len(EVENTS)), np.float32)
    events[1, EVENTS.index("collision")] = 1.0
    events[2, EVENTS.index("offroad")] = 1.0
    assert grounded_return(events) == pytest.approx(-(0.8 * 5.0 + 0.64 * 0.5))
    assert grounded_return(events[:1]) == 0.0
