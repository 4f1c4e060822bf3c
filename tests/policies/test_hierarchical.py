"""The two-factor family: one list of plans, duplicates of the state, and factors that rebuild the joint exactly."""

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.diagnostics import LossDiagnostics
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.group_relative import GroupRelative
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.policies.candidates import duplicate_groups
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.policies.factored import duplicate_plans, joint_logits, split_joint
from craft_lightning.policies.plan_grid import PlanGrid
from craft_lightning.testing.tiny_hierarchical import TinyHierarchicalPolicy, fan_grid
from craft_lightning.testing.transitions import ProgressWorld, SyntheticDataModule, random_observation


@pytest.fixture
def policy() -> TinyHierarchicalPolicy:
    return TinyHierarchicalPolicy().set_trainable("decoder")


def context_at(policy, *speeds: float):
    observation = random_observation(len(speeds), torch.Generator().manual_seed(0))
    observation.ego[:, 0] = torch.tensor(speeds)
    with torch.no_grad():
        return policy.encode(observation)


def test_factors_sum_to_the_joint_and_tables_are_conditional(policy):
    context = context_at(policy, 0.0, 0.4, 5.0, 12.0)
    candidates = policy.propose(context)
    found = policy.score(context, candidates)
    valid = candidates.mask
    torch.testing.assert_close(found.factors.sum(-1)[valid], found.joint[valid], atol=1e-6, rtol=0)
    path, speed = found.tables
    assert path.shape == (4, 1, 5)
    assert speed.shape == (4, 5, 4)
    torch.testing.assert_close(path.exp().sum(-1), torch.ones(4, 1))
    alive = ~path[:, 0].isneginf()
    torch.testing.assert_close(speed.exp().sum(-1), alive.float())
    rows = torch.arange(4)[:, None]
    for factor, (table, row) in enumerate(zip(found.tables, found.prefix, strict=True)):
        read = table[rows, row, candidates.ids[..., factor]]
        assert torch.equal(read.exp(), found.factors[..., factor].exp())


def test_a_standing_ego_has_one_way_to_stand(policy):
    context = context_at(policy, 0.0, 8.0)
    candidates = policy.propose(context)
    # Two of the four profiles brake: at 0 m/s they are one trajectory on all five paths.
    braking = (candidates.ids[..., 1] < 3).unsqueeze(0)
    assert candidates.mask[0][braking[0, 0]].sum() == 1
    assert candidates.mask[1].all()
    assert candidates.multiplicity[0, 0] == braking[0, 0].sum()
    raw = joint_logits(*policy.factor_logits(context), policy.temperature)
    pooled = raw[0][braking[0, 0]].exp().sum()
    torch.testing.assert_close(candidates.log_probs[0, 0].exp(), pooled)
    torch.testing.assert_close(candidates.log_probs.exp().sum(1), torch.ones(2))


def test_pooled_mass_moves_through_every_member(policy):
    context = context_at(policy, 0.0)
    candidates = policy.propose(context)
    policy.score(context, candidates).joint[0, 0].backward()
    assert (policy.path_head.bias.grad != 0).all()
    assert all(torch.isfinite(p.grad).all() for p in policy.trainable_parameters().values())


def test_duplicates_follow_the_rule_of_a_vocabulary():
    generator = torch.Generator().manual_seed(0)
    speed = torch.rand(6, generator=generator) * 2.0
    plans = fan_grid(6, 5).compose(speed).flatten(1, 2)
    found = duplicate_plans(plans, 0.3)
    # The same poses that are compared, by the loop over entries.
    for state in range(6):
        expected = duplicate_groups(plans[state, :, 3::4], 0.3)
        assert torch.equal(found[state], expected)
    assert (found != torch.arange(30)).any()


def test_chains_of_neighbours_do_not_collapse():
    plans = torch.zeros(1, 4, 40, 3)
    plans[0, :, :, 1] = torch.tensor([0.0, 0.04, 0.08, 0.12])[:, None]
    assert duplicate_plans(plans, 0.05).tolist() == [[0, 0, 2, 2]]


def test_stored_plans_are_composed_again_from_ids_and_speed(policy):
    context = context_at(policy, 0.0, 3.0, 9.0)
    candidates = policy.propose(context)
    bare = candidates.clone()
    bare.trajectories = None
    assert torch.equal(policy.trajectories(bare), candidates.trajectories)
    torch.testing.assert_close(
        candidates.trajectories, policy.grid.compose(torch.tensor([0.0, 3.0, 9.0])).flatten(1, 2)
    )
    part = policy.propose(context, support=candidates.ids[:, [7, 2]])
    assert torch.equal(part.trajectories, candidates.trajectories[:, [7, 2]])
    bare.latent = None
    with pytest.raises(CraftError, match="latent"):
        policy.trajectories(bare)


def test_part_of_the_support_is_renormalised_jointly(policy):
    context = context_at(policy, 6.0, 11.0)
    everything = policy.propose(context)
    ids = everything.ids[:, [1, 6, 13]]
    part = policy.propose(context, support=ids)
    expected = everything.log_probs[:, [1, 6, 13]]
    torch.testing.assert_close(part.log_mass, expected.logsumexp(1))
    torch.testing.assert_close(part.log_probs, expected.log_softmax(1))
    found = policy.score(context, part)
    torch.testing.assert_close(found.joint, part.log_probs, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.factors.sum(-1), found.joint, atol=1e-6, rtol=0)
    # Paths 0, 1 and 3 have one plan each: all the choice lies in the path.
    assert found.tables[0][0, 0].isfinite().tolist() == [True, True, False, True, False]
    torch.testing.assert_close(found.factors[..., 1], torch.zeros(2, 3))
    found.factors[..., 0].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.trainable_parameters().values())


def test_speed_logits_may_be_shared_by_all_paths():
    path, speed = torch.randn(2, 3), torch.randn(2, 1, 4)
    joint = joint_logits(path, speed, 2.0).unflatten(1, (3, 4))
    rows, columns = split_joint(joint)
    torch.testing.assert_close(rows, (path / 2.0).log_softmax(-1))
    torch.testing.assert_close(columns, (speed / 2.0).log_softmax(-1).expand(-1, 3, -1))


def test_another_grid_is_refused(policy, tmp_path):
    file = save_policy(tmp_path / "policy.safetensors", policy)
    other = TinyHierarchicalPolicy(seed=4)
    other.set_grid(PlanGrid(policy.grid.paths, policy.grid.speeds, 9.0))
    with pytest.raises(CraftError, match="plan grid"):
        load_policy(file, other)
    assert load_policy(file).vocabulary_hash == policy.vocabulary_hash
    with pytest.raises(CraftError, match="construct the policy"):
        policy.set_grid(fan_grid(3, 4))
    with pytest.raises(CraftError, match="outside 5 paths x 4 speeds"):
        policy.propose(context_at(policy, 3.0), support=torch.tensor([[[0, 4]]]))


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(CounterfactualProxy, {}), (GroupRelative, {"ratio_level": "factor", "factor_advantage": True})],
)
def test_craft_improves_it(make, arguments, quiet_trainer):
    policy = TinyHierarchicalPolicy().set_trainable("decoder")
    context = policy.encode(random_observation(64, torch.Generator().manual_seed(3))).detach()

    def returned():
        candidates = policy.propose(context)
        end = candidates.trajectories[:, :, -1]
        value = end[..., 0] - 3.0 * end[..., 1].abs()
        return float((candidates.log_probs.exp() * value.masked_fill(~candidates.mask, 0.0)).sum(1).mean())

    before = returned()
    loss = make(name="proxy", floor=1.0, **arguments)
    loss._world = ProgressWorld()
    module = CraftModule(policy, learning_rate=2e-2, trainable="decoder")
    trainer = quiet_trainer([loss, SelfDistillation(0.1), LossDiagnostics()], max_epochs=4)
    trainer.fit(module, datamodule=SyntheticDataModule())
    assert returned() > before + 3.0
    assert {"policy/entropy_path", "policy/entropy_speed"} <= set(trainer.callback_metrics)
