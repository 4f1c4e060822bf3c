"""Going on after an interruption: what "last" means, and what Ctrl-C says."""

import os
import signal

import pytest
from lightning.pytorch import Callback, Trainer

from craft_lightning import __main__ as door
from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.resume import ResumeHint, kept_sentence, last_checkpoint
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import SyntheticDataModule


class CtrlC(Callback):
    """Sends this process the signal of Ctrl-C when an iteration begins."""

    def __init__(self, iteration):
        self.iteration = iteration

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.iteration:
            os.kill(os.getpid(), signal.SIGINT)


def fit_until(folder, iteration):
    # Where the tests run in the background the signal is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=3,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[GroundedResidual(), ResumeHint(), CtrlC(iteration)],
    )
    try:
        with pytest.raises(SystemExit):
            trainer.fit(CraftModule(TinyVocabularyPolicy()), datamodule=SyntheticDataModule(transitions=16, passes=1))
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores further signals from then on


def test_ctrl_c_says_how_to_go_on_and_last_is_that_checkpoint(tmp_path, capsys):
    fit_until(tmp_path, 1)
    newest = last_checkpoint(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("interrupted")]
    assert len(said) == 1
    assert f"in iteration 1; all before it is in {newest}" in said[0]
    assert f"--ckpt_path={newest}" in said[0]


def test_ctrl_c_before_the_first_checkpoint_promises_nothing(tmp_path, capsys):
    fit_until(tmp_path, 0)
    assert "in iteration 0; nothing is saved yet" in capsys.readouterr().err
    with pytest.raises(CraftError, match="ckpt_path=last: no run below .* has a checkpoint"):
        last_checkpoint(tmp_path)


class Testing(SyntheticDataModule):
    """Is interrupted while it drives, when it has kept a route."""

    def __init__(self, result_file):
        super().__init__()
        self.result_file = result_file

    def test_dataloader(self):
        os.kill(os.getpid(), signal.SIGINT)
        return [[]]


def test_ctrl_c_in_a_test_says_where_its_routes_are(tmp_path, capsys):
    kept = tmp_path / "results.json"
    kept.write_text("{}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[ResumeHint()])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.test(CraftModule(TinyVocabularyPolicy()), datamodule=Testing(kept))
    assert f"are in {kept}: the same command goes on with the others" in capsys.readouterr().err
    kept.unlink()
    assert "before a route was driven to its end; the same command begins anew" in kept_sentence(kept)
    assert "data.results=FOLDER keeps them" in kept_sentence(None)


def test_last_is_the_newest_of_all_runs(tmp_path):
    for version, age in ((0, 10), (1, 30), (2, 20)):
        path = tmp_path / "lightning_logs" / f"version_{version}" / "checkpoints" / "epoch=0.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert "version_0" in str(last_checkpoint(tmp_path))


def test_last_with_nothing_to_resume_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert door.main(["fit", "--config", "craft_vocabulary", "--ckpt_path=last"]) == 2
    assert capsys.readouterr().err.startswith("error: ckpt_path=last: no run below")
