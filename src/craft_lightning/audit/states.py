"""One visited state: its candidates scored by the proxy, then really executed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from craft_lightning.audit.choice import choose
from craft_lightning.audit.forecasts import FORECASTS, constant_velocity, idm, recorded, to_frame
from craft_lightning.audit.realised import Realised, realised
from craft_lightning.counterfactual.advantage import group_advantage
from craft_lightning.counterfactual.world import CounterfactualWorld
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.simulation.branching import Branch, Branching
from craft_lightning.simulation.episode_spec import StepResult
from craft_lightning.simulation.observation import agent_rows
from craft_lightning.structures import CandidateSet, Observation, Scene, stack_numpy

FLOOR = 5.0  # of the group's standard deviation, as in the proxy


class Pilot:
    """A policy that drives one world.

    Args:
        policy: the policy, in evaluation mode.

    """

    def __init__(self, policy: PolicyAdapter) -> None:
        self.policy = policy.eval()
        self._device = next(policy.parameters()).device

    @torch.no_grad()
    def propose(self, result: StepResult) -> CandidateSet:
        """Return the candidates of a state, [1]."""
        observation = stack_numpy([result.observation], Observation)
        drawn = self.policy.proposal_noise
        # The same numbers at every state: a branch that comes back to a state is offered the same candidates.
        noise = torch.rand(1, drawn, generator=torch.Generator().manual_seed(0)) if drawn else None
        context = self.policy.encode(observation.to(self._device))
        return self.policy.propose(context, noise=None if noise is None else noise.to(self._device))

    @torch.no_grad()
    def plans(self, candidates: CandidateSet) -> np.ndarray:
        """Return [K, T, 3] trajectories."""
        return self.policy.trajectories(candidates)[0].cpu().numpy()

    @torch.no_grad()
    def sample(self, candidates: CandidateSet, noise: np.ndarray) -> int:
        """Draw a candidate; ``noise`` [K] is uniform."""
        index, _ = self.policy.act(candidates, noise=torch.from_numpy(noise)[None].to(self._device))
        return int(index[0])

    @torch.no_grad()
    def greedy(self, result: StepResult) -> np.ndarray:
        """Return the trajectory [T, 3] of the most probable candidate."""
        _, trajectory = self.policy.act(self.propose(result), greedy=True)
        return trajectory[0].cpu().numpy()


@dataclasses.dataclass
class StateAudit:
    """One state and n of its candidates; collision steps are of 0.1 s, -1 for none.

    Attributes:
        index: [n] candidates.
        inclusion: [n] probability of having been drawn, 0 for those that were added.
        probability: [n] the policy's.
        phi: [n] the proxy's advantage, normalised in the group of all candidates.
        phi_mean: mean of the proxy's advantage under the policy, over all candidates.
        deviation: what the group's returns were divided by.
        executed: position in ``index`` of the candidate that the episode went on with.
        predicted: forecast -> [n] predicted returns over the horizon.
        predicted_collision: forecast -> [n].
        followed: [n] returns (37) over the horizon where the candidate really was followed.
        followed_collision: [n].
        driven: [n] returns (37) over the whole branch where the policy took over after the first decision.
        driven_collision: [n].
        grounded: [n] grounded returns of those branches.
        speed: m/s of the ego.
        others: number of others in the scene.

    """

    index: list[int]
    inclusion: list[float]
    probability: list[float]
    phi: list[float]
    phi_mean: float
    deviation: float
    executed: int
    predicted: dict[str, list[float]]
    predicted_collision: dict[str, list[int]]
    followed: list[float]
    followed_collision: list[int]
    driven: list[float]
    driven_collision: list[int]
    grounded: list[float]
    speed: float
    others: int


class StateAuditor:
    """Audits states of one episode after the other.

    Args:
        branching: branches of the episode's world.
        pilot: the policy.
        grids: the town's road grid.
        branches: candidates drawn a state.
        horizon: seconds of the proxy.
        seconds: seconds of a branch in which the policy takes over.

    """

    def __init__(
        self,
        branching: Branching,
        pilot: Pilot,
        grids: Sequence[Any],
        branches: int = 12,
        horizon: float = 2.0,
        seconds: float = 4.0,
    ) -> None:
        self.branching, self.pilot, self.grids, self.branches = branching, pilot, grids, branches
        self.horizon, self.seconds = horizon, seconds
        self.proxy = CounterfactualWorld(horizon)
        self.longer = CounterfactualWorld(seconds)

    def audit(
        self, result: StepResult, candidates: CandidateSet, executed: int, rng: np.random.Generator
    ) -> StateAudit:
        """Audit the state that the episode has reached.

        Args:
            result: the state.
            candidates: its candidates.
            executed: the one that the episode will go on with.
            rng: source of the draw.

        """
        scene = stack_numpy([result.scene], Scene)
        plans, mask = self.pilot.plans(candidates), candidates.mask.cpu()
        decay = self.proxy.rollout(scene, torch.from_numpy(plans)[None], mask, self.grids)
        returns, valid = decay.returns[0].double().numpy(), mask[0].numpy()
        probability = candidates.log_probs[0].cpu().double().masked_fill(~mask[0], -torch.inf).exp().numpy()
        phi = group_advantage(decay.returns.double(), mask, FLOOR)[0].numpy()
        choice = choose(probability, valid, returns, self.branches, rng)
        greedy = int(np.argmax(np.where(valid, probability, -1.0)))
        rows = np.union1d(choice.index, [executed, greedy])
        inclusion = np.zeros(len(rows))
        inclusion[np.searchsorted(rows, choice.index)] = choice.inclusion
        chosen = plans[rows]

        own = self.branching.run(plans[[greedy]], self.horizon, record=True)[0]
        followed = self._score(self.proxy, scene, self.branching.run(chosen, self.horizon))
        driven = self._score(self.longer, scene, self.branching.run(chosen, self.seconds, self.pilot.greedy))
        predicted = {"decay": returns[rows]}
        collision = {"decay": decay.collision_step[0].numpy()[rows]}
        for name, others in self._forecasts(result, own).items():
            some = torch.from_numpy(chosen)[None]
            answer = self.proxy.rollout(
                scene, some, torch.ones(1, len(rows), dtype=torch.bool), self.grids, others=others
            )
            predicted[name] = answer.returns[0].double().numpy()
            collision[name] = answer.collision_step[0].numpy()
        return StateAudit(
            index=rows.tolist(),
            inclusion=inclusion.tolist(),
            probability=probability[rows].tolist(),
            phi=phi[rows].tolist(),
            phi_mean=float((probability * np.where(valid, phi, 0.0)).sum()),
            deviation=float(max(returns[valid].std(), FLOOR)),
            executed=int(np.searchsorted(rows, executed)),
            predicted={name: predicted[name].tolist() for name in FORECASTS},
            predicted_collision={name: collision[name].tolist() for name in FORECASTS},
            followed=followed.returns.tolist(),
            followed_collision=followed.collision_step.tolist(),
            driven=driven.returns.tolist(),
            driven_collision=driven.collision_step.tolist(),
            grounded=driven.grounded.tolist(),
            speed=float(result.scene["ego_motion"][0]),
            others=int((result.scene["agent_kind"] > 0).sum()),
        )

    def _score(self, world: CounterfactualWorld, scene: Scene, branches: list[Branch]) -> Realised:
        return realised(world, scene, branches, self.grids)

    def _forecasts(self, result: StepResult, own: Branch) -> dict[str, torch.Tensor]:
        """Return the poses [1, A, steps, 4] of the scene's agents by each forecast but the decay."""
        episode, steps = self.branching.episode, self.proxy.steps
        view, kind = episode.view, result.scene["agent_kind"]
        rows = agent_rows(view)
        assert own.others is not None  # recorded, and so are the ids
        assert own.ids is not None
        # A branch that ended early leaves the others where it saw them last.
        missing = steps + 1 - own.others.shape[1]
        seen = np.pad(own.others, ((0, 0), (0, max(missing, 0)), (0, 0)), constant_values=np.nan)[:, : steps + 1]
        found = {
            "constant_velocity": constant_velocity(result.scene["agents"], kind, steps),
            "idm": to_frame(idm(episode.network, view, rows, steps), view.ego_pose),
            "recorded": recorded(seen, own.ids, view.ids[rows], view.ego_pose),
        }
        padded = {}
        for name, poses in found.items():
            table = np.zeros((len(kind), steps, 4))
            table[..., 2] = 1.0
            table[: len(rows)] = poses[: len(rows)]
            padded[name] = torch.from_numpy(table)[None].float()
        return padded
