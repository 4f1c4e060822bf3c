"""What is needed of an evaluator is looked for before anything is started, and said in one sentence."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from craft_lightning.__main__ import main
from craft_lightning.errors import CraftError
from craft_lightning.official import evaluation
from craft_lightning.official.carla_root import write_carla_root
from craft_lightning.official.checkout import CHECKOUT_VARIABLE, PYTHON_VARIABLE, evaluator_python, find_checkout
from craft_lightning.official.evaluation import OfficialRun, command_line, evaluator_environment
from craft_lightning.official.prepared_routes import prepare_routes
from craft_lightning.roads.towns import suite_path

NEWEST = "RouteIndexer validate_sensor_configuration CARLA_ROOT"
FILES = {
    "leaderboard/leaderboard/leaderboard_evaluator.py": NEWEST,
    "scenario_runner/srunner/scenariomanager/carla_data_provider.py": "",
    "PythonAPI/carla/agents/navigation/constant_velocity_agent.py": "",
}


def lay_out(folder, **changes):
    for name, text in {**FILES, **changes}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def test_a_checkout_is_found_by_one_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(CHECKOUT_VARIABLE, str(lay_out(tmp_path)))
    found = find_checkout()
    assert found.evaluator.is_file()
    assert found.agents == tmp_path / "PythonAPI/carla/agents"
    assert found.starts_server
    plain = lay_out(tmp_path / "plain", **{"leaderboard/leaderboard/leaderboard_evaluator.py": NEWEST[:-10]})
    assert not find_checkout(plain).starts_server


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leaderboard/leaderboard/leaderboard_evaluator.py": None}, "has no leaderboard"),
        ({"scenario_runner/srunner/scenariomanager/carla_data_provider.py": None}, "side by side"),
        (
            {"leaderboard/leaderboard/leaderboard_evaluator.py": "RouteParser only"},
            "another version than Leaderboard 2",
        ),
        ({"PythonAPI/carla/agents/navigation/constant_velocity_agent.py": None}, "CARLA 0.9.15"),
    ],
)
def test_what_is_not_there_is_one_sentence(tmp_path, monkeypatch, changes, words):
    monkeypatch.delenv("CARLA_ROOT", raising=False)
    with pytest.raises(CraftError, match=words) as caught:
        find_checkout(lay_out(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_without_the_variable_the_command_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv(CHECKOUT_VARIABLE, raising=False)
    words = ["official", "--routes", str(tmp_path / "r.xml"), "--output", str(tmp_path / "o.json")]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert CHECKOUT_VARIABLE in captured.err
    assert captured.err.count("\n") == 1


def test_a_python_without_the_evaluators_packages_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(CraftError, match="cannot be run"):
        evaluator_python()
    fake = tmp_path / "python"
    for answer, words in (("missing dictor\\ntrees 2.6", "lacks dictor"), ("missing\\ntrees 2.6.0", "py_trees 2.6.0")):
        fake.write_text(f"#!/bin/sh\nprintf '{answer}\\n'\n")
        fake.chmod(0o755)
        with pytest.raises(CraftError, match=words):
            evaluator_python(fake)
    fake.write_text("#!/bin/sh\nprintf 'missing\\ntrees 0.8.3\\n'\n")
    assert evaluator_python(fake) == fake


def test_the_start_script_runs_our_server_on_the_wanted_port(tmp_path):
    root = write_carla_root(tmp_path / "a root")
    script = root / "CarlaUE4.sh"
    text = script.read_text()
    # What it would run, told by a shell in which the interpreter is echo.
    script.write_text(text.replace("exec " + text.split("exec ")[1].split(" ")[0], "echo"))
    words = [str(script), "-RenderOffScreen", "-nosound", "-carla-rpc-port=4321", "-graphicsadapter=0"]
    environment = {**os.environ, "CRAFT_LEADERBOARD_PARENT": "77"}
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout.split()
    wanted = "-m craft_lightning.simulation.embedded --port 4321 --town craftville --parent-pid 77"
    assert " ".join(said) == wanted
    assert sys.executable in text
    write_carla_root(root)  # ours is written anew
    script.write_text("#!/bin/sh\n./CarlaUE4-Linux-Shipping\n")
    with pytest.raises(CraftError, match="belongs to a CARLA installation"):
        write_carla_root(root)
    with pytest.raises(CraftError, match="no folder"):
        write_carla_root(tmp_path / "other", maps=str(tmp_path / "nowhere"))


def test_the_evaluator_is_started_as_it_wants_to_be(tmp_path):
    checkout = find_checkout(lay_out(tmp_path))
    run = OfficialRun(tmp_path / "r.xml", tmp_path / "o.json", resume=True)
    words = command_line(run, tmp_path / "prepared.xml", checkout, Path("python"), 2000)
    assert words[:5] == ["python", "-u", "-m", "craft_lightning.official.start", str(checkout.evaluator)]
    assert {"--track=MAP", "--traffic-manager-port=2003", "--resume=True"} <= set(words)
    assert f"--routes={tmp_path / 'prepared.xml'}" in words
    variables = evaluator_environment(checkout, tmp_path / "root", run.output)
    assert variables["PYTHONPATH"].split(os.pathsep)[:3] == [
        str(tmp_path / name) for name in ("PythonAPI/carla", "leaderboard", "scenario_runner")
    ]
    assert variables["SCENARIO_RUNNER_ROOT"] == str(checkout.scenario_runner)


def test_newer_pythons_are_mended_in_memory(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, xml.etree.ElementTree as ET\n"
        "root = ET.fromstring('<a x=\"1\"><b/></a>')\n"
        "print([e.tag for e in root.getchildren()], root.items()[0], root.keys(), __name__, sys.argv[1:])\n"
    )
    words = [sys.executable, "-m", "craft_lightning.official.start", str(program), "--flag"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['b'] ('x', '1') ['x'] __main__ ['--flag']"


def test_routes_are_chosen_and_keep_out_of_junctions(tmp_path, capsys):
    source = suite_path("craftville_eval")
    target = prepare_routes(source, "e1,e2", tmp_path / "r.xml")
    assert "e2" in capsys.readouterr().out  # it has no scenario
    (route,) = ElementTree.parse(target).getroot().findall("route")
    assert route.get("id") == "e1"
    before = {r.get("id"): r for r in ElementTree.parse(source).getroot()}["e1"]
    old, new = ([p.attrib for p in r.find("waypoints")] for r in (before, route))
    assert 2 <= len(new) < len(old)
    assert [place for place in old if place in new] == new
    with pytest.raises(CraftError, match="no route e99"):
        prepare_routes(source, "e99", target)
    with pytest.raises(CraftError, match="no chosen route has a scenario"):
        prepare_routes(source, "e2", target)
    with pytest.raises(CraftError, match="names no route"):
        prepare_routes(source, " , ", target)
    (tmp_path / "bad.xml").write_text("<routes/>")
    with pytest.raises(CraftError, match="holds no <route>"):
        prepare_routes(tmp_path / "bad.xml", "", target)
    (tmp_path / "bad.xml").write_text("<routes>")
    with pytest.raises(CraftError, match="cannot be read"):
        prepare_routes(tmp_path / "bad.xml", "", target)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("timeout", 0.0, "--timeout is 0; give 1 to"),
        ("timeout", -5.0, "--timeout is -5; give 1 to"),
        ("timeout", float("nan"), "--timeout is nan; give 1 to"),
        ("repetitions", 0, "--repetitions is 0; give at least 1"),
        ("seed", -1, "--seed is -1; give 0 to 2147483647"),
        ("seed", 99_999_999_999_999, "--seed is 99999999999999; give 0 to 2147483647"),
    ],
)
def test_numbers_that_no_evaluator_can_work_with_are_refused(option, value, said):
    with pytest.raises(CraftError, match=re.escape(said)):
        OfficialRun(Path("r.xml"), Path("o.json"), **{option: value})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"town": "Nowhere"}, "--town: town 'Nowhere' is neither built in (craftville,"),
        ({"policy": "nobody_craftville"}, "nobody_craftville does not exist"),
        ({"output": Path()}, "--output . is a folder; name a file in it"),
    ],
)
def test_what_only_the_server_or_the_agent_would_notice_is_refused_before_they_start(
    given, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "find_checkout", lambda: None)
    monkeypatch.setattr(evaluation, "evaluator_python", lambda: Path("python"))
    run = OfficialRun(**{"routes": suite_path("craftville_eval"), "output": tmp_path / "o.json", **given})
    with pytest.raises(CraftError, match=re.escape(said)):
        evaluation.evaluate_officially(run)
    assert not list(tmp_path.iterdir())
