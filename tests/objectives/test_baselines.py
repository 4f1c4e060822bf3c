"""GRPO, PPO and REINFORCE++: closed forms on small tables, worked numbers, and real fits that learn."""

import pytest
import torch
from torch.utils.data import DataLoader

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.critic import critic_of, pooled
from craft_lightning.objectives.executed import ExecutedReward, executed_reward
from craft_lightning.objectives.functional import (
    clipped_surrogate,
    clipped_value_loss,
    expected_advantage_loss,
)
from craft_lightning.objectives.group_relative import GroupRelative
from craft_lightning.objectives.policy_gradient import ProximalPolicy, ReinforcePlusPlus
from craft_lightning.objectives.returns import generalised_advantages, successors
from craft_lightning.objectives.surrogates import group_relative_loss
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import ProgressWorld, SyntheticDataModule, synthetic_transitions

# --- GRPO -------------------------------------------------------------------------------------------------------------


def table(seed=0, states=6, actions=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    advantage = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    mask = torch.rand(states, actions, generator=generator) < 0.8
    mask[:, 0] = True
    return logits, advantage, mask


def log_policy(logits, mask):
    return logits.masked_fill(~mask, -torch.inf).log_softmax(-1)


def test_grpo_starts_with_the_gradient_of_the_exact_expectation():
    logits, advantage, mask = table()
    logits.requires_grad_()
    log_probs = log_policy(logits, mask)
    (grpo,) = torch.autograd.grad(
        group_relative_loss(log_probs[..., None], log_probs.detach()[..., None], log_probs.detach(), advantage, mask),
        logits,
        retain_graph=True,
    )
    (exact,) = torch.autograd.grad(expected_advantage_loss(log_probs, advantage, mask), logits)
    torch.testing.assert_close(grpo, exact, rtol=1e-12, atol=1e-14)
    assert exact.norm() > 1e-2


def test_grpo_leaves_alone_what_moved_beyond_the_clip_range_in_its_direction():
    old = torch.tensor([[0.25, 0.25, 0.25, 0.25]]).log()
    new = torch.tensor([[0.40, 0.15, 0.225, 0.225]]).log().requires_grad_()
    advantage = torch.tensor([[1.0, -1.0, 1.0, 0.0]])
    loss = group_relative_loss(new[..., None], old[..., None], old, advantage, torch.ones(1, 4, dtype=torch.bool))
    # ratios 1.6 (clipped to 1.2), 0.6 (clipped to 0.8), 0.9
    assert float(loss) == pytest.approx(-0.25 * (1.2 - 0.8 + 0.9))
    loss.backward()
    assert new.grad[0, 0] == 0
    assert new.grad[0, 1] == 0
    assert new.grad[0, 2] == pytest.approx(-0.225)


# --- generalised advantages -------------------------------------------------------------------------------------------


def test_an_ended_and_a_cut_rollout_by_hand():
    # Rollout 3 ends by itself after two decisions; rollout 5 is cut after two. Order is mixed on purpose.
    rollout, step = torch.tensor([5, 3, 5, 3]), torch.tensor([1, 0, 0, 1])
    reward = torch.tensor([9.0, 1.0, 2.0, 4.0])
    value = torch.tensor([10.0, 3.0, 5.0, 2.0])
    done = torch.tensor([0.0, 0.0, 0.0, 1.0])
    found = generalised_advantages(reward, value, done, rollout, step, discount=0.5, decay=0.8)
    ended_last = 4.0 - 2.0
    ended_first = 1.0 + 0.5 * 2.0 - 3.0 + 0.5 * 0.8 * ended_last
    cut_first = 2.0 + 0.5 * 10.0 - 5.0  # bootstrapped from the last state's value, whose own decision teaches nothing
    torch.testing.assert_close(found.advantage, torch.tensor([0.0, ended_first, cut_first, ended_last]))
    torch.testing.assert_close(found.target[1:], (found.advantage + value)[1:])
    assert found.usable.tolist() == [False, True, True, True]
    assert successors(rollout, step).tolist() == [-1, 3, 0, -1]


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_the_two_ends_of_lambda(decay):
    generator = torch.Generator().manual_seed(3)
    count = 7
    rollout, step = torch.zeros(count, dtype=torch.int64), torch.arange(count)
    reward, value = torch.randn(count, generator=generator), torch.randn(count, generator=generator)
    done = (step == count - 1).float()
    found = generalised_advantages(reward, value, done, rollout, step, 0.9, decay)
    if decay == 1.0:
        expected = [sum(0.9 ** (k - t) * reward[k] for k in range(t, count)) - value[t] for t in range(count)]
    else:
        ahead = torch.cat([value[1:], torch.zeros(1)])
        expected = list(reward + 0.9 * ahead - value)
    torch.testing.assert_close(found.advantage, torch.stack(expected))


def test_with_the_true_values_one_step_estimates_average_to_the_true_advantage():
    """On a random Markov chain with actions: E over the next state of the estimate is r + gamma E V(s') - V(s)."""
    generator = torch.Generator().manual_seed(0)
    states, actions, gamma = 4, 3, 0.8
    policy = torch.rand(states, actions, generator=generator, dtype=torch.float64).softmax(-1)
    moves = torch.rand(states, actions, states, generator=generator, dtype=torch.float64).softmax(-1)
    reward = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    chain = torch.einsum("sa,sat->st", policy, moves)
    value = torch.linalg.solve(torch.eye(states, dtype=torch.float64) - gamma * chain, (policy * reward).sum(-1))
    true = reward + gamma * moves @ value - value[:, None]
    # Every (state, action, next state) as a rollout of two decisions.
    s, a, t = torch.cartesian_prod(torch.arange(states), torch.arange(actions), torch.arange(states)).T
    count = len(s)
    rollout = torch.arange(count).repeat(2)
    step = torch.arange(2).repeat_interleave(count)
    rewards = torch.cat([reward[s, a], torch.zeros(count, dtype=torch.float64)])
    values = torch.cat([value[s], value[t]])
    found = generalised_advantages(rewards, values, torch.zeros(2 * count), rollout, step, gamma, 0.9)
    estimate = (found.advantage[:count] * moves[s, a, t]).view(states, actions, states).sum(-1)
    torch.testing.assert_close(estimate, true, rtol=1e-10, atol=1e-12)


# --- surrogate and value loss -----------------------------------------------------------------------------------------


def test_without_the_dual_clip_a_bad_decision_is_not_bounded():
    ratio, bad = torch.tensor([5.0]), torch.tensor([-1.0])
    assert clipped_surrogate(ratio, bad, 0.2, 2.0).tolist() == [-2.0]
    assert clipped_surrogate(ratio, bad, 0.2, None).tolist() == [-5.0]


def test_the_value_loss_stops_pulling_beyond_its_clip():
    old, target = torch.tensor([0.0]), torch.tensor([5.0])
    near, far = (torch.tensor([x], requires_grad=True) for x in (0.1, 0.4))
    clipped_value_loss(near, old, target).sum().backward()
    clipped_value_loss(far, old, target).sum().backward()
    assert near.grad.item() == pytest.approx(-1.0)  # smooth L1 beyond its corner
    assert far.grad.item() == 0.0  # already moved by more than 0.2 towards the target
    wrong_way = torch.tensor([-0.4], requires_grad=True)
    clipped_value_loss(wrong_way, old, target).sum().backward()
    assert wrong_way.grad.item() == pytest.approx(-1.0)
    assert clipped_value_loss(torch.tensor([5.5]), torch.tensor([5.5]), target).item() == pytest.approx(0.125)


# --- the dense reward -------------------------------------------------------------------------------------------------


@pytest.fixture
def drive():
    """Two decisions of one rollout on a straight road."""
    transitions = synthetic_transitions(TinyVocabularyPolicy(), count=2, episode=2, collisions=0.0)
    transitions.done = torch.zeros(2)

    def go(metres, aside=0.0, turned=0.0, heading=0.7, **events):
        start = torch.tensor([4.0, -3.0, heading], dtype=torch.float64)
        cos, sin = torch.tensor(heading).cos(), torch.tensor(heading).sin()
        moved = torch.tensor([metres * cos - aside * sin, metres * sin + aside * cos, turned], dtype=torch.float64)
        transitions.scene.ego_pose = torch.stack([start, start + moved])
        transitions.events = torch.zeros(2, len(EVENTS))
        for name in events:
            transitions.events[0, EVENTS.index(name)] = 1.0
        return executed_reward(transitions)

    return go


def test_progress_earns_up_to_full_pace_whatever_the_heading(drive):
    for heading in (0.0, 0.7, 3.0):
        assert drive(3.0, heading=heading)[0] == pytest.approx(0.5, abs=1e-5)
    assert drive(6.0)[0] == pytest.approx(1.0, abs=1e-5)
    assert drive(9.0)[0] == pytest.approx(1.0, abs=1e-5)
    assert drive(-2.0)[0] == pytest.approx(0.0, abs=1e-5)
    assert drive(3.0)[1] == 0.0  # where the last decision led to is not known


def test_deviation_decays_progress_and_events_cost(drive):
    from math import exp, pi

    assert drive(3.0, aside=1.75)[0] == pytest.approx(0.5 * exp(-1.5), rel=1e-4)
    assert drive(3.0, turned=-pi / 8)[0] == pytest.approx(0.5 * exp(-0.5), rel=1e-4)
    assert drive(3.0, collision=1)[0] == pytest.approx(0.5 - 5.0, rel=1e-4)
    assert drive(3.0, turned=2 * pi)[0] == pytest.approx(0.5, rel=1e-4)


# --- fits -------------------------------------------------------------------------------------------------------------


class GoodAndBad(SyntheticDataModule):
    """Episodes of one decision: the first half of the candidates collides, the second does not."""

    def train_dataloader(self):
        policy = self.trainer.lightning_module.adapter
        transitions = synthetic_transitions(policy, count=64, seed=self.trainer.current_epoch, episode=1, collisions=0)
        bad = transitions.candidates.chosen < transitions.candidates.mask.shape[1] // 2
        transitions.events[:, EVENTS.index("collision")] = bad.float()
        self.trainer.lightning_module.annotate(transitions, [])
        return DataLoader([transitions[i : i + 32] for i in (0, 32)], batch_size=None)


@pytest.mark.parametrize("kind", [ProximalPolicy, ReinforcePlusPlus])
def test_executed_collisions_become_less_probable(kind, quiet_trainer):
    module = CraftModule(TinyVocabularyPolicy(), learning_rate=1e-2)
    trainer = quiet_trainer([kind()], max_epochs=12, reload_dataloaders_every_n_epochs=1)
    data = GoodAndBad()

    def share():
        probe = synthetic_transitions(module.adapter, count=64, seed=99)
        probs = probe.candidates.log_probs.exp()
        return float(probs[:, : probs.shape[1] // 2].sum(1).mean())

    before = share()
    trainer.fit(module, datamodule=data)
    assert share() < before - 0.1
    if kind is ProximalPolicy:
        assert "ProximalPolicy/value_explained_variance" in trainer.callback_metrics
        critic = module.owned("ProximalPolicy")
        assert all(p.requires_grad for p in critic.parameters())
        assert critic.network[-1].weight.abs().sum() > 0  # it has learnt


def test_the_critic_sends_no_gradient_into_the_policy():
    policy = TinyVocabularyPolicy()
    transitions = synthetic_transitions(policy)
    critic = critic_of(policy)
    assert critic(transitions.context).tolist() == [0.0] * 64
    assert pooled(transitions.context).shape == (64, critic.network[0].normalized_shape[0])
    torch.nn.init.ones_(critic.network[-1].weight)
    critic(transitions.context).sum().backward()
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_grpo_raises_the_return_of_its_world(quiet_trainer):
    def run(epochs):
        loss = GroupRelative(name="grpo")
        loss._world = ProgressWorld()
        trainer = quiet_trainer([loss], max_epochs=epochs)
        trainer.fit(CraftModule(TinyVocabularyPolicy(), learning_rate=1e-2), datamodule=SyntheticDataModule())
        return float(trainer.callback_metrics["grpo/return_policy"])

    assert run(8) > run(1) + 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GroupRelative(clip=1.5), "clip is 1.5"),
        (lambda: ReinforcePlusPlus(discount=2.0), "discount=2.0"),
        (lambda: ProximalPolicy(value_clip=0.0), "value_clip=0.0"),
    ],
)
def test_impossible_settings_are_refused(make, words):
    with pytest.raises(CraftError, match=words):
        make()


def test_a_reward_that_is_not_finite_names_the_rollout():
    policy = TinyVocabularyPolicy()
    transitions = synthetic_transitions(policy)
    transitions.scene.ego_pose[3, 0] = torch.nan

    class Host:
        adapter, device = policy, torch.device("cpu")
        report = report_iteration = staticmethod(lambda values: None)

    with pytest.raises(CraftError, match=r"losses.ReinforcePlusPlus: the executed reward is nan in rollout 0"):
        ReinforcePlusPlus(reward=ExecutedReward()).annotate(transitions, Host(), [])
