"""A trunk for reference policies: bird's-eye raster, ego and route become a few dozen tokens."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from craft_lightning.conventions import BEV_CELLS, BEV_CHANNELS, EGO_FEATURES, ROUTE_FEATURE_POINTS
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import CrossAttentionLayer, embedding_network, half_rounded
from craft_lightning.policies.observation import check_observation, normalised_bev, normalised_ego, normalised_route
from craft_lightning.structures import Observation

_ROUTE_TOKENS = 5
_STRIDE = 16


class BevTokens(nn.Module):
    """A timm backbone's coarse map, the ego and the route as tokens, mixed by one encoder layer.

    Args:
        backbone: name of a timm model that offers a feature map at stride 16.
        pretrained: download timm's weights; never needed, since the raster is no photograph.
        width: features of a token.
        heads: attention heads.
        feedforward: hidden features of the feed-forward block.
        dropout: dropout in pre-training.

    """

    def __init__(
        self,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 64,
        heads: int = 4,
        feedforward: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained, in_chans=len(BEV_CHANNELS), features_only=True)
        # Channels last: the raster's convolutions take about half the time on a CPU.
        self.backbone.to(memory_format=torch.channels_last)
        info: Any = self.backbone.feature_info
        strides, channels = info.reduction(), info.channels()
        if _STRIDE not in strides:
            raise CraftError(f"backbone {backbone} has no map of stride {_STRIDE}; it offers {strides}")
        self._map = strides.index(_STRIDE)
        self.cells = nn.Linear(channels[self._map], width)
        self.ego = embedding_network(len(EGO_FEATURES), width)
        self.route = embedding_network(ROUTE_FEATURE_POINTS * 2 // _ROUTE_TOKENS, width)
        count = (BEV_CELLS // _STRIDE) ** 2 + 1 + _ROUTE_TOKENS
        self.position = nn.Parameter(torch.randn(1, count, width) * 0.02)
        self.encoder = CrossAttentionLayer(width, heads, feedforward, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, observation: Observation) -> Tensor:
        """Return tokens [B, 42, width], rounded to half precision (``decoder.half_rounded``)."""
        check_observation(observation)
        maps = self.backbone(normalised_bev(observation).contiguous(memory_format=torch.channels_last))
        tokens = [
            self.cells(maps[self._map].flatten(2).transpose(1, 2)),
            self.ego(normalised_ego(observation)).unsqueeze(1),
            self.route(normalised_route(observation).flatten(1).unflatten(1, (_ROUTE_TOKENS, -1))),
        ]
        mixed = torch.cat(tokens, 1) + self.position
        return half_rounded(self.norm(self.encoder(mixed, mixed)))
