"""CRAFT end to end in real worlds, killed between iterations and resumed: the same weights as an uninterrupted run."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.rollouts.datamodule import DrivingDataModule
from craft_lightning.testing.tiny import TinyVocabularyPolicy


class Killed(Exception):
    """Stands for the end of the process."""


class KillBefore(Callback):
    def __init__(self, iteration):
        self.iteration = iteration

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.iteration:
            raise Killed


class Seen(Callback):
    """Keeps the rollout numbers of every mini-batch."""

    def __init__(self):
        self.rollouts = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rollouts.append((trainer.current_epoch, batch.rollout.clone()))


def fit(folder, *callbacks, resume=None):
    module = CraftModule(TinyVocabularyPolicy(), learning_rate=1e-2)
    data = DrivingDataModule(
        worlds=2, transitions=24, passes=2, batch_size=8, vehicles=5, walkers=0, seed=7, progress=False
    )
    losses = [CounterfactualProxy(), GroundedResidual(), SelfDistillation()]
    for name, loss in zip(("proxy", "residual", "distillation"), losses, strict=True):
        loss.name = name
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=2,
        gradient_clip_val=0.5,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*losses, ModelCheckpoint(folder, save_last=True), *callbacks],
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    finally:
        data.close()
    return module


@pytest.mark.timeout(900)
def test_a_run_killed_between_iterations_and_resumed_gives_the_same_weights(tmp_path):
    seen = Seen()
    start = TinyVocabularyPolicy().state_dict()
    straight = fit(tmp_path / "straight", seen).adapter.state_dict()
    with pytest.raises(Killed):
        fit(tmp_path / "cut", KillBefore(1))
    torch.manual_seed(99)  # another process would not have this run's generator either
    resumed = fit(tmp_path / "cut", resume=tmp_path / "cut" / "last.ckpt").adapter.state_dict()
    assert any(not torch.equal(start[name], straight[name]) for name in start)
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    # Every mini-batch holds rollouts of its own iteration alone: no stale transition reaches a loss.
    for iteration, rollouts in seen.rollouts:
        assert set((rollouts // 2000).tolist()) == {iteration}
