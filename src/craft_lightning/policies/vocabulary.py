"""A vocabulary: the fixed set of trajectories that a policy scores, its hash and its file."""

import dataclasses
import hashlib
import json

import torch
from torch import Tensor

from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Candidate trajectories shared by all states.

    Args:
        trajectories: [K, T, 3] float32 x, y, yaw in the ego frame (metres, radians), the first pose ``dt`` after now.
        dt: seconds between poses.

    Raises:
        CraftError: another shape, or a number that is not finite.

    """

    trajectories: Tensor
    dt: float = 0.1

    def __post_init__(self) -> None:
        shape = tuple(self.trajectories.shape)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise CraftError(f"vocabulary.trajectories has shape {shape}; give [K, T, 3] with x, y, yaw")
        if not torch.isfinite(self.trajectories).all():
            raise CraftError("vocabulary.trajectories holds NaN or infinity; build it again from finite trajectories")

    def __len__(self) -> int:
        return len(self.trajectories)

    @property
    def hash(self) -> str:
        """SHA-256 of the entries in their order, as float32, and of ``dt``: what ids mean."""
        numbers = self.trajectories.detach().to("cpu", torch.float32).contiguous()
        header = json.dumps([list(numbers.shape), round(self.dt, 9)])
        return hashlib.sha256(header.encode() + numbers.numpy().tobytes()).hexdigest()
