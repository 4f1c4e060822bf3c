"""GTRS and Hydra-MDP: a scorer of a fixed vocabulary with one imitation head and seven heads for NAVSIM's metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.metric_family import IMITATION, MetricVocabularyPolicy, ScoreFormula
from craft_lightning.policies.released.attention import SteadyDecoderLayer
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import NAVSIM, poses_to_poses
from craft_lightning.policies.released.heads import score_mlp
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.vocabulary import Vocabulary
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.rig import Camera
from craft_lightning.structures import Context, Observation

FORMULA = ScoreFormula(
    imitation=0.03,
    gates={
        "traffic_light_compliance": 0.1,
        "no_at_fault_collisions": 0.1,
        "drivable_area_compliance": 0.9,
        "driving_direction_compliance": 0.2,
    },
    mean={"time_to_collision_within_bound": 7.0, "ego_progress": 7.0, "lane_keeping": 3.0},
    mean_weight=6.0,
)
"""The score that GTRS ranks its vocabulary by, up to a constant: its sum of three is a mean here."""

_OURS = {"imi": IMITATION}

CARD = ModelCard(
    name="GTRS (dense; Hydra-MDP has the same layout)",
    source="https://github.com/NVlabs/GTRS",
    licence="Apache-2.0",
    inputs=(
        ModelInput("camera_feature", (3, 512, 2048), "left, front and right camera stitched, RGB in [0, 1]", "camera"),
        ModelInput("status_feature.0", (8,), "one-hot command (4), velocity x y, acceleration x y", "status"),
    ),
    frame=NAVSIM,
    horizon=4.0,
    dt=0.1,
    distribution="softmax of the released score over a temperature; the score is an energy, no log-probability",
    trainable={
        "heads": ("_trajectory_head.heads.*",),
        "decoder": ("_trajectory_head.heads.*", "_trajectory_head.transformer.*"),
    },
    decision=0.5,
    tracker=None,
    controller={"kind": "LQR and kinematic bicycle of NAVSIM's scorer"},
    environment="Python 3.9, nuplan-devkit, lightning 2.2; the head alone runs on a current torch",
    beside="in process",
    rig=tuple(Camera(name, width=1920, height=1080) for name in ("cam_l0", "cam_f0", "cam_r0")),
    notes=(
        "The released loader drops the vocabulary from checkpoints: the model brings the file that it was made with.",
        "Dropping half of the vocabulary belongs to training and is off: the model runs in evaluation mode.",
        "Entries attend to each other, so all of them are scored whatever the support is.",
        "An entry's twins share its mass: 9.7 % of the 8192 file have one closer than 1 mm.",
    ),
)


class GTRS(ReleasedPolicy, MetricVocabularyPolicy):
    """GTRS on top of the user's model: the transformer over the vocabulary and the eight heads are rebuilt here.

    Context of a state: the key features and the status code in half precision (0.5 MB at 1024 keys). The embedded
    vocabulary does not depend on the state; it is read from the model once and kept as a buffer.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        size: entries of the vocabulary.
        width: features of an entry.
        heads: attention heads.
        hidden: hidden features of heads and feed-forward blocks.
        layers: decoder layers.
        ahead: metres from the centre of the ego's box to the rear axle that trajectories are of (negative: behind).

    """

    card = CARD
    formula = FORMULA
    profiles = {"heads": ("heads",), "decoder": ("transformer", "heads")}  # noqa: RUF012 - ClassVar of the base
    prefixes = ("agent.", "model.")
    taps = {  # noqa: RUF012
        "keys": "_trajectory_head:input.0",
        "status": "_trajectory_head:input.1",
    }
    constants = {"embedded": "_trajectory_head.transformer:input.0.0"}  # noqa: RUF012
    head_names = {  # noqa: RUF012
        "transformer.": "_trajectory_head.transformer.",
        "heads.": "_trajectory_head.heads.",
    }
    free_arguments = ReleasedPolicy.free_arguments | VocabularyPolicy.free_arguments

    embedded: Tensor

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        size: int = 8192,
        width: int = 256,
        heads: int = 8,
        hidden: int = 1024,
        layers: int = 3,
        ahead: float = -1.461,
    ) -> None:
        super().__init__(None, size)
        self.ahead = ahead
        layer = SteadyDecoderLayer(width, heads, hidden, 0.0, batch_first=True)
        self.transformer = nn.TransformerDecoder(layer, layers)
        self.heads = nn.ModuleDict({name: score_mlp(width, hidden) for name in (*FORMULA.gates, *FORMULA.mean)})
        self.heads["imi"] = score_mlp(width, hidden, 3)
        self.register_buffer("embedded", torch.zeros(size, width))
        self.attach(source, weights)
        # Gradients arrive in the profiles' layers alone; the rest of the model is elsewhere.
        self.eval()

    @classmethod
    def example(cls) -> "GTRS":
        """Return a small one on a stand-in."""
        return cls("stand_in", size=24, width=16, heads=2, hidden=24, layers=2)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.gtrs import StandInGTRS

        sizes = (arguments["size"], arguments["width"], arguments["hidden"], arguments["layers"])
        return LocalModel(StandInGTRS(*sizes, keys=8))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        return {"camera_feature": pooled_raster, "status_feature.0": state_numbers(8)}

    def take(self, upstream: Mapping[str, Tensor]) -> None:
        """Fill the head, and the vocabulary from the model's own."""
        super().take(upstream)
        if self.source is not None and self.vocabulary_hash is None:
            state = self.source.state(("_trajectory_head.vocab",))
            if "_trajectory_head.vocab" not in state:
                raise CraftError("the model of GTRS shows no _trajectory_head.vocab; construct it with its vocab_path")
            self.take_vocabulary(state["_trajectory_head.vocab"])

    def take_vocabulary(self, native: Tensor) -> None:
        """Set the vocabulary from upstream's entries [size, 40, 3] (NAVSIM's frame, rear axle, 0.1 s)."""
        frame = type(NAVSIM)(NAVSIM.axes, self.ahead)
        self.set_vocabulary(Vocabulary(poses_to_poses(native.double(), 0.1, frame).float(), 0.1))

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        width = self.embedded.shape[1]
        return {"keys": (None, width), "status": (width,), "embedded": tuple(self.embedded.shape)}

    def encode(self, observation: Observation) -> Context:
        """Return ``keys`` [B, L, width] and ``status`` [B, width] in half precision, ``ego`` [B, 5]."""
        found = self.features(observation)
        states = {"keys": half_rounded(found["keys"]), "status": half_rounded(found["status"])}
        return Context({**states, "ego": observation.ego.float()}, batch_size=[len(observation.ego)])

    def raw(self, context: Context) -> dict[str, Tensor]:
        """Return what the heads say, [B, size] each."""
        keys = full(context["keys"])
        features = self.transformer(self.embedded.expand(len(keys), -1, -1), keys) + full(context["status"])[:, None]
        return {_OURS.get(name, name): head(features).squeeze(-1) for name, head in self.heads.items()}
