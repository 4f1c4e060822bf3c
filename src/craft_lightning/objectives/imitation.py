"""Imitation of an expert over the policy's own candidates, for pre-training and as a regulariser."""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner, LossCallback
from craft_lightning.objectives.functional import candidate_distance, cross_entropy, imitation_targets
from craft_lightning.structures import CandidateSet, Demonstration, FactorLogProbs, Transition

_EXPERT_DT = 0.1  # seconds between the expert's poses


class Imitation(LossCallback):
    """Cross-entropy to a target over candidates that is proportional to exp(-d^2 / sigma).

    d is the root-mean-square distance of a candidate to the expert's trajectory from the same state, in metres. Works
    on demonstrations and on executed transitions that carry the expert's plan; others do not count. A policy that
    regresses plans (``FactorLogProbs.plan``) is also drawn to the expert itself in pre-training: the smooth L1 distance
    of the nearest of its central plans, in metres a coordinate.

    Args:
        weight: factor of the term in the objective.
        sigma: softness in square metres; 0 puts all on the nearest candidate.
        regression: factor of the distance of regressed plans beside the cross-entropy.
        name: name in logs and checkpoints.

    """

    batches = (Transition, Demonstration)

    def __init__(
        self, weight: float = 1.0, sigma: float = 0.25, regression: float = 1.0, name: str | None = None
    ) -> None:
        super().__init__(weight, name)
        if not 0.0 <= sigma < float("inf"):
            raise CraftError(f"losses.{self.name}: sigma is {sigma}; give square metres, 0 for the nearest candidate")
        if not 0.0 <= regression < float("inf"):
            raise CraftError(f"losses.{self.name}: regression is {regression}; give a finite factor of at least 0")
        self.sigma, self.regression = sigma, regression

    def term(
        self, module: Learner, batch: Transition | Demonstration, candidates: CandidateSet, outputs: FactorLogProbs
    ) -> Tensor:
        """Return the mean cross-entropy over states that have an expert; exactly 0 without gradient where none has."""
        expert = batch.trajectory if isinstance(batch, Demonstration) else batch.expert
        shown = torch.isfinite(expert).flatten(1).all(1)
        with torch.no_grad():
            plans, goal = same_times(module.adapter.trajectories(candidates), expert, module.adapter.spec.dt)
            distance = candidate_distance(plans, goal.nan_to_num())
            targets = imitation_targets(distance, candidates.mask, self.sigma)
        nearest = distance.masked_fill(~candidates.mask, torch.inf).amin(1)
        hit = outputs.joint.detach().argmax(1) == targets.argmax(1)
        count = shown.sum().clamp_min(1)
        self.report(
            module,
            {
                "nearest_distance": torch.where(shown, nearest, 0.0).sum() / count,
                "accuracy": (hit & shown).sum() / count,
            },
        )
        loss = cross_entropy(targets, outputs.joint, candidates.mask)
        if outputs.plan is not None and isinstance(batch, Demonstration):
            own, goal = same_times(outputs.plan, expert, module.adapter.spec.dt)
            error = smooth_l1_loss(
                own[..., :2], goal[:, None, :, :2].nan_to_num().expand_as(own[..., :2]), reduction="none"
            )
            nearest_plan = error.mean((-2, -1)).amin(1)
            self.report(module, {"regression": torch.where(shown, nearest_plan.detach(), 0.0).sum() / count})
            loss = loss + self.regression * nearest_plan
        return torch.where(shown, loss, 0.0).sum() / count


def same_times(trajectories: Tensor, expert: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """Return candidates and expert at the poses that they share: every ``dt`` up to the end of the shorter.

    Args:
        trajectories: [B or 1, K, T, 3] of the policy, every ``dt``.
        expert: [B, S, 3], every 0.1 s.
        dt: seconds between the policy's poses.

    Raises:
        CraftError: the policy's time step is no multiple of the expert's.

    """
    stride = round(dt / _EXPERT_DT)
    if stride < 1 or abs(stride * _EXPERT_DT - dt) > 1e-6:
        raise CraftError(
            f"PlanSpec.dt is {dt} s but the expert has a pose every {_EXPERT_DT} s; use candidates at a multiple of it"
        )
    goal = expert[:, stride - 1 :: stride]
    poses = min(trajectories.shape[-2], goal.shape[1])
    if poses == 0:
        raise CraftError(f"the expert's trajectory is shorter than one pose of {dt} s; record longer plans")
    return trajectories[..., :poses, :], goal[:, :poses]
