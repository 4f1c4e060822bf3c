"""What a branch was worth: the proxy's own reward on what really happened, and the grounded return of its events."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craft_lightning.audit.forecasts import to_frame
from craft_lightning.conventions import EVENTS
from craft_lightning.counterfactual.reference import Events, Motion, assess
from craft_lightning.counterfactual.world import CounterfactualWorld
from craft_lightning.objectives.returns import EventPenalties, event_reward
from craft_lightning.simulation.branching import Branch
from craft_lightning.structures import Scene


@dataclasses.dataclass(frozen=True)
class Realised:
    """Scores of a state's branches.

    Attributes:
        returns: [K] the return (37) of the motion that was driven, over the world's horizon.
        collision_step: [K] step of 0.1 s of the first real collision within it, -1 for none.
        grounded: [K] discounted rewards of the events of all decisions of the branch.

    """

    returns: np.ndarray
    collision_step: np.ndarray
    grounded: np.ndarray


def realised(
    world: CounterfactualWorld,
    scene: Scene,
    branches: Sequence[Branch],
    grids: Sequence[Any],
    penalties: EventPenalties | None = None,
    discount: float = 0.8,
) -> Realised:
    """Score the branches of one visited state.

    The reward is the proxy's, term by term; poses, collisions, red lights and stop signs are those of the world. After
    an episode's end (a collision, the end of the route) nothing is added.

    Args:
        world: the counterfactual world, for its horizon and reward.
        scene: the visited state, [1].
        branches: K branches, at least as long as the horizon where they did not end.
        grids: ``RoadGrid`` of every town index in the scene.
        penalties: of the grounded return; None for the paper's.
        discount: of the grounded return, a decision.

    """
    steps, count = world.steps, len(branches)
    poses = np.empty((count, steps + 1, 5))
    first = np.full((count, 3), steps)
    lasting = np.empty(count, np.int64)
    origin = tuple(float(value) for value in scene.ego_pose[0])
    for row, branch in enumerate(branches):
        ego = branch.ego[: steps + 1]
        lasting[row] = len(ego) - 1
        poses[row, : len(ego), :4] = to_frame(ego[:, :3], origin)  # type: ignore[arg-type]
        poses[row, : len(ego), 4] = ego[:, 3]
        poses[row, len(ego) :] = poses[row, len(ego) - 1]
        poses[row, len(ego) :, 4] = 0.0
        for column, name in enumerate(("collision", "red_light", "stop_sign")):
            found = np.flatnonzero(branch.flags[:steps, EVENTS.index(name)])
            if len(found):
                first[row, column] = found[0]
        hit = first[row, 0]
        if hit < steps:  # the world's collision has taken the speed away that the charge is for
            poses[row, hit + 1, 4] = max(poses[row, hit : hit + 2, 4])
    x, y, cos, sin, speed = torch.from_numpy(poses)[None].unbind(-1)
    events = Events(*torch.from_numpy(first)[None].unbind(-1))
    mask = torch.ones(1, count, dtype=torch.bool)
    scored = assess(world, scene, Motion(x, y, cos, sin, speed, torch.atan2(sin, cos)), events, mask, grids, True)
    rewards, p = _rewards(scored.rewards), world.reward
    time = torch.arange(steps)
    kept = torch.where(time < torch.from_numpy(lasting)[:, None], rewards[0] * p.discount ** time.double(), 0.0).sum(-1)
    kept = (
        kept - p.red_light * torch.from_numpy(first[:, 1] < steps) - p.stop_sign * torch.from_numpy(first[:, 2] < steps)
    )
    grounded = [grounded_return(branch.events, penalties, discount) for branch in branches]
    return Realised(kept.numpy(), np.where(first[:, 0] < steps, first[:, 0], -1), np.array(grounded))


def _rewards(rewards: Tensor | None) -> Tensor:
    assert rewards is not None  # asked for above
    return rewards.double()


def grounded_return(events: np.ndarray, penalties: EventPenalties | None = None, discount: float = 0.8) -> float:
    """Return the discounted sum of the rewards of decisions with the given events [D, len(EVENTS)]."""
    reward = event_reward(torch.from_numpy(np.asarray(events, np.float32)), penalties).double()
    return float((reward * discount ** torch.arange(len(reward)).double()).sum())
