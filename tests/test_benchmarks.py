"""The benchmark table: what takes part is found by listing the folder, programs there are not mistaken for it."""

import inspect
import runpy
from pathlib import Path

import pytest

from craft_lightning.errors import CraftError


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))  # benchmarks are no part of the package
    return runpy.run_module("benchmarks.__main__", run_name="benchmarks.program")


def test_every_benchmark_of_the_folder_can_run_and_programs_are_left_out(program):
    found = program["modules"]()
    assert {"collection", "counterfactual", "embedded_world", "pdm_scores", "vision_language"} <= set(found)
    assert not {"table", "blind_zone", "learning", "methods", "__main__"} & set(found)
    assert {name for name, run in found.items() if list(inspect.signature(run).parameters) != ["quick"]} == set()


def test_all_rows_come_out_in_one_table(program, monkeypatch, capsys):
    ran, row = [], program["Row"]

    def fake(name):
        return lambda quick: ran.append((name, quick)) or [row(name, 3.0, "things/s", "itself", 1.0)]

    globals_ = program["main"].__globals__
    monkeypatch.setitem(globals_, "modules", lambda: {name: fake(name) for name in ("alpha", "beta")})
    program["main"](["--quick"])
    assert ran == [("alpha", True), ("beta", True)]
    assert {"alpha", "beta"} <= set(capsys.readouterr().out.split())
    with pytest.raises(CraftError, match="did you mean 'beta'"):
        program["main"](["--only=betta"])


@pytest.mark.slow
def test_the_traffic_manager_drives_fifty_vehicles_beyond_the_first_it_takes_away(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    endure = runpy.run_module("benchmarks.traffic_manager", run_name="benchmarks.program")["endure"]
    seen = endure("craftville", 50, 4_000)
    assert seen["placed"] == 50
    assert seen["jumps"] == 0
    assert seen["kilometres"] > 17.0
    # Two that wait for each other in a junction are taken away by the Traffic Manager after 90 s.
    assert seen["left"] >= 25
