"""The trunk of policies that look through cameras of one size, and know the ego's state and the route."""

from collections.abc import Sequence

import torch
from torch import Tensor

from craft_lightning.policies.observation import check_vectors, normalised_pictures
from craft_lightning.policies.picture_trunk import PictureTrunk
from craft_lightning.rig import Camera
from craft_lightning.structures import Observation

# Mean and deviation of natural pictures, red first, as timm's weights expect them.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class CameraTrunk(PictureTrunk):
    """A ``PictureTrunk`` whose pictures are those of RGB cameras.

    Args:
        cameras: the cameras, all of one size.
        backbone: see ``PictureTrunk``; and so on.
        pretrained: download timm's weights.
        width: features of a token.
        heads: attention heads.
        feedforward: hidden features of the feed-forward block.
        fine_stride: pixels a side of one cell of the fine map.
        fine_channels: channels of the fine map.
        dropout: dropout in pre-training.

    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        backbone: str,
        pretrained: bool,
        width: int,
        heads: int,
        feedforward: int,
        fine_stride: int = 8,
        fine_channels: int = 0,
        dropout: float = 0.0,
    ) -> None:
        size = cameras[0].height, cameras[0].width
        super().__init__(
            backbone,
            pretrained,
            3,
            size,
            len(cameras),
            width,
            heads,
            feedforward,
            fine_stride,
            fine_channels,
            dropout,
        )
        self.cameras = tuple(cameras)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def pictures(self, observation: Observation) -> Tensor:
        """Return the cameras' pictures."""
        check_vectors(observation)
        seen = torch.stack([normalised_pictures(observation, camera) for camera in self.cameras], 1).flatten(0, 1)
        return (seen - self.get_buffer("mean")) / self.get_buffer("deviation")
