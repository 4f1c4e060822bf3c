"""The trunk of policies that see a bird's-eye raster, the ego's state and a route."""

from torch import Tensor

from craft_lightning.conventions import BEV_CELLS, BEV_CHANNELS
from craft_lightning.policies.observation import check_observation, normalised_bev
from craft_lightning.policies.picture_trunk import ROUTE_TOKENS, PictureTrunk
from craft_lightning.structures import Observation

__all__ = ["ROUTE_TOKENS", "RasterTrunk"]


class RasterTrunk(PictureTrunk):
    """A ``PictureTrunk`` whose one picture is the raster: 42 tokens.

    Args:
        backbone: see ``PictureTrunk``.
        pretrained: never needed, since the raster is no photograph.
        width: see ``PictureTrunk``; and so on.
        heads: attention heads.
        feedforward: hidden features of the feed-forward block.
        fine_stride: raster cells a side of one cell of the fine map.
        fine_channels: channels of the fine map; 0 for none.
        dropout: dropout in pre-training.

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
        size = BEV_CELLS, BEV_CELLS
        super().__init__(
            backbone,
            pretrained,
            len(BEV_CHANNELS),
            size,
            1,
            width,
            heads,
            feedforward,
            fine_stride,
            fine_channels,
            dropout,
        )

    @property
    def fine_cells(self) -> int:
        """Rows and columns of the fine map."""
        return self.fine_size[0]

    def pictures(self, observation: Observation) -> Tensor:
        """Return the raster."""
        check_observation(observation)
        return normalised_bev(observation)
