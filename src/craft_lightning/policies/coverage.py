"""How well a vocabulary covers trajectories that it was not built from."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

SPEED_BINS = (0.5, 3.0, 6.0, 9.0, 12.0)
"""Edges between bins of mean speed, m/s."""


def mean_speed(trajectories: np.ndarray, dt: float) -> np.ndarray:
    """Return the mean speed [N] in m/s of trajectories [N, T, 3] that start at the origin."""
    step = np.diff(trajectories[..., :2], axis=1, prepend=0.0)
    return np.linalg.norm(step, axis=-1).sum(1) / (trajectories.shape[1] * dt)


def nearest_entry(entries: Tensor, trajectories: Tensor, block: int = 256) -> tuple[Tensor, Tensor]:
    """Return for each trajectory the nearest entry and its average displacement.

    Args:
        entries: [K, T, 3], or [N, K, T, 3] where every trajectory has its own.
        trajectories: [N, T, 3], the same poses.
        block: trajectories compared at a time.

    Returns:
        Index [N] and the minimum average displacement error (minADE) [N] in metres.

    """
    if entries.ndim == 4:
        own = [
            (table[..., :2] - part[:, None, :, :2]).norm(dim=-1).mean(-1).min(1)
            for table, part in zip(entries.split(block), trajectories.split(block), strict=True)
        ]
        return torch.cat([found.indices for found in own]), torch.cat([found.values for found in own])
    table = entries[..., :2].transpose(0, 1).contiguous()
    indices, errors = [], []
    for part in trajectories[..., :2].split(block):
        # [T, n, K]: one small distance matrix a pose.
        distance = torch.cdist(part.transpose(0, 1).contiguous(), table, compute_mode="donot_use_mm_for_euclid_dist")
        error, index = distance.mean(0).min(1)
        indices.append(index)
        errors.append(error)
    return torch.cat(indices), torch.cat(errors)


def coverage_report(entries: Tensor, trajectories: Tensor, dt: float) -> dict[str, Any]:
    """Return minADE of the trajectories, in all and per bin of mean speed.

    Args:
        entries: [K, T, 3] of the vocabulary, or [N, K, T, 3] where every trajectory has its own candidates.
        trajectories: [N, T, 3] held-out trajectories, N at least 1.
        dt: seconds between poses.

    Returns:
        ``count``, ``mean``, ``p95``, ``max`` (metres) and the same per bin under ``speed_bins``, keyed "0.5-3.0" in
        m/s; empty bins are left out.

    """
    error = nearest_entry(entries, trajectories)[1].numpy()
    label = np.digitize(mean_speed(trajectories.numpy(), dt), SPEED_BINS)
    edges = (0.0, *SPEED_BINS, float("inf"))
    bins = {
        f"{edges[i]}-{edges[i + 1]}": _summary(error[label == i]) for i in range(len(edges) - 1) if (label == i).any()
    }
    return {**_summary(error), "speed_bins": bins}


def _summary(error: np.ndarray) -> dict[str, float]:
    return {
        "count": int(error.size),
        "mean": round(float(error.mean()), 4),
        "p95": round(float(np.quantile(error, 0.95)), 4),
        "max": round(float(error.max()), 4),
    }
