"""Checkpoints of released policies are read without executing anything."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.released.weights import load_into, read_released, take_head


class Trap:
    def __reduce__(self):
        return os.system, ("touch {}".format(os.environ["TRAP"]),)


def test_lightning_plain_and_safetensors_are_read(tmp_path):
    tensors = {"agent._model.head.weight": torch.ones(2, 3), "agent._model.bias": torch.zeros(1)}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.ckpt")
    torch.save(tensors, tmp_path / "b.pth")
    save_file(tensors, tmp_path / "c.safetensors")
    for name in ("a.ckpt", "b.pth", "c.safetensors"):
        found = read_released(tmp_path / name, ("agent.", "_model."))
        assert found.keys() == {"head.weight", "bias"}
        assert torch.equal(found["head.weight"], torch.ones(2, 3))


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    trap = tmp_path / "sprung"
    monkeypatch.setenv("TRAP", str(trap))
    torch.save({"state_dict": {"a": torch.ones(1)}, "config": Trap()}, tmp_path / "a.ckpt")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "c.safetensors").write_bytes(pickle.dumps(Trap(), protocol=4))
    for name in ("a.ckpt", "b.pkl", "c.safetensors"):
        with pytest.raises(CraftError, match=r"refused|no checkpoint|not opened|corrupt"):
            read_released(tmp_path / name)
    assert not trap.exists()


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(CraftError, match="is no file"):
        read_released(tmp_path / "nowhere.ckpt")
    torch.save({"epoch": 1}, tmp_path / "empty.ckpt")
    with pytest.raises(CraftError, match="holds no named tensors"):
        read_released(tmp_path / "empty.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CraftError, match=r"truncated|corrupt"):
        read_released(tmp_path / "cut.ckpt")


def test_a_factory_loads_what_fits(tmp_path):
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {f"agent.{name}": torch.full_like(value, 0.5) for name, value in module[0].state_dict(prefix="0.").items()}
    torch.save({"state_dict": {**state, "agent.other": torch.ones(1)}}, tmp_path / "a.ckpt")
    assert load_into(module, tmp_path / "a.ckpt", ("agent.",)) == ("1.bias", "1.weight")
    assert (module[0].weight == 0.5).all()
    with pytest.raises(CraftError, match="give the prefixes to strip"):
        load_into(module, tmp_path / "a.ckpt")
    with pytest.raises(CraftError, match=r"0\.weight in .* is \(3, 2\)"):
        load_into(nn.Sequential(nn.Linear(5, 3)), tmp_path / "a.ckpt", ("agent.",))


def test_a_head_that_lacks_something_stays_as_it_was():
    head = nn.ModuleDict({"score": nn.Linear(2, 1)})
    before = head["score"].weight.detach().clone()
    with pytest.raises(CraftError, match=r"has no up\.head\.bias"):
        take_head(head, {"up.head.weight": torch.ones(1, 2)}, {"score.": "up.head."}, "Mine")
    state = {"up.head.weight": torch.ones(1, 3), "up.head.bias": torch.ones(1)}
    with pytest.raises(CraftError, match="construct the adapter with the model's sizes"):
        take_head(head, state, {"score.": "up.head."}, "Mine")
    assert torch.equal(head["score"].weight, before)
