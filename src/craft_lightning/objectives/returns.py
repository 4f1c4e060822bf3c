"""Rewards of executed events and their discounted returns, section 5 of arXiv 2605.04470 (the grounded residual)."""

import dataclasses

import torch
from torch import Tensor

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True)
class EventPenalties:
    """What one event costs; a decision pays for each kind at most once.

    Args:
        offroad: outside the drivable area.
        emergency_lane: on a shoulder, stop or parking lane.
        offroute: off the route.
        red: red-light violation.
        stop: stop-sign violation.
        collision: a new collision.
        zones: also charge ``red`` while the ego moves in the stop-required zone of a red light, or dawdles in the
            go-required zone of a green one.

    """

    offroad: float = 0.5
    emergency_lane: float = 0.2
    offroute: float = 0.5
    red: float = 2.0
    stop: float = 2.0
    collision: float = 5.0
    zones: bool = True


def event_reward(events: Tensor, penalties: EventPenalties | None = None) -> Tensor:
    """Return r_gr = -(0.5 offroad + 0.2 emergency_lane + 0.5 offroute + 2 red + 2 stop + 5 collision).

    Args:
        events: [N, len(EVENTS)] 0 or 1, what happened while each decision was executed.
        penalties: the weights; the paper's by default.

    Returns:
        [N] rewards, never positive.

    """
    penalties = penalties or EventPenalties()
    column = {name: events[:, index] for index, name in enumerate(EVENTS)}
    red = column["red_light"]
    if penalties.zones:
        red = torch.maximum(red, torch.maximum(column["stop_zone"], column["go_zone"]))
    return -(
        penalties.offroad * column["offroad"]
        + penalties.emergency_lane * column["emergency_lane"]
        + penalties.offroute * column["offroute"]
        + penalties.red * red
        + penalties.stop * column["stop_sign"]
        + penalties.collision * column["collision"]
    )


def grounded_returns(reward: Tensor, continues: Tensor, rollout: Tensor, step: Tensor, discount: float = 0.8) -> Tensor:
    """Return G_t = r_t + discount u_t G_{t+1} for transitions in any order.

    The successor of a transition is the one of the same rollout with the next step; where there is none, nothing is
    added.

    Args:
        reward: [N] r_t.
        continues: [N] u_t, 0 where the episode ended or was cut.
        rollout: [N] int64 rollout numbers.
        step: [N] int64 decision index in its episode, not negative.
        discount: per decision.

    Returns:
        [N].

    Raises:
        CraftError: two transitions claim the same step of the same rollout.

    """
    return discounted_sums(reward, discount * continues.to(reward), rollout, step)


def discounted_sums(values: Tensor, discounts: Tensor, rollout: Tensor, step: Tensor) -> Tensor:
    """Return x_t = v_t + d_t x_{t+1} [N] for transitions in any order; x beyond a rollout's last step is 0.

    Args:
        values: [N] v_t.
        discounts: [N] d_t.
        rollout: [N] int64 rollout numbers.
        step: [N] int64 decision index in its episode, not negative.

    Raises:
        CraftError: two transitions claim the same step of the same rollout.

    """
    if len(values) == 0:
        return values.clone()
    cell, rows, length = _cells(rollout, step)
    # One row a rollout, so that the backward recursion takes one vector operation a step.
    sums = values.new_zeros(rows * length).index_copy_(0, cell, values).view(-1, length)
    factors = values.new_zeros(rows * length).index_copy_(0, cell, discounts.to(values)).view(-1, length)
    for t in range(length - 2, -1, -1):
        sums[:, t] += factors[:, t] * sums[:, t + 1]
    return sums.flatten()[cell]


def successors(rollout: Tensor, step: Tensor) -> Tensor:
    """Return the index [N] of the transition that follows each one in its rollout, -1 where there is none.

    Raises:
        CraftError: two transitions claim the same step of the same rollout.

    """
    cell, rows, length = _cells(rollout, step)
    table = cell.new_full((rows * length + 1,), -1)
    table[cell] = torch.arange(len(cell), device=cell.device)
    return torch.where(step + 1 < length, table[cell + 1], -1)


def _cells(rollout: Tensor, step: Tensor) -> tuple[Tensor, int, int]:
    """Return each transition's cell [N] in a table with a row a rollout and a column a step, and the table's size."""
    numbers, row = rollout.unique(return_inverse=True)
    length = int(step.max()) + 1
    cell = row * length + step
    if len(cell.unique()) != len(cell):
        twice = rollout[(cell[:, None] == cell).sum(1) > 1][0]
        raise CraftError(
            f"transitions.step repeats inside rollout {int(twice)}; give every executed decision of a rollout "
            "its own step number"
        )
    return cell, len(numbers), length


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Generalised advantages and what the critic is drawn to.

    Args:
        advantage: [N], 0 where ``usable`` is False.
        target: [N] advantage + value.
        usable: [N] bool, False for the last decision of a rollout that was cut: its successor is unknown, so that its
            value serves as the bootstrap of the decision before it and nothing is learnt from it.

    """

    advantage: Tensor
    target: Tensor
    usable: Tensor


def generalised_advantages(
    reward: Tensor,
    value: Tensor,
    done: Tensor,
    rollout: Tensor,
    step: Tensor,
    discount: float = 0.95,
    decay: float = 0.9,
) -> Estimates:
    """Return generalised advantage estimates, eq. (11-16) of arXiv 1506.02438, for transitions in any order.

    delta_t = r_t + discount (1 - done_t) V(s_{t+1}) - V(s_t) and A_t = delta_t + discount decay (1 - done_t) A_{t+1}.
    An episode that ended is worth nothing beyond its end; one that was cut is bootstrapped from the value of its last
    state.

    Args:
        reward: [N] r_t.
        value: [N] V(s_t).
        done: [N] 1 where the episode ended by itself after this decision.
        rollout: [N] int64 rollout numbers.
        step: [N] int64 decision index in its episode.
        discount: per decision.
        decay: lambda.

    Raises:
        CraftError: two transitions claim the same step of the same rollout.

    """
    following = successors(rollout, step)
    alive = 1.0 - done.to(reward)
    usable = (following >= 0) | (done > 0)
    onward = torch.where(following >= 0, value[following.clamp_min(0)], 0.0)
    delta = torch.where(usable, reward + discount * alive * onward - value, 0.0)
    advantage = discounted_sums(delta, discount * decay * alive, rollout, step)
    return Estimates(advantage, advantage + value, usable)
