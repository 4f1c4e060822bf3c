"""Directories and checkpoints: what is read comes back bit by bit, what cannot be read is one clear sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from craft_lightning.adapters.vision_language import VisionLanguagePlanner

from craft_lightning.errors import CraftError
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.policies.files import read_safetensors, write_safetensors
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vision_language.loading import build_tiny, texts_of
from craft_lightning.policies.vision_language.tiny import TinySize
from craft_lightning.testing.subject import observe_at_random


@pytest.fixture
def saved(policy_of, tmp_path_factory) -> Path:
    """A directory that a policy was written into."""
    directory = tmp_path_factory.mktemp("saved")
    policy_of().save_pretrained(str(directory))
    return directory


def joint(policy):
    with torch.no_grad():
        return policy.propose(policy.encode(observe_at_random(3, 0))).log_probs


def broken(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def swapped(text: str) -> str:
    """The text of a tokenizer's file with two action tokens in each other's place."""
    return text.replace("<path_1>", "<path_@>").replace("<path_2>", "<path_1>").replace("<path_@>", "<path_2>")


def load(directory: Path, **arguments) -> VisionLanguagePlanner:
    return VisionLanguagePlanner(**{"paths": 5, "speeds": 4, "pretrained": str(directory), **arguments})


def test_a_directory_comes_back_with_its_plans(policy, tmp_path):
    policy.save_pretrained(str(tmp_path))
    loaded = load(tmp_path).set_trainable("lora").eval()
    torch.testing.assert_close(joint(loaded), joint(policy), atol=2e-2, rtol=0)
    assert loaded.vocabulary_hash == policy.vocabulary_hash
    assert loaded.spec == policy.spec


def test_a_directory_is_any_tools(policy_of, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    policy = policy_of()
    policy.save_pretrained(str(tmp_path))
    model = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    inputs = AutoProcessor.from_pretrained(tmp_path)
    assert inputs.tokenizer.convert_tokens_to_ids("<path_0>") == policy._tokens[0]
    with torch.no_grad():
        given = policy.trunk.inputs(observe_at_random(3, 0))
        logits = model(**given).logits[:, -1, policy._tokens[:5]]
        wanted, _ = policy.factor_logits(policy.encode(observe_at_random(3, 0)))
    torch.testing.assert_close(logits, wanted, atol=2e-2, rtol=0)


def test_a_checkpoint_needs_no_other_file(policy, tmp_path):
    path = save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(path).set_trainable("lora").eval()
    assert torch.equal(joint(loaded), joint(policy))
    # One that came from a directory neither.
    policy.save_pretrained(str(tmp_path / "directory"))
    again = save_policy(tmp_path / "again.safetensors", load(tmp_path / "directory"))
    shutil.rmtree(tmp_path / "directory")
    assert load_policy(again).vocabulary_hash == policy.vocabulary_hash


def test_a_tokenizer_is_made_the_same_way_every_time(policy_of):
    first, second = (texts_of(policy.trunk.model, policy.trunk.processor) for policy in (policy_of(), policy_of()))
    assert first == second


def test_a_checkpoint_of_another_tokenizer_is_refused(policy_of, tmp_path, monkeypatch):
    path = save_policy(tmp_path / "policy.safetensors", policy_of())
    from craft_lightning.policies.vision_language import tiny

    # As many words, others among them.
    lines = [line.replace("go", "do") for line in tiny.corpus()]
    monkeypatch.setattr(tiny, "corpus", lambda: lines)
    other = policy_of()
    with pytest.raises(CraftError, match="tokenizer or prompt template"):
        load_policy(path, other)


def test_a_checkpoint_of_another_grid_is_refused(policy_of, tmp_path):
    path = save_policy(tmp_path / "policy.safetensors", policy_of())
    other = policy_of()
    other.path_table.mul_(1.5)
    other._grid_changed()
    with pytest.raises(CraftError, match="plan grid"):
        load_policy(path, other)
    with pytest.raises(CraftError, match="paths=5 and the adapter paths=6"):
        load_policy(path, policy_of(paths=6))


def test_a_grid_of_another_size_in_a_directory_is_refused(saved):
    # The model has the tokens of 5 paths; the grid beside it too.
    with pytest.raises(CraftError, match="path_table"):
        load(saved, paths=4)


@pytest.mark.parametrize("template", [None, "{{ cycler.__init__.__globals__.os.system('true') }}"])
def test_a_chat_template_that_is_missing_or_hostile_is_refused(saved, template):
    file = saved / "chat_template.jinja"
    file.unlink() if template is None else file.write_text(template)
    with pytest.raises(CraftError, match=r"pretrained: the processor's chat template is missing or cannot be used"):
        load(saved, paths=5)


def test_a_missing_action_token_is_named(saved):
    with pytest.raises(CraftError, match=r"no action token <path_5> \(1 missing\)"):
        load(saved, paths=6)


def test_two_action_tokens_that_changed_places_are_refused(saved, tmp_path):
    directory = broken(saved, tmp_path)
    for file in directory.glob("*token*.json"):
        if file.name != "action_tokens.json":
            file.write_text(swapped(file.read_text()))
    with pytest.raises(CraftError, match=r"<path_1> as token \d+ and action_tokens\.json has \d+"):
        load(directory)
    (directory / "action_tokens.json").write_text("[]")
    with pytest.raises(CraftError, match="no mapping"):
        load(directory)


def test_action_tokens_that_changed_places_in_a_checkpoint_are_refused(policy_of, tmp_path):
    policy = policy_of()
    tensors, metadata = read_safetensors(save_policy(tmp_path / "policy.safetensors", policy), "checkpoint")
    files = metadata["init_args"]["model_files"]
    for name, text in files.items():
        files[name] = swapped(text)
    with pytest.raises(CraftError, match="tokenizer or prompt template"):
        load_policy(write_safetensors(tmp_path / "swapped.safetensors", tensors, metadata))


def test_a_model_without_action_tokens_gets_them_on_request(tmp_path):
    model, processor = build_tiny(TinySize(width=64, layers=3, vision_width=32, vision_layers=1), [])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(CraftError, match="add_action_tokens"):
        load(tmp_path)
    policy = load(tmp_path, add_action_tokens=True)
    assert policy.vocabulary_hash is None
    policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
    assert torch.isfinite(joint(policy.eval()).exp()).all()
    assert load_policy(save_policy(tmp_path / "policy.safetensors", policy)).spec == policy.spec


def test_no_directory_and_no_model_are_told_apart(tmp_path):
    with pytest.raises(CraftError, match="does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(CraftError, match=r"holds no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CraftError, match="cannot be read as an image-text-to-text model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CraftError, match=r"config\.json .* is no JSON"):
        load(tmp_path)


def test_a_pickle_is_refused_and_not_opened(saved, tmp_path):
    directory = broken(saved, tmp_path)
    trace = tmp_path / "trace"

    class Attack:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    torch.save({"weights": Attack()}, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(CraftError, match=r"pytorch_model\.bin, a pickle"):
        load(directory)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(saved, tmp_path, name):
    directory = broken(saved, tmp_path)
    content = json.loads((directory / name).read_text())
    content["auto_map"] = {"AutoModelForImageTextToText": "attack.Model"}
    (directory / name).write_text(json.dumps(content))
    trace = tmp_path / "trace"
    (directory / "attack.py").write_text(f"open({str(trace)!r}, 'w')")
    with pytest.raises(CraftError, match="auto_map"):
        load(directory)
    assert not trace.exists()


def test_truncated_and_missing_weights_are_refused(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    directory = broken(saved, tmp_path)
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "q_proj" in name)
    save_file({key: value for key, value in tensors.items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(CraftError, match="lack .*q_proj"):
        load(directory)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CraftError, match=r"^pretrained: config\.json and weights of .* cannot be read .*; give a"):
        load(directory)
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CraftError, match=r"^pretrained: tokenizer and processor of .* cannot be read .*; give a dir"):
        load(directory)


def test_another_models_tokenizer_is_refused(saved, policy_of, tmp_path):
    directory = broken(saved, tmp_path)
    other = policy_of(paths=40).trunk.processor
    other.save_pretrained(directory)
    with pytest.raises(CraftError, match="another model's"):
        load(directory, paths=40)
    directory = Path(shutil.copytree(saved, tmp_path / "another"))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "image_token_id": 7}))
    with pytest.raises(CraftError, match="writes a picture as token 3 and the model reads 7"):
        load(directory)


def test_checkpoint_texts_write_nowhere_else(tmp_path):
    for name in ("../config.json", "model.safetensors", "run.py"):
        with pytest.raises(CraftError, match="no name of a model's text file"):
            VisionLanguagePlanner(model_files={name: "{}"})


def test_a_prefix_model_is_refused_where_it_would_be_silently_wrong():
    # PaliGemma's prompt sees both ways, so words behind it change what it computes.
    import transformers as hf

    from craft_lightning.policies.vision_language.architecture import read_prompt

    config = hf.PaliGemmaConfig(
        text_config={
            "model_type": "gemma",
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "head_dim": 32,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
            "vocab_size": 64,
            "projection_dim": 32,
        },
        projection_dim=32,
        image_token_id=63,
    )
    model = hf.AutoModelForImageTextToText.from_config(config)
    ids = torch.tensor([[63, 63, 63, 63, 2, 5]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.zeros(1, 3, 28, 28)}
    with pytest.raises(CraftError, match="attention masks of its own"):
        read_prompt(model, {**inputs, "token_type_ids": torch.zeros_like(ids)})
