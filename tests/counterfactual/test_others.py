"""Forecasts of the others that are given take the place of the decay."""

import pytest
import torch

from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.counterfactual.reference import decay_rollout
from craft_lightning.errors import CraftError


@pytest.fixture
def scenes(busy_scenes):
    scene, plans, mask, grids = busy_scenes(seed=1)
    return scene, plans.double(), mask, grids


def decay(world, scene):
    motion = decay_rollout(scene, world.steps, world.others, torch.float64)
    return torch.stack([motion.x, motion.y, motion.cos, motion.sin], -1)


def test_the_decay_given_by_hand_changes_nothing(scenes):
    world = CounterfactualWorld(backend="torch")
    own = world.rollout(*scenes, keep_rewards=True)
    given = world.rollout(*scenes, keep_rewards=True, others=decay(world, scenes[0]))
    assert torch.equal(own.returns, given.returns)
    assert torch.equal(own.rewards, given.rewards)
    assert torch.equal(own.collision_step, given.collision_step)


def test_others_far_away_are_never_hit(scenes):
    world = CounterfactualWorld(backend="torch")
    assert bool((world.rollout(*scenes).collision_step >= 0).any())
    away = decay(world, scenes[0])
    away[..., :2] += 1e4
    assert bool((world.rollout(*scenes, others=away).collision_step == -1).all())


def test_misshapen_or_broken_poses_are_refused(scenes):
    world = CounterfactualWorld()
    poses = decay(world, scenes[0])
    with pytest.raises(CraftError, match="others has the shape"):
        world.rollout(*scenes, others=poses[:, :, 1:])
    poses[0, 0, 0, 0] = torch.nan
    with pytest.raises(CraftError, match="finite poses"):
        world.rollout(*scenes, others=poses)
