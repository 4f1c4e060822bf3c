"""Vocabulary policies that read a feature map along every entry: what raster and camera scorers share."""

from abc import abstractmethod

from torch import Tensor, nn

from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.entries import entry_features
from craft_lightning.policies.path_reading import PathReader
from craft_lightning.policies.picture_trunk import PictureTrunk
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context, Observation


class PathScorer(VocabularyPolicy):
    """A trunk's tokens and fine map in, one logit an entry of the vocabulary out.

    The trunk (a ``PictureTrunk``) is frozen in fine-tuning. Decoder: the embedded entries cross-attend to its tokens
    and read its fine map along their own path; a head gives one logit each. Entries never see each other, so a masked
    or reduced support has the same logits. The context of a state is the tokens and the fine map in half precision.

    A subclass calls ``build`` in its constructor and says in ``sampling`` which cells of the fine map an entry passes.
    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("head",),
        "decoder": ("entry_embedding", "decoder", "head"),
    }

    entries: Tensor
    reader: PathReader

    def build(
        self,
        trunk: PictureTrunk,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        path_samples: int,
        path_features: int,
        dropout: float,
    ) -> None:
        """Make trunk, decoder and head.

        Args:
            trunk: the trunk.
            width: features of tokens and entries.
            layers: cross-attention layers of the decoder.
            heads: attention heads.
            feedforward: hidden features of feed-forward blocks.
            path_samples: pieces of an entry at which the fine map is read.
            path_features: features read along an entry.
            dropout: dropout in pre-training.

        """
        self.path_samples = path_samples
        self.trunk = trunk
        self.entry_embedding = embedding_network(path_samples * 5 + 1, width)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, path_features, dropout)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        self._derive()

    @abstractmethod
    def sampling(self, table: Tensor) -> Tensor:
        """Return the weights [size * S, cells] that read the fine map along the entries [size, T, 3] at S places."""

    def encode(self, observation: Observation) -> Context:
        """Run backbone and state encoder.

        Returns:
            ``tokens`` [B, S, width] and ``fine`` [B, cells, channels] in half precision, the cells being those that
            some entry passes; ``ego`` [B, 5] in SI units.

        """
        tokens, fine = self.trunk(observation)
        touched = self.reader.touched(fine)
        return Context(
            {"tokens": half_rounded(tokens), "fine": half_rounded(touched), "ego": observation.ego.float()},
            batch_size=[len(tokens)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return one logit an entry, [B, size]."""
        embedded = self.entry_embedding(self.entries).unsqueeze(0)
        path = self.reader(context["fine"]).unflatten(1, (len(self.entries), -1)).flatten(2)
        return self.head(self.decoder(embedded, full(context["tokens"]), path)).squeeze(-1)

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        if hasattr(self, "head"):
            self._derive()

    def _derive(self) -> None:
        """Compute what follows from the vocabulary alone; not part of a checkpoint."""
        table = self.table.detach().cpu()
        entries = entry_features(table, self.dt, self.path_samples).to(self.table.device)
        self.register_buffer("entries", entries, persistent=False)
        self.reader = PathReader(self.sampling(table)).to(self.table.device)
