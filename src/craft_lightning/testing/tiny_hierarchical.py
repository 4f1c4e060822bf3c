"""A two-factor policy small enough for unit tests."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.conventions import BEV_CHANNELS, EGO_FEATURES, ROUTE_FEATURE_POINTS
from craft_lightning.policies.hierarchical_family import HierarchicalPolicy
from craft_lightning.policies.plan_grid import PlanGrid
from craft_lightning.structures import Context, Observation

_GRID = 6  # cells a side of the pooled raster


class TinyHierarchicalPolicy(HierarchicalPolicy):
    """A linear trunk and two linear tables over a fan of arcs; a few thousand parameters.

    Args:
        paths: number of paths.
        speeds: number of speed profiles.
        num_poses: poses of a plan, 0.1 s apart.
        width: size of the context.
        seed: seed of the weights; the global generator is left alone.
        dropout: dropout in front of the tables, to show that it cannot change a score in fine-tuning.

    """

    profiles = {"heads": ("speed_head",), "decoder": ("path_head", "speed_head")}  # noqa: RUF012 - ClassVar of the base
    free_arguments = HierarchicalPolicy.free_arguments | {"seed"}

    def __init__(
        self,
        paths: int = 5,
        speeds: int = 4,
        num_poses: int = 40,
        width: int = 8,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(paths, speeds, num_poses)
        inputs = len(BEV_CHANNELS) * _GRID**2 + len(EGO_FEATURES) + ROUTE_FEATURE_POINTS * 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
            self.dropout = nn.Dropout(dropout)
            self.path_head = nn.Linear(width, paths)
            self.speed_head = nn.Linear(width, paths * speeds)
        self.set_grid(fan_grid(paths, speeds, num_poses))

    @classmethod
    def example(cls) -> Self:
        """Return an instance; the grid comes with it."""
        return cls()

    def encode(self, observation: Observation) -> Context:
        """Return the context {"state": [B, width], "ego": [B, 5]}."""
        bev = functional.adaptive_avg_pool2d(observation.bev.float() / 255.0, _GRID).flatten(1)
        ego, route = observation.ego.float(), observation.route.float()
        state = self.trunk(torch.cat([bev, ego / 10.0, route.flatten(1) / 20.0], 1))
        return Context({"state": state, "ego": ego}, batch_size=[len(state)])

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return logits [B, P] and [B, P, V]."""
        state = self.dropout(context["state"])
        speed = self.speed_head(state).unflatten(1, (self.path_table.shape[0], -1))
        return self.path_head(state) * 4.0, speed * 4.0


def fan_grid(paths: int, speeds: int, num_poses: int = 40, points: int = 40, dt: float = 0.1) -> PlanGrid:
    """Return a grid of arcs that fan out from straight on and of constant accelerations from -6 to 2 m/s^2."""
    # Straight first, then curvatures of alternating sign.
    number = torch.arange(paths)
    curvature = ((number + 1) // 2) * (0.08 / paths) * torch.where(number % 2 == 1, 1.0, -1.0)
    distance = torch.arange(1.0, points + 1.0)
    yaw = curvature[:, None] * distance
    # The chord of an arc: exact, and finite for any curvature.
    chord = distance * torch.sinc(yaw / (2 * torch.pi))
    arcs = torch.stack([chord * torch.cos(yaw / 2), chord * torch.sin(yaw / 2), yaw], -1)
    time = dt * (torch.arange(num_poses) + 0.5)
    return PlanGrid(arcs, torch.linspace(-6.0, 2.0, speeds)[:, None] * time, 14.0, dt)
