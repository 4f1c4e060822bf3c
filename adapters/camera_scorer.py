"""A policy that scores every entry of a trajectory vocabulary from cameras, the ego's state and a route."""

from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.camera_trunk import CameraTrunk
from craft_lightning.policies.entries import seen_matrix
from craft_lightning.policies.path_scorer import PathScorer
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vocabulary import load_vocabulary
from craft_lightning.rig import Camera, require_places
from craft_lightning.rigs import read_rig

HEIGHTS = (0.0, 1.0)
"""Metres above the ground at which an entry's path is looked at: the road, and what stands on it."""


class CameraScorer(PathScorer):
    """Pictures + ego + route in, one logit an entry of the vocabulary out.

    A ``PathScorer`` on a ``CameraTrunk``: an entry is projected into the pictures (on flat ground) and reads their
    features there. It never sees the raster. One moment alone: it cannot see how fast others move.

    Args:
        vocabulary: path of a vocabulary file, or the name of a shipped one; None takes the checkpoint's.
        cameras: the RGB cameras: a layout's name, or a list as ``data.rig`` takes it; all of one size.
        size: number of entries where ``vocabulary`` is None.
        num_poses: poses of an entry where ``vocabulary`` is None.
        backbone: name of a timm model that offers feature maps at strides ``fine_stride`` and 16.
        pretrained: download timm's weights.
        width: features of tokens and entries.
        layers: cross-attention layers of the decoder.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        fine_stride: pixels a side of one cell of the fine map.
        fine_channels: channels of the fine map.
        path_samples: pieces of an entry at which the fine map is read.
        dropout: dropout in pre-training.
        reachable_speed: metres per second by which an entry's initial speed may differ from the ego's; None for any.

    """

    def __init__(
        self,
        vocabulary: str | None = None,
        cameras: str | list[Any] = "front_camera",
        size: int = 256,
        num_poses: int = 40,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 128,
        fine_stride: int = 8,
        fine_channels: int = 16,
        path_samples: int = 8,
        dropout: float = 0.0,
        reachable_speed: float | None = None,
    ) -> None:
        table = None if vocabulary is None else load_vocabulary(vocabulary)
        super().__init__(table, size, num_poses, reachable_speed=reachable_speed)
        self.rig = read_rig(cameras, "cameras")
        require_places(self.rig, type(self).__name__)
        looked = [camera for camera in self.rig if isinstance(camera, Camera) and camera.kind == "rgb"]
        if len(looked) != len(self.rig) or len({(camera.width, camera.height) for camera in looked}) != 1:
            listed = ", ".join(map(str, self.rig)) or "nothing"
            raise CraftError(f"cameras of CameraScorer is {listed}; give RGB cameras of one size")
        trunk = CameraTrunk(
            looked, backbone, pretrained, width, heads, feedforward, fine_stride, fine_channels, dropout
        )
        features = len(HEIGHTS) * path_samples * fine_channels
        self.build(trunk, width, layers, heads, feedforward, path_samples, features, dropout)

    @classmethod
    def example(cls) -> "CameraScorer":
        """Return a small scorer with a vocabulary of random drivable trajectories."""
        policy = cls(cameras="front_camera@128x64", size=24, width=32, feedforward=32, reachable_speed=6.0)
        policy.prepare(torch.from_numpy(sample_trajectories(1000)).float())
        return policy

    def sampling(self, table: Tensor) -> Tensor:
        """Return the cells of the pictures in which entries are seen, at both heights."""
        assert isinstance(self.trunk, CameraTrunk)
        parts = [
            seen_matrix(table, self.trunk.cameras, self.trunk.fine_size, self.path_samples, height)
            for height in HEIGHTS
        ]
        # An entry's places at both heights stand together.
        split = [part.unflatten(0, (len(table), self.path_samples)) for part in parts]
        return torch.cat(split, 1).flatten(0, 1)
