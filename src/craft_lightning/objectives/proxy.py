"""What would have happened, as a loss: every candidate of every visited state in the counterfactual world."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from craft_lightning.control import BicycleParameters, TrackerParameters
from craft_lightning.counterfactual.advantage import explained_variance, group_advantage
from craft_lightning.counterfactual.parameters import DecayParameters, RewardParameters, rollout_steps
from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner, LossCallback, require_finite
from craft_lightning.objectives.functional import expected_advantage_loss
from craft_lightning.structures import CandidateSet, FactorLogProbs, Transition

# Seconds that the longest filter of a planner score spans.
PLANNER_SECONDS = 1.5


class CounterfactualProxy(LossCallback):
    """The dense counterfactual proxy of CRAFT, eq. (7) of arXiv 2605.04470: -(1/B) sum_i sum_g pi(tau_g | s_i) A_ig.

    Once an iteration all candidates of all stored states are rolled out in the counterfactual world and their returns
    normalised inside each state's group, A = (R - mean) / max(std, floor), eq. (38-39). The loss is an exact
    expectation over candidates, weighted by the student itself: no sampling, no ratio, no clip.

    Args:
        weight: factor of the term in the objective.
        horizon: seconds that are rolled out; for a planner score at most those that the policy's plans last.
        statistics: "uniform" gives every valid candidate the same say in mean and std, as CRAFT does; "policy" weights
            them by the probability with which they were offered, so that improbable candidates cannot move the update.
        floor: smallest standard deviation that divides, in units of the return; keeps near-equal groups quiet.
        reward: constants of the reward; None for the paper's.
        others: how other road users go on; None for the paper's.
        tracker: the tracker that follows a candidate; None for the shared one.
        bicycle: the ego's motion model; None for the default.
        backend: "numba" (CPU), "cuda", "torch" (the reference), or "auto": where the policy is.
        chunk: states rolled out at once.
        name: name in logs and checkpoints.
        score: what a candidate's return is: "craft" is CRAFT's reward; "pdms", "epdms" (NAVSIM) and "nuplan" are the
            planner scores of ``objectives.planner_return``, which look best at a horizon of 4 s.
        score_scale: return of a candidate with a perfect planner score.

    """

    def __init__(
        self,
        weight: float = 1.0,
        horizon: float = 2.0,
        statistics: Literal["uniform", "policy"] = "uniform",
        floor: float = 5.0,
        reward: RewardParameters | None = None,
        others: DecayParameters | None = None,
        tracker: TrackerParameters | None = None,
        bicycle: BicycleParameters | None = None,
        backend: Literal["auto", "numba", "torch", "cuda"] = "auto",
        chunk: int = 256,
        name: str | None = None,
        score: Literal["craft", "pdms", "epdms", "nuplan"] = "craft",
        score_scale: float = 100.0,
    ) -> None:
        super().__init__(weight, name)
        try:
            rollout_steps(horizon)  # the world, which checks it too, is made only after a collection
        except CraftError as error:
            raise CraftError(f"losses.{self.name}: {error}") from error
        if score not in ("craft", "pdms", "epdms", "nuplan"):
            raise CraftError(f"losses.{self.name}: score is {score!r}; use 'craft', 'pdms', 'epdms' or 'nuplan'")
        if not score_scale > 0.0:
            raise CraftError(f"losses.{self.name}: score_scale is {score_scale}; give a number above 0")
        if score != "craft" and horizon < PLANNER_SECONDS:
            raise CraftError(
                f"losses.{self.name}: horizon is {horizon} s but score {score!r} needs {PLANNER_SECONDS} s; give 4, as "
                "NAVSIM has it"
            )
        self.score, self.score_scale = score, score_scale
        if statistics not in ("uniform", "policy"):
            raise CraftError(f"losses.{self.name}: statistics is {statistics!r}; use 'uniform' or 'policy'")
        if not floor > 0.0 or chunk < 1:
            raise CraftError(f"losses.{self.name}: floor={floor} and chunk={chunk} must both be above 0")
        self.horizon, self.statistics, self.floor, self.chunk = horizon, statistics, floor, chunk
        self.parameters: dict[str, Any] = {
            "reward": reward,
            "others": others,
            "tracker": tracker,
            "bicycle": bicycle,
        }
        self.backend: Literal["auto", "numba", "torch", "cuda"] = backend
        self._world: Any = None
        self._planner: Any = None

    def build(self, module: Learner) -> None:
        """Own no module; refuse a policy whose plans end before a planner score does, before anything is driven.

        Raises:
            CraftError: they do.

        """
        self._require_long_plans(module)

    def _require_long_plans(self, module: Learner) -> None:
        spec = module.adapter.spec
        seconds = spec.num_poses * spec.dt
        if self.score != "craft" and self.horizon > seconds + 1e-6:
            raise CraftError(
                f"losses.{self.name}: horizon is {self.horizon:g} s but the candidates of "
                f"{type(module.adapter).__name__} last {seconds:g} s, and a score of {self.score} beyond them "
                "would judge no plan; set horizon to "
                f"{seconds:g} or less, or let the adapter plan longer"
            )

    @property
    def world(self) -> Any:
        """The counterfactual world; made at first use, since its kernels take a while to load."""
        if self._world is None:
            from craft_lightning.counterfactual.world import CounterfactualWorld

            given = {key: value for key, value in self.parameters.items() if value is not None}
            self._world = CounterfactualWorld(horizon=self.horizon, backend=self.backend, **given)
        return self._world

    @property
    def planner_return(self) -> Any:
        """What scores the candidates where ``score`` is a planner score."""
        if self._planner is None:
            from craft_lightning.objectives.planner_return import PlannerReturn

            assert self.score != "craft"
            self._planner = PlannerReturn(self.score, self.score_scale, others=self.parameters["others"])
        return self._planner

    def annotate(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> None:
        """Write ``transitions.advantage`` [N, K]; masked candidates get 0.

        Raises:
            CraftError: a return of a valid candidate is not finite, or the policy's poses are not at 0.1 s.

        """
        self._require_long_plans(module)
        dt = module.adapter.spec.dt
        if abs(dt - 0.1) > 1e-6:
            raise CraftError(
                f"losses.{self.name}: PlanSpec.dt is {dt} s but the counterfactual world tracks poses at 0.1 s; let "
                "the adapter propose candidates at 0.1 s"
            )
        mask = transitions.candidates.mask
        rollout = self._rollout(transitions, module, grids)
        returns = rollout.returns
        require_finite(self.name, "the counterfactual return", returns, transitions, mask)
        weights = transitions.candidates.log_probs.exp() if self.statistics == "policy" else None
        advantage = group_advantage(returns, mask, floor=self.floor, weights=weights)
        # A group of equal returns teaches exactly nothing; Adam would blow its rounding noise up to full steps.
        low = returns.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
        high = returns.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
        advantage = advantage.masked_fill(~mask | (low == high), 0.0)
        require_finite(self.name, "the advantage", advantage, transitions)
        transitions.advantage = advantage
        self.report_iteration(module, _statistics(transitions, rollout, self.floor))

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return L_cp of the mini-batch."""
        return expected_advantage_loss(outputs.joint, batch.advantage, candidates.mask)

    def returns(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> Tensor:
        """Return the counterfactual returns [N, K] of all candidates, those that ``annotate`` normalises."""
        return self._rollout(transitions, module, grids).returns

    def _rollout(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> "_Rollouts":
        """Roll out all candidates of all transitions."""
        parts = []
        for start in range(0, len(transitions.rollout), self.chunk):
            states = transitions[start : start + self.chunk]
            candidates = states.candidates.to(module.device)
            plans = module.adapter.trajectories(candidates)
            scene = states.scene.to(module.device)
            if self.score == "craft":
                answer = self.world.rollout(scene, plans, candidates.mask, grids)
            else:
                answer = self.world.rollout(scene, plans, candidates.mask, grids, keep_states=True)
                answer.returns = self.planner_return(scene, answer.states, candidates.mask, grids, states.expert)
                # A score of the whole rollout has no part that falls into the first 0.5 s.
                answer.first_returns = torch.full_like(answer.returns, torch.nan)
            parts.append((answer.returns, answer.first_returns, answer.collision_step >= 0, answer.distinct().float()))
        return _Rollouts(*(torch.cat(part).to(transitions.advantage.device) for part in zip(*parts, strict=True)))


@dataclasses.dataclass
class _Rollouts:
    """What an iteration's rollouts told: returns, their first 0.5 s and collisions [N, K], distinct outcomes [N]."""

    returns: Tensor
    first: Tensor
    collided: Tensor
    distinct: Tensor


def _statistics(transitions: Transition, rollouts: _Rollouts, floor: float) -> dict[str, Tensor | float]:
    """Return what section 10 of craft-method.md asks to watch, as means over the iteration's states."""
    mask, advantage = transitions.candidates.mask, transitions.advantage
    policy = transitions.candidates.log_probs.masked_fill(~mask, -torch.inf).exp()
    returns = rollouts.returns.masked_fill(~mask, 0.0)
    count = mask.sum(1)
    centred = (returns - (returns.sum(1) / count)[:, None]).masked_fill(~mask, 0.0)
    deviation = (centred.square().sum(1) / count).sqrt()
    values: dict[str, Tensor | float] = {
        "return_mean": (returns.sum(1) / count).mean(),
        "return_policy": (policy * returns).sum(1).mean(),
        "return_greedy": returns.gather(1, policy.argmax(1, keepdim=True)).mean(),
        "return_best": returns.masked_fill(~mask, -torch.inf).amax(1).mean(),
        "advantage_std": (advantage.square().sum() / mask.sum()).sqrt(),
        "floored_share": (deviation < floor).to(torch.float32).mean(),
        "collision_share": (rollouts.collided & mask).sum() / mask.sum(),
        "distinct_share": (rollouts.distinct / count).mean(),
    }
    # Of the whole horizon that is scored, only the first 0.5 s are executed before the next decision.
    explained = explained_variance(rollouts.first, rollouts.returns, mask)
    if torch.isfinite(explained).any():
        values["executed_variance_share"] = explained.nanmean()
    return values
