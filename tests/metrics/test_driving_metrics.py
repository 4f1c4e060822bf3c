import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics import (
    DrivingScore,
    InfractionScore,
    RouteCompletion,
    RouteRecord,
    SuccessRate,
)

METRICS = (DrivingScore, RouteCompletion, InfractionScore, SuccessRate)


def record(index: int, completion: float = 100.0, attempts: int = 1, **counts) -> RouteRecord:
    status = "Completed" if completion == 100.0 else "Failed"
    return RouteRecord(
        route_id=f"r{index}", index=index, status=status, route_completion=completion, attempts=attempts, **counts
    )


def score(cls, records, **arguments):
    metric = cls(**arguments)
    metric.update(records)
    return metric.compute()


SUITE = [
    record(0, min_speed=(120.0, 80.0), scenario="T_Junction", length_m=100.0),
    record(1, red_light=1, scenario="T_Junction", length_m=200.0),
    record(2, 50.0, min_speed=(30.0,), scenario="Accident", length_m=100.0),
    record(3, 80.0, collisions_vehicle=2),
]
record_lists = st.lists(
    st.builds(
        record,
        index=st.integers(0, 9),
        completion=st.floats(0, 100),
        red_light=st.integers(0, 2),
        collisions_layout=st.integers(0, 2),
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda item: item.index,
)


def test_values_by_hand():
    assert float(score(DrivingScore, SUITE)) == pytest.approx((100 + 70 + 50 + 80 * 0.36) / 4)
    assert float(score(RouteCompletion, SUITE)) == pytest.approx(82.5)
    assert float(score(InfractionScore, SUITE)) == pytest.approx((1 + 0.7 + 1 + 0.36) / 4)
    assert float(score(SuccessRate, SUITE)) == pytest.approx(25.0)


def test_a_missing_route_counts_zero_over_the_suite_and_not_at_all_over_the_evaluated():
    assert float(score(DrivingScore, SUITE, denominator="routes", num_routes=5)) == pytest.approx(248.8 / 5)
    assert float(score(DrivingScore, SUITE, denominator="evaluated", num_routes=5)) == pytest.approx(248.8 / 4)


def test_dictionaries_are_read_as_records():
    assert score(DrivingScore, [item.to_dict() for item in SUITE]) == score(DrivingScore, SUITE)


@pytest.mark.parametrize("cls", METRICS)
def test_a_retried_route_counts_once_with_its_last_attempt(cls):
    metric = cls()
    metric.update([record(0, 10.0), record(1, attempts=2, red_light=2)])
    metric.update([record(0), record(1, 20.0, attempts=1)])
    assert metric.compute() == score(cls, [record(0), record(1, red_light=2)])


@settings(max_examples=40, deadline=None)
@given(record_lists, st.randoms(use_true_random=False), st.integers(0, 10))
def test_shards_in_any_order_equal_one_pass(items, random, cut):
    shuffled = random.sample(items, len(items))
    for cls in METRICS:
        metric = cls()
        metric.update(shuffled[:cut])
        metric.update(shuffled[cut:])
        assert torch.equal(metric.compute(), score(cls, items))


@settings(max_examples=40, deadline=None)
@given(record_lists)
def test_missing_is_zero_and_never_above_the_mean_over_the_evaluated(items):
    fixed = score(DrivingScore, items, denominator="routes", num_routes=10)
    present = {item.index for item in items}
    zeros = [record(index, 0.0) for index in range(10) if index not in present]
    assert torch.equal(fixed, score(DrivingScore, items + zeros, denominator="routes", num_routes=10))
    assert fixed <= score(DrivingScore, items)


def test_nothing_evaluated():
    # compute() before update() is legal here; torchmetrics warns about it.
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert torch.isnan(DrivingScore().compute())
    assert float(score(DrivingScore, [], denominator="routes", num_routes=3)) == 0.0


@pytest.mark.parametrize(
    ("arguments", "word"), [({"denominator": "routes"}, "num_routes"), ({"denominator": "all"}, "'all'")]
)
def test_wrong_denominators_are_refused(arguments, word):
    with pytest.raises(CraftError, match=word):
        DrivingScore(**arguments)


def test_records_outside_the_suite_are_refused():
    with pytest.raises(CraftError, match="'r5'.*index.*num_routes is 4"):
        score(DrivingScore, [record(5)], denominator="routes", num_routes=4)
    with pytest.raises(CraftError, match="'r-1'.*index"):
        score(DrivingScore, [record(-1)])


def test_state_survives_pickling_and_reset():
    metric = DrivingScore(coefficients={"red_light": 0.5})
    metric.update(SUITE[:2])
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(SUITE[2:])
    metric.update(SUITE[2:])
    assert torch.equal(copy.compute(), metric.compute())
    assert float(copy.compute()) == pytest.approx((100 + 50 + 50 + 28.8) / 4)
    copy.reset()
    copy.update(SUITE[:1])
    assert float(copy.compute()) == 100.0
