"""What the planner scores are computed from: the tracked ego of every candidate and the others, step by step."""

import dataclasses

import torch
from torch import Tensor

from craft_lightning.conventions import AGENT_NONE, AGENT_STATIC, TRACKER_SECONDS
from craft_lightning.counterfactual.parameters import DecayParameters
from craft_lightning.counterfactual.reference import Motion, decay_rollout
from craft_lightning.errors import CraftError
from craft_lightning.structures import Scene

# Steps that the longest filter and the looks ahead of the time to collision need.
LEAST_STEPS = 15


@dataclasses.dataclass
class Drive:
    """B states, K candidates, A tracks, S = steps + 1 instants, now first; ego frames of the visited states.

    Attributes:
        ego: [B, K, S], poses of the box's centre and speeds.
        tracks: [B, A, S], likewise.
        scene: the visited states.
        half: [B, 2] half length and half width of the ego.
        half_tracks: [B, A, 2] of the tracks.
        rear: [B] metres from the ego's centre back to its rear axle, half the wheelbase.
        dt: seconds a step.

    """

    ego: Motion
    tracks: Motion
    scene: Scene
    half: Tensor
    half_tracks: Tensor
    rear: Tensor
    dt: float = TRACKER_SECONDS

    @classmethod
    def of(
        cls, scene: Scene, states: Tensor, tracks: Motion | None = None, others: DecayParameters | None = None
    ) -> "Drive":
        """Put tracked states and the others' rollouts together.

        Args:
            scene: the B visited states.
            states: [B, K, S, 4] of ``Rollout.states``: x, y, yaw, speed.
            tracks: [B, A, S] the others' motion, now first; None rolls them out as the counterfactual world does.
            others: constants of that rollout.

        Raises:
            CraftError: fewer than 15 steps, or shapes that do not fit.

        """
        if states.dim() != 4 or states.shape[-1] != 4 or states.shape[0] != scene.town.shape[0]:
            raise CraftError(
                f"states has the shape {list(states.shape)}: give Rollout.states "
                f"[{scene.town.shape[0]}, K, steps + 1, 4], which CounterfactualWorld.rollout fills on request."
            )
        steps = states.shape[2] - 1
        if steps < LEAST_STEPS:
            raise CraftError(
                f"planner scores need {LEAST_STEPS} steps of 0.1 s and the rollout has {steps}: raise the horizon "
                "(NAVSIM's is 4 s)."
            )
        if tracks is None:
            tracks = decaying_tracks(scene, steps, others or DecayParameters(), states.dtype)
        x, y, yaw, speed = states.unbind(-1)
        size = scene.ego_size.to(states.dtype)
        return cls(
            Motion(x, y, yaw.cos(), yaw.sin(), speed, yaw),
            tracks,
            scene,
            0.5 * size[:, :2],
            0.5 * scene.agents[..., 4:6].to(states.dtype),
            0.5 * size[:, 2],
        )

    @property
    def present(self) -> Tensor:
        """[B, A] bool, rows of the scene that hold a track."""
        return self.scene.agent_kind != AGENT_NONE

    @property
    def static(self) -> Tensor:
        """[B, A] bool, tracks that are objects and no agents."""
        return self.scene.agent_kind == AGENT_STATIC

    def rear_axle(self) -> tuple[Tensor, Tensor]:
        """X and y [B, K, S] of the rear axle."""
        back = self.rear[:, None, None]
        return self.ego.x - back * self.ego.cos, self.ego.y - back * self.ego.sin


def decaying_tracks(scene: Scene, steps: int, others: DecayParameters, dtype: torch.dtype) -> Motion:
    """The others' rollout of the counterfactual world with the present in front, [B, A, steps + 1]."""
    then = decay_rollout(scene, steps, others, dtype)
    x, y, yaw, speed = scene.agents[..., :4].to(dtype).unbind(-1)
    moving = scene.agent_kind != AGENT_STATIC
    now = Motion(x, y, yaw.cos(), yaw.sin(), torch.where(moving, speed.abs(), 0.0), yaw)
    names = [field.name for field in dataclasses.fields(Motion)]
    return Motion(*(torch.cat([getattr(now, name)[..., None], getattr(then, name)], dim=-1) for name in names))
