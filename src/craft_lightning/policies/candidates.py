"""Operations on candidate sets that no architecture owns: checks, sampling, merging of duplicates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.structures import CandidateSet, Factor


def check_candidates(candidates: CandidateSet, num_poses: int, num_factors: int) -> None:
    """Refuse candidates that cannot be scored.

    Args:
        candidates: candidates of B states.
        num_poses: poses that a trajectory must have.
        num_factors: factors that an id must have.

    Raises:
        CraftError: a field of a wrong shape, NaN in a valid entry, or a state without a valid candidate.

    """
    shape = tuple(candidates.mask.shape)
    if len(shape) != 2:
        raise CraftError(f"candidates.mask has shape {shape}; give [B, K]")
    expected: dict[str, tuple[int, ...]] = {
        "ids": (*shape, num_factors),
        "log_probs": shape,
        "log_mass": shape[:1],
        "multiplicity": shape,
        "chosen": shape[:1],
    }
    if candidates.trajectories is not None:
        expected["trajectories"] = (*shape, num_poses, 3)
    for name, size in expected.items():
        found = tuple(getattr(candidates, name).shape)
        if found != size:
            raise CraftError(f"candidates.{name} has shape {found}; the mask and the policy ask for {size}")
    if candidates.mask.dtype != torch.bool:
        raise CraftError(f"candidates.mask has dtype {candidates.mask.dtype}; give booleans, True = valid")
    empty = ~candidates.mask.any(1)
    if empty.any():
        raise CraftError(f"candidates.mask leaves state {int(empty.nonzero()[0])} without a valid candidate; keep one")
    _refuse_nan("log_probs", candidates.log_probs.masked_fill(~candidates.mask, 0.0))
    trajectories = candidates.trajectories
    if trajectories is not None:
        # An expanded view repeats one table; looking at it once is enough.
        _refuse_nan("trajectories", trajectories[:1] if trajectories.stride(0) == 0 else trajectories)


def check_ids(candidates: CandidateSet, factors: Sequence[Factor]) -> None:
    """Refuse candidates whose ids mean nothing here: those of another vocabulary.

    Args:
        candidates: candidates of B states.
        factors: the factors that ids index, in their order.

    Raises:
        CraftError: the id of a valid candidate lies outside its factor.

    """
    ids = candidates.ids.masked_fill(~candidates.mask.unsqueeze(-1), 0).flatten(0, 1)
    if not len(ids):
        return
    for factor, low, high in zip(factors, ids.amin(0).tolist(), ids.amax(0).tolist(), strict=True):
        if low < 0 or high >= factor.size:
            raise CraftError(
                f"candidates.ids has {low if low < 0 else high} for the factor '{factor.name}', which lies outside "
                f"0..{factor.size - 1}; the candidates are of another vocabulary"
            )


def _refuse_nan(name: str, values: Tensor) -> None:
    if torch.isnan(values).any():
        where = torch.isnan(values).nonzero()[0].tolist()
        raise CraftError(f"candidates.{name} is NaN at {where}; look at the policy that proposed them")


def gumbel_argmax(candidates: CandidateSet, noise: Tensor | None) -> Tensor:
    """Draw one index a state from the behaviour distribution by the Gumbel-max trick.

    Args:
        candidates: candidates of B states.
        noise: [B, K] uniform numbers in [0, 1).

    Returns:
        Index [B] int64; a masked candidate is never drawn.

    """
    shape = tuple(candidates.mask.shape)
    if noise is None:
        raise CraftError("act needs noise [B, K] of uniform numbers, or greedy=True; it keeps no random state")
    if tuple(noise.shape) != shape:
        raise CraftError(f"noise has shape {tuple(noise.shape)}; give one uniform number a candidate, {shape}")
    # Double precision keeps the tails of the Gumbel distribution; the clamp keeps 0 and 1 finite.
    uniform = noise.double().clamp(1e-300, 1.0 - 2.0**-53)
    gumbel = -torch.log(-torch.log(uniform))
    return (candidates.log_probs.double() + gumbel).masked_fill(~candidates.mask, -torch.inf).argmax(1)


def native_quantities(trajectory: Tensor, dt: float) -> dict[str, Tensor]:
    """Return ``path`` [..., T, 2] and ``speed`` [..., T] (m/s between neighbouring poses) of poses [..., T, 3]."""
    path = trajectory[..., :2]
    step = torch.diff(path, dim=-2, prepend=torch.zeros_like(path[..., :1, :]))
    return {"path": path, "speed": torch.linalg.vector_norm(step, dim=-1) / dt}


def duplicate_groups(trajectories: Tensor, tolerance: float) -> Tensor:
    """Return for each trajectory the index of the first one nearer than ``tolerance`` (itself where there is none).

    Args:
        trajectories: [K, T, 3] poses.
        tolerance: metres, root mean square over the poses' positions.

    Returns:
        [K] int64; a value is always the index of an entry that represents itself.

    """
    count, poses = trajectories.shape[:2]
    flat = trajectories[..., :2].reshape(count, -1).double()
    representative = torch.arange(count)
    limit = tolerance * poses**0.5
    for start in range(0, count, 1024):
        block = torch.cdist(flat[start : start + 1024], flat, compute_mode="donot_use_mm_for_euclid_dist")
        for row, near in zip(range(start, start + len(block)), block < limit, strict=True):
            earlier = near[:row].nonzero().flatten()
            own = earlier[representative[earlier] == earlier]
            if len(own):
                representative[row] = own[0]
    return representative


def merge_logits(logits: Tensor, representative: Tensor) -> Tensor:
    """Pool the mass of duplicates on their representative, so that a twin does not count twice.

    Args:
        logits: [B, K], already divided by the temperature.
        representative: [K] as ``duplicate_groups`` answers, or [B, K] where every state has its own duplicates.

    Returns:
        [B, K]: the log of the summed exponentials at representatives (gradient reaches every member), -inf elsewhere.

    """
    index = representative.expand_as(logits)
    peak = torch.full_like(logits, -torch.inf).scatter_reduce(1, index, logits.detach(), "amax")
    total = torch.zeros_like(logits).scatter_add(1, index, (logits - peak.gather(1, index)).exp())
    kept = representative == torch.arange(logits.shape[1], device=logits.device)
    return torch.where(kept, total.where(kept, 1.0).log() + peak.where(kept, 0.0), -torch.inf)
