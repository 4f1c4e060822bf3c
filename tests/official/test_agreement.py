"""Official verdicts beside ours."""

import json

import pytest
from rich.console import Console

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol
from craft_lightning.metrics.shards import ShardFile
from craft_lightning.official.agreement import print_agreement, read_verdicts


@pytest.fixture
def files(tmp_path):
    """Two drives: on the first both agree, on the second one misses a collision."""
    official = tmp_path / "official.json"
    shard = ShardFile(official, Protocol("craftville", "r", 2, rules="bench2drive"))
    common = {"town": "craftville", "route_completion": 100.0, "status": "Completed"}
    shard.add(RouteRecord(route_id="1", index=0, min_speed=(120.0,), **common))
    shard.add(RouteRecord(route_id="2", index=1, collisions_vehicle=2, scenario_timeout=1, **common))
    ours = tmp_path / "official.ours.jsonl"
    lines = [{**common, "min_speed": [119.0]}, {**common, "collisions_vehicle": 1, "incidents": [["x", 1, 2, 3, ""]]}]
    ours.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return official, ours


def test_differences_are_named(files):
    same, other = read_verdicts(*files)
    assert same.differences == []
    # A scenario's time-out is the evaluator's alone.
    assert other.differences == ["collisions_vehicle 2 / 1"]
    console = Console(record=True, width=200)
    print_agreement([same, other], console)
    text = console.export_text()
    assert "collisions_vehicle 2 / 1" in text
    assert "25.20 / 60.00" in text  # 0.6 x 0.6 x 0.7
    assert "120.0 (1) / 119.0 (1)" in text


def test_drives_that_only_one_has_are_refused(files):
    official, ours = files
    ours.write_text(ours.read_text().splitlines()[0] + "\n")
    with pytest.raises(CraftError, match="2 routes and .* 1"):
        read_verdicts(official, ours)
    ours.write_text("{")
    with pytest.raises(CraftError, match="cannot be read"):
        read_verdicts(official, ours)
