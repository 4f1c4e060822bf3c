"""Filtered supports, metric heads and sigmoid-trained logits: the grown-up members of the vocabulary family."""

import math

import pytest
import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.policies.metric_family import IMITATION, ScoreFormula
from craft_lightning.policies.vocabulary import Vocabulary
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context, Observation
from craft_lightning.testing.tiny_scorers import TinyFactorisedPolicy, TinyMetricPolicy, TinyReadoutPolicy
from craft_lightning.testing.transitions import (
    ProgressWorld,
    SyntheticDataModule,
    random_observation,
)


@torch.no_grad()
def driven(policy, states=6, seed=0):
    observation = random_observation(states, torch.Generator().manual_seed(seed))
    observation.ego[:, 0] += 6.0
    context = policy.encode(observation)
    return context, policy.propose(context)


def filtered(**arguments) -> TinyFactorisedPolicy:
    return TinyFactorisedPolicy(**arguments).set_trainable("decoder")


# --- factorised -------------------------------------------------------------------------------------------------------


def test_the_filter_keeps_the_best_of_both_factors():
    policy = filtered()
    context, candidates = driven(policy)
    path, speed = policy.factor_logits(context)
    for row in range(6):
        best = set(path[row].topk(4).indices.tolist())
        assert set(candidates.ids[row, :, 0].tolist()) == best
        assert set(candidates.ids[row, :, 1].tolist()) == set(speed[row, 0].topk(3).indices.tolist())
    mass = path.softmax(1).topk(4).values.sum(1) * speed[:, 0].softmax(1).topk(3).values.sum(1)
    torch.testing.assert_close(candidates.log_mass.exp(), mass.detach())
    everything = policy.grid.compose(context["ego"][:, 0])
    rows = torch.arange(6)[:, None]
    picked = everything[rows, candidates.ids[..., 0], candidates.ids[..., 1]]
    torch.testing.assert_close(candidates.trajectories, picked, atol=1e-5, rtol=0)


def test_the_distribution_is_the_rescored_pairs():
    policy = filtered(keep_paths=8, keep_speeds=6)  # nothing is filtered
    context, candidates = driven(policy)
    path, speed = policy.factor_logits(context)
    pair = policy.pair(context["state"]).view(6, 8, 6)
    exact = (path[:, :, None] + speed + pair).flatten(1).masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
    torch.testing.assert_close(candidates.log_probs, exact.detach())
    torch.testing.assert_close(candidates.log_mass, torch.zeros(6), atol=1e-6, rtol=0)


def test_a_stored_support_is_never_filtered_again():
    policy = filtered()
    context, candidates = driven(policy)
    assert torch.equal(policy.score(context, candidates).joint, candidates.log_probs)
    teacher = {name: -p.detach() for name, p in policy.trainable_parameters().items()}  # the filter keeps others now
    found = policy.score(context, candidates, params=teacher)
    torch.testing.assert_close(found.joint.exp().sum(1), torch.ones(6))
    assert (found.log_mass.exp() < candidates.log_mass.exp()).any()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if name in teacher:
                parameter.copy_(teacher[name])
    fresh = policy.propose(context)
    assert not torch.equal(fresh.ids, candidates.ids)
    again = policy.propose(context, support=candidates.ids)
    assert torch.equal(again.ids, candidates.ids)
    assert torch.equal(again.trajectories, candidates.trajectories)
    torch.testing.assert_close(again.log_probs, found.joint.detach())
    candidates.trajectories = None
    assert torch.equal(policy.trajectories(candidates), again.trajectories)


def test_a_part_of_the_support_has_its_share_of_the_mass():
    policy = filtered()
    context, candidates = driven(policy)
    rows = candidates.mask.float().topk(3).indices
    expected = candidates.log_probs.gather(1, rows)
    part = policy.propose(context, support=candidates.ids[torch.arange(6)[:, None], rows])
    torch.testing.assert_close(part.log_mass, candidates.log_mass + expected.logsumexp(1))
    torch.testing.assert_close(part.log_probs, expected.log_softmax(1))
    with pytest.raises(CraftError, match="outside"):
        policy.propose(context, support=candidates.ids + 7)


def test_coarse_scores_learn_through_the_pairs_they_let_through():
    policy = filtered()
    context, candidates = driven(policy)
    joint = policy.score(context, candidates).joint
    gradient = torch.autograd.grad(joint[:, 0].sum(), policy.path_head.weight)[0]
    assert (gradient != 0).any()


def test_states_that_lost_their_support_are_left_out(quiet_trainer):
    policy = filtered()
    seen = []

    class Watch(CounterfactualProxy):
        def annotate(self, transitions, module, grids):
            super().annotate(transitions, module, grids)
            # As if the policy that drove had left four times as much on every second state's support.
            transitions.candidates.log_mass[::2] += math.log(4.0)

        def term(self, module, batch, candidates, outputs):
            seen.append((outputs.log_mass.detach() - candidates.log_mass).exp())
            assert len(candidates.mask) == len(batch.rollout) == len(outputs.joint) == len(outputs.tables[1])
            return super().term(module, batch, candidates, outputs)

    loss = Watch(name="proxy")
    loss._world = ProgressWorld()
    module = CraftModule(policy, learning_rate=1e-6, trainable="decoder")
    trainer = quiet_trainer([loss], max_epochs=1)
    trainer.fit(module, datamodule=SyntheticDataModule(transitions=64, passes=1, seed=5))
    share = torch.cat(seen)
    torch.testing.assert_close(share, torch.ones(32), atol=1e-3, rtol=0)
    assert float(trainer.callback_metrics["support/kept"]) == pytest.approx(0.5)
    assert 0.0 < float(trainer.callback_metrics["support/mass"]) < 1.0
    with pytest.raises(CraftError, match="support_mass"):
        CraftModule(policy, support_mass=1.0)


def test_nothing_is_trained_where_no_state_kept_its_support(quiet_trainer):
    policy = filtered()
    before = policy.path_head.weight.detach().clone()

    class Lost(CounterfactualProxy):
        def annotate(self, transitions, module, grids):
            super().annotate(transitions, module, grids)
            transitions.candidates.log_mass += math.log(4.0)

    loss = Lost(name="proxy")
    loss._world = ProgressWorld()
    module = CraftModule(policy, learning_rate=0.1, trainable="decoder")
    quiet_trainer([loss], max_epochs=1).fit(module, datamodule=SyntheticDataModule(transitions=32))
    assert torch.equal(policy.path_head.weight, before)


def test_temperature_is_fitted_to_the_kept_pairs():
    policy = filtered()
    context, _ = driven(policy, 32)
    found = policy.calibrate_temperature(context, 0.6)
    warm = policy.propose(context)
    assert policy.spec.temperature == found
    assert warm.log_probs.exp().amax(1).mean().item() == pytest.approx(0.6, abs=1e-3)
    assert torch.equal(policy.score(context, warm).joint, warm.log_probs)


@pytest.mark.parametrize("cls", [TinyFactorisedPolicy, TinyMetricPolicy, TinyReadoutPolicy])
def test_craft_improves_it(cls, quiet_trainer):
    policy = cls().set_trainable("decoder")

    def returned():
        _, candidates = driven(policy, 64)
        end = policy.trajectories(candidates)[:, :, -1]
        value = end[..., 0] - 3.0 * end[..., 1].abs()
        return float((candidates.log_probs.exp() * value).sum(1).mean())

    before = returned()
    loss = CounterfactualProxy(name="proxy", floor=1.0)
    loss._world = ProgressWorld()
    module = CraftModule(policy, learning_rate=2e-2, trainable="decoder")
    quiet_trainer([loss, SelfDistillation(0.1)], max_epochs=4).fit(module, datamodule=SyntheticDataModule())
    assert returned() > before + 0.5


# --- metric heads -----------------------------------------------------------------------------------------------------


def test_the_released_score_by_hand():
    formula = ScoreFormula()
    generator = torch.Generator().manual_seed(0)
    raw = {name: torch.randn(2, 5, generator=generator, dtype=torch.float64) for name in formula.heads}
    p = {name: value.sigmoid() for name, value in raw.items()}
    exact = (
        0.03 * raw[IMITATION].log_softmax(1)
        + 0.1 * p["traffic_light"].log()
        + 0.1 * p["no_collision"].log()
        + 0.9 * p["drivable_area"].log()
        + 0.2 * p["direction"].log()
        + 6.0 * (7 * p["time_to_collision"] + 7 * p["progress"] + 3 * p["lane_keeping"]).log()
    )
    gap = formula.score(raw) - exact
    torch.testing.assert_close(gap, torch.full_like(gap, -6.0 * math.log(17.0)))  # one constant: the same softmax
    low = {name: torch.full((1, 2), -200.0, requires_grad=True) for name in formula.heads}
    formula.score(low).sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in low.values())
    with pytest.raises(CraftError, match="formula"):
        ScoreFormula(imitation=-1.0)


def test_an_energy_and_a_readout_start_with_the_released_greedy_plan():
    energy, readout = TinyMetricPolicy(), TinyReadoutPolicy()
    context, candidates = driven(energy)
    score = energy.formula.score(energy.raw(context))
    assert torch.equal(energy.act(candidates, greedy=True)[0], score.argmax(1))
    torch.testing.assert_close(candidates.log_probs, score.log_softmax(1).detach())
    assert torch.equal(readout.propose(context).log_probs, candidates.log_probs)
    readout.set_trainable("heads")
    joint = readout.score(context, candidates).joint
    gradient = torch.autograd.grad(joint[:, 0].sum(), readout.readout.weight)[0]
    assert (gradient != 0).any()


# --- sigmoid-trained logits -------------------------------------------------------------------------------------------


class Sigmoids(VocabularyPolicy):
    """One logit of +2 among -5s: what focal or binary cross-entropy leaves behind."""

    profiles = {"heads": ("bias",)}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, size: int) -> None:
        along = torch.arange(1.0, size + 1.0)[:, None] * torch.ones(1, 2)
        entries = torch.zeros(size, 2, 3)
        entries[..., 0] = along
        super().__init__(Vocabulary(entries, 0.1))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def encode(self, observation: Observation) -> Context:
        return Context({"ego": observation.ego}, batch_size=[len(observation.ego)])

    def logits(self, context: Context) -> Tensor:
        logits = torch.full((context.batch_size[0], len(self.table)), -5.0)
        logits[:, 3] = 2.0
        return logits + self.bias


@pytest.mark.parametrize(
    ("size", "raw", "temperature", "log_sigmoid"),
    [(48, 0.96, 1.16, 0.74), (144, 0.89, 0.98, 0.48), (1024, 0.52, 0.77, 0.11), (4096, 0.21, 0.67, 0.03)],
)
def test_sigmoid_logits_need_one_calibrated_temperature(size, raw, temperature, log_sigmoid):
    policy = Sigmoids(size)
    context = Context({"ego": torch.zeros(2, 5)}, batch_size=[2])
    greedy = float(policy.propose(context).log_probs.exp().amax(1).mean())
    assert greedy == pytest.approx(raw, abs=0.006)
    assert float(policy.logits(context).detach().sigmoid().log().softmax(1).amax()) == pytest.approx(
        log_sigmoid, abs=0.015
    )
    found = policy.calibrate_temperature(context, 0.9)
    assert found == pytest.approx(temperature, abs=0.01)
    assert policy.spec.temperature == found
    candidates = policy.propose(context)
    assert candidates.log_probs.exp().amax(1).tolist() == pytest.approx([0.9, 0.9], abs=1e-3)
    assert torch.equal(policy.score(context, candidates).joint, candidates.log_probs)
    assert int(policy.act(candidates, greedy=True)[0][0]) == 3
