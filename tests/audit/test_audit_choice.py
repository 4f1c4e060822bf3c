import numpy as np
import pytest

from craft_lightning.audit.choice import choose, inclusion_probabilities, weights


@pytest.fixture
def group():
    rng = np.random.default_rng(0)
    probability = np.exp(3.0 * rng.standard_normal(40))
    valid = rng.random(40) > 0.2
    probability = np.where(valid, probability, 0.0)
    return probability / probability.sum(), valid, rng.standard_normal(40)


def test_as_many_as_asked_for_and_only_valid_ones(group):
    probability, valid, score = group
    for seed in range(20):
        choice = choose(probability, valid, score, 9, np.random.default_rng(seed))
        assert len(choice.index) == 9
        assert valid[choice.index].all()
        assert (np.diff(choice.index) > 0).all()
    everyone = choose(probability, valid, score, 99, np.random.default_rng(0))
    assert everyone.index.tolist() == np.flatnonzero(valid).tolist()
    assert (everyone.inclusion == 1.0).all()


def test_inclusion_probabilities_are_kept(group):
    probability, valid, score = group
    times, wanted = np.zeros(40), np.zeros(40)
    for seed in range(3000):
        choice = choose(probability, valid, score, 9, np.random.default_rng(seed))
        times[choice.index] += 1.0
        wanted[choice.index] = choice.inclusion
    drawn = times > 0
    # Three standard errors and a bit.
    assert np.abs(times / 3000 - wanted)[drawn].max() < 0.035
    assert wanted.sum() == pytest.approx(9.0, abs=0.1)


def test_weighted_means_are_those_of_all_candidates(group):
    """Hajek's estimator: the mean over many draws comes out right, for the policy's mean and for the plain one."""
    probability, valid, score = group
    value = score + 0.3 * np.arange(40)
    means = []
    for seed in range(3000):
        choice = choose(probability, valid, score, 12, np.random.default_rng(seed))
        index, inclusion = choice.index, choice.inclusion
        means.append([weights(w[index], inclusion) @ value[index] for w in (probability, valid.astype(float))])
    policy, plain = np.mean(means, 0)
    assert policy == pytest.approx(probability @ value, abs=0.25)
    assert plain == pytest.approx(value[valid].mean(), abs=0.25)


def test_large_shares_are_certain():
    inclusion = inclusion_probabilities(np.array([0.9, 0.06, 0.02, 0.02]), 2)
    assert inclusion[0] == 1.0
    assert inclusion.sum() == pytest.approx(2.0)
    assert inclusion[1] == pytest.approx(3.0 * inclusion[2])


def test_neighbours_in_score_are_spread(group):
    """With even probabilities every fifth candidate in the order of scores is drawn."""
    _, _, score = group
    choice = choose(np.full(40, 1 / 40), np.ones(40, bool), score, 8, np.random.default_rng(1))
    ranks = np.sort(np.argsort(np.argsort(score))[choice.index])
    assert (np.diff(ranks) == 5).all()
