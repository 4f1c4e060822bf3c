"""Evaluation over several towns in real worlds: a route's result is its own, and a killed run is continued."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.motion import FILE_NAME, read_motion
from craft_lightning.metrics.records import CRASHED, RouteRecord
from craft_lightning.module import CraftModule
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.policies.checkpoint import save_policy
from craft_lightning.roads.routes import read_routes, write_routes
from craft_lightning.roads.suites import suite_file
from craft_lightning.rollouts.datamodule import DrivingDataModule
from craft_lightning.rollouts.keeping import ATTEMPTS, MOTIONS, RESULTS, SETTINGS, ResultFolder
from craft_lightning.testing.tiny import TinyVocabularyPolicy

pytestmark = pytest.mark.timeout(900)
NOT_NUMBERS = ("duration_system_s", "attempts")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Four routes, two towns in turn."""
    routes = read_routes(suite_file("embedded-220"))
    chosen = [next(route for route in routes if route.town == town) for town in ("craftville", "craftside")]
    chosen += [[route for route in routes if route.town == town][1] for town in ("craftville", "craftside")]
    path = tmp_path_factory.mktemp("suite") / "four.xml"
    write_routes(path, chosen)
    return path


def module(suite, **changes):
    arguments = {"worlds": 2, "vehicles": 5, "walkers": 0, "seed": 3, "progress": False, "suite": str(suite)}
    data = DrivingDataModule(**{**arguments, **changes})
    data.setup()
    return data


def numbers(record):
    values = record.to_dict() if isinstance(record, RouteRecord) else dict(record)
    return {name: value for name, value in values.items() if name not in NOT_NUMBERS}


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return TinyVocabularyPolicy()


@pytest.fixture(scope="module")
def kept(suite, policy, tmp_path_factory):
    """One whole evaluation, kept: the folder, and the records that were returned."""
    folder = tmp_path_factory.mktemp("kept")
    data = module(suite, results=str(folder))
    try:
        records = data.evaluate(policy, "evaluate")
    finally:
        data.close()
    return folder, records


def test_a_world_that_goes_from_town_to_town_leaves_the_results_of_one_that_stays(suite, policy, kept):
    data = module(suite, worlds=1)
    try:
        alone = data.drive(policy, "evaluate")
    finally:
        data.close()
    keys = set(alone[0]) - set(NOT_NUMBERS)
    for one, other in zip(alone, kept[1], strict=True):
        assert {key: one[key] for key in keys} == {key: other[key] for key in keys}
    assert [record["town"] for record in alone] == ["craftville", "craftside"] * 2


def test_the_folder_holds_what_the_fields_tools_read(suite, kept):
    folder, records = kept
    document = read_document(folder / RESULTS)
    assert document.protocol == "bench2drive-star"
    assert document.stamp.suite == suite.name
    assert [numbers(record) for record in document.records] == [
        numbers(RouteRecord.from_dict(record)) for record in records
    ]
    for record in document.records:
        motion = read_motion(folder / MOTIONS / record.save_name / FILE_NAME)
        # One sample a tick; decisions are cut where the route ends.
        assert len(motion) == pytest.approx(record.duration_s / 0.05, abs=2.0)
        assert np.allclose(np.linalg.norm(motion.forward_vector, axis=1), 1.0)
        assert np.abs((motion.forward_vector * motion.right_vector).sum(1)).max() < 1e-5
        assert record.scenario_name
        assert record.attempts == 1


def test_what_is_there_already_is_not_driven_again(suite, policy, kept, monkeypatch):
    folder, records = kept
    data = module(suite, results=str(folder))
    monkeypatch.setattr(DrivingDataModule, "pool", property(lambda self: pytest.fail("a world was started")))
    assert [numbers(RouteRecord.from_dict(record)) for record in data.evaluate(policy, "evaluate")] == [
        numbers(RouteRecord.from_dict(record)) for record in records
    ]


def test_a_folder_from_before_the_traffic_was_noted_goes_on(suite, policy, kept, tmp_path, monkeypatch):
    folder = shutil.copytree(kept[0], tmp_path / "older")
    for name in (RESULTS, SETTINGS):
        text = (folder / name).read_text()
        assert '"traffic": "sumo"' in text
        (folder / name).write_text(re.sub(r',\s*"traffic": "sumo"', "", text))
    monkeypatch.setattr(DrivingDataModule, "pool", property(lambda self: pytest.fail("a world was started")))
    assert len(module(suite, results=str(folder)).evaluate(policy, "evaluate")) == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 4}, "seed"),
        ({"protocol": "bench2drive"}, "rules"),
        ({"vehicles": 6}, "vehicles"),
        ({"traffic": "traffic_manager"}, "traffic"),
    ],
)
def test_another_runs_folder_is_refused_and_left_alone(suite, policy, kept, changes, field):
    folder, _ = kept
    before = (folder / RESULTS).read_bytes()
    with pytest.raises(CraftError, match=rf"data\.results: .* holds results with {field}="):
        module(suite, results=str(folder), **changes).evaluate(policy, "evaluate")
    assert (folder / RESULTS).read_bytes() == before


def test_another_policys_folder_is_refused(suite, policy, kept):
    other = TinyVocabularyPolicy()
    with torch.no_grad():
        other.head.weight += 1.0
    data = module(suite, results=str(kept[0]))
    with pytest.raises(CraftError, match="holds results with weights="):
        data.evaluate(other, "evaluate")


class Seen(Callback):
    """Keeps the towns of every mini-batch."""

    def __init__(self):
        self.towns = set()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.towns |= set(batch.scene.town.tolist())


@pytest.mark.slow
def test_training_in_two_towns_scores_every_state_on_its_own_grid(suite, policy, tmp_path):
    data = DrivingDataModule(
        **{"worlds": 2, "transitions": 24, "passes": 1, "batch_size": 8, "vehicles": 5, "walkers": 0},
        **{"training_suite": str(suite), "suite": str(suite), "progress": False},
        allow_training_on_evaluation_routes=True,
    )
    proxy, seen = CounterfactualProxy(), Seen()
    proxy.name = "proxy"
    trainer = Trainer(
        **{"default_root_dir": tmp_path, "accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 0},
        **{"logger": False, "enable_progress_bar": False, "enable_model_summary": False},
        enable_checkpointing=False,
        callbacks=[proxy, seen],
    )
    try:
        trainer.fit(CraftModule(copy.deepcopy(policy)), datamodule=data)
    finally:
        data.close()
    assert seen.towns == {0, 1}
    assert [grid.name for grid in data.grids] == ["craftside", "craftville"]
    assert data.protocol.trained_on_evaluation


@pytest.mark.slow
def test_lightning_test_killed_half_way_and_run_again_ends_with_the_numbers_of_a_run_in_python(
    suite, policy, kept, tmp_path
):
    """What was kept stays, what was on the way is driven again and counted; the command and Python drive alike."""
    file = save_policy(tmp_path / "policy.safetensors", policy)
    folder, adapter = tmp_path / "results", f"{TinyVocabularyPolicy.__module__}.{TinyVocabularyPolicy.__name__}"
    words = [sys.executable, "-m", "craft_lightning", "test", "--config", "craft_vocabulary", f"--data.suite={suite}"]
    words += ["--data.worlds=2", "--data.vehicles=5", "--data.walkers=0", "--data.progress=false", "--data.seed=3"]
    words += [f"--model.adapter={adapter}", f"--model.checkpoint={file}", f"--data.results={folder}"]

    def start():
        return subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    killed = start()
    wait_for(lambda: (folder / RESULTS).exists() and len(read_document(folder / RESULTS).records) >= 1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = {record.index for record in read_document(folder / RESULTS).records}
    begun = {int(index) for index in json.loads((folder / ATTEMPTS).read_text())}
    assert done < begun <= set(range(4))
    resumed = start()
    output = resumed.communicate(timeout=600)[0]
    assert resumed.returncode == 0
    assert "driving score" in output
    assert "test/driving_score" in output
    found = read_document(folder / RESULTS).records
    assert [numbers(record) for record in found] == [numbers(RouteRecord.from_dict(one)) for one in kept[1]]
    assert [record.attempts for record in found] == [2 if index in begun - done else 1 for index in range(4)]
    score = subprocess.run(
        [sys.executable, "-m", "craft_lightning", "score", str(folder / RESULTS), str(kept[0] / RESULTS), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = (json.loads(line) for line in score.stdout.splitlines())
    assert first["driving_score"] == second["driving_score"]
    assert first["routes_evaluated"] == 4


def wait_for(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_processes_never_write_one_folder(suite, policy, kept):
    folder, _ = kept
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', "
            "flush=True); time.sleep(60)",
            str(Path(folder) / "run" / "lock"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        holder.stdout.readline()
        with pytest.raises(CraftError, match=r"data\.results: another process writes"):
            module(suite, results=str(folder)).evaluate(policy, "evaluate")
    finally:
        holder.kill()
        holder.wait()


def test_a_run_whose_every_route_crashes_is_no_score(suite, policy, monkeypatch, tmp_path):
    """What is wrong with every world is said, not scored as 0."""
    data = module(suite, results=str(tmp_path / "kept"))
    submit = data.pool.submit

    def spoilt(index, command, payload):
        # Raises in the world, as a slip of ours would.
        submit(index, command, "no plan" if command == "step" else payload)

    monkeypatch.setattr(data.pool, "submit", spoilt)
    try:
        with pytest.raises(CraftError, match=r"crashed on all 4 routes, at last with: \w+Error: .*data\.results"):
            data.evaluate(policy, "evaluate")
    finally:
        data.close()
    with pytest.raises(
        CraftError, match=r"crashed on all 4 routes; they are kept as crashed: take another data\.results"
    ):
        data.evaluate(policy, "evaluate")  # the same command once more, with nothing left to drive
    assert {record.status for record in read_document(tmp_path / "kept" / RESULTS).records} == {CRASHED}


def test_what_else_differs_is_stamped_and_refused_in_one_folder(tmp_path):
    plain = DrivingDataModule(worlds=1, eval_limit=1)
    other = DrivingDataModule(
        worlds=1, eval_limit=1, end_on_collision=False, episode={"blocked_seconds": 5, "ego": "vehicle.tesla.model3"}
    )
    for data in (plain, other):
        data.setup()
    assert plain.protocol.changed == ""
    assert other.protocol.changed == "ego=vehicle.tesla.model3, blocked_seconds=5, end_on_collision=False"
    judged = DrivingDataModule(worlds=1, eval_limit=1, protocol="bench2drive", end_on_collision=False)
    judged.setup()
    assert judged.protocol.changed == ""
    ResultFolder(tmp_path, plain.protocol, plain.eval_suite, {}, {}).close()
    with pytest.raises(CraftError, match=r"holds results with changed='', this run has 'ego=vehicle.tesla.model3"):
        ResultFolder(tmp_path, other.protocol, other.eval_suite, {}, {})
    ResultFolder(tmp_path, plain.protocol, plain.eval_suite, {}, {}).close()
