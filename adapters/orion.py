"""ORION: a Gaussian latent of the planning token, decoded to a trajectory by the user's model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.densities import gaussian_log_density
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import BENCH2DRIVE_LIDAR, waypoints_to_poses
from craft_lightning.policies.released.heads import zero_linear
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rigs import BENCH2DRIVE
from craft_lightning.structures import Context, Factor, Observation

CARD = ModelCard(
    name="ORION",
    source="https://github.com/xiaomi-mlab/Orion",
    licence="Apache-2.0 in a fork; the official snapshot has no licence file; check before use",
    inputs=(
        ModelInput("img", (6, 3, 640, 640), "six cameras, normalised", "camera"),
        ModelInput("lidar2img", (6, 4, 4), "LIDAR to pixels", "camera"),
        ModelInput("can_bus", (18,), "pose, velocities, accelerations", "status"),
        ModelInput("ego_fut_cmd", (6,), "one-hot command, which chooses the mode", "route"),
    ),
    frame=BENCH2DRIVE_LIDAR,
    horizon=3.0,
    dt=0.5,
    distribution="N(mu, sigma) over a latent of 32 numbers, decoded by a GRU and an MLP",
    trainable={"heads": (), "decoder": ()},
    decision=0.1,
    tracker=TrackerParameters(
        turn_kp=0.75, turn_ki=0.75, turn_kd=0.3, window=40, aim_gain=0.0, aim_offset=4.0, aim_min=4.0, aim_max=4.0
    ),
    controller={"desired_speed": "mean step of the waypoints times 2"},
    environment="Python 3.8, a vendored mmcv with CUDA operators, transformers 4.31, flash-attn 0.2.8, 7 B parameters",
    beside="bridge",
    temporal=True,
    rig=BENCH2DRIVE,
    notes=(
        "What is trained is a new layer on the planning token that moves mu and log sigma; the decoder is 8192 wide "
        "and stays over there, so samples are drawn and decoded there.",
        "The factory answers token, mean, log_sigma, samples [B, K + 1, 32] (the mean first) and plans "
        "[B, K + 1, 6, 2], positions of the commanded mode. Upstream's snapshot holds no code: the names are ours.",
        "Decoded are samples of the released Gaussian, drawn with a fixed seed, state by state. In 32 dimensions the "
        "mean outweighs them by far: fit the temperature first (calibrate_temperature).",
    ),
)


class Orion(ReleasedPolicy, ListedPolicy):
    """ORION on top of the user's model: pi = softmax(log N(z; mu, sigma) / temperature) over latents that it drew.

    The released mean is listed first and the likeliest at the start; greedy driving is the released policy's until
    something is learnt.

    Args:
        source: see ``ReleasedPolicy``.
        weights: not used: no layer of upstream's is trained.
        samples: latents drawn a state, beside the mean.
        latent: numbers of the latent.
        width: features of the planning token.

    """

    card = CARD
    family = "gaussian latent"
    profiles = {"heads": ("law_head",), "decoder": ("law_head",)}  # noqa: RUF012 - ClassVar of the base
    one_by_one = True
    taps = {name: f":output.{name}" for name in ("token", "mean", "log_sigma", "samples", "plans")}  # noqa: RUF012

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        samples: int = 32,
        latent: int = 32,
        width: int = 4096,
    ) -> None:
        super().__init__((Factor("sample", samples + 1),), (samples + 1,))
        self.samples, self.latent, self.width = samples, latent, width
        self.law_head = zero_linear(width, 2 * latent)
        self.attach(source)
        self.eval()

    @classmethod
    def example(cls) -> "Orion":
        """Return a small one on a stand-in."""
        return cls("stand_in", samples=8, latent=4, width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.named import StandInOrion

        return LocalModel(StandInOrion(arguments["width"], arguments["samples"], arguments["latent"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        numbers = {"lidar2img": 2, "can_bus": 9, "ego_fut_cmd": 6}
        return {"img": pooled_raster, **{name: state_numbers(size) for name, size in numbers.items()}}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {
            "token": (self.width,),
            "mean": (self.latent,),
            "log_sigma": (self.latent,),
            "samples": (self.samples + 1, self.latent),
            "plans": (self.samples + 1, 6, 2),
        }

    def encode(self, observation: Observation) -> Context:
        """Return ``token`` [B, width] in half precision, ``law`` [B, 2 D], ``samples``, ``plans`` and ``ego``."""
        found = self.features(observation)
        return Context(
            {
                "token": half_rounded(found["token"]),
                "law": torch.cat([found["mean"], found["log_sigma"]], -1),
                "samples": found["samples"],
                "plans": found["plans"],
                "ego": observation.ego.float(),
            },
            batch_size=[len(found["token"])],
        )

    def law(self, context: Context) -> Tensor:
        """Return the released mu and log sigma, moved by what was learnt, [B, 2 D]."""
        return context["law"] + self.law_head(full(context["token"]))

    def logits(self, context: Context) -> Tensor:
        """Return the log-density [B, K + 1] of the listed latents."""
        return gaussian_log_density(self.law(context).unsqueeze(1), context["samples"])

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the model decoded of its samples."""
        plans = waypoints_to_poses(context["plans"], self.card.dt, self.card.frame)
        ids = torch.arange(self.count, device=plans.device).view(1, -1, 1).expand(len(plans), -1, 1)
        return ids, plans, torch.ones_like(ids[..., 0], dtype=torch.bool)
