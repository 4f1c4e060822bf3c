import json
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics.leaderboard import OWN, build_row, leaderboard_id, natural_key, parse_row, route_key
from craft_lightning.metrics.messages import (
    event_messages,
    min_speed_message,
    outside_message,
    parse_min_speed,
    parse_outside,
)
from craft_lightning.metrics.records import STATUSES, TERMINAL, RouteRecord
from craft_lightning.metrics.scores import COUNTED, VARIANTS


@st.composite
def records(draw: st.DrawFn) -> RouteRecord:
    percent = draw(st.one_of(st.just(0.0), st.floats(0.0001, 100)))
    return RouteRecord(
        route_id=draw(st.sampled_from(["7", "e_3", "RouteScenario_11_rep2"])),
        index=draw(st.integers(0, 300)),
        status=draw(st.sampled_from(STATUSES)),
        route_completion=draw(st.floats(0, 100)),
        scenario=draw(st.sampled_from(["", "Accident"])),
        outside_percent=percent,
        outside_m=draw(st.floats(0.001, 500)) if percent else 0.0,
        min_speed=tuple(draw(st.lists(st.floats(0, 3000), max_size=3))),
        length_m=draw(st.floats(1, 2000)),
        attempts=draw(st.integers(1, 3)),
        **{name: draw(st.integers(0, 2)) for name in (*COUNTED, *TERMINAL)},
    )


@given(records())
def test_sentences_parse_back_to_the_same_numbers(record):
    row = json.loads(json.dumps(build_row(record, VARIANTS["b2d"])))
    assert parse_row(0, row) == record  # from our own note
    del row[OWN]
    told = parse_row(record.index, row)
    for name in (*COUNTED, *TERMINAL, "min_speed"):
        assert getattr(told, name) == getattr(record, name)
    assert told.outside_percent == pytest.approx(record.outside_percent, rel=1e-9, abs=1e-9)
    assert told.outside_m == pytest.approx(record.outside_m, rel=1e-9)
    assert told.success == record.success
    assert told.driving_score == pytest.approx(row["scores"]["score_composed"], abs=2e-6)
    assert row["num_infractions"] == sum(map(len, row["infractions"].values()))


def test_the_fields_tools_split_sentences_like_this():
    assert float(outside_message(3.25, 1.5).split(" ")[8]) == 3.25
    assert outside_message(3.0, 1.23) == (
        "Agent went outside its route lanes for about 3.0 meters (1.23% of the completed route)"
    )
    assert min_speed_message(142.76) == "Average speed is 142.76% of the surrounding traffic's one"
    assert parse_outside([outside_message(1e-7, 2e-9)], "")[1] == pytest.approx(2e-9)


def test_incidents_give_their_places_in_carlas_frame():
    incidents = [
        {"kind": "red_light", "x": 1.0, "y": 2.0, "actor": "12"},
        types.SimpleNamespace(kind="collisions_vehicle", x=3.0, y=-4.5, actor="vehicle.audi.tt"),
        {"kind": "offroad", "x": 0.0, "y": 0.0},
    ]
    assert event_messages("red_light", 1, incidents) == ["Agent ran a red light 12 at (x=1.0, y=-2.0, z=0.0)"]
    messages = event_messages("collisions_vehicle", 2, incidents)
    assert messages[0] == ("Agent collided against object with type=vehicle.audi.tt and id=-1 at (x=3.0, y=4.5, z=0.0)")
    assert len(messages) == 2
    assert "x=" not in messages[1]
    assert event_messages("route_timeout", 1, incidents) == ["Route timeout."]


def test_statuses_of_our_own_become_ones_that_tools_know():
    collided = RouteRecord(route_id="1", index=0, status="Failed - Agent collided", route_completion=3.0)
    row = build_row(collided, VARIANTS["b2d"])
    assert row["status"] == "Failed"
    assert parse_row(0, row).status == "Failed - Agent collided"
    slow = RouteRecord(route_id="1", index=0, status="Perfect", route_completion=100.0, min_speed=(120.0,))
    assert build_row(slow, VARIANTS["b2d"])["status"] == "Completed"


def test_a_list_that_rounds_to_nothing_still_spoils_success():
    told = parse_outside(["Agent went outside its route lanes for about 0.0 meters (0.0% of the completed route)"], "")
    assert told == (0.0005, 0.0)


@pytest.mark.parametrize(
    ("parse", "field"), [(parse_outside, "outside_route_lanes"), (parse_min_speed, "min_speed_infractions")]
)
def test_a_sentence_without_its_number_is_named(parse, field):
    with pytest.raises(CraftError, match=f"route '9'.*{field}.*'slowly'"):
        parse(["slowly"], "route '9'")


def test_route_ids():
    assert leaderboard_id("e_3") == "RouteScenario_e-3_rep0"
    assert leaderboard_id("RouteScenario_11_rep2") == "RouteScenario_11_rep2"
    assert route_key("RouteScenario_11_rep2") == ("11", 2)
    assert route_key("RouteScenario_11") == route_key("11") == ("11", 0)
    names = ["RouteScenario_10_rep0", "RouteScenario_9_rep1", "RouteScenario_9_rep0", "e2", "e10"]
    assert sorted(names, key=natural_key) == [
        "RouteScenario_9_rep0",
        "RouteScenario_9_rep1",
        "RouteScenario_10_rep0",
        "e2",
        "e10",
    ]
