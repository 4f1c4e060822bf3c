"""A fit over two processes, and what stays with one."""

import json
import subprocess
import sys

import pytest

from craft_lightning.__main__ import main

TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


def test_a_fit_in_two_processes_ends_with_its_comparison(tmp_path):
    words = [
        "fit",
        "--config",
        "craft_vocabulary",
        *TWO,
        "--trainer.max_epochs=1",
        "--comparison.arms=[pretrained,craft]",
    ]
    words += [
        f"--trainer.default_root_dir={tmp_path}",
        "--data.transitions=16",
        "--data.batch_size=8",
        "--data.passes=1",
    ]
    words += ["--data.worlds=1", "--data.eval_limit=1", "--data.vehicles=0", "--data.walkers=0"]
    run = subprocess.run(
        [sys.executable, "-m", "craft_lightning", *words], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert run.returncode == 0, run.stderr[-2000:]
    (written,) = tmp_path.rglob("comparison.json")
    means = {arm: found["means"] for arm, found in json.loads(written.read_text())["arms"].items()}
    assert set(means) == {"pretrained", "craft"}
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    # 16 decisions a process in mini-batches of 8: two updates, made together.
    assert "step=2" in checkpoint.name


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_driving_for_a_verdict_is_one_process_business(command, capsys):
    assert main([command, "--config", "craft_vocabulary", *TWO]) == 2
    assert f"error: trainer.devices: {command} drives every route once" in capsys.readouterr().err
