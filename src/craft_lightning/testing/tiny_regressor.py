"""A deterministic planner small enough for unit tests, with and without a distribution over target speeds."""

import torch
from torch import nn

from craft_lightning.conventions import EGO_FEATURES
from craft_lightning.policies.anchored import AnchoredPolicy
from craft_lightning.policies.regressed_plan import RegressedPlan, changed_speeds
from craft_lightning.policies.released.frames import approach
from craft_lightning.structures import Observation

TARGETS = (0.0, 4.0, 8.0, 12.0)
CHANGES = (-50.0, -4.0, -2.0, 2.0)


class TinyRegressor(AnchoredPolicy):
    """Bends a path and changes the ego's speed by a linear layer.

    Args:
        scored: whether the head has a distribution over target speeds, like TF++; its own plan then drives the expected
            one.
        seed: seed of the weights.

    """

    def __init__(self, scored: bool = False, seed: int = 0) -> None:
        super().__init__(8, 5, width=16)
        self.scored = scored
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(len(EGO_FEATURES) + 4, 8), nn.Tanh())
            self.path_head = nn.Linear(8, 1)
            self.speed_out = nn.Linear(8, len(TARGETS) if scored else 1)

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return an arc of 20 m and a speed."""
        ego = observation.ego.float()
        hidden = self.trunk(torch.cat([ego / 10.0, observation.route.float()[:, [5, 15]].flatten(1) / 20.0], 1))
        turn = 0.05 * torch.tanh(self.path_head(hidden)) * torch.arange(1, 21, device=ego.device)
        path = torch.stack([turn.cos(), turn.sin()], -1).cumsum(1)
        out = self.speed_out(hidden)
        now, targets, changes = ego[:, :1].clamp(min=0.0), out.new_tensor(TARGETS), out.new_tensor(CHANGES)
        speed = (out.softmax(1) @ targets).unsqueeze(1) if self.scored else (ego[:, :1] + out).clamp_min(0.0)
        own = speed.expand(-1, self.num_poses)
        distance = own.unsqueeze(1).cumsum(-1) * self.dt
        if self.scored:
            distance = torch.cat([distance, approach(now, targets.expand(len(ego), -1), 2.5, 6.0)], 1)
            return RegressedPlan(path, distance, hidden, out.log_softmax(1))
        others = changed_speeds(own, changes, self.dt, 2.5, 6.0).cumsum(-1) * self.dt
        return RegressedPlan(path, torch.cat([distance, others], 1), hidden)
