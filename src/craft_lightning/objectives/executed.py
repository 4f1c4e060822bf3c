"""The dense closed-loop reward of executed decisions: what PPO and REINFORCE++ learn from in place of a simulator's."""

import dataclasses
import math

import torch
from torch import Tensor

from craft_lightning.conventions import ROUTE_BEHIND
from craft_lightning.objectives.returns import EventPenalties, event_reward, successors
from craft_lightning.structures import Transition

_SEARCH = 60  # route segments (1 m each) looked at from the first one on: more than a decision can drive


@dataclasses.dataclass(frozen=True)
class ExecutedReward:
    """Constants of the dense reward of one executed decision.

    r_t = progress min(dp / full, 1) exp(-route_decay d_g) exp(-heading_decay d_h) + penalties, where dp are the metres
    of route gained by the decision, d_g the distance to the route over ``route_scale`` and d_h the heading error over
    90 degrees, both where the decision led to and at most 1: the progress term of CRAFT's counterfactual reward, eq.
    (40-41) of arXiv 2605.04470, on what really happened. Where the decision led to is only known where the rollout goes
    on; the last decision of a rollout earns no progress.

    Args:
        progress: reward of a decision at full pace on the route.
        full: metres a decision that count as full pace (12 m/s for 0.5 s).
        route_scale: metres beside the route that make d_g = 1.
        route_decay: decay with d_g.
        heading_decay: decay with d_h.
        penalties: what events cost.

    """

    progress: float = 1.0
    full: float = 6.0
    route_scale: float = 3.5
    route_decay: float = 3.0
    heading_decay: float = 2.0
    penalties: EventPenalties = dataclasses.field(default_factory=EventPenalties)


def executed_reward(transitions: Transition, parameters: ExecutedReward | None = None) -> Tensor:
    """Return the dense reward [N] of executed decisions, in any order.

    Args:
        transitions: whole rollouts, as collected.
        parameters: constants.

    """
    p = parameters or ExecutedReward()
    penalty = event_reward(transitions.events, p.penalties)
    following = successors(transitions.rollout, transitions.step)
    rows = (following >= 0).nonzero().squeeze(1)
    reward = penalty.clone()
    if len(rows):
        gained, aside, turned = _displacement(transitions, rows, following[rows])
        share = (gained / p.full).clamp(0.0, 1.0)
        d_g = (aside / p.route_scale).clamp(max=1.0)
        d_h = (turned / (0.5 * math.pi)).clamp(max=1.0)
        dense = p.progress * share * torch.exp(-p.route_decay * d_g - p.heading_decay * d_h)
        reward[rows] += dense.to(reward)
    return reward


def _displacement(transitions: Transition, rows: Tensor, following: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return metres of route gained, metres beside it and radians off its heading, [R] each."""
    scene = transitions.scene
    before, after = scene.ego_pose[rows], scene.ego_pose[following]
    delta = after[:, :2] - before[:, :2]
    cos, sin = before[:, 2].cos(), before[:, 2].sin()
    place = torch.stack([cos * delta[:, 0] + sin * delta[:, 1], cos * delta[:, 1] - sin * delta[:, 0]], 1)
    yaw = after[:, 2] - before[:, 2]
    route = scene.route[rows, : int(ROUTE_BEHIND) + _SEARCH].to(place)
    start, _, _ = _project(route, torch.zeros_like(place))
    arc, aside, heading = _project(route, place)
    turn = torch.remainder(yaw - heading + math.pi, 2.0 * math.pi) - math.pi
    return arc - start, aside, turn.abs()


def _project(route: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project points [R, 2] onto polylines [R, P, 2]; return arc length, distance and heading there, [R] each."""
    step = route[:, 1:] - route[:, :-1]
    length = step.norm(dim=-1).clamp_min(1e-6)
    offset = place[:, None] - route[:, :-1]
    along = ((offset * step).sum(-1) / length.square()).clamp(0.0, 1.0)
    distance = (offset - along[..., None] * step).norm(dim=-1)
    nearest = distance.argmin(1, keepdim=True)
    begins = length.cumsum(1) - length
    arc = (begins + along * length).gather(1, nearest).squeeze(1)
    heading = torch.atan2(step[..., 1], step[..., 0]).gather(1, nearest).squeeze(1)
    return arc, distance.gather(1, nearest).squeeze(1), heading
