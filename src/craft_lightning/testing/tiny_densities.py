"""Policies with densities, small enough for unit tests: Gaussian latent, Beta control, truncated diffusion."""

import torch
from torch import Tensor, nn

from craft_lightning.conventions import EGO_FEATURES
from craft_lightning.policies.beta_family import BetaPolicy, beta_law
from craft_lightning.policies.diffusion_family import TruncatedDiffusionPolicy
from craft_lightning.policies.gaussian_family import GaussianPolicy, gaussian_law
from craft_lightning.policies.plan_basis import PlanBasis
from craft_lightning.structures import Context, Observation


def _layer(inputs: int, outputs: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(inputs, outputs)


class _Trunk(nn.Module):
    """Ego and route to a few features."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.layer = _layer(len(EGO_FEATURES) + 4, width, seed)

    def context(self, observation: Observation) -> Context:
        ego = observation.ego.float()
        route = observation.route.float()[:, [5, 15]].flatten(1)
        state = torch.tanh(self.layer(torch.cat([ego / 10.0, route / 20.0], 1)))
        return Context({"state": state, "ego": ego}, batch_size=[len(ego)])


class TinyGaussianPolicy(GaussianPolicy):
    """A linear Gaussian over the principal components of plans.

    Args:
        samples: candidates drawn a state.
        width: features of the state.
        seed: seed of the weights.

    """

    profiles = {"heads": ("head",), "decoder": ("head",)}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, samples: int = 16, width: int = 8, seed: int = 0) -> None:
        super().__init__(samples, 4)
        self.trunk = _Trunk(width, seed)
        self.head = _layer(width, 8, seed + 1)
        self.basis = PlanBasis.of_random_plans(4)

    def encode(self, observation: Observation) -> Context:
        """Return {"state": [B, width], "ego": [B, 5]}."""
        return self.trunk.context(observation)

    def law(self, context: Context) -> Tensor:
        """Return mu, log sigma [B, 8]."""
        return gaussian_law(self.head(context["state"]), 0.1, 2.0)

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return plans of the basis."""
        return self.basis.expand(value)


class TinyBetaPolicy(BetaPolicy):
    """A linear layer in front of Beta distributions.

    Args:
        samples: actions drawn a state.
        width: features of the state.
        seed: seed of the weights.

    """

    profiles = {"heads": ("head",), "decoder": ("head",)}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, samples: int = 16, width: int = 8, seed: int = 0) -> None:
        super().__init__(samples)
        self.trunk = _Trunk(width, seed)
        self.head = _layer(width, 4, seed + 1)

    def encode(self, observation: Observation) -> Context:
        """Return {"state": [B, width], "ego": [B, 5]}."""
        return self.trunk.context(observation)

    def law(self, context: Context) -> Tensor:
        """Return alpha, beta [B, 4]."""
        return beta_law(self.head(context["state"]))


class TinyDiffusionPolicy(TruncatedDiffusionPolicy):
    """A linear denoiser over the principal components of plans.

    Args:
        modes: anchors.
        group: chains a mode.
        width: features of the state.
        seed: seed of weights and anchors.

    """

    profiles = {"heads": ("mode", "head"), "decoder": ("mode", "head")}  # noqa: RUF012 - ClassVar of the base

    def __init__(self, modes: int = 4, group: int = 4, width: int = 8, seed: int = 0) -> None:
        super().__init__(modes, group, 4)
        self.trunk = _Trunk(width, seed)
        self.mode = _layer(width, modes, seed + 1)
        self.head = _layer(width + 4, 4, seed + 2)
        self.basis = PlanBasis.of_random_plans(4)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("table", torch.randn(modes, 4, generator=generator))

    @property
    def anchors(self) -> Tensor:
        """Random plans [M, 4]."""
        return self.get_buffer("table")

    def encode(self, observation: Observation) -> Context:
        """Return {"state": [B, width], "ego": [B, 5]}."""
        return self.trunk.context(observation)

    def mode_logits(self, context: Context) -> Tensor:
        """Return [B, M]."""
        return self.mode(context["state"])

    def denoise(self, context: Context, noisy: Tensor, mode: Tensor, step: int) -> Tensor:
        """Return plans [B, N, 4] near their anchors."""
        state = context["state"].unsqueeze(1).expand(-1, noisy.shape[1], -1)
        return self.anchors[mode] + 0.3 * torch.tanh(self.head(torch.cat([state, noisy], -1)))

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return plans of the basis."""
        return self.basis.expand(value)
