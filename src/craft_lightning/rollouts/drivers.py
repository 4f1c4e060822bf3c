"""Who decides in the episode loop: the live policy as one batch over worlds, or the privileged expert."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.rollouts.loop import GROUPS, EachAlone, Keep, Running
from craft_lightning.structures import CandidateSet, Context, Observation, stack_numpy

_PROPOSING = (1,)  # tells the noise of a proposal from the noise of the choice


class PolicyDriver:
    """Runs the observations of all waiting worlds through a policy as one batch.

    A world always sits in the same row of a batch of a fixed size (idle rows repeat a waiting one), so that the numbers
    of one world do not depend on which others wait.

    Args:
        policy: the live policy; called under ``no_grad`` in evaluation mode.
        worlds: number of worlds.
        seed: base seed of the sampling noise, which belongs to (seed, rollout number, step).
        greedy: take the most probable candidate instead of a sample.

    """

    def __init__(self, policy: PolicyAdapter, worlds: int, seed: int, greedy: bool) -> None:
        self.policy = policy
        self.worlds = worlds
        self.groups = min(worlds, GROUPS)
        self.rows = -(-worlds // self.groups)
        self.seed = seed
        self.greedy = greedy

    def row(self, world: int) -> int:
        """Return the row of a batch in which a world always sits: consecutive worlds share one and take turns."""
        return world // self.groups

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Keep]]:
        """Return a trajectory for every waiting world; the decision kept is (context row, candidate row)."""
        by_row = {self.row(world): episode for world, episode in running.items()}
        spare = next(iter(by_row.values()))
        layout = [by_row.get(row, spare) for row in range(self.rows)]
        observation = stack_numpy([episode.result.observation for episode in layout], Observation)
        was_training = self.policy.training
        if was_training:
            self.policy.eval()
        with torch.no_grad(), _spare_threads(self.worlds):
            device = next(self.policy.parameters()).device
            context = self.policy.encode(observation.to(device))
            drawn = self.policy.proposal_noise
            proposal = self._noise(running, drawn, _PROPOSING).to(device) if drawn else None
            candidates = self.policy.propose(context, noise=proposal)
            noise = None if self.greedy else self._noise(running, candidates.mask.shape[1]).to(device)
            index, trajectory = self.policy.act(candidates, greedy=self.greedy, noise=noise)
        if was_training:
            self.policy.train()
        candidates.chosen = index
        if not self.policy.stores_geometry:
            candidates.trajectories = None  # a static vocabulary is kept as ids alone
        plans = trajectory.cpu().numpy()
        rows = functools.cache(functools.partial(_rows, context, candidates))
        places = {world: self.row(world) for world in running}
        return {world: ("step", plans[row], functools.partial(_row, rows, row)) for world, row in places.items()}

    def decide_alone(self, observation: dict[str, Any], number: int = 0, step: int = 0) -> np.ndarray:
        """Return the trajectory [T, 3] for one observation that belongs to no pool of worlds.

        Args:
            observation: fields of ``structures.Observation``, without the batch axis.
            number: rollout number, which the noise belongs to.
            step: number of the decision, likewise.

        """
        spec, result = SimpleNamespace(number=number), SimpleNamespace(observation=observation)
        _, trajectory, _ = self.decide({0: Running(spec, result, steps=step)})[0]
        return np.asarray(trajectory)

    def _noise(self, running: dict[int, Running], count: int, purpose: tuple[int, ...] = ()) -> torch.Tensor:
        noise = np.zeros((self.rows, count))
        for world, episode in running.items():
            key = [self.seed, episode.spec.number, episode.steps, *purpose]
            noise[self.row(world)] = np.random.default_rng(key).random(count)
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


class ExpertDriver(EachAlone):
    """Lets the privileged expert of each world drive."""

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Keep]]:
        """Return the command that makes the world's own expert drive one decision."""
        return dict.fromkeys(running, ("expert_step", None, None))


def _rows(context: Context, candidates: CandidateSet) -> list[tuple[Context, CandidateSet]]:
    """Return every state's context and candidates on the CPU, in memory that the states of this batch share."""
    parts = context.detach().cpu().clone().unbind(0), candidates.cpu().clone().unbind(0)
    return list(zip(*parts, strict=True))


def _row(rows: Callable[[], list[Any]], row: int) -> Any:
    return rows()[row]
