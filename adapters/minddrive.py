"""MindDrive: a language model chooses one of seven speed actions (and, where freed, of six path actions)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from craft_lightning.control_parameters import TrackerParameters
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.factored import joint_logits
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.released.card import ModelCard, ModelInput
from craft_lightning.policies.released.frames import (
    BENCH2DRIVE_LIDAR,
    ModelFrame,
    path_to_poses,
    speeds_to_distance,
    turn_axes,
)
from craft_lightning.policies.released.heads import kept, zero_linear
from craft_lightning.policies.released.policy import ReleasedPolicy, Source
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.rigs import BENCH2DRIVE
from craft_lightning.structures import Context, Factor, Observation

SPEED_TOKENS = (
    "maintain_moderate_speed",
    "stop",
    "maintain_slow_speed",
    "speed_up",
    "slow_down",
    "maintain_fast_speed",
    "slow_down_rapidly",
)
"""Order of the speed actions: of tokens, of logits and of the decoder's modes alike."""

PATH_TOKENS = ("lanefollow", "straight", "turn_left", "change_lane_left", "turn_right", "change_lane_right")
"""Order of the path actions' tokens, which is that of the path decoder's modes."""

PATH_COMMANDS = ("turn_left", "turn_right", "straight", "lanefollow", "change_lane_left", "change_lane_right")
"""Order in which the route's commands name them (CARLA's numbers less one): another one than the tokens'."""

CARD = ModelCard(
    name="MindDrive",
    source="https://github.com/xiaomi-mlab/MindDrive",
    licence="Apache-2.0 (code); data and weights from Bench2Drive under CC BY-NC-ND",
    inputs=(
        ModelInput("img", (6, 3, 640, 640), "six cameras, normalised", "camera"),
        ModelInput("lidar2img", (6, 4, 4), "LIDAR to pixels", "camera"),
        ModelInput("can_bus", (18,), "pose, velocities, accelerations", "status"),
        ModelInput("command", (), "0 to 5, CARLA's command less one", "route"),
    ),
    frame=BENCH2DRIVE_LIDAR,
    horizon=3.0,
    dt=0.5,
    distribution="softmax over the seven speed tokens at the action slot; the path is the route command's",
    trainable={"heads": (), "decoder": (), "its own": ("*lora_[AB].decision_expert.weight",)},
    decision=0.1,
    tracker=TrackerParameters(
        turn_kp=1.7,
        turn_ki=0.3,
        turn_kd=0.6,
        window=40,
        aim_gain=0.0,
        aim_offset=3.5,
        aim_min=3.5,
        aim_max=3.5,
        brake_speed=0.05,
    ),
    controller={"desired_speed": "0.75 of the first half second's speed and 0.25 of the second's"},
    environment="Python 3.8, a vendored mmcv with CUDA operators, flash-attn, transformers 4.45, peft 0.12",
    beside="bridge",
    temporal=True,
    rig=BENCH2DRIVE,
    notes=(
        "What is trained here is a new layer on the hidden state at the action slot, added to the seven logits. Their "
        "own fine-tuning trains LoRA (decision_expert) of the language model, which a bridge has no gradients for.",
        "The factory answers hidden, action_logits, ego_fut_preds, pw_ego_fut_preds and path_command by these names.",
        "Its own KL is F.kl_div(theta, ref, log_target=True), KL(ref || theta): kl_teacher_student here.",
        "Its own fine-tuning drives in evaluation mode and trains with dropout 0.05; here both are in evaluation mode.",
    ),
)


class MindDrive(ReleasedPolicy, ListedPolicy):
    """MindDrive on top of the user's model; candidate (path, speed) is that path driven by that speed action's plan.

    Args:
        source: see ``ReleasedPolicy``.
        weights: not used: no layer of upstream's is trained.
        width: features of the hidden state: 896 (0.5 B) or 2048 (3 B).
        free_path: let the policy choose among all six paths; otherwise the route's command does, as released.
        keep_path: probability of the command's path at the start, where paths are free.

    """

    card = CARD
    family = "action tokens"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("speed_head", "path_head"),
        "decoder": ("speed_head", "path_head"),
    }
    taps = {  # noqa: RUF012
        name: f":output.{name}"
        for name in ("hidden", "action_logits", "ego_fut_preds", "pw_ego_fut_preds", "path_command")
    }

    def __init__(
        self,
        source: Source = None,
        weights: str | None = None,
        width: int = 896,
        free_path: bool = False,
        keep_path: float = 0.9,
    ) -> None:
        paths, speeds = len(PATH_TOKENS), len(SPEED_TOKENS)
        super().__init__((Factor("path", paths), Factor("speed", speeds)), (paths if free_path else 1, speeds))
        self.width, self.free_path = width, free_path
        order = [PATH_TOKENS.index(name) for name in PATH_COMMANDS]
        self.register_buffer("token_of_command", torch.tensor(order), persistent=False)
        self.register_buffer("path_prior", kept(keep_path, torch.zeros(paths - 1).log_softmax(0)), persistent=False)
        self.speed_head = zero_linear(width, speeds)
        if free_path:
            self.path_head = zero_linear(width, paths)
        self.attach(source)
        self.eval()

    @classmethod
    def example(cls) -> "MindDrive":
        """Return a small one on a stand-in."""
        return cls("stand_in", width=12, free_path=True)

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a model of the documented layout."""
        from craft_lightning.testing.stand_ins.named import StandInMindDrive

        return LocalModel(StandInMindDrive(arguments["width"]))

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return the inputs of the stand-in."""
        from craft_lightning.testing.stand_ins.parts import pooled_raster, state_numbers

        def command(observation: Observation) -> Tensor:
            return (observation.ego[:, 0] * 10).long() % len(PATH_COMMANDS)

        return {"img": pooled_raster, "lidar2img": state_numbers(2), "can_bus": state_numbers(9), "command": command}

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected shapes."""
        return {
            "hidden": (self.width,),
            "action_logits": (len(SPEED_TOKENS),),
            "ego_fut_preds": (len(SPEED_TOKENS), 6, 2),
            "pw_ego_fut_preds": (len(PATH_TOKENS), 20, 2),
            "path_command": (),
        }

    def encode(self, observation: Observation) -> Context:
        """Return ``hidden`` [B, width] in half precision, ``logits`` [B, 7], ``token`` [B], ``ego`` and geometry.

        ``path`` [B, 1 or 6, 20, 2] and ``speed`` [B, 7, 6] mean speeds of half a second.
        """
        found = self.features(observation)
        axes = self.card.frame.axes
        token = self.get_buffer("token_of_command")[found["path_command"].long()]
        path = turn_axes(found["pw_ego_fut_preds"].cumsum(-2), axes)
        if not self.free_path:
            path = path[torch.arange(len(path), device=path.device), token].unsqueeze(1)
        return Context(
            {
                "hidden": half_rounded(found["hidden"]),
                "logits": found["action_logits"],
                "path": path,
                "speed": found["ego_fut_preds"].norm(dim=-1) / self.card.dt,
                "token": token.int(),
                "ego": observation.ego.float(),
            },
            batch_size=[len(token)],
        )

    def logits(self, context: Context) -> Tensor:
        """Return the joint at temperature 1."""
        return self.joint(context, 1.0)

    def joint(self, context: Context, temperature: Tensor | float) -> Tensor:
        """Return log pi(path) + log pi(speed), [B, paths * 7]."""
        hidden = full(context["hidden"])
        speed = context["logits"] + self.speed_head(hidden)
        path = speed.new_zeros(len(speed), 1)
        if self.free_path:
            # The prior's first entry is the command's path.
            own = torch.arange(len(PATH_TOKENS), device=hidden.device) == context["token"].unsqueeze(1)
            prior = self.get_buffer("path_prior")
            path = torch.where(own, prior[0], prior[1]) + self.path_head(hidden)
        return joint_logits(path, speed.unsqueeze(1), temperature)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return every listed path at every speed action's speeds."""
        frame = ModelFrame("forward_left", self.card.frame.ahead)
        distance = speeds_to_distance(context["speed"], self.card.dt)
        plans = path_to_poses(context["path"].unsqueeze(2), distance.unsqueeze(1), frame).flatten(1, 2)
        states, speeds = len(plans), len(SPEED_TOKENS)
        speed = torch.arange(self.count, device=plans.device) % speeds
        path = torch.arange(self.count, device=plans.device) // speeds
        path = path.expand(states, -1) if self.free_path else context["token"].long()[:, None].expand(-1, speeds)
        ids = torch.stack([path, speed.expand(states, -1)], -1)
        return ids, plans, torch.ones_like(path, dtype=torch.bool)
