"""The trunk of policies that see a bird's-eye raster, the ego's state and a route."""

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.conventions import BEV_CELLS, BEV_CHANNELS, EGO_FEATURES, ROUTE_FEATURE_POINTS
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import CrossAttentionLayer, embedding_network
from craft_lightning.policies.observation import check_observation, normalised_bev, normalised_ego, normalised_route
from craft_lightning.structures import Observation

ROUTE_TOKENS = 5
_COARSE_STRIDE = 16


class RasterTrunk(nn.Module):
    """From an observation to tokens and a fine map of the raster.

    A timm backbone gives a coarse map, whose cells become tokens beside the ego and the route, and a fine map of a few
    channels; one encoder layer mixes the tokens.

    Args:
        backbone: name of a timm model that offers feature maps at strides ``fine_stride`` and 16.
        pretrained: download timm's weights; never needed, since the raster is no photograph.
        width: features of a token.
        heads: attention heads.
        feedforward: hidden features of the feed-forward block.
        fine_stride: raster cells a side of one cell of the fine map.
        fine_channels: channels of the fine map; 0 for none.
        dropout: dropout in pre-training.

    Attributes:
        fine_cells: rows and columns of the fine map.

    """

    def __init__(
        self,
        backbone: str,
        pretrained: bool,
        width: int,
        heads: int,
        feedforward: int,
        fine_stride: int = 4,
        fine_channels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained, in_chans=len(BEV_CHANNELS), features_only=True)
        # Channels last: the raster's convolutions take about half the time on a CPU.
        self.backbone.to(memory_format=torch.channels_last)
        info: Any = self.backbone.feature_info
        strides, channels = info.reduction(), info.channels()
        for name, stride in (("fine_stride", fine_stride), ("the coarse map", _COARSE_STRIDE)):
            if stride not in strides:
                raise CraftError(f"backbone {backbone} has no map of stride {stride} for {name}; it offers {strides}")
        self._fine, self._coarse = strides.index(fine_stride), strides.index(_COARSE_STRIDE)
        self.fine_cells, coarse_cells = BEV_CELLS // fine_stride, BEV_CELLS // _COARSE_STRIDE
        self.fine_channels = fine_channels
        if fine_channels:
            self.fine_lateral = nn.Conv2d(channels[self._fine], fine_channels, 1)
            self.fine_top = nn.Conv2d(channels[self._coarse], fine_channels, 1)
            self.fine_norm = nn.GroupNorm(1, fine_channels)
        self.coarse = nn.Linear(channels[self._coarse], width)
        self.position = nn.Parameter(torch.randn(1, coarse_cells**2 + 1 + ROUTE_TOKENS, width) * 0.02)
        self.ego_embedding = embedding_network(len(EGO_FEATURES), width)
        self.route_embedding = embedding_network(ROUTE_FEATURE_POINTS * 2 // ROUTE_TOKENS, width)
        self.encoder = CrossAttentionLayer(width, heads, feedforward, dropout)
        self.token_norm = nn.LayerNorm(width)

    def forward(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return tokens [B, 42, width] and the fine map [B, channels, fine_cells * fine_cells].

        Raises:
            CraftError: an observation that no trunk can read.

        """
        check_observation(observation)
        maps = self.backbone(normalised_bev(observation).contiguous(memory_format=torch.channels_last))
        coarse = maps[self._coarse]
        route = normalised_route(observation).flatten(1).unflatten(1, (ROUTE_TOKENS, -1))
        tokens = [
            self.coarse(coarse.flatten(2).transpose(1, 2)),
            self.ego_embedding(normalised_ego(observation)).unsqueeze(1),
            self.route_embedding(route),
        ]
        mixed = torch.cat(tokens, 1) + self.position
        return self.token_norm(self.encoder(mixed, mixed)), self._fine_map(maps[self._fine], coarse)

    def _fine_map(self, fine: Tensor, coarse: Tensor) -> Tensor:
        if not self.fine_channels:
            return fine.new_zeros(len(fine), 0, self.fine_cells**2)
        top = functional.interpolate(self.fine_top(coarse), size=self.fine_cells, mode="nearest")
        return self.fine_norm(self.fine_lateral(fine) + top).flatten(2)
