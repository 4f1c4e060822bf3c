import json
import os

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics import results
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol, ResultFile, read_results, write_results

PROTOCOL = Protocol(town="craftville", suite="craftville_eval", num_routes=4)


def record(index: int, completion: float = 100.0) -> RouteRecord:
    return RouteRecord(route_id=f"r{index}", index=index, status="Completed", route_completion=completion)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    first = ResultFile(tmp_path / "run" / "eval.json", PROTOCOL)
    first.add(record(2))
    first.add(record(0))
    again = ResultFile(tmp_path / "run" / "eval.json", PROTOCOL)
    assert again.missing == [1, 3]
    again.add(record(2, 50.0))
    protocol, records = read_results(again.path)
    assert protocol == PROTOCOL
    assert [item.index for item in records] == [0, 2]
    assert records[1].route_completion == 50.0


def test_every_file_states_its_protocol_and_the_embedded_world_is_stamped(tmp_path):
    write_results(tmp_path / "a.json", PROTOCOL, [record(0)])
    stamped = json.loads((tmp_path / "a.json").read_text())["protocol"]
    assert (stamped["tick_seconds"], stamped["ticks_per_decision"], stamped["world"]) == (0.05, 10, "embedded")
    assert "not a CARLA or Bench2Drive result" in stamped["note"]
    assert "note" not in Protocol(town="Town01", suite="s", num_routes=1, world="carla").to_dict()


def test_another_protocol_is_not_mixed_in(tmp_path):
    ResultFile(tmp_path / "a.json", PROTOCOL).add(record(0))
    with pytest.raises(CraftError, match=r"a\.json.*world='embedded'.*'carla'"):
        ResultFile(
            tmp_path / "a.json", Protocol(town="craftville", suite="craftville_eval", num_routes=4, world="carla")
        )


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_results(path, PROTOCOL, [record(0)])
    before = path.read_text()
    monkeypatch.setattr(results.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_results(path, PROTOCOL, [record(1)])
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_record_outside_the_suite_is_refused(tmp_path):
    with pytest.raises(CraftError, match="'r4'.*index is 4.*4 routes"):
        ResultFile(tmp_path / "a.json", PROTOCOL).add(record(4))


def _document(**changes):
    return {"format": results.FORMAT, "version": 1, "protocol": PROTOCOL.to_dict(), "records": [], **changes}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a craft-lightning results file"),
        (json.dumps(_document(version=9)), "version 9"),
        (json.dumps(_document(records=3)), "'records'"),
        (json.dumps(_document(protocol={"town": "x"})), "num_routes"),
        (json.dumps(_document(protocol={**PROTOCOL.to_dict(), "colour": 1})), "colour"),
        (json.dumps(_document(protocol={**PROTOCOL.to_dict(), "world": "mars"})), "mars"),
        (json.dumps(_document(records=[record(0).to_dict()] * 2)), "occurs twice"),
        (json.dumps(_document(records=[{**record(0).to_dict(), "red_light": -1}])), "'r0'.*red_light"),
    ],
)
def test_broken_files_are_one_clear_sentence(tmp_path, content, word):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(CraftError, match=word) as caught:
        read_results(path)
    assert "broken.json" in str(caught.value)
    with pytest.raises(CraftError, match=r"none\.json does not exist"):
        read_results(tmp_path / "none.json")
