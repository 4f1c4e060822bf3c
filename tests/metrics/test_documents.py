import json

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.leaderboard import OWN, build_row
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol, write_results
from craft_lightning.metrics.scores import VARIANTS


def row(number: int, variant: str = "b2d", **values) -> dict:
    """A row of another tool's file."""
    given = {"status": "Completed", "route_completion": 100.0, **values}
    made = build_row(RouteRecord(route_id=str(number), index=number, **given), VARIANTS[variant])
    del made[OWN], made["save_name"], made["weather_id"]
    return made


def write(path, rows, **more):
    path.write_text(json.dumps({"_checkpoint": {"records": rows, "progress": [len(rows), 9]}, **more}))
    return path


@pytest.mark.parametrize(
    ("name", "protocol", "count", "planned"),
    [
        ("pdm_lite/merged.json", "bench2drive", 220, None),
        ("pdm_lite/eval_bench2drive220_2.json", "bench2drive", 55, 55),
        ("minddrive_0.5b.json", "bench2drive", 216, None),
        ("leaderboard1_sample.json", "leaderboard-1.0", 60, 60),
    ],
)
def test_published_dialects(shared_data, name, protocol, count, planned):
    document = read_document(shared_data / "bench2drive" / name)
    assert (document.protocol, len(document.routes), document.planned) == (protocol, count, planned)
    assert document.stamp is None
    assert not document.duplicates


def test_fields_of_a_bench2drive_record(shared_data):
    record = read_document(shared_data / "bench2drive/pdm_lite/eval_bench2drive220_0.json").records[0]
    assert (record.scenario, record.scenario_name, record.town) == ("ParkingCutIn", "ParkingCutIn_1", "Town12")
    assert (record.weather_id, record.length_m) == ("15", 133.138)
    assert record.save_name == "RouteScenario_1711_rep0_Town12_ParkingCutIn_1_15_11_27_21_59_27"
    assert (len(record.min_speed), record.min_speed[0]) == (20, 110.08)


def test_our_own_records(tmp_path):
    protocol = Protocol(town="craftville", suite="s", num_routes=3)
    records = [RouteRecord(route_id="e1", index=1, status="Completed", route_completion=100.0, red_light=1)]
    write_results(tmp_path / "results.json", protocol, records)
    document = read_document(tmp_path / "results.json")
    assert (document.stamp, document.records, document.planned) == (protocol, records, 3)
    assert document.routes[0].row["infractions"]["red_light"] == ["Agent ran a red light"]


@pytest.mark.parametrize("variant", ["lb2.0", "lb2.1"])
def test_the_leaderboards_are_told_apart_by_their_scores(tmp_path, variant):
    rows = [row(0, variant, red_light=1), row(1, variant, collisions_vehicle=2, min_speed=(70.0,)), row(2, variant)]
    assert read_document(write(tmp_path / "a.json", rows)).protocol == f"leaderboard-{variant.removeprefix('lb')}"


def test_of_a_route_twice_the_last_counts_and_it_is_said(tmp_path):
    rows = [row(5, route_completion=10.0, status="Failed"), row(6), row(5)]
    document = read_document(write(tmp_path / "a.json", rows))
    assert [(item.route_id, item.route_completion) for item in document.records] == [
        ("RouteScenario_6_rep0", 100.0),
        ("RouteScenario_5_rep0", 100.0),
    ]
    assert document.duplicates == ("RouteScenario_5_rep0",)
    assert "RouteScenario_5_rep0" in document.notes[0]


def test_routes_that_were_only_begun_are_missing(tmp_path):
    document = read_document(write(tmp_path / "a.json", [row(0), {**row(1), "status": "Started"}]))
    assert len(document.routes) == 1
    assert "never judged" in document.notes[0]


def test_failures_of_forks_are_failures(tmp_path):
    document = read_document(write(tmp_path / "a.json", [{**row(0), "status": "Failed - Agent fell asleep"}]))
    assert document.records[0].status == "Failed"


def _without(field, part=None):
    made = row(3)
    del (made if part is None else made[part])[field]
    return json.dumps({"_checkpoint": {"records": [made]}})


def _with(value, *path):
    made = row(3)
    target = made
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    return json.dumps({"_checkpoint": {"records": [made]}})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("is empty", "drive its routes again")),
        ('{"_checkpoint": {"records": [{"status": "Comp', ("is cut off at line 1", "field status")),
        ('{"_checkpoint": {"records": [', ("is cut off at line 1",)),
        ("{]", ("is no JSON at line 1",)),
        ("[]", ("not a CARLA leaderboard result file", "_checkpoint.records")),
        ('{"_checkpoint": {"records": 3}}', ("_checkpoint.records",)),
        ('{"_checkpoint": {"records": [7]}}', ("record 0 is no JSON object",)),
        (_without("scores"), ("'RouteScenario_3_rep0'", "lacks the field scores.score_route")),
        (_without("score_route", "scores"), ("'RouteScenario_3_rep0'", "lacks the field scores.score_route")),
        (_without("red_light", "infractions"), ("'RouteScenario_3_rep0'", "infractions.red_light")),
        (_without("status"), ("'RouteScenario_3_rep0'", "lacks the field status")),
        (_with("far", "scores", "score_route"), ("scores.score_route is 'far'", "a number")),
        (_with(2, "infractions", "red_light"), ("infractions.red_light is 2", "a list")),
        (_with("x", "infractions", "min_speed_infractions"), ("min_speed_infractions is 'x'",)),
        (_with(["far"], "infractions", "outside_route_lanes"), ("outside_route_lanes", "'far'")),
        (_with("Perhaps", "status"), ("status is 'Perhaps'", "Completed")),
        (_with(200.0, "scores", "score_route"), ("route_completion is 200",)),
        (json.dumps({"_checkpoint": {"records": []}, "craft_lightning": 1}), ("craft_lightning.protocol",)),
    ],
)
def test_broken_files_are_one_sentence_with_file_and_field(tmp_path, content, words):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(CraftError) as caught:
        read_document(path)
    assert all(word in str(caught.value) for word in ("broken.json", *words)), caught.value
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CraftError, match=r"none\.json does not exist"):
        read_document(tmp_path / "none.json")


@pytest.mark.parametrize("field", ["score_composed", "score_penalty"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "abc", True])
def test_a_score_that_is_no_finite_number_names_route_and_field(tmp_path, field, value):
    broken = row(3)
    broken["scores"][field] = value
    with pytest.raises(CraftError, match=rf"field scores\.{field} is .*finite number") as error:
        read_document(write(tmp_path / "f.json", [row(2), broken]))
    assert "f.json" in str(error.value)


def test_a_folder_and_bytes_say_what_to_do(tmp_path):
    with pytest.raises(CraftError, match="is a folder; `craft-lightning merge "):
        read_document(tmp_path)
    (tmp_path / "b.json").write_bytes(b"\x96\x00")
    with pytest.raises(CraftError, match=r"b\.json holds no text"):
        read_document(tmp_path / "b.json")
