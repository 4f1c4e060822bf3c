"""Every shipped recipe is a test: it parses against the real constructors, and runs small in the embedded world."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from craft_lightning.__main__ import main
from craft_lightning.cli import COMMANDS
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.recipe_files import find_recipe, recipe_names

# Recipes that stand alone, and those that exchange the losses of one that does.
OVERLAYS = [name for name in recipe_names() if name.startswith("baseline_")]
COMPLETE = [name for name in recipe_names() if name not in OVERLAYS]


def configs(name: str) -> list[str]:
    """The words that run a recipe."""
    return [*(["--config", "craft_vocabulary"] if name in OVERLAYS else []), "--config", name]


# As small as the real thing goes: two worlds and hardly any traffic.
SMALL_WORLDS = ["--data.worlds=2", "--data.vehicles=5", "--data.walkers=0", "--data.progress=false"]


def test_recipes_are_discovered_from_disk():
    assert {"craft_vocabulary", "pretrain_vocabulary"} <= set(recipe_names())
    assert len(recipe_names()) == len(list(Path(find_recipe("craft_vocabulary")).parent.glob("*.yaml")))


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_parses_and_its_printed_config_parses_to_itself(name, command, capsys, tmp_path):
    with pytest.raises(SystemExit, match="0"):
        main([command, *configs(name), "--print_config"])
    first = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(first)
    with pytest.raises(SystemExit, match="0"):
        main([command, "--config", str(tmp_path / "printed.yaml"), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(first)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_it_does_and_fixes_its_seed(name):
    text = find_recipe(name).read_text()
    assert text.startswith("# ")
    recipe = yaml.safe_load(text)
    assert recipe["losses"]
    assert isinstance(recipe.get("seed_everything"), int) == (name in COMPLETE)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_baseline_differs_from_craft_in_its_losses_alone(name, capsys):
    def printed(*words):
        with pytest.raises(SystemExit, match="0"):
            main(["fit", *words, "--print_config"])
        return yaml.safe_load(capsys.readouterr().out)

    craft, baseline = printed("--config", "craft_vocabulary"), printed(*configs(name))
    theirs, ours = baseline.pop("losses"), craft.pop("losses")
    assert baseline == craft
    theirs = {key: loss for key, loss in theirs.items() if loss is not None}
    assert theirs.pop("distillation") == ours["distillation"]
    assert len(theirs) == 1


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("craft_")])
def test_the_losses_of_craft_are_the_same_to_the_letter_for_every_policy(name):
    def losses(recipe):
        return re.search(r"^losses:.*?(?=^\S)", find_recipe(recipe).read_text() + "\nend", re.M | re.S).group()

    assert losses(name) == losses("craft_vocabulary")
    assert "SelfDistillation" in losses(name)


README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMAND_LINES = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("lightning fit", "lightning predict"))
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_the_readmes_command_lines_parse(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("trainer: {max_epochs: 7}")
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load(find_recipe("craft_vocabulary").read_text())["trainer"]["max_epochs"]
    assert printed["trainer"]["max_epochs"] == (7 if "mine.yaml" in words else shipped)


@pytest.mark.slow
def test_pretraining_then_craft_run_small(tmp_path, monkeypatch, capsys):
    """The two recipes as they ship, smaller: demonstrations, a policy file, one improvement iteration on top of it."""
    monkeypatch.chdir(tmp_path)
    size = ["--model.adapter.size=16"]
    small = ["--data.decisions=48", "--data.batch_size=24", "--trainer.max_epochs=1", "--model.warmup=0"]
    assert main(["fit", "--config", "pretrain_vocabulary", *SMALL_WORLDS, *size, *small]) == 0, capsys.readouterr().err
    file = tmp_path / "runs" / "vocabulary_craftville.safetensors"
    assert file.with_suffix(".md").is_file()

    small = ["--data.transitions=16", "--data.passes=1", "--data.batch_size=8", "--trainer.max_epochs=1"]
    craft = ["fit", "--config", "craft_vocabulary", *SMALL_WORLDS, *size, *small, "--comparison=null"]
    assert main([*craft, f"--model.checkpoint={file}"]) == 0, capsys.readouterr().err
    path = next((tmp_path / "lightning_logs").rglob("version_1/checkpoints/*.ckpt"))
    after = torch.load(path, weights_only=True)["state_dict"]
    policy = load_policy(str(file))
    policy.set_trainable("decoder")
    before = policy.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[f"adapter.{name}"])}
    # Fine-tuning moves the decoder, and of the frozen trunk not a bit.
    assert moved
    assert moved <= set(policy.trainable_parameters())
