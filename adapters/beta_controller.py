"""A control policy (CaRL's shape): tokens -> Beta distributions over steering and acceleration."""

import torch
from torch import Tensor, nn

from craft_lightning.policies.beta_family import BetaPolicy, beta_law, beta_start
from craft_lightning.policies.decoder import CandidateDecoder, full, half_rounded
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.structures import Context, Observation


class BetaController(BetaPolicy):
    """One query cross-attends to the state's tokens and answers two Beta distributions.

    Starts with little steering and a light throttle, whatever the state.

    Args:
        samples: actions drawn a state.
        wheelbase: metres between the axles of the bicycle that actions are rolled out with.
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
        wheelbase: float = 2.9,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(samples, wheelbase=wheelbase)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        last = nn.Linear(width, 4)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(beta_start(torch.tensor([0.0, 0.2]), 8.0))
        self.law_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), last)

    def encode(self, observation: Observation) -> Context:
        """Return {"tokens": [B, 42, width], "ego": [B, 5]}."""
        tokens = half_rounded(self.trunk(observation)[0])
        return Context({"tokens": tokens, "ego": observation.ego.float()}, batch_size=[len(tokens)])

    def law(self, context: Context) -> Tensor:
        """Return alpha, beta [B, 4]."""
        return beta_law(self.law_head(self.decoder(self.query, full(context["tokens"])).squeeze(1)))
