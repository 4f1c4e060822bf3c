"""``craft-lightning merge`` and ``score`` as a user types them, on published files."""

import json
import subprocess
import sys

import numpy as np
import pytest

from craft_lightning.__main__ import main
from craft_lightning.metrics.motion import Motion, write_motion
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol
from craft_lightning.metrics.shards import ShardFile


def score(capsys, *words) -> list[dict]:
    assert main(["score", "--json", *map(str, words)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def mistake(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_published_figures_of_a_complete_file(shared_data, capsys):
    folder = shared_data / "bench2drive/pdm_lite"
    official = json.loads((folder / "merged_ability.json").read_text())
    (found,) = score(capsys, folder / "merged.json")
    assert found["driving_score"] == pytest.approx(97.0158, abs=5e-5)
    assert found["success_rate"] == pytest.approx(92.273, abs=5e-4)
    assert found["driving_efficiency"] == pytest.approx(250.03924965, abs=1e-8)
    names = ("Overtaking", "Merging", "Emergency_Brake", "Give_Way", "Traffic_Signs", "mean")
    assert found["abilities"] == pytest.approx({name: official[name] for name in names}, abs=1e-12)
    assert (found["protocol"], found["routes_evaluated"], found["routes_missing"]) == ("bench2drive", 220, 0)
    # One route ended in a town without a public map; the answer hangs on it and says so.
    assert found["traffic_signs"]["estimated"] == ["RouteScenario_27018_rep0"]
    assert found["traffic_signs"]["range"] == pytest.approx([177 / 190, 178 / 190])


def test_published_figures_of_an_incomplete_file(shared_data, capsys):
    path = shared_data / "bench2drive/minddrive_0.5b.json"
    header = json.loads(path.read_text())
    (found,) = score(
        capsys, path, "--routes", shared_data / "routes/bench2drive220.xml", "--maps", shared_data / "maps"
    )
    assert (found["driving_score"], found["success_rate"]) == pytest.approx((76.6165, 54.091), abs=5e-4)
    over = found["over_evaluated"]
    assert (over["driving_score"], over["success_rate"]) == pytest.approx((78.04, 55.09), abs=5e-3)
    assert over["driving_score"] == pytest.approx(header["driving score"])
    assert over["success_rate"] == pytest.approx(100 * header["success rate"])
    assert (found["routes_evaluated"], found["routes_missing"]) == (216, 4)
    assert len(found["missing"]) == 4
    assert any("4 of 220 routes are missing" in note for note in found["notes"])
    assert "Town07" not in found["traffic_signs"]["missing_maps"]
    # Without the route file the missing ones are told by their types.
    (bare,) = score(capsys, path)
    assert bare["driving_score"] == found["driving_score"]
    assert any("2 HighwayExit" in note for note in bare["notes"])


def test_leaderboard_1_is_read(shared_data, capsys):
    path = shared_data / "bench2drive/leaderboard1_sample.json"
    published = json.loads(path.read_text())["_checkpoint"]["global_record"]["scores"]
    (found,) = score(capsys, path)
    assert found["protocol"] == "leaderboard-1.0"
    assert found["driving_score"] == pytest.approx(published["score_composed"])
    assert found["route_completion"] == pytest.approx(published["score_route"])
    assert found["infraction_score"] == pytest.approx(published["score_penalty"])
    assert found["abilities"] is found["driving_efficiency"] is None


def test_shards_merge_to_the_published_figures(shared_data, tmp_path, capsys):
    for path in (shared_data / "bench2drive/pdm_lite").glob("eval_*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    assert main(["merge", str(tmp_path)]) == 0
    assert "driving score 97.0158, success rate 92.273 %" in capsys.readouterr().out
    assert main(["merge", str(tmp_path), "--output", str(tmp_path / "again.json")]) == 0
    capsys.readouterr()
    assert (tmp_path / "again.json").read_text() == (tmp_path / "merged.json").read_text()
    (found,) = score(capsys, tmp_path / "merged.json")
    assert found["driving_score"] == pytest.approx(97.0158, abs=5e-5)


def test_shards_that_are_scored_one_by_one_are_pointed_at_merge(shared_data, capsys):
    shards = sorted((shared_data / "bench2drive/pdm_lite").glob("eval_*.json"))
    assert main(["score", *map(str, shards)]) == 0
    assert "No route is in two of these 4 files" in capsys.readouterr().out
    assert main(["score", str(shards[0]), str(shards[0])]) == 0
    assert "shards of one run" not in capsys.readouterr().out


def test_another_protocol_rescores_and_says_so(shared_data, capsys):
    path = shared_data / "bench2drive/pdm_lite/merged.json"
    (found,) = score(capsys, path, "--protocol", "leaderboard-2.1")
    assert found["protocol"] == "leaderboard-2.1"
    assert found["driving_score"] < 97.0
    assert any("driven under bench2drive" in note for note in found["notes"])
    (later,) = score(capsys, path, "--protocol", "bench2drive-0.0.4")
    assert later["abilities"]["Traffic_Signs"] == pytest.approx(91 / 95)
    assert later["driving_score"] == pytest.approx(97.0158, abs=5e-3)


def test_the_table_shows_both_denominators_of_every_file(shared_data, tmp_path, capsys):
    folder = shared_data / "bench2drive"
    assert main(["score", str(folder / "minddrive_0.5b.json"), str(folder / "pdm_lite/merged.json")]) == 0
    table = capsys.readouterr().out
    for cell in ("76.6165", "78.0353", "54.0909", "55.0926", "216 of 220", "97.0158", "250.039", "93.68"):
        assert cell in table


def test_our_own_shard_with_its_motion(tmp_path, capsys):
    shard = ShardFile(tmp_path / "shard.json", Protocol(town="t", suite="s", num_routes=3, rules="bench2drive"))
    for index, name in enumerate(("a", "b")):
        shard.add(
            RouteRecord(
                route_id=f"e{index}", index=index, status="Completed", route_completion=100.0, save_name=name,
                scenario="Accident", min_speed=(90.0,),
            )
        )  # fmt: skip
    motion = Motion.from_world(np.zeros((40, 2)), np.zeros(40), np.full(40, 0.3), np.zeros((40, 2)))
    write_motion(tmp_path / "a", motion)
    (found,) = score(capsys, shard.path, "--metric-info", tmp_path)
    assert found["driving_smoothness"] == {"strict": 0.0, "repaired": 1.0, "routes": 1}
    assert (found["driving_score"], found["driving_efficiency"]) == (pytest.approx(200 / 3), 90.0)
    assert found["abilities"]["Overtaking"] == 1.0
    assert found["abilities"]["Merging"] is None
    assert found["world"] == "embedded"
    assert main(["score", str(shard.path)]) == 0
    assert "not a CARLA or Bench2Drive result" in capsys.readouterr().out


def test_mistakes_are_one_sentence(shared_data, tmp_path, capsys):
    merged = shared_data / "bench2drive/pdm_lite/merged.json"
    (tmp_path / "cut.json").write_text(merged.read_text()[:5000])
    # A good file before the broken one prints nothing.
    assert "cut.json is cut off at line" in mistake(capsys, "score", "--json", merged, tmp_path / "cut.json")
    assert "did you mean 'bench2drive'" in mistake(capsys, "score", merged, "--protocol", "bench2drives")
    assert "none.json does not exist" in mistake(capsys, "score", tmp_path / "none.json")
    assert "no judged route" in mistake(capsys, "score", _empty(tmp_path))
    routes = tmp_path / "r.xml"
    routes.write_text(
        '<routes><route id="x" town="t"><waypoints><position x="0" y="0" z="0"/><position x="9" y="0" z="0"/>'
        "</waypoints></route></routes>"
    )
    assert "none of the routes" in mistake(capsys, "score", merged, "--routes", routes)
    assert "--maps" in mistake(capsys, "score", merged, "--maps", tmp_path / "none")
    assert "--metric-info" in mistake(capsys, "score", merged, "--metric-info", tmp_path / "none")
    assert "is no folder" in mistake(capsys, "merge", tmp_path / "none")
    assert "FILE" in mistake(capsys, "score")


def _empty(folder):
    path = folder / "empty.json"
    path.write_text('{"_checkpoint": {"records": []}}')
    return path


def test_no_torch_is_needed(tmp_path):
    shard = ShardFile(tmp_path / "shard.json", Protocol(town="t", suite="s", num_routes=1))
    shard.add(RouteRecord(route_id="e0", index=0, status="Completed", route_completion=100.0))
    code = (
        "import sys; from craft_lightning.__main__ import main; main(sys.argv[1:]);"
        "sys.exit(' '.join({'torch', 'lightning', 'scipy'} & set(sys.modules)) or 0)"
    )
    for words in (["score", str(shard.path)], ["merge", str(tmp_path)]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def own_run(path, capsys, **conditions):
    protocol = Protocol(town="craftville", suite="mine", num_routes=1, **conditions)
    ShardFile(path, protocol).add(
        RouteRecord("r1", index=0, status="Perfect", route_completion=100.0, town="craftville", length_m=200.0)
    )
    (found,) = score(capsys, path)
    assert main(["score", str(path)]) == 0
    return found, capsys.readouterr().out


def test_a_run_under_limits_of_its_own_is_no_result_under_a_protocol(tmp_path, capsys):
    found, printed = own_run(tmp_path / "own.json", capsys, tick_seconds=0.1, ticks_per_decision=5)
    assert (found["protocol"], found["tick_seconds"], found["decision_seconds"]) == ("own-limits", 0.1, 0.5)
    assert any("limits of its own and scored by the formulas of bench2drive" in note for note in found["notes"])
    assert "0.1 / 0.5" in printed
    stamped = json.loads((tmp_path / "own.json").read_text())["craft_lightning"]["rules"]
    assert stamped == {"name": "own-limits", "variant": "b2d", "ability": "0.0.3"}
    assert main(["merge", str(tmp_path)]) == 0
    capsys.readouterr()
    (merged,) = score(capsys, tmp_path / "merged.json")
    assert merged["protocol"] == "own-limits"


def test_a_run_under_a_protocol_is_named_after_it(tmp_path, capsys):
    found, printed = own_run(tmp_path / "a.json", capsys, rules="leaderboard-2.1", trained_on_evaluation=True)
    assert (found["protocol"], found["trained_on_evaluation"]) == ("leaderboard-2.1", True)
    assert "TRAINED ON THESE ROUTES" in printed
    assert not any("limits of its own" in note for note in found["notes"])


@pytest.mark.parametrize(("field", "value"), [("score_composed", 1e9), ("score_composed", -50), ("score_penalty", 1.5)])
def test_scores_out_of_their_range_are_refused(tmp_path, shared_data, capsys, field, value):
    document = json.loads((shared_data / "bench2drive/pdm_lite/merged.json").read_text())
    document["_checkpoint"]["records"][3]["scores"][field] = value
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(document))
    said = mistake(capsys, "score", path)
    assert f"field scores.{field} is {value!r}, which is not between 0 and" in said
    assert document["_checkpoint"]["records"][3]["route_id"] in said


def test_types_that_count_for_no_ability_are_named(tmp_path, shared_data, capsys):
    document = json.loads((shared_data / "bench2drive/pdm_lite/merged.json").read_text())
    document["_checkpoint"]["records"][3]["scenario_name"] = "Foo_1"
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(document))
    (found,) = score(capsys, path)
    route = document["_checkpoint"]["records"][3]["route_id"]
    assert any("1 routes have no scenario type of Bench2Drive" in note and route in note for note in found["notes"])


def test_changed_options_of_the_episodes_are_named(tmp_path, capsys):
    found, printed = own_run(tmp_path / "own.json", capsys, changed="blocked_seconds=5.0, ego=vehicle.tesla.model3")
    assert "driven with blocked_seconds=5.0, ego=vehicle.tesla.model3" in found["notes"]
    assert "driven with blocked_seconds=5.0" in printed


def test_merge_writes_over_nothing_but_a_merged_file(tmp_path, shared_data, capsys):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (0, 1):
        name = f"eval_bench2drive220_{number}.json"
        (folder / name).write_bytes((shared_data / "bench2drive/pdm_lite" / name).read_bytes())
    shard, text = folder / "eval_bench2drive220_0.json", tmp_path / "keep.txt"
    text.write_text("mine")
    before = shard.read_bytes()
    assert "is one of the files to merge" in mistake(capsys, "merge", folder, "--output", shard)
    assert "exists and is no result file" in mistake(capsys, "merge", folder, "--output", text)
    assert "is a folder" in mistake(capsys, "merge", folder, "--output", tmp_path)
    assert (shard.read_bytes(), text.read_text()) == (before, "mine")
    for _ in range(2):  # its own may be written again
        assert main(["merge", str(folder), "--output", str(tmp_path / "all.json")]) == 0
    capsys.readouterr()


def test_merge_refuses_two_leaderboards_and_names_what_differs(tmp_path, shared_data, capsys):
    data = shared_data / "bench2drive"
    (tmp_path / "a.json").write_bytes((data / "pdm_lite/eval_bench2drive220_0.json").read_bytes())
    (tmp_path / "b.json").write_bytes((data / "leaderboard1_sample.json").read_bytes())
    said = mistake(capsys, "merge", tmp_path)
    assert "a.json is of bench2drive" in said
    assert "b.json of leaderboard-1.0; merge files of one protocol" in said
    (tmp_path / "b.json").write_bytes((data / "minddrive_0.5b.json").read_bytes())
    assert main(["merge", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "of them score differently in the files; these count: RouteScenario_" in printed
    assert "(of b.json)" in printed
