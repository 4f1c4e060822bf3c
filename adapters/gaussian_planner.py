"""A planner with a Gaussian latent (ORION's shape): tokens -> mu, sigma -> plan."""

from typing import Self

import torch
from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.gaussian_family import GaussianPolicy, gaussian_law
from craft_lightning.policies.plan_basis import PlanBasis
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.structures import Context, Observation


class GaussianPlanner(GaussianPolicy):
    """One query cross-attends to the state's tokens and answers mu and sigma of a latent plan.

    A latent is a vector of principal components of plans (``policies.plan_basis``), which a decoder that starts at zero
    may bend by what the state says. Fine-tuning trains the query's layers and the law; the decoder rests.

    Args:
        samples: plans drawn a state.
        dimensions: numbers of a latent.
        lowest: smallest sigma, in deviations of the plans that the basis was fitted to.
        highest: largest sigma.
        backbone: name of a timm model.
        pretrained: download timm's weights.
        width: features of tokens and query.
        layers: cross-attention layers.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        dropout: dropout in pre-training.

    """

    profiles = {"heads": ("law_head",), "decoder": ("query", "decoder", "law_head")}  # noqa: RUF012 - ClassVar

    def __init__(
        self,
        samples: int = 32,
        dimensions: int = 8,
        lowest: float = 0.05,
        highest: float = 1.0,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(samples, dimensions)
        self.lowest, self.highest = lowest, highest
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.law_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 2 * dimensions))
        self.basis = PlanBasis(dimensions, self.num_poses)
        self.plan_head = embedding_network(dimensions + width, width)
        self.plan_out = nn.Linear(width, dimensions)
        nn.init.zeros_(self.plan_out.weight)
        nn.init.zeros_(self.plan_out.bias)

    @classmethod
    def example(cls) -> Self:
        """Return a small instance with a basis of random drivable trajectories."""
        policy = cls(samples=8, width=32, feedforward=32)
        policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
        return policy

    def prepare(self, trajectories: Tensor, seed: int = 0) -> None:
        """Fit the basis to demonstrations where there is none yet."""
        if not self.basis.ready:
            self.basis.fit(trajectories)

    def encode(self, observation: Observation) -> Context:
        """Return {"tokens": [B, 42, width], "ego": [B, 5]}."""
        self.basis.require_ready()
        tokens = half_rounded(self.trunk(observation)[0])
        return Context({"tokens": tokens, "ego": observation.ego.float()}, batch_size=[len(tokens)])

    def law(self, context: Context) -> Tensor:
        """Return mu, log sigma [B, 2 D]."""
        features = self.decoder(self.query, full(context["tokens"])).squeeze(1)
        return gaussian_law(self.law_head(features), self.lowest, self.highest)

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return plans [B, N, T, 3] of latents [B, N, D]."""
        state = full(context["tokens"]).mean(1, keepdim=True).expand(-1, value.shape[1], -1)
        bend = self.plan_out(torch.relu(self.plan_head(torch.cat([value, state], -1))))
        return self.basis.expand(value + bend)
