"""The audit of learning: junk by hand, and the command on made-up transitions."""

import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from craft_lightning import cli
from craft_lightning.__main__ import main
from craft_lightning.audit.junk import junk_sensitivity
from craft_lightning.audit.learning import MEANINGS, audit_learning, learning_table, meaning
from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.imitation import Imitation
from craft_lightning.rollouts import evaluate
from craft_lightning.rollouts.collect import Traffic
from craft_lightning.structures import Demonstration
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import random_observation

RECIPE = {
    "trainer": {"accelerator": "cpu", "enable_model_summary": False, "limit_val_batches": 0},
    "model": {"adapter": {"class_path": "craft_lightning.testing.tiny.TinyVocabularyPolicy"}, "trainable": "decoder"},
    "data": {
        "class_path": "craft_lightning.testing.transitions.SyntheticDataModule",
        "init_args": {"transitions": 24, "passes": 2, "batch_size": 8},
    },
    "losses": {
        "proxy": {"class_path": "CounterfactualProxy", "init_args": {"backend": "torch"}},
        "residual": {"class_path": "GroundedResidual"},
    },
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))
    return "mine.yaml"


def sensitivity(returns, floor=0.01, spread=1.0):
    torch.manual_seed(0)
    logits = torch.randn(*returns.shape, requires_grad=True)
    log_probs = (spread * logits).log_softmax(1)
    return junk_sensitivity(log_probs, returns, torch.ones_like(returns, dtype=torch.bool), [logits], floor)


def test_junk_scales_each_group_by_hand():
    # One group of 0 and 10: std 5. With as many at 0 again (50 %): returns 0, 10, 0, 0, so std sqrt(18.75).
    found = sensitivity(torch.tensor([[0.0, 10.0]]))
    assert found["junk/uniform/50/norm"] == pytest.approx(5.0 / 18.75**0.5, rel=1e-5)
    assert found["junk/uniform/50/cosine"] == pytest.approx(1.0)
    # One junk candidate is the least there can be: 0, 10, 0.
    assert found["junk/uniform/10/norm"] == pytest.approx(5.0 / (200 / 9) ** 0.5, rel=1e-5)
    # A single group has one direction, whatever the statistics.
    assert found["junk/policy~uniform"] == pytest.approx(1.0)


def test_statistics_under_the_policy_cannot_feel_junk_and_uniform_ones_can():
    generator = torch.Generator().manual_seed(1)
    found = sensitivity(torch.randn(6, 20, generator=generator) * torch.linspace(1.0, 30.0, 6)[:, None])
    for share in (10, 50):
        assert found[f"junk/policy/{share}/cosine"] == pytest.approx(1.0, abs=1e-6)
        assert found[f"junk/policy/{share}/norm"] == pytest.approx(1.0, abs=1e-6)
    assert abs(found["junk/uniform/50/norm"] - 1.0) > 0.05
    assert abs(found["junk/uniform/50/norm"] - 1.0) > abs(found["junk/uniform/10/norm"] - 1.0)
    assert found["junk/policy~uniform"] < 0.999


def test_a_high_floor_hides_junk():
    found = sensitivity(torch.tensor([[0.0, 10.0]]), floor=100.0)
    assert found["junk/uniform/50/norm"] == pytest.approx(1.0)


def test_a_recipe_is_measured_and_every_number_has_a_meaning(recipe, capsys):
    figures = audit_learning([recipe])
    assert {"distinct_share", "return_best", "entropy", "support_mass", "junk/policy~uniform"} <= set(figures)
    assert figures["support_mass"] == pytest.approx(1.0)
    assert figures["return_best"] >= figures["return_policy"]
    assert figures["gradient/proxy/share"] + figures["gradient/residual/share"] == pytest.approx(1.0)
    assert "score_greedy" not in figures  # made-up transitions have no routes to drive
    sentences = [meaning(name) for name in figures]
    assert all(10 < len(sentence) < 120 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)
    assert learning_table(figures, "mine").row_count == len(figures)
    assert audit_learning([recipe]) == figures


def test_the_command_prints_json_and_takes_overrides(recipe, capsys):
    assert main(["audit-learning", "--config", recipe, "--json", "--routes", "0", "losses.residual=null"]) == 0
    read = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert read["override"] == ["losses.residual=null"]
    assert read["figures"]["gradient/proxy/share"] == 1.0
    assert not any("residual" in name for name in read["figures"])


def test_a_table_is_printed(recipe, capsys):
    assert main(["audit-learning", "--config", recipe]) == 0
    out = capsys.readouterr().out
    assert MEANINGS["entropy"] in out
    assert "nothing was learnt" in out


def test_without_the_proxy_the_rest_is_measured(recipe):
    figures = audit_learning([recipe], ["losses.proxy=null"])
    assert "entropy" in figures
    assert not any(name.startswith("junk") for name in figures)


def test_without_a_weight_there_is_no_gradient_to_share(recipe):
    figures = audit_learning([recipe], ["losses.proxy.weight=0", "losses.residual.weight=0"])
    assert "entropy" in figures
    assert not any(name.startswith(("gradient", "junk")) for name in figures)


def test_an_unknown_recipe_ends_in_a_sentence(recipe, capsys):
    assert main(["audit-learning", "--config", "craft_vocabulry"]) == 2
    assert "did you mean craft_vocabulary" in capsys.readouterr().err


def test_fewer_than_no_routes_are_refused(capsys):
    assert main(["audit-learning", "--config", "craft_vocabulary", "--routes", "-1"]) == 2
    assert "--routes is -1; give 0" in capsys.readouterr().err


def test_a_recipe_that_imitates_is_refused(monkeypatch):
    shown = random_observation(4, torch.Generator().manual_seed(0))
    batch = Demonstration(observation=shown, trajectory=torch.zeros(4, 40, 3), batch_size=[4])
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[Imitation()], limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = LightningDataModule.from_datasets(train_dataset=[0])
    data.train_dataloader = lambda: DataLoader([batch], batch_size=None)
    built = SimpleNamespace(model=CraftModule(TinyVocabularyPolicy()), datamodule=data, trainer=trainer)
    monkeypatch.setattr(cli, "build", lambda words: built)
    with pytest.raises(CraftError, match="audit-learning found no loss on driven transitions"):
        audit_learning(["pretrain"])


@pytest.mark.parametrize("greedy", [True, False])
def test_routes_are_driven_greedily_or_by_sampling(greedy, monkeypatch):
    seen = []
    monkeypatch.setattr(evaluate, "PolicyDriver", lambda policy, rows, seed, greedy: seen.append(greedy))
    monkeypatch.setattr(evaluate, "run_episodes", lambda *arguments: None)
    monkeypatch.setattr(evaluate, "_EvaluationSource", lambda *arguments: type("Source", (), {"records": {}})())
    pool = type("Pool", (), {"size": 1})()
    evaluate.drive_routes("policy", pool, [], Traffic(), 0, greedy=greedy)
    assert seen == [greedy]
