"""Event rewards and grounded returns against hand-computed numbers and a naive recursion."""

import pytest
import torch

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.objectives.returns import EventPenalties, event_reward, grounded_returns


def events(*names):
    row = torch.zeros(1, len(EVENTS))
    for name in names:
        row[0, EVENTS.index(name)] = 1.0
    return row


@pytest.mark.parametrize(
    ("names", "reward"),
    [
        ((), 0.0),
        (("collision",), -5.0),
        (("red_light",), -2.0),
        (("stop_sign",), -2.0),
        (("offroad",), -0.5),
        (("offroute",), -0.5),
        (("emergency_lane",), -0.2),
        (("opposite_lane",), 0.0),
        (("stop_zone",), -2.0),
        (("go_zone",), -2.0),
        (("red_light", "stop_zone"), -2.0),
        (("collision", "red_light", "offroad"), -7.5),
    ],
)
def test_what_events_cost(names, reward):
    assert float(event_reward(events(*names))) == pytest.approx(reward)


def test_zones_can_be_left_out():
    penalties = EventPenalties(zones=False)
    assert float(event_reward(events("stop_zone", "go_zone"), penalties)) == 0.0
    assert float(event_reward(events("red_light"), penalties)) == -2.0


def test_one_collision_reaches_back_as_the_paper_says():
    length = 7
    happened = torch.cat([events()] * (length - 1) + [events("collision")])
    returns = grounded_returns(
        event_reward(happened),
        torch.tensor([1.0] * (length - 1) + [0.0]),
        torch.full((length,), 4),
        torch.arange(length),
    )
    advantage = (returns / 8.0).clamp(-1.0, 1.0)
    expected = torch.tensor([-0.625 * 0.8**lag for lag in reversed(range(length))])
    torch.testing.assert_close(advantage, expected)


def naive(reward, continues, rollout, step, discount):
    at = {(int(n), int(t)): i for i, (n, t) in enumerate(zip(rollout, step, strict=True))}
    answer = []
    for i in range(len(reward)):
        total, factor, j = 0.0, 1.0, i
        while j is not None:
            total += factor * float(reward[j])
            factor *= discount * float(continues[j])
            j = at.get((int(rollout[j]), int(step[j]) + 1)) if factor else None
        answer.append(total)
    return torch.tensor(answer)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_any_rollouts_agrees_with_the_recursion(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (9,), generator=generator).tolist()
    rollout = torch.cat([torch.full((n,), 1000 * i + 17) for i, n in enumerate(lengths)])
    step = torch.cat([torch.arange(n) for n in lengths])
    keep = torch.randperm(len(step), generator=generator)[: len(step) - 3]  # shuffled, with gaps
    rollout, step = rollout[keep], step[keep]
    reward = -torch.rand(len(keep), generator=generator)
    continues = (torch.rand(len(keep), generator=generator) < 0.8).float()
    torch.testing.assert_close(
        grounded_returns(reward, continues, rollout, step, 0.8), naive(reward, continues, rollout, step, 0.8)
    )


def test_an_episode_never_leaks_into_the_next():
    reward = torch.tensor([0.0, 0.0, -5.0, 0.0])
    returns = grounded_returns(
        reward, torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([1, 1, 2, 2]), torch.tensor([0, 1, 0, 1])
    )
    assert returns.tolist() == [0.0, 0.0, -5.0, 0.0]


def test_nothing_in_nothing_out():
    empty = torch.zeros(0)
    assert len(grounded_returns(empty, empty, empty.long(), empty.long())) == 0


def test_a_repeated_step_is_refused_with_its_rollout():
    with pytest.raises(CraftError, match="rollout 7"):
        grounded_returns(torch.zeros(3), torch.ones(3), torch.tensor([5, 7, 7]), torch.tensor([0, 2, 2]))
