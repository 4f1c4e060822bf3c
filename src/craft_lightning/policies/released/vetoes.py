"""Which plans a policy's own forecast lets collide: what released agents filter their choice by."""

import torch
from torch import Tensor

from craft_lightning.geometry import boxes_overlap
from craft_lightning.policies.released.frames import headings

STILL = 0.5
"""Metres; who moves less keeps its heading."""


def collides(
    plans: Tensor,
    boxes: Tensor,
    motion: Tensor,
    confident: Tensor,
    size: tuple[float, float],
    grown: float = 1.1,
    ahead: float = 0.5,
) -> Tensor:
    """Return whether a plan meets the likeliest forecast of something detected.

    Args:
        plans: [B, K, T, 2] positions of the ego's reference point, forward-left axes.
        boxes: [B, N, 5] x, y, yaw, length, width of detections now, same axes.
        motion: [B, N, T, 2] how far each moves until each step.
        confident: [B, N] detections that count.
        size: length and width of the ego, metres.
        grown: factor on both, as HiP-AD has it.
        ahead: metres by which the ego's box is put forward, as HiP-AD means it.

    Returns:
        [B, K] bool. Boxes overlap by the separating axis theorem; upstream asks for corners inside boxes, which misses
        boxes that cross.

    """
    own = _posed(plans, torch.zeros_like(plans[..., 0, 0]))
    shift = torch.stack([own[..., 2].cos(), own[..., 2].sin(), torch.zeros_like(own[..., 2])], -1)
    own = own + ahead * shift
    extent = own.new_tensor([size[0] * grown, size[1] * grown]).expand(*own.shape[:-1], 2)
    own = torch.cat([own, extent], -1)
    theirs = _posed(motion, boxes[..., 2])
    theirs = torch.cat([theirs[..., :2] + boxes[:, :, None, :2], theirs[..., 2:]], -1)
    theirs = torch.cat([theirs, boxes[:, :, None, 3:].expand(-1, -1, theirs.shape[2], -1)], -1)
    hit = boxes_overlap(own[:, :, None], theirs[:, None])
    return (hit & confident[:, None, :, None]).flatten(2).any(-1)


def _posed(points: Tensor, start: Tensor) -> Tensor:
    """Return poses [..., T, 3] of positions that begin at the origin with yaw ``start``."""
    cos, sin = start.cos()[..., None], start.sin()[..., None]
    # Headings are found in the frame that looks along the start.
    turned = torch.stack([cos * points[..., 0] + sin * points[..., 1], cos * points[..., 1] - sin * points[..., 0]], -1)
    still = (points[..., -1, :].norm(dim=-1) < STILL)[..., None]
    yaw = torch.where(still, 0.0, headings(turned)) + start[..., None]
    return torch.cat([points, yaw[..., None]], -1)
