"""A truncated diffusion planner (DiffusionDrive's shape): anchors, a little noise, two denoising steps."""

from typing import Self

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.diffusion_family import TruncatedDiffusionPolicy
from craft_lightning.policies.plan_basis import PlanBasis
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.structures import Context, Observation


class DiffusionPlanner(TruncatedDiffusionPolicy):
    """Noised anchors cross-attend to the state's tokens and answer the plans behind them; anchors alone give the modes.

    Plans are vectors of principal components (``policies.plan_basis``), so noise makes other plans and not jagged ones.

    Args:
        modes: anchors.
        group: chains drawn a mode.
        dimensions: numbers of a plan.
        floor: smallest deviation of a denoising step, in deviations of the plans that the basis was fitted to.
        backbone: name of a timm model.
        pretrained: download timm's weights.
        width: features of tokens and plans.
        layers: cross-attention layers.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        dropout: dropout in pre-training.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("mode_head", "plan_head"),
        "decoder": ("embedding", "step_embedding", "decoder", "mode_head", "plan_head"),
    }

    anchor_table: Tensor

    def __init__(
        self,
        modes: int = 12,
        group: int = 4,
        dimensions: int = 8,
        floor: float = 0.1,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(modes, group, dimensions, floor=floor)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.embedding = embedding_network(2 * dimensions, width)
        # The last row is of anchors without noise.
        self.step_embedding = nn.Parameter(torch.randn(self.steps + 1, width) * 0.02)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.mode_head = nn.Linear(width, 1)
        self.plan_head = nn.Linear(width, dimensions)
        nn.init.normal_(self.plan_head.weight, std=0.02)
        nn.init.zeros_(self.plan_head.bias)
        self.basis = PlanBasis(dimensions, self.num_poses)
        self.register_buffer("anchor_table", torch.zeros(modes, dimensions))

    @classmethod
    def example(cls) -> Self:
        """Return a small instance with anchors of random drivable trajectories."""
        policy = cls(modes=5, group=3, width=32, feedforward=32)
        policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
        return policy

    @torch.no_grad()
    def prepare(self, trajectories: Tensor, seed: int = 0) -> None:
        """Fit the basis to demonstrations and the anchors to their k-means centres, where there are none yet."""
        if self.basis.ready:
            return
        self.basis.fit(trajectories)
        points = self.basis.project(trajectories[torch.isfinite(trajectories).flatten(1).all(1)].to(self.basis.mean))
        centres, _ = kmeans2(points.cpu().double().numpy(), self.modes, minit="++", seed=seed)
        self.anchor_table.copy_(torch.from_numpy(centres))

    @property
    def anchors(self) -> Tensor:
        """The anchors [M, D]."""
        return self.anchor_table

    def encode(self, observation: Observation) -> Context:
        """Return {"tokens": [B, 42, width], "ego": [B, 5]}."""
        self.basis.require_ready()
        tokens = half_rounded(self.trunk(observation)[0])
        return Context({"tokens": tokens, "ego": observation.ego.float()}, batch_size=[len(tokens)])

    def mode_logits(self, context: Context) -> Tensor:
        """Return [B, M] from the anchors without noise, which all states share."""
        embedded = self.embedding(torch.cat([self.anchors, self.anchors], -1)) + self.step_embedding[-1]
        return self.mode_head(self.decoder(embedded.unsqueeze(0), full(context["tokens"]))).squeeze(-1)

    def denoise(self, context: Context, noisy: Tensor, mode: Tensor, step: int) -> Tensor:
        """Return the plans [B, N, D] behind noisy ones: the anchor and what the state adds."""
        anchor = self.anchors[mode]
        embedded = self.embedding(torch.cat([anchor, noisy], -1)) + self.step_embedding[step]
        return anchor + self.plan_head(self.decoder(embedded, full(context["tokens"])))

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return the plans of the basis."""
        return self.basis.expand(value)
