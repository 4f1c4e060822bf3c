"""A fit on a GPU: the same objectives, the kernels where the policy is, and nearly the same numbers."""

import pytest
import torch
from lightning.pytorch import Trainer

from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.policy_gradient import ProximalPolicy
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import SyntheticDataModule

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def fit(accelerator, losses):
    trainer = Trainer(
        max_epochs=2,
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=0.5,
        callbacks=losses,
    )
    module = CraftModule(TinyVocabularyPolicy(), learning_rate=1e-2)
    trainer.fit(module, datamodule=SyntheticDataModule())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module


def craft():
    return [CounterfactualProxy(name="proxy"), GroundedResidual(0.5, name="residual"), SelfDistillation(name="anchor")]


@pytest.mark.parametrize("losses", [craft, lambda: [ProximalPolicy()]])
def test_a_fit_on_a_gpu_is_a_fit_on_a_cpu(losses):
    here, module = fit("cpu", losses())
    there, gpu_module = fit("gpu", losses())
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert there[name] == pytest.approx(value, rel=2e-2, abs=2e-3), name
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(gpu_module.state_dict()[name].cpu(), tensor, rtol=2e-2, atol=2e-3)
