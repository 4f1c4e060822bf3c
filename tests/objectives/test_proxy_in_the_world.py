"""The proxy on the real counterfactual world: what it makes a policy do about a parked car, and what it refuses."""

import pytest
import torch
from lightning.pytorch import Trainer

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.testing.straight_road import add_agent, empty_scene
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import SyntheticDataModule


def fit(scene, epochs):
    module = CraftModule(TinyVocabularyPolicy(), trainable="decoder", learning_rate=3e-2)
    # The torch backend needs no compilation, so that this file stays quick.
    proxy = CounterfactualProxy(name="proxy", backend="torch")
    data = SyntheticDataModule(32, 2, 16)
    data.scene = scene
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[proxy],
    )
    trainer.fit(module, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module


def mean_speed(module):
    """Probability-weighted speed of the candidates on fresh states, m/s."""
    data = SyntheticDataModule(32, 2, 16)
    from craft_lightning.testing.transitions import synthetic_transitions

    candidates = synthetic_transitions(module.adapter, data.transitions).candidates
    speed = module.adapter.table[:, -1, 0] / 4.0
    return float((candidates.log_probs.exp() @ speed).mean())


def test_a_parked_car_ahead_slows_and_a_free_road_speeds():
    parked = add_agent(empty_scene(32, speed=5.0), 0, x=12.0)
    blocked, slow = fit(parked, 8)
    free, fast = fit(empty_scene(32, speed=5.0), 8)
    start = mean_speed(CraftModule(TinyVocabularyPolicy()))
    assert mean_speed(slow) < start - 0.3
    assert mean_speed(fast) > start + 0.3
    assert 0.2 < blocked["proxy/collision_share"] < 0.9
    assert free["proxy/collision_share"] == 0.0
    for metrics in (blocked, free):
        assert metrics["proxy/return_mean"] < metrics["proxy/return_policy"] <= metrics["proxy/return_best"]
        assert 0.0 < metrics["proxy/executed_variance_share"] < 1.0
        assert 0.25 <= metrics["proxy/distinct_share"] <= 1.0


def test_a_broken_scene_is_refused_before_training():
    scene = empty_scene(32)
    scene.ego_motion[3, 0] = torch.nan
    with pytest.raises(CraftError, match="ego_motion"):
        fit(scene, 1)
