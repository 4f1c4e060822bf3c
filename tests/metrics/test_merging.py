import json
import random
import shutil

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.merging import merge_documents, merge_folder, merged_json, write_merged
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol
from craft_lightning.metrics.shards import ShardFile
from craft_lightning.metrics.summary import summarise


def record(index: int, completion: float = 100.0, attempts: int = 1) -> RouteRecord:
    return RouteRecord(
        route_id=f"e{index}", index=index, status="Completed", route_completion=completion, attempts=attempts
    )


def shard(path, records, **changes):
    made = ShardFile(path, Protocol(**{"town": "t", "suite": "s", "num_routes": 6, **changes}))
    for item in records:
        made.add(item)
    return made


def test_the_published_shards_give_the_published_file(shared_data, tmp_path):
    folder = shared_data / "bench2drive/pdm_lite"
    documents = [read_document(path) for path in sorted(folder.glob("eval_*.json"))]
    published = json.loads((folder / "merged.json").read_text())
    for seed in range(3):
        random.Random(seed).shuffle(documents)
        merged = merged_json(merge_documents(documents))
        assert merged["_checkpoint"]["records"] == published["_checkpoint"]["records"]
        assert merged["driving score"] == pytest.approx(published["driving score"], abs=1e-9)
        assert merged["success rate"] == published["success rate"]
        assert merged["eval num"] == published["eval num"]
    write_merged(tmp_path / "merged.json", merge_documents(documents))
    ours, theirs = (summarise(read_document(path)) for path in (tmp_path / "merged.json", folder / "merged.json"))
    assert {**ours, "file": ""} == {**theirs, "file": ""}


def test_a_shard_driven_twice_counts_once(shared_data, tmp_path):
    source = shared_data / "bench2drive/pdm_lite/eval_bench2drive220_1.json"
    for name in ("a.json", "b.json"):
        shutil.copyfile(source, tmp_path / name)
    merged = merge_folder(tmp_path)
    assert len(merged.routes) == len(merged.duplicates) == 55
    assert "count once" in merged.notes[-1]


def test_more_attempts_count_then_the_later_name(tmp_path):
    shard(tmp_path / "a.json", [record(0, 10.0), record(1, 20.0, attempts=2), record(2)])
    shard(tmp_path / "b.json", [record(0, 30.0), record(1, 40.0), record(3)])
    merged = merge_folder(tmp_path)
    assert [(item.index, item.route_completion) for item in merged.records] == [
        (0, 30.0),
        (1, 20.0),
        (2, 100.0),
        (3, 100.0),
    ]
    assert merged.duplicates == ("e0", "e1")


def test_what_belongs_elsewhere_is_left_out_and_named(tmp_path):
    shard(tmp_path / "a.json", [record(0)])
    (tmp_path / "comparison.json").write_text("{}")
    (tmp_path / "merged.json").write_text("{")
    (tmp_path / "merged_ability.json").write_text("{}")
    assert merge_folder(tmp_path).notes == ("left out, no result files: comparison.json",)


def test_a_merged_file_keeps_its_stamp(tmp_path):
    shard(tmp_path / "a.json", [record(0), record(4)], rules="bench2drive-star")
    write_merged(tmp_path / "merged.json", merge_folder(tmp_path))
    document = read_document(tmp_path / "merged.json")
    assert document.stamp.world == "embedded"
    assert document.protocol == "bench2drive-star"
    assert [item.index for item in document.records] == [4, 0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"world": "carla"}, "world='embedded'.*'carla'"), ({"seed": 3}, "seed=0.*3"), ({"num_routes": 7}, "num_routes")],
)
def test_files_of_different_worlds_are_not_mixed(tmp_path, changes, word):
    shard(tmp_path / "a.json", [record(0)])
    shard(tmp_path / "b.json", [record(1)], **changes)
    with pytest.raises(CraftError, match=f"a.json.*{word}.*merge them apart"):
        merge_folder(tmp_path)


def test_nor_are_ours_and_others(shared_data, tmp_path):
    shard(tmp_path / "a.json", [record(0)])
    shutil.copyfile(shared_data / "bench2drive/leaderboard1_sample.json", tmp_path / "b.json")
    with pytest.raises(CraftError, match="a.json was driven by craft-lightning and .*b.json was not"):
        merge_folder(tmp_path)


def test_empty_and_broken_folders_are_one_sentence(tmp_path):
    with pytest.raises(CraftError, match="none is no folder"):
        merge_folder(tmp_path / "none")
    with pytest.raises(CraftError, match="has no result file"):
        merge_folder(tmp_path)
    (tmp_path / "a.json").write_text('{"_checkpoint":')
    with pytest.raises(CraftError, match="a.json is cut off.*_checkpoint"):
        merge_folder(tmp_path)
