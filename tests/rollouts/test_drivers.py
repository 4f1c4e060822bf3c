"""Whoever decides leaves the cores to the worlds, and gives torch its threads back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from craft_lightning.rollouts.drivers import PolicyDriver
from craft_lightning.rollouts.loop import Running
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import random_observation

FIELDS = ("bev", "ego", "route")


class Watching(TinyVocabularyPolicy):
    def encode(self, observation):
        self.threads = torch.get_num_threads()
        return super().encode(observation)


@pytest.fixture
def waiting():
    state = random_observation(1, torch.Generator().manual_seed(0))
    observation = {name: getattr(state, name)[0].numpy() for name in FIELDS}
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


def test_a_world_decides_the_same_whoever_waits_beside_it():
    driver = PolicyDriver(TinyVocabularyPolicy(), 5, 0, greedy=False)
    states = random_observation(5, torch.Generator().manual_seed(1))

    def waiting_ones(*worlds):
        return {
            world: Running(
                SimpleNamespace(number=world),
                SimpleNamespace(observation={name: getattr(states, name)[world].numpy() for name in FIELDS}),
            )
            for world in worlds
        }

    together = driver.decide(waiting_ones(0, 2, 4))
    alone = driver.decide(waiting_ones(2))
    assert set(together) == {0, 2, 4}
    np.testing.assert_array_equal(alone[2][1], together[2][1])
    assert int(alone[2][2]()[1].chosen) == int(together[2][2]()[1].chosen)
    other = driver.decide(waiting_ones(1, 3))
    assert set(other) == {1, 3}
