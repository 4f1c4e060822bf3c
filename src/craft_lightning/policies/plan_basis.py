"""A few numbers for a whole plan: whitened principal components of demonstrated trajectories."""

from typing import Self

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.building import YAW_METRES
from craft_lightning.policies.sampling import sample_trajectories

_SMALLEST = 0.02  # metres (root mean square) that a component must move poses by, so that noise in it does something


class PlanBasis(nn.Module):
    """Trajectories as mean + z @ components, z of zero mean and unit variance over those it was fitted to.

    Noise in z moves all poses together and smoothly, where noise on single poses would make plans that jitter; and a
    density over z is one over a full space, which one over multiplied poses is not. Empty until ``fit`` or a checkpoint
    fills it; both are buffers, so checkpoints carry them.

    Args:
        dimensions: numbers a plan.
        num_poses: poses of a trajectory.

    """

    mean: Tensor
    components: Tensor

    def __init__(self, dimensions: int = 8, num_poses: int = 40) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_poses, 3))
        self.register_buffer("components", torch.zeros(dimensions, num_poses, 3))

    @classmethod
    def of_random_plans(cls, dimensions: int = 8, num_poses: int = 40, dt: float = 0.1) -> Self:
        """Return a basis of random drivable trajectories (``policies.sampling``), for tests and examples."""
        basis = cls(dimensions, num_poses)
        basis.fit(torch.from_numpy(sample_trajectories(2000, 0, num_poses, dt)).float())
        return basis

    @property
    def ready(self) -> bool:
        """Whether it was fitted."""
        return bool(self.components.any())

    def require_ready(self) -> None:
        """Refuse to be used empty.

        Raises:
            CraftError: nothing has filled it.

        """
        if not self.ready:
            raise CraftError("the policy has no basis of plans yet; load a checkpoint or call prepare")

    @torch.no_grad()
    def fit(self, trajectories: Tensor) -> None:
        """Take mean and components of trajectories [N, T, 3]; rows with NaN do not count.

        Raises:
            CraftError: a wrong shape, or fewer trajectories than components.

        """
        dimensions, poses = self.components.shape[:2]
        if trajectories.ndim != 3 or tuple(trajectories.shape[1:]) != (poses, 3):
            raise CraftError(f"trajectories has shape {tuple(trajectories.shape)}; give [N, {poses}, 3]")
        finite = trajectories[torch.isfinite(trajectories).flatten(1).all(1)].detach().cpu().double()
        if len(finite) <= dimensions:
            raise CraftError(f"{len(finite)} trajectories do not fill a basis of {dimensions}; give more")
        scale = finite.new_tensor([1.0, 1.0, YAW_METRES])
        scaled = (finite * scale).flatten(1)
        mean = scaled.mean(0)
        _, singular, rows = torch.linalg.svd(scaled - mean, full_matrices=False)
        deviation = singular / len(finite) ** 0.5
        rows, deviation = rows[:dimensions], deviation[:dimensions].clamp_min(_SMALLEST * poses**0.5)
        # The sign of a singular vector is arbitrary: the largest entry is made positive.
        rows = rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
        self.mean.copy_(mean.view(poses, 3) / scale)
        self.components.copy_((rows * deviation[:, None]).view(dimensions, poses, 3) / scale)

    def expand(self, value: Tensor) -> Tensor:
        """Return the trajectories [..., T, 3] of vectors [..., D]."""
        return self.mean + torch.tensordot(value, self.components, 1)

    def project(self, trajectories: Tensor) -> Tensor:
        """Return the vectors [..., D] nearest to trajectories [..., T, 3], radians counted as ``YAW_METRES`` metres."""
        scale = self.mean.new_tensor([1.0, 1.0, YAW_METRES])
        components = (self.components * scale).flatten(1)
        offset = ((trajectories - self.mean) * scale).flatten(-2)
        return offset @ components.T / components.square().sum(1)
