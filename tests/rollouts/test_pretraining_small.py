"""The command that made the shipped checkpoint, run small: what it makes beats an untrained policy."""

import copy

import pytest
import torch
from safetensors import safe_open

from craft_lightning.cli import main
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.policies.checkpoint import load_policy, read_metadata
from craft_lightning.rollouts.datamodule import DrivingDataModule
from craft_lightning.rollouts.demonstrations import Demonstrations

SMALL = """
trainer:
  max_epochs: 8
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  accelerator: cpu
  callbacks:
    - class_path: PreparePolicy
    - class_path: ExportPolicy
      init_args: {{path: {folder}/policy.safetensors}}
model:
  adapter: {{class_path: VocabularyScorer, init_args: {{size: 64, width: 32, layers: 1}}}}
data:
  class_path: DemonstrationDataModule
  init_args: {{worlds: 2, decisions: 384, batch_size: 32, held_out: 0.125, vehicles: 8, walkers: 0,
    file: {folder}/demonstrations.safetensors, progress: false}}
"""


def untrained(policy):
    """The same policy with its vocabulary and fresh weights."""
    fresh = copy.deepcopy(policy)
    torch.manual_seed(1)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return fresh


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pretraining_recipe_run_small_beats_an_untrained_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL.format(folder=tmp_path))
    main(["fit", "--config", "pretrain_vocabulary", "--config", str(recipe)])

    policy = load_policy(tmp_path / "policy.safetensors")
    notes = read_metadata(tmp_path / "policy.safetensors")["notes"]
    assert notes["demonstrations"] == 336
    assert policy.vocabulary_hash in (tmp_path / "policy.md").read_text()

    with safe_open(tmp_path / "demonstrations.safetensors", "pt") as file:
        shown = Demonstrations({name: file.get_tensor(name) for name in ("bev", "ego", "route", "trajectory")})
    held_out = shown.batch(torch.arange(336, 384))

    def displacement(candidate):
        chosen = candidate.propose(candidate.encode(held_out.observation)).log_probs.argmax(1)
        return float((candidate.table[chosen] - held_out.trajectory)[..., :2].norm(dim=-1).mean())

    with torch.no_grad():
        assert displacement(policy) < 0.6 * displacement(untrained(policy).eval())

    data = DrivingDataModule(worlds=2, eval_limit=3, vehicles=8, walkers=0, progress=False)
    data.setup()
    try:
        score = {
            name: sum(RouteRecord.from_dict(record).route_completion for record in data.drive(arm, name)) / 3
            for name, arm in (("trained", policy), ("untrained", untrained(policy).eval()))
        }
    finally:
        data.close()
    assert score["trained"] > score["untrained"] + 10.0
