"""Deterministic heads with anchors around their own plan: the original survives, and it can learn otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.imitation import Imitation
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.policies.anchored import AnchoredPolicy
from craft_lightning.policies.regressed_plan import changed_speeds, shifted_paths, waypoint_speeds
from craft_lightning.policies.released.frames import ModelFrame, path_to_poses
from craft_lightning.structures import Demonstration
from craft_lightning.testing.tiny_regressor import TinyRegressor
from craft_lightning.testing.transitions import ProgressWorld, SyntheticDataModule, random_observation


@pytest.fixture(params=[False, True], ids=["regressed", "scored"])
def policy(request):
    return TinyRegressor(request.param).set_trainable("heads")


@torch.no_grad()
def proposed(policy, states=7, stand=False):
    observation = random_observation(states, torch.Generator().manual_seed(3))
    observation.ego[:, 0] += 8.0
    if stand:
        observation.ego[:, 0] = -100.0  # speed_out cannot make up for that: the plan stands still
    context = policy.encode(observation)
    return observation, context, policy.propose(context)


def test_greedy_driving_is_the_original_plan_exactly(policy):
    observation, _, candidates = proposed(policy)
    index, plan = policy.act(candidates, greedy=True)
    assert (index == 0).all()
    original = policy.regress(observation)
    for path, distance, found in zip(original.path, original.distance, plan, strict=True):
        along = distance[0].detach().numpy().astype(np.float64)
        knots = np.concatenate([np.zeros((1, 2)), path.detach().numpy()])
        beyond = knots[-1] + (knots[-1] - knots[-2]) * 1000.0
        knots, places = np.concatenate([knots, beyond[None]]), [*range(21), 1020]
        exact = np.stack([np.interp(along, places, knots[:, axis]) for axis in range(2)], -1)
        np.testing.assert_allclose(found[:, :2].numpy(), exact, atol=1e-4)
    table = policy.original(policy.encode(observation)).detach()
    assert torch.equal(plan, table)


def test_the_prior_is_the_declared_one(policy):
    _, context, candidates = proposed(policy)
    joint = policy.score(context, candidates)
    assert torch.equal(joint.joint.exp(), candidates.log_probs.exp())
    distinct = candidates.mask.all(1)
    assert distinct.any()
    offset, speed = (table[distinct].exp().detach() for table in joint.tables)
    torch.testing.assert_close(offset[:, 0, 0], torch.full_like(offset[:, 0, 0], 0.7))
    torch.testing.assert_close(offset[:, 0, 1:].sum(1), torch.full_like(offset[:, 0, 0], 0.3))
    torch.testing.assert_close(speed[:, :, 0], torch.full_like(speed[:, :, 0], 0.7))
    if policy.scored:
        rest = speed[:, 0, 1:] / 0.3
        torch.testing.assert_close(rest, context["speed_scores"][distinct].exp())


def test_a_standing_ego_has_one_plan_where_all_coincide():
    policy = TinyRegressor().set_trainable("heads")
    _, _, candidates = proposed(policy, stand=True)
    assert candidates.mask[:, 0].all()
    # All that drive: five offsets of the one class that accelerates.
    assert (candidates.mask.sum(1) <= 6).all()
    assert (candidates.multiplicity[:, 0] >= 20).all()
    torch.testing.assert_close(candidates.log_probs.exp().sum(1), torch.ones(7))


def test_speeds_and_paths():
    waypoints = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])
    found = waypoint_speeds(waypoints, 0.25, 8, 0.1)
    torch.testing.assert_close(found, torch.tensor([[4.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]]))
    changed = changed_speeds(torch.full((1, 20), 4.0), torch.tensor([-50.0, -2.0, 0.0, 2.0]), 0.1, 2.5, 6.0)[0]
    torch.testing.assert_close(changed[:, -1], torch.tensor([0.0, 2.0, 4.0, 6.0]))
    straight = torch.stack([torch.arange(1.0, 21.0), torch.zeros(20)], -1).unsqueeze(0)
    paths = shifted_paths(straight, torch.tensor([0.0, 1.5]), 12.0)
    assert torch.equal(paths[:, 0], straight)
    torch.testing.assert_close(paths[0, 1, 11:, 1], torch.full((9,), 1.5))
    assert paths[0, 1, 0, 1] < 0.05
    driven = path_to_poses(paths.unsqueeze(2), (changed.cumsum(-1) * 0.1)[None, None], ModelFrame("forward_left"))
    assert driven.shape == (1, 2, 4, 20, 3)
    torch.testing.assert_close(driven[0, 0, 2, -1], torch.tensor([8.0, 0.0, 0.0]))


def test_wrong_heads_are_refused():
    with pytest.raises(CraftError, match="keep"):
        AnchoredPolicy.__init__(TinyRegressor(), 8, 5, keep_path=0.4)
    with pytest.raises(CraftError, match="leave out 0"):
        AnchoredPolicy.__init__(TinyRegressor(), 8, 5, offsets=(0.0, 1.0))
    policy = TinyRegressor(scored=True)
    right = policy.regress
    observation = random_observation(2, torch.Generator().manual_seed(0))
    for field, words in (("distance", "4 speeds and not 5"), ("speed_scores", "must score all speeds but the first")):
        plan = right(observation)
        policy.regress = lambda _, plan=plan, field=field: replace(plan, **{field: getattr(plan, field)[:, 1:]})
        with pytest.raises(CraftError, match=words):
            policy.encode(observation)


def test_craft_moves_it_away_from_the_original(policy, quiet_trainer):
    def returned():
        _, _, candidates = proposed(policy, 64)
        end = candidates.trajectories[:, :, -1]
        return float((candidates.log_probs.exp() * (end[..., 0] - 3.0 * end[..., 1].abs())).sum(1).mean())

    before = returned()
    proxy = CounterfactualProxy(name="proxy", floor=1.0)
    proxy._world = ProgressWorld()
    module = CraftModule(policy, learning_rate=1e-2)
    trainer = quiet_trainer([proxy, SelfDistillation(0.1)], max_epochs=4)
    trainer.fit(module, datamodule=SyntheticDataModule())
    assert returned() > before + 0.5


def test_pre_training_regresses_the_expert(policy):
    class Host:
        adapter, values = policy, {}

        def report(self, values):
            self.values.update(values)

    policy.set_trainable("all")
    observation = random_observation(16, torch.Generator().manual_seed(3))
    expert = torch.zeros(16, 40, 3)
    expert[..., 0] = torch.arange(1, 41) * 0.3
    batch = Demonstration(observation=observation, trajectory=expert, batch_size=[16])
    optimiser = torch.optim.Adam(policy.parameters(), 0.02)
    errors = []
    for _ in range(60):
        context = policy.encode(observation)
        candidates = policy.listing(context)
        loss = Imitation(name="imitation").term(Host(), batch, candidates, policy.score(context, candidates))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(Host.values["imitation/regression"])
    assert errors[-1] < 0.5 * errors[0]
