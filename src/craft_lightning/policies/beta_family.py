"""The family of control policies: Beta-distributed steering and acceleration, held over the horizon (CaRL's shape)."""

import torch
from torch import Tensor
from torch.nn import functional

from craft_lightning.errors import CraftError
from craft_lightning.policies.densities import beta_divergence, beta_entropy, beta_log_ratio, beta_quantile
from craft_lightning.policies.held_control import held_trajectories
from craft_lightning.policies.sampled_family import SampledPolicy
from craft_lightning.structures import Context


class BetaPolicy(SampledPolicy):
    """Steer and acceleration in [-1, 1], each 2 u - 1 with u ~ Beta(alpha, beta); the law is alpha, beta, [B, 4].

    A subclass implements ``encode``, whose context holds ``ego`` [B, 5], and ``law``. An action is held through the
    kinematic bicycle, and the world's tracker follows the trajectory that comes out.

    Args:
        samples: actions drawn a state.
        num_poses: poses of a trajectory.
        dt: seconds between poses.
        wheelbase: metres between the axles of the bicycle that actions are rolled out with.

    """

    family = "beta control"

    def __init__(self, samples: int = 32, num_poses: int = 40, dt: float = 0.1, wheelbase: float = 2.9) -> None:
        super().__init__(samples, 2, num_poses, dt)
        if not wheelbase > 0.0:
            raise CraftError(f"wheelbase is {wheelbase}; give metres above 0")
        self.wheelbase = wheelbase

    def centre(self, law: Tensor) -> Tensor:
        """Return the mean action."""
        alpha, beta = law.chunk(2, -1)
        return 2.0 * alpha / (alpha + beta) - 1.0

    def draw(self, law: Tensor, uniform: Tensor) -> Tensor:
        """Return actions [B, K, 2] in (-1, 1)."""
        return 2.0 * beta_quantile(law, uniform) - 1.0

    def log_ratio(self, law: Tensor, old: Tensor, value: Tensor) -> Tensor:
        """Return the difference of the log-densities."""
        return beta_log_ratio(law, old, value)

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return the actions [B, N, 2] held over the horizon."""
        speed = context["ego"][:, :1].to(value)
        return held_trajectories(value, speed, self.num_poses, self.dt, self.wheelbase)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the divergence of both Beta distributions together."""
        return beta_divergence(first, second)

    def law_entropy(self, law: Tensor) -> Tensor:
        """Return the entropy of the action."""
        return beta_entropy(law)


def beta_law(features: Tensor) -> Tensor:
    """Return alpha, beta = 1 + softplus(features) [..., 2 D]: above 1, so that the density has one mode inside."""
    return 1.0 + functional.softplus(features)


def beta_start(centre: Tensor, concentration: float) -> Tensor:
    """Return the features [2 D] that ``beta_law`` turns into the mode ``centre`` [D] in (-1, 1).

    Args:
        centre: wanted most likely action.
        concentration: alpha + beta - 2, above 0; larger is narrower.

    """
    share = 0.5 * (centre + 1.0)
    excess = concentration * torch.cat([share, 1.0 - share])
    return torch.log(torch.expm1(excess))
