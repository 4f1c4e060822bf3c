import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.scores import COUNTED, VARIANTS, driving_score, score_variant, variant_score

counts = st.lists(st.integers(0, 4), min_size=7, max_size=7)
percents = st.floats(0, 100)
speeds = st.lists(st.floats(0, 2000), max_size=5)


@pytest.mark.parametrize(
    ("name", "score"), [("lb1.0", 10.773), ("lb2.0", 10.12662), ("lb2.1", 22.036082), ("b2d", 10.773)]
)
def test_golden_vector(name, score):
    record = RouteRecord(
        route_id="1",
        status="Failed",
        route_completion=90.0,
        collisions_pedestrian=1,
        collisions_vehicle=2,
        red_light=1,
        outside_percent=5.0,
        min_speed=(80.0,),
    )
    factor = record.variant_score(score_variant(name))
    assert driving_score(record.route_completion, factor) == pytest.approx(score, abs=1e-6)


@given(st.sampled_from(list(VARIANTS)), counts, percents, speeds, st.integers(0, 6), st.floats(0, 200))
def test_another_infraction_never_raises_the_score(name, numbers, outside, events, kind, speed):
    variant = VARIANTS[name]
    before = variant_score(variant, numbers, outside, events)
    more = [count + (place == kind) for place, count in enumerate(numbers)]
    assert variant_score(variant, more, outside, events) <= before
    assert variant_score(variant, numbers, outside, [*events, speed]) <= before
    assert variant_score(variant, numbers, min(outside + 1.0, 100.0), events) <= before


@given(counts, percents, speeds)
def test_leaderboard_2_1_lies_between_its_bounds(numbers, outside, events):
    variant = VARIANTS["lb2.1"]
    worst = (
        1.0 + sum(variant.coefficients[kind] * n for kind, n in zip(COUNTED, numbers, strict=True)) + 0.4 * len(events)
    )
    value = variant_score(variant, numbers, outside, events)
    inside = 1.0 - outside / 100.0
    assert inside / worst - 1e-12 <= value <= inside + 1e-12


def test_events_that_leaderboard_1_does_not_know_cost_nothing():
    events = [0, 0, 0, 0, 0, 3, 2]
    assert variant_score(VARIANTS["lb1.0"], events, 0.0, [10.0]) == 1.0
    assert variant_score(VARIANTS["lb2.0"], events, 0.0) == pytest.approx(0.7**5)


@pytest.mark.parametrize(
    ("name", "table", "word"),
    [
        ("lb3", None, "lb3"),
        ("lb2.1", {"red_light": -0.1}, "red_light.*at least 0"),
        ("lb2.0", {"red_light": 1.1}, "red_light.*factor"),
        ("lb2.1", {"colour": 1.0}, "colour"),
    ],
)
def test_wrong_settings_are_named(name, table, word):
    with pytest.raises(CraftError, match=word):
        score_variant(name, table)


def test_summands_above_one_are_legal_where_they_are_added():
    assert score_variant("lb2.1", {"collisions_pedestrian": 2.0}).coefficients["collisions_pedestrian"] == 2.0
