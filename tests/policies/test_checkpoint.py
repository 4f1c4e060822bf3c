import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies import files
from craft_lightning.policies.checkpoint import load_policy, plan_spec_from_dict, read_metadata, save_policy
from craft_lightning.policies.vocabulary import load_vocabulary
from craft_lightning.testing.tiny import TinyVocabularyPolicy, random_vocabulary


@pytest.fixture
def saved(tmp_path) -> Path:
    return save_policy(tmp_path / "policy.safetensors", TinyVocabularyPolicy(seed=1), {"epochs": 3})


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    return files.read_safetensors(path, "checkpoint")


def snapshot(policy: TinyVocabularyPolicy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def refused(path: Path, text: str, policy: TinyVocabularyPolicy | None = None) -> str:
    """Loading fails in one sentence that names the file, and leaves a given policy as it was."""
    before = snapshot(policy) if policy is not None else {}
    with pytest.raises(CraftError, match=text) as error:
        load_policy(path, policy)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.startswith("checkpoint: ")
    assert all(torch.equal(before[name], policy.state_dict()[name]) for name in before)
    return message


def test_file_says_what_it_is(saved):
    metadata = read_metadata(saved)
    assert metadata["class_path"] == "craft_lightning.testing.tiny.TinyVocabularyPolicy"
    assert metadata["init_args"] == {"size": 16, "num_poses": 40, "width": 8, "seed": 1, "dropout": 0.0}
    assert metadata["notes"] == {"epochs": 3}
    assert metadata["vocabulary_hash"] == TinyVocabularyPolicy(seed=1).vocabulary_hash
    assert plan_spec_from_dict(metadata["plan_spec"]) == TinyVocabularyPolicy(seed=1).spec


def test_given_policy_is_filled(saved):
    policy = TinyVocabularyPolicy(seed=1)
    torch.nn.init.zeros_(policy.head.weight)
    assert load_policy(saved, policy) is policy
    reference = TinyVocabularyPolicy(seed=1).state_dict()
    assert all(torch.equal(tensor, reference[name]) for name, tensor in policy.state_dict().items())


def test_vocabulary_of_a_checkpoint_can_be_taken_alone(saved):
    assert load_vocabulary(saved).hash == TinyVocabularyPolicy(seed=1).vocabulary_hash


def test_shipped_names(saved, monkeypatch):
    monkeypatch.setattr(files, "_shipped_files", lambda: {"vocabulary_craftville.safetensors": saved})
    assert isinstance(load_policy("vocabulary_craftville"), TinyVocabularyPolicy)
    assert isinstance(load_policy("vocabulary_craftville.safetensors"), TinyVocabularyPolicy)
    with pytest.raises(CraftError, match="shipped names: vocabulary_craftville"):
        load_policy("vocabulary_craftvile")


def test_missing_file(tmp_path):
    refused(tmp_path / "nothing.safetensors", "does not exist")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("keep", [0, 3, 8, 200, 0.5, 0.99])
def test_truncated_file(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    refused(saved, "truncated")


def test_corrupt_file(saved):
    saved.write_bytes(os.urandom(4) + b"\xff" * 4096)
    refused(saved, "not a safetensors file|pickle")


def test_header_length_that_looks_like_a_pickle(tmp_path):
    # 0x0280 = 640 bytes of header begin with 80 02, the mark of a pickle of protocol 2.
    tensors = {"x": torch.zeros(1)}
    for padding in range(1200):
        content = safetensors.torch.save(tensors, {"pad": "x" * padding})
        if content[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of 640 bytes")
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    assert not files.is_pickled(path)
    assert torch.equal(files.read_safetensors(path, "checkpoint")[0]["x"], tensors["x"])


@pytest.mark.parametrize("name", ["policy.pt", "policy.pth", "policy.safetensors", "policy.bin"])
@pytest.mark.parametrize("protocol", [2, 4, "zip"])
def test_pickles_are_refused_and_not_executed(tmp_path, name, protocol):
    witness, path = tmp_path / "executed", tmp_path / name
    if protocol == "zip":
        torch.save({"state_dict": Trap(witness)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(witness), protocol=protocol))
    assert "pickle" in refused(path, "pickle")
    with pytest.raises(CraftError, match="pickle"):
        load_vocabulary(path)
    assert not witness.exists()


@pytest.mark.parametrize("content", ["zip", "pickle", "broken zip", "empty"])
def test_dangerous_or_broken_lightning_checkpoints(tmp_path, content):
    witness, path = tmp_path / "executed", tmp_path / "last.ckpt"
    if content == "zip":
        torch.save({"state_dict": {"adapter.x": Trap(witness)}}, path)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Trap(witness), protocol=2))
    elif content == "broken zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "not a checkpoint")
    else:
        path.write_bytes(b"")
    refused(path, "refused|truncated", TinyVocabularyPolicy())
    assert not witness.exists()


def test_trap_is_a_trap(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def test_lightning_checkpoint_fills_a_policy(tmp_path):
    source, path = TinyVocabularyPolicy(seed=1), tmp_path / "last.ckpt"
    source.temperature.fill_(0.7)
    torch.nn.init.normal_(source.head.weight)
    state = {f"adapter.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": {**state, "loss_modules.x": torch.zeros(1)}, "epoch": 3}, path)
    policy = load_policy(path, TinyVocabularyPolicy(seed=1))
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in policy.state_dict().items())
    assert policy.spec == source.spec
    refused(path, "does not say which adapter")
    refused(path, "vocabulary", TinyVocabularyPolicy(seed=2))
    torch.save({"state_dict": {"model.x": torch.zeros(1)}}, path)
    refused(path, r"adapter\.\*", policy)


def test_another_vocabulary(saved):
    message = refused(saved, "vocabulary", TinyVocabularyPolicy(seed=2))
    assert TinyVocabularyPolicy(seed=1).vocabulary_hash[:12] in message
    assert TinyVocabularyPolicy(seed=2).vocabulary_hash[:12] in message


def test_a_vocabulary_edited_inside_the_file(saved):
    tensors, metadata = parts(saved)
    tensors["table"][3, 2, 1] += 0.5
    files.write_safetensors(saved, tensors, metadata)
    refused(saved, "vocabulary")
    with pytest.raises(CraftError, match="do not fit the hash"):
        load_vocabulary(saved)


def test_unknown_missing_and_misshapen_weights(saved):
    tensors, metadata = parts(saved)
    original = dict(tensors)
    tensors["head.wieght"] = tensors.pop("head.weight")
    files.write_safetensors(saved, tensors, metadata)
    message = refused(saved, "lacks head.weight", TinyVocabularyPolicy(seed=1))
    assert "unknown head.wieght (nearest: head.weight)" in message
    files.write_safetensors(saved, {**original, "head.weight": torch.zeros(2, 8)}, metadata)
    refused(saved, r"head.weight .*\(2, 8\)", TinyVocabularyPolicy(seed=1))
    files.write_safetensors(saved, {**original, "head.weight": torch.zeros(1, 8).double()}, metadata)
    refused(saved, "float64", TinyVocabularyPolicy(seed=1))
    files.write_safetensors(saved, {**original, "head.weight": torch.full((1, 8), torch.nan)}, metadata)
    refused(saved, "NaN", TinyVocabularyPolicy(seed=1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "policy/99"}, "policy/99"),
        ({"class_path": "os.system"}, "no installed policy adapter"),
        ({"class_path": "antigravity.fly"}, "no installed policy adapter"),
        ({"class_path": "craft_lightning.structures.Factor"}, "no installed policy adapter"),
        ({"class_path": "craft_lightning.policies.vocabulary_family.VocabularyPolicy"}, "no installed policy adapter"),
        ({"class_path": "craft_lightning.adapters.nothing.Nothing"}, "no installed policy adapter"),
        ({"init_args": {"sizes": 16}}, "do not fit TinyVocabularyPolicy"),
        ({"init_args": None}, "no mapping"),
        ({"plan_spec": {}}, "plan_spec"),
    ],
)
def test_metadata_that_does_not_fit(saved, change, text):
    tensors, metadata = parts(saved)
    files.write_safetensors(saved, tensors, {**metadata, **change})
    with pytest.raises(CraftError, match=text):
        load_policy(saved)


def test_modules_outside_the_package_are_not_imported(saved, tmp_path, monkeypatch):
    # Naming a module in a file must not import it.
    (tmp_path / "craft_trap_module.py").write_text(f"import os; os.mkdir({str(tmp_path / 'imported')!r})")
    monkeypatch.syspath_prepend(tmp_path)
    tensors, metadata = parts(saved)
    files.write_safetensors(saved, tensors, {**metadata, "class_path": "craft_trap_module.Policy"})
    refused(saved, "no installed policy adapter")
    assert not (tmp_path / "imported").exists()


def test_plan_spec_must_fit_the_weights(saved):
    tensors, metadata = parts(saved)
    metadata["plan_spec"]["temperature"] = 0.25
    files.write_safetensors(saved, tensors, metadata)
    refused(saved, "plan_spec")


def test_another_architecture_of_equal_shapes(saved):
    # width is 8 in both; only the arguments tell.
    tensors, metadata = parts(saved)
    metadata["init_args"]["width"] = 9
    files.write_safetensors(saved, tensors, metadata)
    assert "width=9" in refused(saved, "width", TinyVocabularyPolicy(seed=1))


def test_another_class(saved):
    from craft_lightning.adapters.vocabulary_scorer import VocabularyScorer

    with pytest.raises(CraftError, match=r"is of .*TinyVocabularyPolicy"):
        load_policy(saved, VocabularyScorer())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    policy = TinyVocabularyPolicy()
    torch.nn.init.constant_(policy.head.bias, torch.nan)
    with pytest.raises(CraftError, match=r"head\.bias"):
        save_policy(tmp_path / "policy.safetensors", policy)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CraftError, match=r"notes.*\.rate is a Tensor"):
        save_policy(tmp_path / "policy.safetensors", TinyVocabularyPolicy(), {"rate": torch.ones(1)})


def test_writing_is_atomic(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(CraftError, match="No space left"):
        save_policy(saved, TinyVocabularyPolicy(seed=2))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_metadata_is_plain_json(saved):
    length = int.from_bytes(saved.read_bytes()[:8], "little")
    header = json.loads(saved.read_bytes()[8 : 8 + length])
    assert json.loads(header["__metadata__"]["craft_lightning"])["format"] == "policy/1"


def test_policy_without_a_vocabulary_says_so(tmp_path):
    from craft_lightning.adapters.vocabulary_scorer import VocabularyScorer

    policy = VocabularyScorer(size=16, width=16, feedforward=16)
    with pytest.raises(CraftError, match="no vocabulary yet"):
        _ = policy.vocabulary
    policy.set_vocabulary(random_vocabulary(16))
    assert policy.vocabulary.hash == random_vocabulary(16).hash
    with pytest.raises(CraftError, match="same size"):
        policy.set_vocabulary(random_vocabulary(17))
    # The vocabulary travels in the checkpoint: no other file is needed, and an empty policy takes it over.
    path = save_policy(tmp_path / "policy.safetensors", policy)
    empty = VocabularyScorer(size=16, width=16, feedforward=16)
    assert load_policy(path, empty).vocabulary_hash == policy.vocabulary_hash
    assert torch.equal(empty.entries, policy.entries)
    assert torch.equal(empty.reader.weights, policy.reader.weights)
