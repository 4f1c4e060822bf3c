"""PPO and REINFORCE++ on executed decisions, the paper's baselines, on the contract of every other loss."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner, LossCallback, require_finite
from craft_lightning.objectives.critic import critic_of
from craft_lightning.objectives.executed import ExecutedReward, executed_reward
from craft_lightning.objectives.factored import RatioLevel, at_level, check_level, levelled_log_probs
from craft_lightning.objectives.functional import clipped_surrogate, clipped_value_loss
from craft_lightning.objectives.returns import discounted_sums, generalised_advantages
from craft_lightning.structures import CandidateSet, FactorLogProbs, Transition

_CHUNK = 1024  # states whose values are computed at once


class ExecutedPolicyGradient(LossCallback):
    """What PPO and REINFORCE++ share: a dense reward, normalised advantages once an iteration, a clipped ratio.

    Args:
        weight: factor of the term in the objective.
        discount: discount a decision.
        clip: half-width of the clip range.
        reward: constants of the dense reward; None for the defaults.
        ratio_level: which probability ratio is clipped; see ``factored.at_level``. All are one with one factor.
        name: name in logs and checkpoints.

    """

    def __init__(
        self,
        weight: float = 1.0,
        discount: float = 0.95,
        clip: float = 0.2,
        reward: ExecutedReward | None = None,
        ratio_level: RatioLevel = "joint",
        name: str | None = None,
    ) -> None:
        super().__init__(weight, name)
        if not (0.0 <= discount <= 1.0 and 0.0 < clip < 1.0):
            raise CraftError(f"losses.{self.name}: discount={discount} must lie in [0, 1] and clip={clip} in (0, 1)")
        self.discount, self.clip = discount, clip
        self.reward = reward or ExecutedReward()
        self.ratio_level = check_level(ratio_level, self.name)

    def estimate(self, transitions: Transition, reward: Tensor, module: Learner) -> dict[str, Tensor]:
        """Return what the loss keeps of every transition [N]: ``advantage`` and ``usable``, and more where needed."""
        raise NotImplementedError(f"{type(self).__name__} must implement estimate")

    def annotate(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> None:
        """Write advantages, normalised over the iteration's usable transitions, into ``transitions.notes``.

        Raises:
            CraftError: an event or a reward is not finite, or a step of a rollout appears twice.

        """
        require_finite(self.name, "events", transitions.events, transitions)
        reward = executed_reward(transitions, self.reward)
        require_finite(self.name, "the executed reward", reward, transitions)
        kept = self.estimate(transitions, reward, module)
        usable = kept["usable"].bool()
        raw = kept["advantage"][usable]
        spread = raw.std(correction=0).clamp_min(1e-6) if len(raw) else torch.ones(())
        centre = raw.mean() if len(raw) else torch.zeros(())
        kept["advantage"] = torch.where(usable, (kept["advantage"] - centre) / spread, 0.0)
        transitions.notes[self.name] = TensorDict(kept, batch_size=transitions.batch_size)
        self.report_iteration(
            module,
            {"reward": reward.mean(), "advantage_std": spread, "usable_share": usable.float().mean()},
        )

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return minus the mean clipped surrogate over usable transitions."""
        kept = batch.notes[self.name]
        chosen = candidates.chosen[:, None]
        new, old = levelled_log_probs(self.ratio_level, outputs, candidates, chosen)
        log_ratio = (new - old).squeeze(1)
        clipped = functools.partial(clipped_surrogate, clip=self.clip, dual_clip=None)
        surrogate = at_level(self.ratio_level, log_ratio, kept["advantage"], clipped)
        self.report(module, {"ratio_largest_change": (log_ratio.detach().exp() - 1).abs().amax()})
        usable = kept["usable"].to(surrogate)
        return -(surrogate * usable).sum() / usable.sum().clamp_min(1.0)


class ReinforcePlusPlus(ExecutedPolicyGradient):
    """REINFORCE++ (arXiv 2501.03262): Monte-Carlo returns, normalised over the batch, a clipped ratio, no critic.

    A rollout that was cut counts what it had collected until then.
    """

    def estimate(self, transitions: Transition, reward: Tensor, module: Learner) -> dict[str, Tensor]:
        """Return the discounted returns."""
        discounts = self.discount * transitions.continues.to(reward)
        returns = discounted_sums(reward, discounts, transitions.rollout, transitions.step)
        return {"advantage": returns, "usable": torch.ones_like(returns)}


class ProximalPolicy(ExecutedPolicyGradient):
    """PPO (arXiv 1707.06347) with generalised advantage estimation and a critic that this loss owns.

    The value loss is the larger of the smooth L1 errors of the value and of the value kept within ``value_clip`` of the
    one before the iteration. The critic reads the policy's stored contexts; no gradient of it reaches the policy.

    Args:
        weight: factor of the term in the objective.
        discount: discount a decision.
        decay: lambda of the generalised advantage estimate.
        clip: half-width of the clip range of the ratio.
        value_weight: factor of the value loss beside the surrogate.
        value_clip: how far a value may move in an iteration before its loss stops pulling it further.
        hidden: features of the critic's hidden layers.
        reward: constants of the dense reward; None for the defaults.
        ratio_level: which probability ratio is clipped; see ``factored.at_level``. All are one with one factor.
        name: name in logs and checkpoints.

    """

    def __init__(
        self,
        weight: float = 1.0,
        discount: float = 0.95,
        decay: float = 0.9,
        clip: float = 0.2,
        value_weight: float = 0.5,
        value_clip: float = 0.2,
        hidden: int = 64,
        reward: ExecutedReward | None = None,
        ratio_level: RatioLevel = "joint",
        name: str | None = None,
    ) -> None:
        super().__init__(weight, discount, clip, reward, ratio_level, name)
        if not (0.0 <= decay <= 1.0 and value_weight >= 0.0 and value_clip > 0.0 and hidden >= 1):
            raise CraftError(
                f"losses.{self.name}: decay={decay}, value_weight={value_weight}, value_clip={value_clip}, "
                f"hidden={hidden} do not fit; need 0 <= decay <= 1, value_weight >= 0, value_clip > 0, hidden >= 1"
            )
        self.decay, self.value_weight, self.value_clip, self.hidden = decay, value_weight, value_clip, hidden

    def build(self, module: Learner) -> nn.Module:
        """Return the critic."""
        return critic_of(module.adapter, self.hidden)

    def estimate(self, transitions: Transition, reward: Tensor, module: Learner) -> dict[str, Tensor]:
        """Return generalised advantages, the critic's targets and its values of now."""
        critic = module.owned(self.name)
        values = []
        for start in range(0, len(transitions.rollout), _CHUNK):
            values.append(critic(transitions.context[start : start + _CHUNK].to(module.device)))
        value = torch.cat(values).to(reward)
        found = generalised_advantages(
            reward, value, transitions.done, transitions.rollout, transitions.step, self.discount, self.decay
        )
        explained = 1.0 - (found.target - value).var(correction=0) / found.target.var(correction=0).clamp_min(1e-9)
        self.report_iteration(module, {"value": value.mean(), "value_explained_variance": explained})
        return {
            "advantage": found.advantage,
            "usable": found.usable.to(reward),
            "target": found.target,
            "value": value,
        }

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return the clipped surrogate's loss plus the weighted value loss."""
        policy = super().term(module, batch, candidates, outputs)
        kept = batch.notes[self.name]
        value = module.owned(self.name)(batch.context.detach())
        error = clipped_value_loss(value, kept["value"], kept["target"], self.value_clip)
        usable = kept["usable"].to(error)
        value_loss = (error * usable).sum() / usable.sum().clamp_min(1.0)
        self.report(module, {"policy_loss": policy.detach(), "value_loss": value_loss.detach()})
        return policy + self.value_weight * value_loss
