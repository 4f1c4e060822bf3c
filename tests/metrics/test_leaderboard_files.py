"""Published result files: our scores recomputed from counts against the scores inside the files."""

import json

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics import DrivingScore, SuccessRate
from craft_lightning.metrics.leaderboard import read_leaderboard


def _scores(records, **arguments):
    metrics = DrivingScore(**arguments), SuccessRate(**arguments)
    for metric in metrics:
        metric.update(records)
    return [float(metric.compute()) for metric in metrics]


@pytest.mark.parametrize("name", ["pdm_lite/merged.json", "minddrive_0.5b.json", "leaderboard1_sample.json"])
def test_every_route_agrees_with_its_file(shared_data, name):
    path = shared_data / "bench2drive" / name
    rows = json.loads(path.read_text())["_checkpoint"]["records"]
    records = read_leaderboard(path)
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        # Percentages outside the lanes are rounded to 0.01 in the file, hence at most 0.005 points.
        assert record.driving_score == pytest.approx(row["scores"]["score_composed"], abs=5e-3)


def test_official_scores_of_bench2drive(shared_data):
    folder = shared_data / "bench2drive"
    whole = read_leaderboard(folder / "pdm_lite/merged.json")
    assert _scores(whole, denominator="routes", num_routes=220) == pytest.approx([97.0158, 92.273], abs=1e-3)
    partial = read_leaderboard(folder / "minddrive_0.5b.json")
    assert len(partial) == 216
    assert _scores(partial, denominator="routes", num_routes=220) == pytest.approx([76.6165, 54.091], abs=1e-3)
    # The file's own header divides by the routes present.
    assert _scores(partial) == pytest.approx([78.04, 55.09], abs=1e-2)


def test_shards_and_merge_agree(shared_data):
    folder = shared_data / "bench2drive/pdm_lite"
    shards = {
        record.route_id: record for path in sorted(folder.glob("eval_*.json")) for record in read_leaderboard(path)
    }
    merged = {record.route_id: record for record in read_leaderboard(folder / "merged.json")}
    assert {key: item.driving_score for key, item in shards.items()} == {
        key: item.driving_score for key, item in merged.items()
    }


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{}", "not a CARLA leaderboard"),
        ('{"_checkpoint": {"records": [{"route_id": "R1"}]}}', "'R1'.*infractions"),
        (
            '{"_checkpoint": {"records": [{"route_id": "R1", "status": "Completed", "scores": {"score_route": 1},'
            ' "meta": {}, "infractions": {"outside_route_lanes": ["far"]}}]}}',
            "'R1'.*outside_route_lanes",
        ),
    ],
)
def test_broken_files_name_file_and_route(tmp_path, content, word):
    path = tmp_path / "shard.json"
    path.write_text(content)
    with pytest.raises(CraftError, match=word) as caught:
        read_leaderboard(path)
    assert "shard.json" in str(caught.value)
