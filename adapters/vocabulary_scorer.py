"""A policy that scores every entry of a trajectory vocabulary from a bird's-eye raster, the ego's state and a route."""

import torch
from torch import Tensor

from craft_lightning.policies.entries import sampling_matrix
from craft_lightning.policies.path_scorer import PathScorer
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vocabulary import load_vocabulary


class VocabularyScorer(PathScorer):
    """BEV + ego + route in, one logit an entry of the vocabulary out.

    A ``PathScorer`` on a ``RasterTrunk``: entries read the raster's features along their own path.

    Args:
        vocabulary: path of a vocabulary file, or the name of a shipped one; None takes the checkpoint's.
        size: number of entries where ``vocabulary`` is None.
        num_poses: poses of an entry where ``vocabulary`` is None.
        backbone: name of a timm model that offers feature maps at strides ``fine_stride`` and 16.
        pretrained: download timm's weights; never needed, since the raster is no photograph.
        width: features of tokens and entries.
        layers: cross-attention layers of the decoder.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        fine_stride: raster cells a side of one cell of the fine map.
        fine_channels: channels of the fine map.
        path_samples: pieces of an entry at which the fine map is read.
        dropout: dropout in pre-training.
        reachable_speed: metres per second by which an entry's initial speed may differ from the ego's; None for any.

    """

    def __init__(
        self,
        vocabulary: str | None = None,
        size: int = 256,
        num_poses: int = 40,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 128,
        fine_stride: int = 4,
        fine_channels: int = 16,
        path_samples: int = 8,
        dropout: float = 0.0,
        reachable_speed: float | None = None,
    ) -> None:
        table = None if vocabulary is None else load_vocabulary(vocabulary)
        super().__init__(table, size, num_poses, reachable_speed=reachable_speed)
        trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, fine_stride, fine_channels, dropout)
        self.build(trunk, width, layers, heads, feedforward, path_samples, path_samples * fine_channels, dropout)

    @classmethod
    def example(cls) -> "VocabularyScorer":
        """Return a small scorer with a vocabulary of random drivable trajectories."""
        policy = cls(size=24, width=32, feedforward=32, reachable_speed=6.0)
        policy.prepare(torch.from_numpy(sample_trajectories(1000)).float())
        return policy

    def sampling(self, table: Tensor) -> Tensor:
        """Return the cells of the raster that entries pass."""
        assert isinstance(self.trunk, RasterTrunk)
        return sampling_matrix(table, self.trunk.fine_cells, self.path_samples)
