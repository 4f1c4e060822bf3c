import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics import DrivingEfficiency, DrivingScore, DrivingSmoothness, InfractionsPerKm, MultiAbility
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.messages import LISTS
from craft_lightning.metrics.motion import Motion
from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.summary import driving_efficiency, infractions_per_km, summarise


def record(index: int, completion: float = 100.0, **values) -> RouteRecord:
    status = "Completed" if completion == 100.0 else "Failed"
    return RouteRecord(route_id=f"r{index}", index=index, status=status, route_completion=completion, **values)


def filled(metric, records):
    metric.update(records)
    return metric


record_lists = st.lists(
    st.builds(
        record,
        index=st.integers(0, 9),
        completion=st.sampled_from([0.0, 30.0, 55.5, 100.0]),
        red_light=st.integers(0, 1),
        min_speed=st.lists(st.floats(0, 2000), max_size=3),
        scenario=st.sampled_from(["Accident", "BlockedIntersection", "InvadingTurn", "T_Junction", ""]),
        length_m=st.floats(10, 500),
        outside_percent=st.sampled_from([0.0, 2.5]),
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda item: item.index,
)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return all(same(a[name], b[name]) for name in a) and a.keys() == b.keys()
    return torch.allclose(a, b, rtol=1e-6, equal_nan=True)


def test_efficiency_by_hand():
    routes = [record(0, min_speed=(50.0, 150.0, 2000.0)), record(1, min_speed=(1500.0,)), record(2, min_speed=(40.0,))]
    assert [driving_efficiency(item) for item in routes] == [100.0, None, 40.0]
    assert float(filled(DrivingEfficiency(), routes).compute()) == pytest.approx(70.0)
    assert torch.isnan(filled(DrivingEfficiency(), routes[1:2]).compute())


def test_infractions_per_km_by_hand():
    routes = [
        record(0, 50.0, length_m=1000.0, red_light=2, outside_percent=10.0, outside_m=50.0),
        record(1, length_m=500.0, red_light=1, min_speed=(90.0, 80.0)),
    ]
    values = filled(InfractionsPerKm(), routes).compute()
    assert list(values) == list(LISTS.values())
    assert float(values["red_light"]) == pytest.approx(3.0)
    assert float(values["min_speed_infractions"]) == pytest.approx(2.0)
    assert float(values["outside_route_lanes"]) == pytest.approx(0.05)
    # A driver that never moved is divided by a metre.
    assert infractions_per_km([record(0, 0.0, vehicle_blocked=1)])["vehicle_blocked"] == pytest.approx(1000.0)


def test_smoothness_leaves_out_routes_without_a_motion():
    still = Motion.from_world(np.zeros((40, 2)), np.zeros(40), np.zeros(40), np.zeros((40, 2)))
    spinning = Motion.from_world(np.zeros((40, 2)), np.zeros(40), np.full(40, 0.5), np.zeros((40, 2)))
    for strict, expected in ((True, 0.5), (False, 1.0)):
        metric = DrivingSmoothness(strict=strict)
        metric.update([record(0), record(1), record(2)], [still, spinning, None])
        assert float(metric.compute()) == expected
    with pytest.raises(CraftError, match="1 records came with 2 motions"):
        DrivingSmoothness().update([record(0)], [still, still])
    with pytest.raises(CraftError, match="delta is 0"):
        DrivingSmoothness(delta=0.0)


@pytest.mark.parametrize("formula", ["0.0.3", "0.0.4"])
def test_abilities_of_a_published_file(shared_data, formula):
    document = read_document(shared_data / "bench2drive/minddrive_0.5b.json")
    values = filled(MultiAbility(formula), document.records).compute()
    expected = summarise(document, protocol_rules("bench2drive", formula))["abilities"]
    assert {name: float(value) for name, value in values.items()} == pytest.approx(expected, abs=1e-6)
    assert float(values["Overtaking"]) == pytest.approx(34 / 45)


@settings(max_examples=25, deadline=None)
@given(record_lists, st.randoms(use_true_random=False), st.integers(0, 10))
def test_shards_in_any_order_and_retries_equal_one_pass(items, random, cut):
    for make in (DrivingEfficiency, MultiAbility, InfractionsPerKm, lambda: DrivingScore(variant="lb2.1")):
        once = filled(make(), items).compute()
        metric = make()
        shuffled = random.sample(items, len(items))
        # A first try of a route that was then driven again.
        metric.update([record(item.index, 12.0, scenario="T_Junction", red_light=1) for item in items[:2]])
        metric.update(shuffled[:cut])
        metric.update([RouteRecord(**{**item.to_dict(), "attempts": 2}) for item in shuffled[cut:]])
        metric.update(shuffled[:2] if cut >= 2 else [])
        assert same(once, pickle.loads(pickle.dumps(metric)).compute())


def test_a_variant_is_a_setting_of_the_driving_score():
    route = record(0, 90.0, collisions_pedestrian=1, collisions_vehicle=2, red_light=1, outside_percent=5.0)
    route = RouteRecord(**{**route.to_dict(), "min_speed": (80.0,)})
    for variant, score in (("lb1.0", 10.773), ("lb2.0", 10.12662), ("lb2.1", 22.036082), ("b2d", 10.773)):
        assert float(filled(DrivingScore(variant=variant), [route]).compute()) == pytest.approx(score, abs=1e-5)
    with pytest.raises(CraftError, match="lb9"):
        DrivingScore(variant="lb9")
