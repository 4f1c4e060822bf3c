import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics.abilities import (
    ABILITIES,
    SIGNS,
    abilities_of,
    ability_scores,
    estimate_sign_percent,
    passed_sign,
    scenario_type,
    sign_percent,
)
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.roads.routes import read_routes

SIGN = {SIGNS}


def record(completion: float, **values) -> RouteRecord:
    status = "Completed" if completion == 100.0 else "Failed"
    return RouteRecord(
        route_id="1", status=status, route_completion=completion, scenario="BlockedIntersection", **values
    )


def test_all_44_types_of_the_220_routes_ask_for_something(shared_data):
    routes = read_routes(shared_data / "routes/bench2drive220.xml")
    types = {route.scenarios[0].type for route in routes}
    assert types == set().union(*ABILITIES.values())
    counts = {name: sum(name in abilities_of(r.scenarios[0].type) for r in routes) for name in ABILITIES}
    assert counts == {"Overtaking": 45, "Merging": 80, "Emergency_Brake": 60, "Give_Way": 10, SIGNS: 95}


def test_the_two_formulas():
    # Three routes: a success, a failure that passed its sign, a failure that did not.
    rows = [(SIGN, True, True), (SIGN, False, True), (SIGN, False, False)]
    assert ability_scores(rows, "0.0.3")[SIGNS] == pytest.approx(3 / 6)
    assert ability_scores(rows, "0.0.4")[SIGNS] == pytest.approx(2 / 3)
    # Published figures that only twice the routes can give: 57.5 and 59.5 of 86.
    for successes, passes, published in ((50, 65, 66.86), (53, 66, 69.18)):
        rows = [(SIGN, place < successes, place < passes) for place in range(86)]
        assert 100 * ability_scores(rows, "0.0.3")[SIGNS] == pytest.approx(published, abs=0.01)


def test_an_ability_without_a_route_has_no_value():
    scores = ability_scores([({"Merging"}, True, False)])
    assert scores["Merging"] == scores["mean"] == 1.0
    assert math.isnan(scores["Overtaking"])
    assert math.isnan(ability_scores([])["mean"])


@given(st.lists(st.tuples(st.sampled_from(list(ABILITIES)), st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_scores_are_shares_and_order_does_not_matter(rows):
    routes = [({name}, success, passed) for name, success, passed in rows]
    for formula in ("0.0.3", "0.0.4"):
        scores = ability_scores(routes, formula)
        assert all(math.isnan(value) or 0.0 <= value <= 1.0 for value in scores.values())
        assert repr(scores) == repr(ability_scores(routes[::-1], formula))


def test_unknown_formula_and_types():
    with pytest.raises(CraftError, match=r"'0\.0\.5'"):
        ability_scores([], "0.0.5")
    assert abilities_of("Teleport") == frozenset()
    assert abilities_of("VehicleTurningRoute") == {"Emergency_Brake", SIGNS}
    assert [scenario_type(name) for name in ("Accident_1", "T_Junction_12", "T_Junction")] == [
        "Accident",
        "T_Junction",
        "T_Junction",
    ]


def test_when_a_sign_counts_as_passed():
    assert passed_sign(record(100.0)) == passed_sign(record(100.0, collisions_vehicle=1))
    assert passed_sign(record(100.0)).passed
    assert not passed_sign(record(100.0, red_light=1)).passed
    assert not passed_sign(record(100.0, stop_sign=1)).passed
    assert not passed_sign(record(0.0)).passed
    known = record(50.0, sign_percent=50.0)
    assert not passed_sign(known).passed
    assert passed_sign(record(50.1, sign_percent=50.0)).passed
    assert passed_sign(known).certain
    assert passed_sign(record(60.0), threshold=55.0).passed
    assert not passed_sign(record(60.0), threshold=65.0).passed
    assert not passed_sign(record(50.0)).certain
    assert not passed_sign(record(5.0)).passed
    assert passed_sign(record(90.0)).passed


def test_the_place_of_a_junction_as_a_completion():
    # 11 waypoints 10 m apart make 95 points; 40 m in are 38 of them, then the first inside, then 8.
    assert sign_percent(np.arange(0, 101, 10), 40.0) == pytest.approx(100 * (38 + 1 + 8) / 95)
    # Points 2 m apart count 1.5 each.
    assert sign_percent(np.arange(0, 101, 2), 40.0) == pytest.approx(100 * (30 + 1 + 8) / 75)


def test_the_estimate_looks_where_the_way_turns():
    straight = [(x, 0.0) for x in range(0, 31, 2)]
    turn = straight + [(50.0, -20.0)] + [(50.0, -20.0 - y) for y in range(2, 31, 2)]
    low, high = estimate_sign_percent(np.array(turn), (10.0, 0.0)), estimate_sign_percent(np.array(turn), (0.0, 0.0))
    assert low == high
    assert 40.0 < low < 65.0
    line = np.array([(x, 0.0) for x in range(0, 81, 2)])
    assert estimate_sign_percent(line, (10.0, 0.0)) == pytest.approx(sign_percent(np.arange(0, 81, 2), 33.0))
