"""The vision-language recipes as they ship, smaller: imitation, then CRAFT from the file and from a directory."""

import pytest
import torch
from craft_lightning.adapters.vision_language import VisionLanguagePlanner

from craft_lightning.__main__ import main
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.policies.vision_language.adaptation import is_low_rank

WORLDS = ["--data.worlds=2", "--data.vehicles=5", "--data.walkers=0", "--data.progress=false"]
SIZE = [
    f"--model.adapter.{name}={value}"
    for name, value in {
        "width": 64,
        "layers": 2,
        "vision_width": 32,
        "vision_layers": 1,
        "paths": 4,
        "speeds": 4,
    }.items()
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_imitation_then_craft_from_the_file_and_from_a_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--data.decisions=96", "--data.batch_size=24", "--trainer.max_epochs=1", "--model.warmup=0"]
    assert main(["fit", "--config", "pretrain_vla", *WORLDS, *SIZE, *small]) == 0, capsys.readouterr().err
    file = tmp_path / "runs" / "vla_craftville.safetensors"
    assert "Vision-language planner" in file.with_suffix(".md").read_text()

    small = ["--data.transitions=16", "--data.passes=1", "--data.batch_size=8", "--trainer.max_epochs=1"]
    craft = ["fit", "--config", "craft_vla", *WORLDS, *small, "--comparison=null"]
    assert main([*craft, *SIZE, f"--model.checkpoint={file}"]) == 0, capsys.readouterr().err
    policy = load_policy(str(file))
    before, after = policy.state_dict(), trained(tmp_path)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # The adapters and the action tokens' output rows moved, of everything else not a bit.
    assert "trunk.actions.output" in moved
    assert any(is_low_rank(name) for name in moved)
    assert all(is_low_rank(name) or name == "trunk.actions.output" for name in moved)

    assert isinstance(policy, VisionLanguagePlanner)
    policy.save_pretrained(str(tmp_path / "directory"))
    sizes = [word for word in SIZE if "paths" in word or "speeds" in word]
    words = [*craft, *sizes, "--model.checkpoint=null", f"--model.adapter.pretrained={tmp_path / 'directory'}"]
    assert main(words) == 0, capsys.readouterr().err
    assert trained(tmp_path)["path_table"].equal(policy.path_table)


def trained(folder):
    """The newest checkpoint's policy state."""
    newest = max((folder / "lightning_logs").rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    state = torch.load(newest, weights_only=True)["state_dict"]
    return {name.removeprefix("adapter."): value for name, value in state.items() if name.startswith("adapter.")}
