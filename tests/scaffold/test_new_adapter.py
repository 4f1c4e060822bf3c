"""``craft-lightning new-adapter``: what it writes passes its own test at once, and mistakes are one sentence."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from craft_lightning.__main__ import main
from craft_lightning.errors import CraftError
from craft_lightning.recipe_files import find_recipe
from craft_lightning.scaffold.writing import PRETRAINING, families, is_checkout, new_adapter
from craft_lightning.testing import check_adapter
from craft_lightning.testing.registered import example_of, registered_adapters

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path, name: str):
    """Import a generated module; checkpoints find classes of imported modules alone."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout of this project."""
    base = tmp_path / "src" / "craft_lightning" / "policies" / "base.py"
    base.parent.mkdir(parents=True)
    base.touch()
    (tmp_path / "adapters").mkdir()
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.mark.parametrize("family", families())
def test_a_generated_adapter_of_every_family_keeps_the_contract(family, checkout):
    written = new_adapter("MyPlanner", family, checkout)
    assert [str(path.relative_to(checkout)) for path in written.files] == [
        "adapters/my_planner.py",
        "recipes/craft_my_planner.yaml",
        "tests/adapters/test_my_planner.py",
    ]
    module = load(written.files[0], f"generated_{family.replace('-', '_')}")
    report = check_adapter(example_of(module.MyPlanner), seconds=0.0)
    assert report.passed
    recipe = yaml.safe_load(written.files[1].read_text())
    assert recipe["model"]["adapter"]["class_path"] == "MyPlanner"
    # The losses are those of the shipped recipe: only the policy is another.
    shipped = yaml.safe_load(find_recipe("craft_vocabulary").read_text())
    assert recipe["losses"] == shipped["losses"]
    assert recipe["data"] == shipped["data"]
    # What the comments tell to run first is this family's recipe, and the file that it writes is named.
    name, file = PRETRAINING[family]
    comments = "".join(line for line in written.files[1].read_text().splitlines(True) if line.startswith("#"))
    assert set(re.findall(r"pretrain_\w+", comments)) == {name}
    assert file in comments
    exporting = yaml.safe_load(find_recipe(name).read_text())["trainer"]["callbacks"]
    assert file in [callback.get("init_args", {}).get("path") for callback in exporting]
    trained = yaml.safe_load(find_recipe(name).read_text())["model"]["adapter"]["class_path"]
    assert registered_adapters()[trained].family == module.MyPlanner.family
    compile(written.files[2].read_text(), "test", "exec")
    assert "craft_lightning.adapters.my_planner" in written.files[2].read_text()


def test_families_are_the_templates():
    folder = ROOT / "src" / "craft_lightning" / "scaffold"
    assert len(families()) == len(list(folder.glob("adapter_*.py.j2")))
    assert {"vocabulary", "hierarchical"} <= set(families())


def test_generated_files_are_clean(checkout):
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed beside this Python")
    files = [
        path for family in families() for path in new_adapter(f"a_{family.replace('-', '_')}", family, checkout).files
    ]
    code = [str(path) for path in files if path.suffix == ".py" and "tests" not in path.parts[-3:]]
    for words in (["check", "--config", str(ROOT / "pyproject.toml")], ["format", "--check", "--line-length", "120"]):
        # Sorted as in this checkout: our own package counts as first-party there.
        known = ["--config", "lint.isort.known-first-party=['craft_lightning']"] if words[0] == "check" else []
        done = subprocess.run([str(ruff), *words, *known, *code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_package_of_ones_own_passes_its_test_and_its_recipe_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-adapter", "PlannerX", "--family", "vocabulary"]) == 0
    assert "lightning fit --config craft_planner_x.yaml" in capsys.readouterr().out
    folder = tmp_path / "planner_x"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["craft_lightning.adapters"] == {"PlannerX": "planner_x.policy:PlannerX"}
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "2 passed" in done.stdout
    small = ["--data.worlds=1", "--data.vehicles=0", "--data.walkers=0", "--data.progress=false"]
    small += ["--data.transitions=8", "--data.passes=1", "--data.batch_size=8", "--trainer.max_epochs=1"]
    done = run(folder, "-m", "craft_lightning", "fit", "--config", "craft_planner_x.yaml", *small)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(folder.glob("lightning_logs/version_0/checkpoints/*.ckpt"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["My Planner", "--family", "vocabulary"], "NAME is 'My Planner', which Python cannot take"),
        (["My Planner", "--family", "vocabulary"], "such as MyPlanner"),
        (["toy-x", "--family", "vocabulary"], "such as ToyX"),
        (["toy.x2", "--family", "vocabulary"], "such as ToyX2"),
        (["class", "--family", "vocabulary"], "NAME is 'class'"),
        (["None", "--family", "vocabulary"], "NAME is 'None'"),
        (["9lives", "--family", "vocabulary"], "NAME is '9lives'"),
        (
            ["Torch", "--family", "vocabulary"],
            "NAME 'Torch' makes the package 'torch', which would hide the installed one",
        ),
        (["Mine", "--family", "vocabulry"], "--family is 'vocabulry'; did you mean vocabulary?"),
        (["Mine", "--family", "zzz"], "families are: hierarchical"),
        (["Mine"], "--family"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-adapter", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_replaced(checkout):
    (checkout / "recipes").mkdir()
    (checkout / "recipes" / "craft_mine.yaml").write_text("mine")
    with pytest.raises(CraftError, match="craft_mine.yaml is there already"):
        new_adapter("Mine", "vocabulary", checkout)
    assert (checkout / "recipes" / "craft_mine.yaml").read_text() == "mine"
    assert not list((checkout / "adapters").iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CraftError, match="--directory.*cannot be written"):
        new_adapter("Mine", "vocabulary", tmp_path / "file")


def test_this_repository_is_a_checkout():
    assert is_checkout(ROOT)
    assert not is_checkout(ROOT / "tests")
