"""Worlds change town rarely, every route is dealt out once, and one town is driven as it always was."""

import itertools

import numpy as np

from craft_lightning.roads.routes import RouteConfig
from craft_lightning.rollouts.visits import EPISODES_A_VISIT, evaluation_shares, training_order


def routes(*towns):
    return [RouteConfig(str(number), town, np.zeros((2, 3))) for number, town in enumerate(towns)]


def changes(share, suite):
    towns = [suite[index].town for index in share]
    return sum(first != second for first, second in itertools.pairwise(towns))


def test_one_town_is_dealt_out_in_its_order():
    assert evaluation_shares(routes(*"aaaaa"), 2) == [[0, 2, 4], [1, 3]]


def test_every_world_visits_a_town_once():
    suite = routes(*"abcabcabcaab")
    shares = evaluation_shares(suite, 2)
    assert sorted(index for share in shares for index in share) == list(range(len(suite)))
    assert all(changes(share, suite) <= 2 for share in shares)
    assert abs(len(shares[0]) - len(shares[1])) <= 1


def test_training_in_one_town_is_a_stride_over_a_permutation():
    suite, worlds = routes(*"aaaaaaa"), 3
    order = np.random.default_rng([4, 0, 2]).permutation(7)
    for world, share in enumerate(training_order(suite, worlds, [4, 0, 2])):
        wanted = [int(order[(world + count * worlds) % 7]) for count in range(20)]
        assert [share[count % len(share)] for count in range(20)] == wanted


def test_training_in_several_towns_moves_on_after_a_visit():
    suite = routes(*("a" * 13 + "b" * 9 + "c" * 2))
    shares = training_order(suite, 2, [0, 0, 0])
    assert sorted(index for share in shares for index in share) == list(range(len(suite)))
    for share in shares:
        assert changes(share, suite) <= len(share) / EPISODES_A_VISIT + 1
    assert shares == training_order(suite, 2, [0, 0, 0])
    assert shares != training_order(suite, 2, [0, 0, 1])


def test_more_worlds_than_visits_share_them():
    shares = training_order(routes(*"aabb"), 4, [1])
    assert all(shares)
