"""Sub-scores of NAVSIM and nuPlan from counterfactual rollouts, as batched tensor functions."""

from craft_lightning.counterfactual.scores.drive import Drive, decaying_tracks
from craft_lightning.counterfactual.scores.parameters import ComfortBounds, ScoreParameters
from craft_lightning.counterfactual.scores.scorer import PlannerScorer, chosen_scores

__all__ = ["ComfortBounds", "Drive", "PlannerScorer", "ScoreParameters", "chosen_scores", "decaying_tracks"]
