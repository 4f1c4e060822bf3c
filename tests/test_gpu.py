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
from craft_lightning.testing.transitions import SyntheticDataModule, random_observation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def fit(accelerator, losses):
    torch.manual_seed(0)  # of the critic's first weights
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
    # Probabilities and not weights: the bias of the last layer moves by rounding alone, which Adam enlarges.
    states = random_observation(32, torch.Generator().manual_seed(5))
    gpu_policy = gpu_module.adapter.cpu()
    with torch.no_grad():
        mine, theirs = (policy.propose(policy.encode(states)).log_probs for policy in (module.adapter, gpu_policy))
    torch.testing.assert_close(theirs.exp(), mine.exp(), rtol=0, atol=2e-2)
