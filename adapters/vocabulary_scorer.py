"""A policy that scores every entry of a trajectory vocabulary from a bird's-eye raster, the ego's state and a route."""

import torch
from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.entries import entry_features, sampling_matrix
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vocabulary import load_vocabulary
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context, Observation


class VocabularyScorer(VocabularyPolicy):
    """BEV + ego + route in, one logit an entry of the vocabulary out.

    The trunk (``RasterTrunk``) is frozen in fine-tuning. Decoder: the embedded entries cross-attend to its tokens and
    read its fine map along their own path; a head gives one logit each. Entries never see each other, so a masked or
    reduced support has the same logits. The context of a state is the tokens and the fine map in half precision.

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

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("head",),
        "decoder": ("entry_embedding", "decoder", "head"),
    }

    entries: Tensor
    path_matrix: Tensor
    path_cells: Tensor

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
        self.path_samples = path_samples
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, fine_stride, fine_channels, dropout)
        self.entry_embedding = embedding_network(path_samples * 5 + 1, width)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, path_samples * fine_channels, dropout)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        self._derive()

    @classmethod
    def example(cls) -> "VocabularyScorer":
        """Return a small scorer with a vocabulary of random drivable trajectories."""
        policy = cls(size=24, width=32, feedforward=32, reachable_speed=6.0)
        policy.prepare(torch.from_numpy(sample_trajectories(1000)).float())
        return policy

    def encode(self, observation: Observation) -> Context:
        """Run backbone and state encoder.

        Returns:
            ``tokens`` [B, 42, width] and ``fine`` [B, cells, channels] in half precision, the cells being those that
            some entry passes; ``ego`` [B, 5] in SI units.

        """
        tokens, fine = self.trunk(observation)
        fine = fine[..., self.path_cells].transpose(1, 2)
        return Context(
            {"tokens": half_rounded(tokens), "fine": half_rounded(fine), "ego": observation.ego.float()},
            batch_size=[len(tokens)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return one logit an entry, [B, size]."""
        embedded = self.entry_embedding(self.entries).unsqueeze(0)
        path = (self.path_matrix @ full(context["fine"])).unflatten(1, (len(self.entries), -1)).flatten(2)
        return self.head(self.decoder(embedded, full(context["tokens"]), path)).squeeze(-1)

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        if hasattr(self, "head"):
            self._derive()

    def _derive(self) -> None:
        """Compute what follows from the vocabulary alone; not part of a checkpoint."""
        table = self.table.detach().cpu()
        entries = entry_features(table, self.dt, self.path_samples).to(self.table.device)
        matrix = sampling_matrix(table, self.trunk.fine_cells, self.path_samples)
        # Cells that no entry passes are neither stored nor multiplied.
        cells = matrix.any(0).nonzero().flatten()
        self.register_buffer("entries", entries, persistent=False)
        self.register_buffer("path_cells", cells.to(self.table.device), persistent=False)
        self.register_buffer("path_matrix", matrix[:, cells].to(self.table.device), persistent=False)
