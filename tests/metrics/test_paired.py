import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from craft_lightning.errors import CraftError
from craft_lightning.metrics.paired import paired_interval


def test_agrees_with_the_plain_loop():
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=30), generator.normal(0.4, size=30)
    loop = np.random.default_rng(5)
    means = [np.mean((b - a)[loop.integers(0, 30, 30)]) for _ in range(20_000)]
    interval = paired_interval(a, b, seed=1, resamples=20_000)
    assert interval.difference == pytest.approx(np.mean(b - a))
    # Two independent sets of 20 000 resamples: the quantiles agree to about 1 % of the width.
    assert [interval.low, interval.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        noise = generator.normal(0.5, 1.0, size=40)
        interval = paired_interval(np.zeros(40), noise, seed=trial, resamples=400)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_what_is_hard_for_both_drops_out():
    hard = np.random.default_rng(1).uniform(0, 100, size=40)
    interval = paired_interval(hard, hard + 1.0)
    assert (interval.low, interval.high) == pytest.approx((1.0, 1.0))
    assert interval.significant


def test_equal_drivers_show_no_difference():
    interval = paired_interval([10.0, 50.0], [10.0, 50.0])
    assert (interval.low, interval.high) == (0.0, 0.0)
    assert not interval.significant


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (2, 12), elements=st.floats(0, 100)), st.integers(0, 100))
def test_seeded_and_antisymmetric(values, seed):
    first, again = (paired_interval(*values, seed=seed, resamples=200) for _ in range(2))
    assert first == again
    back = paired_interval(*values[::-1], seed=seed, resamples=200)
    assert (back.low, back.high) == pytest.approx((-first.high, -first.low), abs=1e-9)
    assert first.low - 1e-9 <= first.difference <= first.high + 1e-9 or first.routes < 12


@pytest.mark.parametrize(
    ("a", "b", "arguments", "word"),
    [
        ([1.0], [1.0, 2.0], {}, "equally long"),
        ([], [], {}, "equally long"),
        ([1.0, 2.0], [1.0, float("nan")], {}, "value 1"),
        ([1.0], [1.0], {"resamples": 0}, "resamples"),
        ([1.0], [1.0], {"confidence": 1.0}, "confidence"),
    ],
)
def test_wrong_input_is_refused(a, b, arguments, word):
    with pytest.raises(CraftError, match=word):
        paired_interval(a, b, **arguments)
