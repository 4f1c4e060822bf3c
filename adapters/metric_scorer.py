"""Vocabulary scorers with metric heads (Hydra-MDP's shape): their score as an energy, or with a readout (ZTRS)."""

from typing import Self

from torch import Tensor, nn

from craft_lightning.policies.building import build_vocabulary
from craft_lightning.policies.decoder import CandidateDecoder, embedding_network, full, half_rounded
from craft_lightning.policies.entries import entry_features
from craft_lightning.policies.metric_family import MetricVocabularyPolicy, zero_readout
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vocabulary import load_vocabulary
from craft_lightning.structures import Context, Observation

_SAMPLES = 8


class MetricScorer(MetricVocabularyPolicy):
    """Embedded entries cross-attend to the state's tokens; a small head a metric; their score is the energy.

    Args:
        vocabulary: path of a vocabulary file, or the name of a shipped one; None takes the checkpoint's.
        size: number of entries where ``vocabulary`` is None.
        num_poses: poses of an entry where ``vocabulary`` is None.
        backbone: name of a timm model.
        pretrained: download timm's weights.
        width: features of tokens and entries.
        layers: cross-attention layers.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        dropout: dropout in pre-training.

    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("metrics",),
        "decoder": ("entry_embedding", "decoder", "metrics"),
    }

    entries: Tensor

    def __init__(
        self,
        vocabulary: str | None = None,
        size: int = 256,
        num_poses: int = 40,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(None if vocabulary is None else load_vocabulary(vocabulary), size, num_poses)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.entry_embedding = embedding_network(_SAMPLES * 5 + 1, width)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.metrics = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
                for name in self.formula.heads
            }
        )
        self._build_readout(width)
        self._derive()

    @classmethod
    def example(cls) -> Self:
        """Return a small instance with a vocabulary of random drivable trajectories."""
        policy = cls(size=24, width=32, feedforward=32)
        policy.set_vocabulary(build_vocabulary(sample_trajectories(400), 24))
        return policy

    def encode(self, observation: Observation) -> Context:
        """Return {"tokens": [B, 42, width], "ego": [B, 5]}."""
        tokens = half_rounded(self.trunk(observation)[0])
        return Context({"tokens": tokens, "ego": observation.ego.float()}, batch_size=[len(tokens)])

    def raw(self, context: Context) -> dict[str, Tensor]:
        """Return the outputs [B, size] of the heads."""
        return self._judged(self._features(context))

    def _build_readout(self, width: int) -> None:
        """Build what a sub-class adds; before any vocabulary is read."""

    def _features(self, context: Context) -> Tensor:
        return self.decoder(self.entry_embedding(self.entries).unsqueeze(0), full(context["tokens"]))

    def _judged(self, features: Tensor) -> dict[str, Tensor]:
        return {name: head(features).squeeze(-1) for name, head in self.metrics.items()}

    def _vocabulary_changed(self) -> None:
        super()._vocabulary_changed()
        self._derive()

    def _derive(self) -> None:
        """Compute what follows from the vocabulary alone; not part of a checkpoint."""
        entries = entry_features(self.table.detach(), self.dt, _SAMPLES)
        self.register_buffer("entries", entries, persistent=False)


class MetricReadoutScorer(MetricScorer):
    """The same with a dedicated logit head beside the released score, which starts at zero; the metric heads rest.

    Its arguments are those of ``MetricScorer``.
    """

    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("readout",),
        "decoder": ("readout_features", "readout"),
    }

    def _build_readout(self, width: int) -> None:
        self.readout_features = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True))
        self.readout = zero_readout(width)

    def logits(self, context: Context) -> Tensor:
        """Return the released score plus the readout, [B, size]."""
        features = self._features(context)
        score = self.formula.score(self._judged(features))
        return score + self.readout(self.readout_features(features)).squeeze(-1)
