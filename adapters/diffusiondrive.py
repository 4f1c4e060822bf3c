"""DiffusionDrive: 20 anchors, truncated noise, two denoising steps; the mode scores are what fine-tuning trains."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import NAVSIM, ModelFrame, poses_to_poses
from craft_lightning.policies.released.heads import normed_mlp
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rig import Camera
from craft_lightning.structures import Context, Factor, Observation

_LAST = "_trajectory_head.diff_decoder.layers.1"
_BRANCH = f"{_LAST}.task_decoder.plan_cls_branch"

CARD = ModelCard(
    name="DiffusionDrive",
    source="https://github.com/hustvl/DiffusionDrive",
    licence="MIT",
    inputs=(
        ModelInput("camera_feature", (3, 256, 1024), "left, front and right camera stitched, RGB in [0, 1]", "camera"),
        ModelInput("lidar_feature", (1, 256, 256), "LIDAR histogram, 4 cells a metre", "lidar"),
        ModelInput("status_feature", (8,), "one-hot command (4), velocity x y, acceleration x y", "status"),
    ),
    frame=NAVSIM,
    horizon=4.0,
    dt=0.5,
    distribution="softmax of the 20 mode logits over a temperature; they were trained as sigmoids (focal loss)",
    trainable={"heads": (f"{_BRANCH}.*",), "decoder": (f"{_BRANCH}.*",)},
    decision=0.5,
    tracker=None,
    controller={"kind": "LQR and kinematic bicycle of NAVSIM's scorer"},
    environment="Python 3.9, nuplan-devkit, diffusers; the model alone runs on a current torch",
    beside="in process",
    rig=tuple(Camera(name, width=1920, height=1080) for name in ("cam_l0", "cam_f0", "cam_r0")),
    notes=(
        "The denoiser is frozen: trajectories were rewarded as they were drawn, and stay with their states.",
        "The noise is seeded and states are run one by one, so a state has the same plans in every batch.",
        "Fit the temperature before fine-tuning (calibrate_temperature): the logits are no log-probabilities.",
    ),
)


class DiffusionDrive(ReleasedPolicy, ListedPolicy):
    """DiffusionDrive on top of the user's model: the classification branch of the last layer is rebuilt.

    What is listed are the denoised plans of the last step, one a mode.

    Args:
        source: see ``ReleasedPolicy``.
        weights: see ``ReleasedPolicy``.
        modes: anchors.
        width: features of a mode.
        ahead: metres from the centre of the ego's box to the rear axle (negative: behind).

    """

    card = CARD
    family = "truncated diffusion (mode scores)"
    profiles = {"heads": ("plan_cls_branch",), "decoder": ("plan_cls_branch",)}  # noqa: RUF012 - ClassVar of the base
    prefixes = ("agent.", "_transfuser_model.")
    one_by_one = True
    taps = {  # noqa: RUF012
        "features": f"{_BRANCH}:input.0",
        "plans": f"{_LAST}:output.0",
    }
    head_names = {"plan_cls_branch.": f"{_BRANCH}."}  # noqa: RUF012

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        modes: int = 20,
        width: int = 256,
        ahead: float = NAVSIM.ahead,
    ) -> None:
        super().__init__((Factor("mode", modes),), (modes,))
        self.width, self.frame = width, ModelFrame(NAVSIM.axes, ahead)
        self.plan_cls_branch = normed_mlp(width)
        self.attach(source, weights)
        self.eval()

    @classmethod
    def example(cls) -> "DiffusionDrive":
        """Return a small one on a stand-in."""
        return cls("stand_in", modes=10, width=12)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.diffusiondrive import StandInDiffusionDrive

        return LocalModel(StandInDiffusionDrive(arguments["modes"], arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        pictures = dict.fromkeys(("camera_feature", "lidar_feature"), pooled_raster)
        return {**pictures, "status_feature": state_numbers(8)}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {"features": (self.count, self.width), "plans": (self.count, 8, 3)}

    def encode(self, observation: Observation) -> Context:
        """Return ``features`` [B, modes, width] in half precision, ``plans`` [B, modes, 8, 3] and ``ego`` [B, 5]."""
        found = self.features(observation)
        states = {"features": half_rounded(found["features"]), "plans": found["plans"]}
        return Context({**states, "ego": observation.ego.float()}, batch_size=[len(observation.ego)])

    def logits(self, context: Context) -> Tensor:
        """Return the logits [B, modes] of the last layer's classification branch."""
        return self.plan_cls_branch(full(context["features"])).squeeze(-1)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return the denoised plans."""
        plans = poses_to_poses(context["plans"], self.card.dt, self.frame)
        ids = torch.arange(self.count, device=plans.device).view(1, -1, 1).expand(len(plans), -1, 1)
        return ids, plans, torch.ones_like(ids[..., 0], dtype=torch.bool)
