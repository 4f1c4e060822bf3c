import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from craft_lightning.__main__ import main
from craft_lightning.audit import run, worker
from craft_lightning.audit.run import AuditOptions, _claim, _shares, audit
from craft_lightning.audit.worker import Share, read_lines, read_suite, turns
from craft_lightning.errors import CraftError, WorldError


@pytest.fixture
def options(tmp_path):
    return AuditOptions("vocabulary_craftville", "craftville_eval", tmp_path / "audit", states=7, workers=3)


def test_workers_share_states_and_routes(options):
    shares = _shares(options)
    assert [share.states for share in shares] == [3, 2, 2]
    routes = [SimpleNamespace(id=name, town=town) for name, town in zip("abcd", "vsvs", strict=True)]
    driven = [list(itertools.islice(turns(routes, share), 4)) for share in shares]
    numbers = sorted(number for turn in driven for number, _ in turn)
    assert numbers == list(range(12))
    # Every round drives every route once.
    by_number = dict(itertools.chain.from_iterable(driven))
    for first in (0, 4):
        driven_now = [by_number[number] for number in range(first, first + 4)]
        assert sorted(route.id for route in driven_now) == list("abcd")
        assert [route.town for route in driven_now] == list("ssvv")  # a town is entered once a round


def test_of_a_suite_with_more_routes_than_states_the_first_are_driven(options):
    """Suites come in rounds of all types, so that the first ones hold them all."""
    routes = read_suite("embedded-220")
    share = _shares(dataclasses.replace(options, states=44, workers=1))[0]
    driven = [route for _, route in itertools.islice(turns(routes, share), 44)]
    assert sorted(route.id for route in driven) == sorted(route.id for route in routes[:44])
    assert len({route.scenarios[0].type for route in driven}) == 44
    assert len({route.town for route in driven}) > 1


def test_a_suite_whose_town_is_not_there_is_refused(options, shared_data):
    """Routes of Bench2Drive need their towns' maps, and most of those are not public."""
    with pytest.raises(CraftError, match=r"--suite: .*Town12 \(104\)"):
        read_suite(str(shared_data / "routes" / "bench2drive220.xml"), str(shared_data / "maps"))


def test_lines_that_were_cut_off_are_driven_again(tmp_path):
    path = tmp_path / "states-0.jsonl"
    assert read_lines(path) == []
    path.write_text('{"number": 0, "states": []}\n{"number": 1, "sta')
    assert [episode["number"] for episode in read_lines(path)] == [0]


def test_a_folder_belongs_to_one_audit(options):
    _claim(options.output, options)
    _claim(options.output, options)
    with pytest.raises(CraftError, match=r"other options \(branches, seed\)"):
        _claim(options.output, dataclasses.replace(options, seed=4, branches=3))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("states", 0, "--states is 0"), ("seconds", 0.7, "multiple of 0.5 s"), ("walkers", -1, "must be 0 or more")],
)
def test_mistakes(options, field, value, words):
    with pytest.raises(CraftError, match=words):
        dataclasses.replace(options, **{field: value})


def test_mistakes_are_found_before_anything_starts(options):
    for field, value, words in (("checkpoint", "nobody", "nobody"), ("suite", "nowhere", "neither a built-in suite")):
        with pytest.raises(CraftError, match=words):
            audit(dataclasses.replace(options, **{field: value}))
    assert not options.output.exists()


def test_a_share_travels_as_json(options):
    share = _shares(options)[1]
    assert Share(**json.loads(json.dumps(dataclasses.asdict(share)))) == share


def _dying(words: str, until: int):
    """Return what starts workers that die until their file has so many lines."""

    def start(share):
        lives = len(read_lines(Path(share.output))) >= until
        code = "pass" if lives else f"import sys; sys.exit({words!r})"
        return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)

    return start


def test_an_episode_that_kills_its_worlds_is_given_up_and_the_others_go_on(options, monkeypatch, capsys):
    options = dataclasses.replace(options, workers=1)
    options.output.mkdir()
    (options.output / "states-0.jsonl").write_text('{"number": 0, "type": "", "states": []}\n{"number": 1, "sta')
    monkeypatch.setattr(run, "_LOOK", 0.01)
    monkeypatch.setattr(run, "_start", _dying("the server is gone", 2))
    run._run_workers(options, Console(width=200))
    (_, noted) = read_lines(options.output / "states-0.jsonl")
    routes = read_suite("craftville_eval")
    (first, second) = itertools.islice(turns(routes, _shares(options)[0]), 2)
    assert first[0] == 0
    assert (noted["number"], noted["route"], noted["states"]) == (1, str(second[1].id), [])
    assert f"route {second[1].id} is given up: its world failed 3 times, the last time with: the server is gone" in (
        capsys.readouterr().out
    )


def test_worlds_that_always_die_end_the_audit(options, monkeypatch):
    options = dataclasses.replace(options, workers=1)
    options.output.mkdir()
    monkeypatch.setattr(run, "_LOOK", 0.01)
    monkeypatch.setattr(run, "_start", _dying("no memory", 99))
    with pytest.raises(CraftError, match="3 times over each of 6 episodes, the last time with: no memory"):
        run._run_workers(options, Console())
    assert len(read_lines(options.output / "states-0.jsonl")) == 5


@pytest.mark.parametrize(("error", "status"), [(WorldError("the server is gone"), 1), (CraftError("no suite"), 2)])
def test_a_lost_world_is_no_mistake_of_the_users(options, monkeypatch, error, status):
    def fail(share):
        raise error

    ended = []
    monkeypatch.setattr(worker, "run", fail)
    monkeypatch.setattr(worker.os, "_exit", ended.append)
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps(dataclasses.asdict(_shares(options)[0]))])
    worker.main()
    assert ended == [status]


@pytest.mark.slow
def test_a_small_audit_and_going_on_with_it(tmp_path, capsys):
    folder = tmp_path / "audit"
    command = ["audit", "--output", str(folder), "--workers", "1"]
    command += ["--states", "2", "--branches", "3", "--seconds", "1", "--horizon", "1", "--vehicles", "8"]
    assert main(command) == 0, capsys.readouterr().err
    assert "Cov/Var" in capsys.readouterr().out
    document = json.loads((folder / "audit.json").read_text())
    every = document["figures"]["all"]
    assert every["states"] == 2
    assert every["branches"] >= 6
    assert every["recorded.correlation"][0] > 0.5
    assert (folder / "audit.png").stat().st_size > 10_000
    episodes = read_lines(folder / "states-0.jsonl")
    # Cut off in the middle of the last episode, it goes on and ends with the same figures.
    text = (folder / "states-0.jsonl").read_text()
    (folder / "states-0.jsonl").write_text(text[: -len(text.splitlines()[-1]) // 2])
    assert main(command) == 0, capsys.readouterr().err
    assert read_lines(folder / "states-0.jsonl") == episodes
    assert json.loads((folder / "audit.json").read_text())["figures"] == document["figures"]
