"""Whoever decides leaves the cores to the worlds, and gives torch its threads back."""

from types import SimpleNamespace

import pytest
import torch

from craft_lightning.rollouts.drivers import PolicyDriver
from craft_lightning.rollouts.loop import Running
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import random_observation


class Watching(TinyVocabularyPolicy):
    def encode(self, observation):
        self.threads = torch.get_num_threads()
        return super().encode(observation)


@pytest.fixture
def waiting():
    state = random_observation(1, torch.Generator().manual_seed(0))
    observation = {name: getattr(state, name)[0].numpy() for name in ("bev", "ego", "route")}
    spec = SimpleNamespace(number=0)
    return {0: Running(spec, SimpleNamespace(observation=observation))}


@pytest.mark.parametrize(("threads", "worlds", "left"), [(2, 4, 1), (8, 4, 4), (1, 1, 1)])
def test_threads_are_left_to_the_worlds(waiting, threads, worlds, left):
    policy, before = Watching(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        PolicyDriver(policy, worlds, 0, greedy=True).decide(waiting)
        assert policy.threads == left
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
