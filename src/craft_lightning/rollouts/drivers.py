"""Who decides in the episode loop: the live policy as one batch over worlds, or the privileged expert."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.rollouts.loop import Running
from craft_lightning.structures import CandidateSet, Context, Observation, stack_numpy


class PolicyDriver:
    """Runs the observations of all waiting worlds through a policy as one batch.

    World i always sits in row i of a batch with one row a world (idle rows repeat a waiting one), so that the numbers
    of one world do not depend on which others wait.

    Args:
        policy: the live policy; called under ``no_grad`` in evaluation mode.
        rows: number of worlds.
        seed: base seed of the sampling noise, which belongs to (seed, rollout number, step).
        greedy: take the most probable candidate instead of a sample.

    """

    def __init__(self, policy: PolicyAdapter, rows: int, seed: int, greedy: bool) -> None:
        self.policy = policy
        self.rows = rows
        self.seed = seed
        self.greedy = greedy

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Any]]:
        """Return a trajectory for every waiting world; the decision kept is (context row, candidate row)."""
        spare = next(iter(running))
        layout = [world if world in running else spare for world in range(self.rows)]
        observation = stack_numpy([running[world].result.observation for world in layout], Observation)
        was_training = self.policy.training
        self.policy.eval()
        with torch.no_grad(), _spare_threads(self.rows):
            device = next(self.policy.parameters()).device
            context = self.policy.encode(observation.to(device))
            candidates = self.policy.propose(context)
            noise = None if self.greedy else self._noise(running, candidates.mask.shape[1]).to(device)
            index, trajectory = self.policy.act(candidates, greedy=self.greedy, noise=noise)
        self.policy.train(was_training)
        candidates.chosen = index
        candidates.trajectories = None  # a static vocabulary is kept as ids alone
        plans = trajectory.cpu().numpy()
        rows = {world: _row(context, candidates, world) for world in running}
        return {world: ("step", plans[world], rows[world]) for world in running}

    def _noise(self, running: dict[int, Running], candidates: int) -> torch.Tensor:
        noise = np.zeros((self.rows, candidates))
        for world, episode in running.items():
            noise[world] = np.random.default_rng([self.seed, episode.spec.number, episode.steps]).random(candidates)
        # Idle rows keep zeros: their draw is never executed.
        return torch.from_numpy(noise)


@contextlib.contextmanager
def _spare_threads(worlds: int) -> Iterator[None]:
    """Leave the cores to the worlds: threads that wait for each other's turn on a busy core cost ten times the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - worlds))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ExpertDriver:
    """Lets the privileged expert of each world drive."""

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Any]]:
        """Return the command that makes the world's own expert drive one decision."""
        return dict.fromkeys(running, ("expert_step", None, None))


def _row(context: Context, candidates: CandidateSet, row: int) -> tuple[Context, CandidateSet]:
    """Return one state's context and candidates on the CPU, in memory of their own."""
    return context[row].detach().cpu().clone(), candidates[row].cpu().clone()
