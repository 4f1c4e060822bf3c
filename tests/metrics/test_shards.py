import json
import os

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics import results
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol
from craft_lightning.metrics.shards import ShardFile, global_record
from craft_lightning.metrics.summary import summarise

PROTOCOL = Protocol(town="craftville", suite="s", num_routes=4, seed=7, rules="bench2drive-star")


def record(index: int, completion: float = 100.0, **values) -> RouteRecord:
    return RouteRecord(
        route_id=f"e{index}",
        index=index,
        status="Completed" if completion == 100.0 else "Failed - Agent collided",
        route_completion=completion,
        town="craftville",
        length_m=200.0,
        **values,
    )


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "run" / "shard_0.json"
    first = ShardFile(path, PROTOCOL)
    first.add(record(2, collisions_vehicle=1))
    first.add(record(0, 50.0))
    again = ShardFile(path, PROTOCOL)
    assert again.done == {0, 2}
    assert again.records == [record(0, 50.0), record(2, collisions_vehicle=1)]
    again.add(record(0))
    assert [item.route_completion for item in ShardFile(path, PROTOCOL).records] == [100.0, 100.0]


def test_the_file_is_a_leaderboards_and_says_where_it_was_driven(tmp_path):
    shard = ShardFile(tmp_path / "a.json", PROTOCOL, sensors=["carla_imu"])
    shard.add(record(1, 40.0, collisions_pedestrian=1))
    document = json.loads(shard.path.read_text())
    assert document["_checkpoint"]["progress"] == [1, 4]
    assert (document["entry_status"], document["eligible"], document["sensors"]) == ("Started", False, ["carla_imu"])
    row = document["_checkpoint"]["records"][0]
    assert (row["route_id"], row["status"], row["index"]) == ("RouteScenario_e1_rep0", "Failed", 1)
    assert row["scores"] == {"score_route": 40.0, "score_penalty": 0.5, "score_composed": 20.0}
    own = document["craft_lightning"]
    assert (own["protocol"]["world"], own["protocol"]["seed"]) == ("embedded", 7)
    assert (own["protocol"]["tick_seconds"], own["protocol"]["ticks_per_decision"]) == (0.05, 10)
    assert "not a CARLA or Bench2Drive result" in own["protocol"]["note"]
    assert own["rules"]["end_on_collision"] is True
    assert len(document["labels"]) == len(document["values"]) == 15
    for index in (0, 2, 3):
        shard.add(record(index))
    document = json.loads(shard.path.read_text())
    assert (document["entry_status"], document["eligible"]) == ("Finished", True)
    assert float(document["values"][0]) == pytest.approx(80.0)
    assert document["_checkpoint"]["global_record"]["meta"]["exceptions"] == [["RouteScenario_e1_rep0", 1, "Failed"]]


def test_a_crashed_simulation_shows_in_the_entry_status(tmp_path):
    shard = ShardFile(tmp_path / "a.json", PROTOCOL, routes=1)
    shard.add(RouteRecord(route_id="e0", index=0, status="Failed - Simulation crashed", route_completion=0.0))
    assert json.loads(shard.path.read_text())["entry_status"] == "Crashed"


def test_the_summary_equals_the_published_shards_own(shared_data):
    for path in sorted((shared_data / "bench2drive/pdm_lite").glob("eval_*.json")):
        checkpoint = json.loads(path.read_text())["_checkpoint"]
        found = global_record(checkpoint["records"], read_document(path).records, 55)
        expected = checkpoint["global_record"]
        assert found["status"] == expected["status"]
        assert found["meta"]["exceptions"] == expected["meta"]["exceptions"]
        for part, tolerance in (("scores_mean", 1e-6), ("scores_std_dev", 2e-3), ("infractions", 2e-3)):
            assert found[part] == pytest.approx(expected[part], abs=tolerance)
        assert found["meta"]["total_length"] == pytest.approx(expected["meta"]["total_length"])


def test_it_is_scored_like_any_other_file(tmp_path):
    shard = ShardFile(tmp_path / "a.json", PROTOCOL)
    shard.add(record(0))
    shard.add(record(3, 50.0, red_light=1))
    summary = summarise(read_document(shard.path))
    assert (summary["protocol"], summary["world"]) == ("bench2drive-star", "embedded")
    assert (summary["routes_evaluated"], summary["routes_suite"]) == (2, 4)
    assert summary["driving_score"] == pytest.approx(135.0 / 4)
    assert summary["over_evaluated"]["driving_score"] == pytest.approx(67.5)
    assert "not a CARLA" in summary["stamp"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    shard = ShardFile(tmp_path / "a.json", PROTOCOL)
    shard.add(record(0))
    before = shard.path.read_text()
    monkeypatch.setattr(results.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(CraftError, match=r"a\.json cannot be written: disk full"):
        shard.add(record(1))
    assert shard.path.read_text() == before
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "is empty"),
        ('{"_checkpoint": {"records": [', "is cut off"),
        ('{"_checkpoint": {"records": []}}', "not written by craft-lightning"),
    ],
)
def test_a_file_that_cannot_be_continued_is_left_alone(tmp_path, content, word):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(CraftError, match=word) as caught:
        ShardFile(path, PROTOCOL)
    assert "a.json" in str(caught.value)
    assert path.read_text() == content


def test_another_protocol_is_not_mixed_in(tmp_path):
    ShardFile(tmp_path / "a.json", PROTOCOL).write()
    other = Protocol(town="craftville", suite="s", num_routes=4, seed=7, rules="bench2drive")
    with pytest.raises(CraftError, match="rules='bench2drive-star'.*'bench2drive'"):
        ShardFile(tmp_path / "a.json", other)
    with pytest.raises(CraftError, match="index is 4.*4 routes"):
        ShardFile(tmp_path / "b.json", PROTOCOL).add(record(4))
