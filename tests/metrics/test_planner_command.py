"""``craft-lightning pdms`` as a user types it, on tables in NAVSIM's layouts."""

import json

import pytest

from craft_lightning.__main__ import main

NAMES = "no_at_fault_collisions,drivable_area_compliance,ego_progress,time_to_collision_within_bound,comfort"
V1 = f""",token,valid,{NAMES},driving_direction_compliance,score
0,aa,True,1.0,1.0,0.6,1.0,1.0,1.0,0.8333333333
1,bb,True,0.5,1.0,1.0,1.0,0.0,1.0,0.4166666667
2,cc,False,,,,,,,
3,average,True,0.75,1.0,0.8,1.0,0.5,1.0,0.625
"""
HEAD = (
    "no_at_fault_collisions,drivable_area_compliance,driving_direction_compliance,traffic_light_compliance,"
    "ego_progress,time_to_collision_within_bound,lane_keeping,history_comfort,two_frame_extended_comfort"
)
V2 = f"token,{HEAD}\naa,1,1,1,1,0.8,1,1,0,1\nbb,1,1,0.5,1,1,1,0,1,\n"


def run(capsys, *words):
    assert main(["pdms", "--json", *map(str, words)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def mistake(capsys, *words):
    assert main(["pdms", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture
def table(tmp_path):
    def write(text, name="table.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_scene_that_is_repeated_is_named_and_counts_once(table, capsys):
    text = V1.replace("1,bb", "0,aa,True,1.0,1.0,0.6,1.0,1.0,1.0,0.8333333333\n1,bb")
    once, twice = run(capsys, table(V1), table(text, "twice.csv"))
    assert twice.pop("repeated_scenes") == ["aa"]
    assert {**twice, "file": ""} == {**once, "file": ""}
    assert main(["pdms", str(table(text))]) == 0
    assert "more than once, counted once: aa" in capsys.readouterr().out


def test_a_scene_with_two_results_is_refused(table, capsys):
    error = mistake(capsys, table(V1.replace("1,bb", "1,aa")))
    assert "scene 'aa' comes twice, with no_at_fault_collisions 1 and 0.5" in error


def test_version_1(table, capsys):
    (found,) = run(capsys, table(V1))
    assert found["score_name"] == "PDMS"
    assert found["score"] == pytest.approx(0.625)
    assert (found["scenes"], found["failed"]) == (2, 1)
    assert found["largest_difference_to_score_column"] < 1e-9
    assert found["sub_scores"]["comfort"] == 0.5


def test_version_2_with_and_without_extended_comfort(table, capsys):
    (found,) = run(capsys, table(V2))
    assert found["score_name"] == "EPDMS"
    assert found["score"] == pytest.approx((13.0 / 16.0 + 0.5 * 12.0 / 14.0) / 2.0)
    assert "by_stage" not in found


def test_both_stages_of_a_table(table, capsys):
    names = HEAD.split(",")
    head = ",".join([f"{name}_stage_one" for name in names] + [f"{name}_stage_two" for name in names])
    empty = "," * 8
    text = f"token,{head}\naa,1,1,1,1,0.8,1,1,0,1,{empty}\nbb,{empty},1,1,0.5,1,1,1,0,1,1\n"
    text += "extended_pdm_score_combined,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\n"
    (found,) = run(capsys, table(text))
    assert found["by_stage"] == pytest.approx({"stage 1": 13.0 / 16.0, "stage 2": 7.0 / 16.0})
    assert found["scenes"] == 2


def test_nuplan(table, capsys):
    text = "scenario,no_ego_at_fault_collisions,drivable_area_compliance,ego_is_comfortable\nx,1,1,1\ny,0.5,1,\n"
    (found,) = run(capsys, table(text))
    assert found["score_name"] == "nuPlan closed-loop score"
    assert found["score"] == 0.5  # nothing is averaged in the second scenario: upstream's 0


def test_tables_for_people(table, capsys):
    assert main(["pdms", str(table(V1)), str(table(V2, "second.csv"))]) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("PDMS", "EPDMS", "0.6250", "2 scenes, 1 failed"))


def test_mistakes_end_in_one_sentence(table, capsys, tmp_path):
    assert "no column comfort" in mistake(capsys, table(V1.replace("comfort", "komfort")), "--score", "pdms")
    assert "rename Lane_keeping" in mistake(capsys, table(V2.replace("lane_keeping", "Lane_keeping")))
    assert "holds no known sub-scores" in mistake(capsys, table("a,b\n1,2\n"))
    assert "has no rows" in mistake(capsys, table("a,b\n"))
    assert "does not exist" in mistake(capsys, tmp_path / "nothing.csv")
    assert "is 'one'; give a number" in mistake(capsys, table(V2.replace("aa,1", "aa,one")))
    assert "lie between 0 and 1" in mistake(capsys, table(V2.replace("0.8", "80")))
    assert "number of cells" in mistake(capsys, table(V2.replace("aa,1,1", "aa,1")))
    assert "use pdms, epdms or nuplan" in mistake(capsys, table(V2), "--score", "pdmz")
    assert "none of the columns" in mistake(capsys, table("a,b\n1,2\n"), "--score", "nuplan")
