"""A fit on a GPU: the same objectives, the kernels where the policy is, and nearly the same numbers."""

import math

import pytest
import torch
from lightning.pytorch import Trainer

from craft_lightning.arms import Arms
from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.policy_gradient import ProximalPolicy
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.testing.__main__ import example_of, registered_adapters
from craft_lightning.testing.subject import Subject
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


def test_a_fit_on_a_gpu_is_a_fit_on_a_cpu():
    here, module = fit("cpu", craft())
    there, gpu_module = fit("gpu", craft())
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert there[name] == pytest.approx(value, rel=2e-2, abs=2e-3), name
    # Probabilities and not weights: the bias of the last layer moves by rounding alone, which Adam enlarges.
    states = random_observation(32, torch.Generator().manual_seed(5))
    gpu_policy = gpu_module.adapter.cpu()
    with torch.no_grad():
        mine, theirs = (policy.propose(policy.encode(states)).log_probs for policy in (module.adapter, gpu_policy))
    torch.testing.assert_close(theirs.exp(), mine.exp(), rtol=0, atol=2e-2)


def test_a_loss_with_a_network_of_its_own_trains_on_a_gpu():
    values, module = fit("gpu", [ProximalPolicy()])
    assert len(module.loss_modules) == 1
    assert all(math.isfinite(value) for value in values.values()), values


def test_the_control_of_a_comparison_trains_and_drives_where_the_fit_did(monkeypatch):
    places = []
    monkeypatch.setattr(
        CounterfactualProxy, "on_train_batch_start", lambda self, trainer, module, *_: places.append(module.device.type)
    )
    pretrained = TinyVocabularyPolicy()
    data = SyntheticDataModule()
    data.drive = lambda policy, *_: places.append(next(policy.parameters()).device.type) or []
    trainer = Trainer(
        max_epochs=1, accelerator="gpu", devices=1, logger=False, enable_checkpointing=False, callbacks=craft()
    )
    module = CraftModule(TinyVocabularyPolicy(), learning_rate=1e-2)
    trainer.fit(module, datamodule=data)
    arms = Arms(module, pretrained, data, trainer)
    arms.drive("craft", 0)
    arms.drive("zero_weights", 0)
    assert set(places) == {"cuda"}


@pytest.mark.parametrize("name", registered_adapters())
def test_every_adapter_drives_and_scores_on_a_gpu(name):
    policy = example_of(registered_adapters()[name]).set_trainable("heads").cuda()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        observation = Subject(policy, states=4).observation()
        context = policy.encode(observation.to("cuda"))
        noise = torch.rand(4, policy.proposal_noise, generator=generator).cuda()
        candidates = policy.propose(context, noise=noise)
        candidates.chosen, plan = policy.act(candidates, greedy=True)
    assert plan.is_cuda
    assert torch.isfinite(plan).all()
    joint = policy.score(context, candidates).joint
    kept = candidates.mask
    torch.testing.assert_close(joint[kept], candidates.log_probs[kept], rtol=0, atol=1e-4)
    joint[kept].clamp_min(-30.0).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.trainable_parameters().values() if p.grad is not None)
