"""ORION: a Gaussian latent of the planning token, decoded to a trajectory by the user's model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.densities import gaussian_log_density, self_normalised
from craft_lightning.policies.gaussian_family import GaussianPolicy
from craft_lightning.policies.released.around import zero_linear
from craft_lightning.policies.released.card import Camera, ModelCard, ModelInput
from craft_lightning.policies.released.frames import BENCH2DRIVE_LIDAR, waypoints_to_poses
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.sampled_family import checked_ids, listed
from craft_lightning.structures import CandidateSet, Context, Observation

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
    cameras=tuple(
        Camera(name, 1600, 900)
        for name in (
            "CAM_FRONT",
            "CAM_FRONT_LEFT",
            "CAM_FRONT_RIGHT",
            "CAM_BACK",
            "CAM_BACK_LEFT",
            "CAM_BACK_RIGHT",
        )
    ),
    notes=(
        "What is trained is a new layer on the planning token that moves mu and log sigma; the decoder is 8192 wide and "
        "stays over there, so samples are drawn and decoded there.",
        "The factory answers token, mean, log_sigma, samples [B, K + 1, 32] (the mean first) and plans "
        "[B, K + 1, 6, 2], positions of the commanded mode. Upstream's snapshot holds no code: the names are ours.",
        "Samples are drawn from the released Gaussian, which is where the policy starts; what it has learnt meanwhile "
        "counts as importance weights, so collect anew before they degenerate.",
    ),
)


class Orion(ReleasedPolicy, GaussianPolicy):
    """ORION on top of the user's model: samples of the released latent, weighed by the Gaussian that is learnt.

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
    taps = {name: f":output.{name}" for name in ("token", "mean", "log_sigma", "samples", "plans")}  # noqa: RUF012

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        samples: int = 32,
        latent: int = 32,
        width: int = 4096,
    ) -> None:
        super().__init__(samples, latent)
        # Drawn where the model is.
        self.proposal_noise = 0
        self.width = width
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
            "mean": (self.dimensions,),
            "log_sigma": (self.dimensions,),
            "samples": (self.samples + 1, self.dimensions),
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
        """Return the released mu and log sigma, moved by what was learnt."""
        return context["law"] + self.law_head(full(context["token"]))

    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return the poses of the samples that the model drew; it alone can decode others.

        Raises:
            CraftError: other samples.

        """
        if value.shape[1] == 1:
            # The centre of the law: its plan is that of the released mean, as near as can be had here.
            return waypoints_to_poses(context["plans"][:, :1], self.card.dt, self.card.frame)
        if value.shape != context["samples"].shape or not torch.equal(value, context["samples"]):
            raise CraftError("Orion decodes no latents but those that its model drew; collect the states again")
        return waypoints_to_poses(context["plans"], self.card.dt, self.card.frame)

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List the samples that the model drew, weighed by the present Gaussian.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, N, 1] numbers of the samples to list; None lists all.
            noise: not used.

        """
        value = context["samples"]
        states = len(value)
        # Drawn from the released law, so that is what their ratios are taken to.
        drawn_from = context["law"]
        ids = torch.arange(self.samples + 1, device=value.device).view(1, -1, 1).expand(states, -1, 1)
        mask = ids[..., 0] > 0
        ratio = self.log_ratio(self.law(context).unsqueeze(1), drawn_from.unsqueeze(1), value)
        everything = CandidateSet(
            trajectories=self.decode(context, value),
            ids=ids,
            mask=mask,
            log_probs=self_normalised(ratio, mask),
            log_mass=value.new_zeros(states),
            multiplicity=torch.ones_like(ids[..., 0]),
            chosen=torch.full((states,), -1, device=value.device),
            latent=TensorDict(
                {
                    "value": value,
                    "law": drawn_from,
                    "density": gaussian_log_density(self.law(context).unsqueeze(1), value),
                },
                batch_size=[states],
            ),
            batch_size=[states],
        )
        if support is None:
            return everything
        return listed(
            everything, support, checked_ids(support.view(states, -1), self.samples + 1), ("value", "density")
        )

    def act(self, candidates: CandidateSet, greedy: bool = False, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose by ``noise``, or the sample that is densest under the present Gaussian where ``greedy``.

        That is the released mean's plan until something is learnt; the mean that was learnt cannot be decoded here.
        """
        if not greedy:
            return super().act(candidates, greedy, noise)
        if candidates.latent is None:
            raise CraftError("the candidates of Orion lack their densities; store them whole")
        index = candidates.latent["density"].argmax(1)
        return index, self.trajectories(candidates)[torch.arange(len(index), device=index.device), index]
