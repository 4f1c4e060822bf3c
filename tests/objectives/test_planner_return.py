"""Planner scores as the return of the counterfactual proxy."""

import pytest
import torch
from lightning.pytorch import Trainer

from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.planner_return import PlannerReturn
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.testing.straight_road import (
    add_agent,
    constant_acceleration_plans,
    empty_scene,
    straight_road,
)
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import SyntheticDataModule


def returns(score, scene, plans, expert=None):
    mask = torch.ones(len(scene), len(plans), dtype=torch.bool)
    world = CounterfactualWorld(4.0, backend="torch")
    states = world.rollout(scene, plans[None], mask, [straight_road()], keep_states=True).states
    return PlannerReturn(score, 100.0)(scene, states, mask, [straight_road()], expert)


@pytest.mark.parametrize("score", ["pdms", "epdms", "nuplan"])
def test_ramming_a_car_scores_nothing_and_driving_more_than_standing(score):
    plans = constant_acceleration_plans(8.0, [0.0, -8.0])
    free = returns(score, empty_scene(), plans)
    blocked = returns(score, add_agent(empty_scene(), 0, x=25.0), plans)
    assert ((free >= 0.0) & (free <= 100.0)).all()
    assert free[0, 0] > free[0, 1]
    assert blocked[0, 0] == 0.0
    assert blocked[0, 1] > 0.0


def test_the_experts_progress_is_what_nuplans_is_held_against():
    plans = constant_acceleration_plans(8.0, [0.0])
    expert = torch.zeros(1, 40, 3)
    expert[..., 0] = 16.0 * 0.1 * torch.arange(1, 41)
    alone, beside = returns("nuplan", empty_scene(), plans), returns("nuplan", empty_scene(), plans, expert)
    # Progress weighs 5 of 12.
    assert (alone - beside).item() == pytest.approx(100.0 * 5.0 / 12.0 * 0.5, abs=0.5)
    assert torch.equal(alone, returns("nuplan", empty_scene(), plans, expert * torch.nan))


def trainer(proxy):
    return Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[proxy],
    )


@pytest.mark.parametrize("score", ["epdms", "nuplan"])
def test_a_fit_with_a_planner_score(score):
    module = CraftModule(TinyVocabularyPolicy(), trainable="decoder", learning_rate=3e-2)
    data = SyntheticDataModule(32, 2, 16)
    data.scene = add_agent(empty_scene(32, speed=5.0), 0, x=12.0)
    run = trainer(CounterfactualProxy(name="proxy", backend="torch", horizon=4.0, score=score))
    run.fit(module, datamodule=data)
    metrics = {name: float(value) for name, value in run.callback_metrics.items()}
    assert 0.0 <= metrics["proxy/return_mean"] < metrics["proxy/return_policy"] <= metrics["proxy/return_best"] <= 100.0
    assert "proxy/executed_variance_share" not in metrics


def test_a_horizon_beyond_the_plans_is_refused_before_anything_is_driven(monkeypatch):
    monkeypatch.setattr(SyntheticDataModule, "train_dataloader", lambda self: pytest.fail("something was driven"))
    run = trainer(CounterfactualProxy(name="proxy", backend="torch", horizon=4.5, score="epdms"))
    with pytest.raises(CraftError, match=r"losses\.proxy: horizon is 4\.5 s but .* TinyVocabularyPolicy last 4 s"):
        run.fit(CraftModule(TinyVocabularyPolicy(), trainable="decoder"), datamodule=SyntheticDataModule(16, 1, 16))


def test_the_default_is_crafts_reward():
    proxy = CounterfactualProxy(name="proxy")
    assert proxy.score == "craft"

    class World(CounterfactualWorld):
        calls = 0

        def rollout(self, scene, trajectories, mask, grids):  # nothing more is asked for
            World.calls += 1
            return super().rollout(scene, trajectories, mask, grids)

    proxy._world = World(backend="torch")
    trainer(proxy).fit(CraftModule(TinyVocabularyPolicy()), datamodule=SyntheticDataModule(16, 1, 16))
    assert World.calls == 3
    assert proxy._planner is None


def test_mistakes_end_in_a_sentence():
    with pytest.raises(CraftError, match="score is 'pdm'"):
        CounterfactualProxy(score="pdm")
    with pytest.raises(CraftError, match="score_scale"):
        CounterfactualProxy(score="pdms", score_scale=0.0)
    with pytest.raises(CraftError, match=r"needs 1\.5 s"):
        CounterfactualProxy(score="pdms", horizon=1.0)
    with pytest.raises(CraftError, match="score is 'pdm'"):
        PlannerReturn("pdm")
    with pytest.raises(CraftError, match="scale is -1"):
        PlannerReturn(scale=-1.0)
