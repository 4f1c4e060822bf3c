"""Who is decided for next: rows that step are waited for, unless the processor would idle meanwhile."""

import pytest

from craft_lightning.rollouts.drivers import ExpertDriver, PolicyDriver
from craft_lightning.rollouts.loop import next_batch
from craft_lightning.testing.tiny import TinyVocabularyPolicy


@pytest.fixture
def four():
    return PolicyDriver(TinyVocabularyPolicy(), 4, 0, greedy=True)  # rows: worlds 0 and 1, worlds 2 and 3


def test_a_batch_takes_the_longest_waiting_of_each_row(four):
    assert next_batch([1, 3, 0], {2}, four) == [1, 3]
    assert next_batch([0, 1, 2], {3}, four) == [0, 2]


def test_a_row_that_steps_is_waited_for(four):
    assert next_batch([0], {2, 3}, four) == []
    assert next_batch([0, 1], {2, 3}, four) == []


def test_nobody_waits_for_worlds_that_reset(four):
    """World 1 steps, but sits in the row that is taken; worlds 2 and 3 do neither."""
    assert next_batch([0], {1}, four) == [0]
    assert next_batch([0], set(), four) == [0]


def test_a_batch_is_not_waited_for_where_one_world_alone_steps(four):
    assert next_batch([0], {2}, four) == [0]


def test_nobody_waiting_is_no_batch(four):
    assert next_batch([], {0, 1, 2, 3}, four) == []


@pytest.mark.parametrize(("worlds", "rows"), [(1, [0]), (2, [0, 0]), (3, [0, 0, 1]), (5, [0, 0, 1, 1, 2])])
def test_worlds_share_rows_evenly(worlds, rows):
    driver = PolicyDriver(TinyVocabularyPolicy(), worlds, 0, greedy=True)
    assert [driver.row(world) for world in range(worlds)] == rows
    assert driver.rows == rows[-1] + 1


def test_the_expert_waits_for_nobody():
    assert next_batch([2, 0], {1, 3}, ExpertDriver()) == [2]
