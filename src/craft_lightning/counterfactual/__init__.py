"""The counterfactual world: every candidate of every visited state, rolled out and scored."""

from craft_lightning.counterfactual.advantage import explained_variance, group_advantage
from craft_lightning.counterfactual.parameters import FLAGS, DecayParameters, RewardParameters
from craft_lightning.counterfactual.rollout import Rollout
from craft_lightning.counterfactual.world import CounterfactualWorld

__all__ = [
    "FLAGS",
    "CounterfactualWorld",
    "DecayParameters",
    "RewardParameters",
    "Rollout",
    "explained_variance",
    "group_advantage",
]
