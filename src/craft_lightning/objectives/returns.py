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
    if len(reward) == 0:
        return reward.clone()
    numbers, row = rollout.unique(return_inverse=True)
    length = int(step.max()) + 1
    cell = row * length + step
    if len(cell.unique()) != len(cell):
        twice = rollout[(cell[:, None] == cell).sum(1) > 1][0]
        raise CraftError(
            f"transitions.step repeats inside rollout {int(twice)}; give every executed decision of a rollout "
            "its own step number"
        )
    # One row a rollout, so that the backward recursion takes one vector operation a step.
    rewards = reward.new_zeros(len(numbers) * length).index_copy_(0, cell, reward).view(-1, length)
    discounts = reward.new_zeros(len(numbers) * length).index_copy_(0, cell, discount * continues.to(reward))
    discounts = discounts.view(-1, length)
    for t in range(length - 2, -1, -1):
        rewards[:, t] += discounts[:, t] * rewards[:, t + 1]
    return rewards.flatten()[cell]
