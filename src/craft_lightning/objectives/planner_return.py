"""NAVSIM's and nuPlan's scores of every candidate as the return of the counterfactual proxy."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor

from craft_lightning.counterfactual.parameters import DecayParameters
from craft_lightning.counterfactual.scores import PlannerScorer, ScoreParameters
from craft_lightning.errors import CraftError
from craft_lightning.metrics.planner_scores import EPDMS, NUPLAN, PDMS
from craft_lightning.structures import Scene

PlannerScoreName: TypeAlias = Literal["pdms", "epdms", "nuplan"]


class PlannerReturn:
    """Scores candidates by a planner score in place of CRAFT's reward.

    EPDMS comes without extended comfort, for which there is no earlier plan: weights 5, 5, 2, 2 over 14. nuPlan's comes
    without speed compliance, since a scene names no limits: weights 5, 5, 2 over 12; its progress is held against the
    expert's plan where there is one, else against the most that a candidate gains without fault.

    Args:
        score: "pdms", "epdms" or "nuplan".
        scale: the return of a perfect candidate. The advantage's floor (5) is in units of the return.
        parameters: thresholds of the sub-scores.
        others: constants of the others' rollout.

    Raises:
        CraftError: an unknown score or a scale that is not positive.

    """

    def __init__(
        self,
        score: PlannerScoreName = "epdms",
        scale: float = 100.0,
        parameters: ScoreParameters | None = None,
        others: DecayParameters | None = None,
    ) -> None:
        if score not in ("pdms", "epdms", "nuplan"):
            raise CraftError(f"score is {score!r}: give pdms, epdms or nuplan.")
        if not scale > 0.0:
            raise CraftError(f"scale is {scale}: give the return of a perfect candidate, above 0.")
        self.score, self.scale = score, scale
        self.scorer = PlannerScorer(parameters, others)

    def __call__(
        self, scene: Scene, states: Tensor, mask: Tensor, grids: Sequence[Any], expert: Tensor | None = None
    ) -> Tensor:
        """Return the scaled scores [B, K]; masked candidates get 0.

        Args:
            scene: the B visited states.
            states: [B, K, S, 4] of ``Rollout.states``.
            mask: [B, K] bool.
            grids: ``RoadGrid`` of every town index in the scene.
            expert: [B, T, 3] the expert's plans at 0.1 s, NaN where there is none; nuPlan's progress asks for them.

        """
        if self.score == "nuplan":
            gained = None if expert is None else self.scorer.plan_progress(scene, expert, states.shape[2] - 1)
            found = self.scorer.nuplan(scene, states, mask, grids, expert_progress=gained, best_as_expert=True)
            composition = NUPLAN
        else:
            composition, version = (PDMS, 1) if self.score == "pdms" else (EPDMS, 2)
            found = self.scorer.navsim(scene, states, mask, grids, version)
        composed: Tensor = self.scale * composition.compose(found)
        return composed
