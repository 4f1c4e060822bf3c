"""CaRL: a raster in, Beta-distributed steering and acceleration out; candidates are actions held over the horizon."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.policies.beta_family import BetaPolicy
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import CARLA_EGO
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.structures import Context, Observation

CARD = ModelCard(
    name="CaRL",
    source="https://github.com/autonomousvision/CaRL",
    licence="see its repository: an early README names the Civil-A licence; check before use",
    inputs=(
        ModelInput(
            "bev_semantics", (10, 256, 256), "uint8 raster, 2 cells a metre, 100 cells behind the ego", "raster"
        ),
        ModelInput(
            "measurements", (8,), "last steer, throttle, brake, gear, velocity x y, speed, speed limit", "status"
        ),
        ModelInput("value_measurements", (11,), "of the critic alone; zeros do", "status"),
    ),
    frame=CARLA_EGO,
    horizon=0.1,
    dt=0.1,
    distribution="Beta over steer and acceleration in [-1, 1]; concentrations are 1 + softplus",
    trainable={
        "heads": ("dist_mu.*", "dist_sigma.*"),
        "decoder": ("policy_head.*", "dist_mu.*", "dist_sigma.*"),
    },
    decision=0.1,
    tracker=None,
    controller={"kind": "direct control, 10 Hz"},
    environment="gymnasium, timm, torch; runs on a current torch",
    beside="in process",
    notes=(
        "It has no trajectory: an action is held over the horizon by the bicycle, which says less the longer it is.",
        "Steering is positive to the right upstream: u of ours is 1 - u of theirs, so concentrations change places.",
        "Greedy driving takes the mean, as its evaluation does by default; its agent also offers Roach's mode.",
    ),
)


class CaRL(ReleasedPolicy, BetaPolicy):
    """CaRL on top of the user's model: the policy head and both concentrations are rebuilt.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        samples: actions drawn a state.
        width: features of the trunk.
        hidden: features of the policy head's two layers.
        normed: whether a layer norm stands before each rectifier of the head (the model's use_layer_norm_policy_head).
        lowest: what is added to the softplus (the model's beta_min_a_b_value).
        wheelbase: metres between the axles of the bicycle that actions are rolled out with.

    """

    card = CARD
    family = "beta control"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("dist_mu", "dist_sigma"),
        "decoder": ("policy_head", "dist_mu", "dist_sigma"),
    }
    taps = {"features": "policy_head:input.0"}  # noqa: RUF012
    head_names = {  # noqa: RUF012
        "policy_head.": "policy_head.",
        "dist_mu.": "dist_mu.",
        "dist_sigma.": "dist_sigma.",
    }

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        samples: int = 32,
        width: int = 256,
        hidden: int = 256,
        normed: bool = True,
        lowest: float = 1.0,
        wheelbase: float = 2.9,
    ) -> None:
        super().__init__(samples, wheelbase=wheelbase)
        self.width, self.lowest = width, lowest
        parts: list[nn.Module] = []
        for inputs in (width, hidden):
            parts += [nn.Linear(inputs, hidden), *([nn.LayerNorm(hidden)] if normed else []), nn.ReLU()]
        self.policy_head = nn.Sequential(*parts)
        self.dist_mu, self.dist_sigma = (nn.Sequential(nn.Linear(hidden, 2)) for _ in range(2))
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "CaRL":
        """Return a small one on a stand-in."""
        return cls("stand_in", samples=8, width=12, hidden=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.carl import StandInCaRL

        return LocalModel(StandInCaRL(arguments["width"], arguments["normed"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"measurements": state_numbers(8), "value_measurements": state_numbers(11)}
        return {"bev_semantics": pooled_raster, **numbers}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {"features": (self.width,)}

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` [B, width] in half precision and ``ego`` [B, 5]."""
        found = half_rounded(self.features(observation)["features"])
        return Context({"features": found, "ego": observation.ego.float()}, batch_size=[len(found)])

    def law(self, context: Context) -> Tensor:
        """Return alpha, beta [B, 4] of steer (positive left) and acceleration."""
        latent = self.policy_head(full(context["features"]))
        alpha, beta = (functional.softplus(part(latent)) + self.lowest for part in (self.dist_mu, self.dist_sigma))
        return torch.cat([beta[:, :1], alpha[:, 1:], alpha[:, :1], beta[:, 1:]], -1)
