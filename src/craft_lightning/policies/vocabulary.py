"""A vocabulary: the fixed set of trajectories that a policy scores, its hash and its file."""

import dataclasses
import hashlib
import json
import os
from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.files import find_file, read_safetensors, write_safetensors

FORMAT = "vocabulary/1"


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Candidate trajectories shared by all states.

    Args:
        trajectories: [K, T, 3] float32 x, y, yaw in the ego frame (metres, radians), the first pose ``dt`` after now.
        dt: seconds between poses.
        report: how it was made and what it covers, plain values; not part of the hash.

    Raises:
        CraftError: another shape, or a number that is not finite.

    """

    trajectories: Tensor
    dt: float = 0.1
    report: dict[str, Any] = dataclasses.field(default_factory=dict)

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with the entries, ``dt``, the hash and the report."""
        metadata = {"format": FORMAT, "dt": self.dt, "hash": self.hash, "report": self.report}
        write_safetensors(path, {"trajectories": self.trajectories.float()}, metadata)


def load_vocabulary(name: str | os.PathLike[str]) -> Vocabulary:
    """Read a vocabulary file, or the vocabulary inside a policy's checkpoint.

    Args:
        name: path, or the name of a shipped file.

    Raises:
        CraftError: a missing, corrupt or pickled file, one without a vocabulary, or one whose hash does not fit.

    """
    path = find_file(name, "vocabulary")
    tensors, metadata = read_safetensors(path, "vocabulary")
    table = tensors.get("trajectories", tensors.get("table"))
    recorded = metadata.get("hash", metadata.get("vocabulary_hash"))
    dt = metadata.get("dt", metadata.get("plan_spec", {}).get("dt"))
    if table is None or dt is None:
        raise CraftError(f"vocabulary: {path} holds no vocabulary; make one with policies.building.build_vocabulary")
    vocabulary = Vocabulary(table.float(), float(dt), metadata.get("report", {}))
    if vocabulary.hash != recorded:
        raise CraftError(
            f"vocabulary: the entries of {path} do not fit the hash in it; the file was changed, remake it"
        )
    return vocabulary
