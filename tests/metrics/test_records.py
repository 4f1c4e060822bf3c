import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import STATUSES, TERMINAL, RouteRecord
from craft_lightning.metrics.scores import BENCH2DRIVE, COUNTED, coefficient_vector, driving_score, infraction_score

RIGHT = {"route_id": "7", "index": 3, "status": "Completed", "route_completion": 100.0}


@st.composite
def records(draw: st.DrawFn, index: int | None = None) -> RouteRecord:
    counts = {name: draw(st.integers(0, 3)) for name in (*COUNTED, *TERMINAL)}
    return RouteRecord(
        route_id=draw(st.text("abc019", min_size=1, max_size=4)),
        index=draw(st.integers(0, 20)) if index is None else index,
        status=draw(st.sampled_from(STATUSES)),
        route_completion=draw(st.floats(0, 100)),
        outside_percent=draw(st.floats(0, 100)),
        min_speed=tuple(draw(st.lists(st.floats(0, 2000), max_size=3))),
        attempts=draw(st.integers(1, 3)),
        **counts,
    )


def test_golden_vector_of_bench2drive():
    record = RouteRecord(
        route_id="1",
        status="Failed",
        route_completion=90.0,
        collisions_pedestrian=1,
        collisions_vehicle=2,
        red_light=1,
        outside_percent=5.0,
    )
    assert record.driving_score == pytest.approx(10.773, abs=1e-9)


def test_longest6_ignores_stop_signs_through_a_coefficient():
    counts = [0, 0, 0, 0, 2, 0, 0]
    assert infraction_score(counts, 0.0) == pytest.approx(0.64)
    assert infraction_score(counts, 0.0, {"stop_sign": 1.0}) == 1.0


@pytest.mark.parametrize("kind", COUNTED)
def test_one_event_costs_its_factor(kind):
    assert RouteRecord(**RIGHT, **{kind: 1}).driving_score == pytest.approx(100 * BENCH2DRIVE[kind])


@pytest.mark.parametrize(
    ("table", "word"),
    [({"stop_sings": 0.5}, "stop_sings"), ({"red_light": 0.0}, "red_light"), ({"red_light": 2}, "red")],
)
def test_wrong_coefficients_are_named(table, word):
    with pytest.raises(CraftError, match=word):
        coefficient_vector(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"route_completion": float("nan")}, ("'7'", "route_completion", "nan")),
        ({"route_completion": 100.1}, ("'7'", "route_completion")),
        ({"route_completion": "much"}, ("'7'", "route_completion")),
        ({"outside_percent": -1}, ("'7'", "outside_percent")),
        ({"duration_s": float("inf")}, ("'7'", "duration_s")),
        ({"red_light": -1}, ("'7'", "red_light")),
        ({"red_light": 0.5}, ("'7'", "red_light")),
        ({"red_light": float("nan")}, ("'7'", "red_light")),
        ({"red_light": "2"}, ("'7'", "red_light")),
        ({"red_light": None}, ("'7'", "red_light")),
        ({"attempts": 0}, ("'7'", "attempts")),
        ({"index": -2}, ("'7'", "index")),
        ({"status": "Agent flew"}, ("'7'", "status", "Agent flew")),
        ({"town": 3}, ("'7'", "town")),
        ({"min_speed": [50.0, float("nan")]}, ("'7'", "min_speed")),
        ({"min_speed": 50.0}, ("'7'", "min_speed")),
        ({"min_speed": [-1]}, ("'7'", "min_speed")),
        ({"save_name": None}, ("'7'", "save_name")),
        ({"red_lights": 1}, ("'7'", "red_lights", "'red_light'")),
        ({"route_id": ""}, ("route_id",)),
    ],
)
def test_wrong_values_name_route_and_field(change, words):
    with pytest.raises(CraftError) as caught:
        RouteRecord.from_dict({**RIGHT, **change})
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_missing_field_is_named():
    with pytest.raises(CraftError, match="'7'.*'status'"):
        RouteRecord.from_dict({"route_id": "7", "route_completion": 1.0})


def test_numpy_numbers_become_plain_ones_and_survive_json():
    given = {"red_light": np.int64(2), "outside_percent": np.float32(1.5), "min_speed": np.array([50.0, 120.0])}
    record = RouteRecord.from_dict({**RIGHT, **given})
    assert record.min_speed == (50.0, 120.0)
    assert type(record.red_light) is int
    assert type(record.outside_percent) is float
    assert RouteRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@given(records())
def test_scores_stay_in_their_ranges(record):
    assert 0.0 <= record.infraction_score <= 1.0
    assert 0.0 <= record.driving_score <= record.route_completion
    assert RouteRecord.from_dict(record.to_dict()) == record


@given(records(), st.sampled_from(COUNTED), st.integers(1, 3))
def test_another_infraction_never_raises_the_score(record, kind, more):
    worse = RouteRecord.from_dict({**record.to_dict(), kind: getattr(record, kind) + more})
    assert worse.infraction_score <= record.infraction_score
    assert worse.driving_score <= record.driving_score
    assert not worse.success


@pytest.mark.parametrize("name", [*COUNTED, *TERMINAL])
def test_success_needs_a_spotless_completed_route(name):
    assert RouteRecord(**RIGHT).success
    assert not RouteRecord(**RIGHT, **{name: 1}).success
    assert not RouteRecord(**RIGHT, outside_percent=0.01).success
    assert not RouteRecord(**RIGHT, outside_m=0.001).success
    assert not RouteRecord.from_dict({**RIGHT, "status": "Failed - Agent timed out"}).success


def test_driving_score_is_the_product():
    assert driving_score(50.0, 0.5) == 25.0
