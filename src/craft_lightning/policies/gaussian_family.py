"""The family of policies with a Gaussian latent: z ~ N(mu, sigma), decoded to a trajectory (ORION's shape)."""

import torch
from torch import Tensor

from craft_lightning.policies.densities import (
    gaussian_divergence,
    gaussian_entropy,
    gaussian_log_ratio,
    normal_quantile,
)
from craft_lightning.policies.sampled_family import SampledPolicy


class GaussianPolicy(SampledPolicy):
    """pi(z | s) = N(z; mu(s), diag sigma(s)^2); the law is mu and log sigma, [B, 2 D].

    A subclass implements ``encode``, ``law`` and ``decode``. The density of z stands for that of the trajectory: their
    ratios are the same where the decoder is one-to-one, and elsewhere the divergence of z bounds the trajectory's from
    above (data processing).
    """

    family = "gaussian latent"

    def centre(self, law: Tensor) -> Tensor:
        """Return mu."""
        return law.chunk(2, -1)[0]

    def draw(self, law: Tensor, uniform: Tensor) -> Tensor:
        """Return mu + sigma * Phi^-1(uniform)."""
        mean, log_deviation = law.chunk(2, -1)
        return mean + log_deviation.exp() * normal_quantile(uniform)

    def log_ratio(self, law: Tensor, old: Tensor, value: Tensor) -> Tensor:
        """Return the difference of the log-densities."""
        return gaussian_log_ratio(law, old, value)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the divergence of the Gaussians."""
        return gaussian_divergence(first, second)

    def law_entropy(self, law: Tensor) -> Tensor:
        """Return the entropy of the Gaussian."""
        return gaussian_entropy(law)


def gaussian_law(features: Tensor, lowest: float, highest: float) -> Tensor:
    """Return mu, log sigma from features [..., 2 D]; sigma is kept in (lowest, highest) by a sigmoid in log sigma.

    A hard clamp would end the gradient where sigma should come back.
    """
    mean, raw = features.chunk(2, -1)
    low, high = torch.log(features.new_tensor([lowest, highest]))
    return torch.cat([mean, low + (high - low) * torch.sigmoid(raw)], -1)
