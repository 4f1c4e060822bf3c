"""The trunk of policies that look at pictures: what rasters and cameras share."""

from abc import ABC, abstractmethod
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.conventions import EGO_FEATURES, ROUTE_FEATURE_POINTS
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import CrossAttentionLayer, embedding_network
from craft_lightning.policies.lean_backbone import LeanBackbone
from craft_lightning.policies.observation import normalised_ego, normalised_route
from craft_lightning.structures import Observation

ROUTE_TOKENS = 5
_COARSE_STRIDE = 16


class PictureTrunk(nn.Module, ABC):
    """From an observation to tokens and a fine map of its pictures.

    A timm backbone gives a coarse map of every picture, whose cells become tokens beside the ego and the route, and a
    fine map of a few channels; one encoder layer mixes the tokens. A subclass says in ``pictures`` what is looked at.

    Args:
        backbone: name of a timm model that offers feature maps at strides ``fine_stride`` and 16.
        pretrained: download timm's weights.
        channels: channels of a picture.
        size: rows and columns of a picture.
        count: pictures a state.
        width: features of a token.
        heads: attention heads.
        feedforward: hidden features of the feed-forward block.
        fine_stride: pixels a side of one cell of the fine map.
        fine_channels: channels of the fine map; 0 for none.
        dropout: dropout in pre-training.

    Attributes:
        fine_size: rows and columns of the fine map of one picture.

    """

    def __init__(
        self,
        backbone: str,
        pretrained: bool,
        channels: int,
        size: tuple[int, int],
        count: int,
        width: int,
        heads: int,
        feedforward: int,
        fine_stride: int = 4,
        fine_channels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained, in_chans=channels, features_only=True)
        # Channels last: convolutions take about half the time on a CPU.
        self.backbone.to(memory_format=torch.channels_last)
        info: Any = self.backbone.feature_info
        strides, depths = info.reduction(), info.channels()
        for name, stride in (("fine_stride", fine_stride), ("the coarse map", _COARSE_STRIDE)):
            if stride not in strides:
                raise CraftError(f"backbone {backbone} has no map of stride {stride} for {name}; it offers {strides}")
        if any(side % stride for side in size for stride in (fine_stride, _COARSE_STRIDE)):
            raise CraftError(
                f"pictures of {size[1]} x {size[0]} cannot be divided into cells of {fine_stride} and "
                f"{_COARSE_STRIDE}; give sides that are multiples of both"
            )
        fine, coarse = strides.index(fine_stride), strides.index(_COARSE_STRIDE)
        self._maps = LeanBackbone(self.backbone, (fine, coarse))
        self.fine_size = size[0] // fine_stride, size[1] // fine_stride
        coarse_cells = count * (size[0] // _COARSE_STRIDE) * (size[1] // _COARSE_STRIDE)
        self.count, self.fine_channels = count, fine_channels
        if fine_channels:
            self.fine_lateral = nn.Conv2d(depths[fine], fine_channels, 1)
            self.fine_top = nn.Conv2d(depths[coarse], fine_channels, 1)
            self.fine_norm = nn.GroupNorm(1, fine_channels)
        self.coarse = nn.Linear(depths[coarse], width)
        self.position = nn.Parameter(torch.randn(1, coarse_cells + 1 + ROUTE_TOKENS, width) * 0.02)
        self.ego_embedding = embedding_network(len(EGO_FEATURES), width)
        self.route_embedding = embedding_network(ROUTE_FEATURE_POINTS * 2 // ROUTE_TOKENS, width)
        self.encoder = CrossAttentionLayer(width, heads, feedforward, dropout)
        self.token_norm = nn.LayerNorm(width)

    @abstractmethod
    def pictures(self, observation: Observation) -> Tensor:
        """Return what the backbone sees: [B * count, C, H, W] float32, a state's pictures one after the other.

        Raises:
            CraftError: an observation that no trunk can read.

        """

    def forward(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return tokens [B, S, width] and the fine maps [B, channels, count * rows * columns].

        Raises:
            CraftError: an observation that no trunk can read.

        """
        fine, coarse = self._maps(self.pictures(observation).contiguous(memory_format=torch.channels_last))
        route = normalised_route(observation).flatten(1).unflatten(1, (ROUTE_TOKENS, -1))
        cells = coarse.flatten(2).transpose(1, 2)
        tokens = [
            self.coarse(cells.reshape(-1, self.count * cells.shape[1], cells.shape[2])),
            self.ego_embedding(normalised_ego(observation)).unsqueeze(1),
            self.route_embedding(route),
        ]
        mixed = torch.cat(tokens, 1) + self.position
        return self.token_norm(self.encoder(mixed, mixed)), self._fine_map(fine, coarse)

    def _fine_map(self, fine: Tensor, coarse: Tensor) -> Tensor:
        rows, columns = self.fine_size
        if not self.fine_channels:
            return fine.new_zeros(len(fine) // self.count, 0, self.count * rows * columns)
        top = functional.interpolate(self.fine_top(coarse), size=self.fine_size, mode="nearest")
        mixed = self.fine_norm(self.fine_lateral(fine) + top).unflatten(0, (-1, self.count))
        return mixed.transpose(1, 2).flatten(2)
