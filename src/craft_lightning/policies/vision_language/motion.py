"""A small language of motion: every token holds one curvature and one acceleration for a piece of the plan."""

import dataclasses

import torch
from torch import Tensor

from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True)
class MotionCode:
    """What motion tokens mean: token i holds ``curvatures[i // A]`` and ``accelerations[i % A]``.

    Args:
        curvatures: 1/m, positive to the left.
        accelerations: m/s^2; A of them.
        pieces: tokens of a plan.
        num_poses: poses of a plan, a multiple of ``pieces``.
        dt: seconds between poses.
        top_speed: m/s that no token accelerates beyond.
        lateral: m/s^2; a curvature is cut to what keeps |v^2 kappa| below it.

    """

    curvatures: tuple[float, ...] = (-0.12, -0.06, -0.025, -0.008, 0.0, 0.008, 0.025, 0.06, 0.12)
    accelerations: tuple[float, ...] = (-6.0, -2.5, -1.0, 0.0, 1.5)
    pieces: int = 4
    num_poses: int = 40
    dt: float = 0.1
    top_speed: float = 14.0
    lateral: float = 4.5

    def __post_init__(self) -> None:
        if not (self.curvatures and self.accelerations and self.pieces >= 1) or self.num_poses % self.pieces:
            raise CraftError(
                f"motion code of {len(self.curvatures)} curvatures, {len(self.accelerations)} accelerations and "
                f"{self.pieces} pieces of {self.num_poses} poses does not fit; need at least one each and whole pieces"
            )

    @property
    def size(self) -> int:
        """Number of different tokens."""
        return len(self.curvatures) * len(self.accelerations)

    def trajectories(self, ids: Tensor, ego_speed: Tensor) -> Tensor:
        """Return the plans [B, K, num_poses, 3] of tokens [B, K, pieces] for egos at ``ego_speed`` [B] m/s.

        Every step turns about half before and half after it is driven, which is exact to second order.
        """
        speed = ego_speed.float()[:, None].expand(ids.shape[:2])
        curvature = torch.tensor(self.curvatures, device=ids.device)[ids // len(self.accelerations)]
        push = torch.tensor(self.accelerations, device=ids.device)[ids % len(self.accelerations)]
        top = speed.clamp_min(self.top_speed)
        x = y = yaw = torch.zeros_like(speed)
        poses = []
        for step in range(self.num_poses):
            piece = step // (self.num_poses // self.pieces)
            speed = torch.minimum((speed + push[..., piece] * self.dt).clamp_min(0.0), top)
            limit = self.lateral / speed.square().clamp_min(0.1)
            turn = speed * self.dt * torch.minimum(torch.maximum(curvature[..., piece], -limit), limit)
            x = x + speed * self.dt * torch.cos(yaw + turn / 2)
            y = y + speed * self.dt * torch.sin(yaw + turn / 2)
            yaw = yaw + turn
            poses.append(torch.stack([x, y, yaw], -1))
        return torch.stack(poses, 2)
