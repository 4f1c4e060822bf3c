"""Progress along the route: NAVSIM's, normalised over the proposals, and nuPlan's, over the expert's."""

import torch
from torch import Tensor

from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.parameters import ScoreParameters
from craft_lightning.geometry import project_on_polyline


def gained_metres(drive: Drive) -> Tensor:
    """Metres of route [B, K] from the projection of the first place to that of the last; negative backwards."""
    ends = torch.stack([drive.ego.x[..., [0, -1]], drive.ego.y[..., [0, -1]]], dim=-1)
    arc, _ = project_on_polyline(ends.flatten(1, 2), drive.scene.route.to(ends.dtype))
    start, end = arc.view(ends.shape[:3]).unbind(-1)
    return end - start


def navsim_progress(
    metres: Tensor,
    multiplier: Tensor,
    mask: Tensor,
    p: ScoreParameters,
    version: int = 2,
    reference: Tensor | None = None,
) -> Tensor:
    """NAVSIM's EP [B, K] in [0, 1].

    With m = max over the proposals of metres * multiplier: version 1 gives metres * multiplier / m, version 2
    clip(metres / m, 0, 1). Where m is not above 5 m both give 1, but version 1 gives 0 where the multiplier is 0. So it
    depends on the proposals: NAVSIM's are the plan and PDM-Closed's, here they are all candidates of the state.

    Args:
        metres: [B, K] gained; below 0 counts as 0.
        multiplier: [B, K] product of the multipliers.
        mask: [B, K] bool, candidates that are proposals.
        p: thresholds.
        version: 1 or 2.
        reference: [B] metres that one more proposal gains without fault, such as a reference planner's or the expert's.

    """
    gained = metres.clamp(min=0.0)
    earned = gained * multiplier
    best = earned.masked_fill(~mask, 0.0).amax(-1, keepdim=True)
    if reference is not None:
        best = torch.maximum(best, reference.to(best)[:, None])
    far = best > p.progress_threshold
    scale = torch.where(far, best, 1.0)
    if version == 1:
        return torch.where(far, earned / scale, (multiplier != 0.0).to(earned.dtype))
    return torch.where(far, (gained / scale).clamp(0.0, 1.0), 1.0)


def nuplan_progress(metres: Tensor, expert: Tensor | None, p: ScoreParameters) -> Tensor:
    """NuPlan's progress ratio [B, K]: min(1, max(ego, 0.1) / max(expert, 0.1)), 0 where the ego loses more than 0.1 m.

    Args:
        metres: [B, K] gained.
        expert: [B] metres that the expert gained; None, or NaN for a state without an expert, gives 1.
        p: thresholds.

    """
    if expert is None:
        return torch.ones_like(metres)
    known = ~expert.isnan()
    wanted = torch.where(known, expert, 0.0).to(metres).clamp(min=p.least_progress)[:, None]
    ratio = (metres.clamp(min=p.least_progress) / wanted).clamp(max=1.0)
    ratio = torch.where(metres < -p.least_progress, 0.0, ratio)
    return torch.where(known.to(metres.device)[:, None], ratio, 1.0)
