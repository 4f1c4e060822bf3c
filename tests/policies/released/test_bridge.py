"""The bridge to a model in another Python: one clear sentence for everything that can go wrong over there."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.released import bridge_server
from craft_lightning.policies.released.bridge import Bridge
from craft_lightning.policies.released.source import BridgedModel, LocalModel

HERE = str(Path(__file__).parent)
TAPS = {"score": ":output.score", "hidden": "outer:input.0", "noise": ":output.list.1", "second": ":output.several.1"}
CALL = ("*", None)


def inputs(states=3):
    generator = torch.Generator().manual_seed(states)
    several = {f"several.{number}": torch.rand(states, 2, generator=generator) for number in range(2)}
    return {"state.x": torch.rand(states, 3, generator=generator), **several}


def bridged(factory="served:build", python=sys.executable, **options) -> BridgedModel:
    return BridgedModel(python, factory, path=[HERE], **options)


def pythons() -> list[str]:
    """This Python, and an old one with an old torch where CRAFT_OLD_PYTHON names it."""
    return [sys.executable, *filter(None, [os.environ.get("CRAFT_OLD_PYTHON")])]


@pytest.fixture
def misbehaving():
    source = bridged("served:misbehave", timeout=2.0)
    source.connect({"score": ":output.score"}, ("*",))
    yield source
    source.close()


def asked(source, what):
    return source.run({"what": torch.tensor([float(what)])})


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("python", pythons())
def test_a_model_answers_the_same_here_and_there(monkeypatch, python):
    monkeypatch.syspath_prepend(HERE)
    local, remote = LocalModel(factory="served:build"), bridged(python=python)
    for source in (local, remote):
        source.connect(TAPS, CALL)
    try:
        here, there = local.run(inputs()), remote.run(inputs())
        assert here.keys() == there.keys() == TAPS.keys()
        for name in here:
            # Another torch may round differently.
            torch.testing.assert_close(here[name], there[name], atol=1e-6, rtol=1e-6)
        # The model draws noise; a run repeats.
        assert torch.equal(there["noise"], remote.run(inputs())["noise"])
        weights = remote.state(("inner.",))
        assert weights.keys() == {"inner.weight", "inner.bias"}
        assert torch.equal(weights["inner.weight"], local.state(("inner.",))["inner.weight"])
    finally:
        remote.close()


def test_arguments_reach_the_factory():
    source = bridged(arguments={"width": 9})
    source.connect(TAPS, CALL)
    assert source.run(inputs())["hidden"].shape == (3, 9)
    source.close()


def test_closing_ends_the_process():
    source = bridged()
    source.connect(TAPS, CALL)
    pid = source.bridge.pid
    assert alive(pid)
    source.close()
    assert not alive(pid)
    source.close()


def test_a_server_that_dies_costs_one_sentence(misbehaving):
    pid = misbehaving.bridge.pid
    with pytest.raises(CraftError, match=r"process .*served:misbehave.* ended \(run"):
        asked(misbehaving, 1)
    assert not alive(pid)
    with pytest.raises(CraftError, match="not running"):
        asked(misbehaving, 0)


def test_a_killed_server_costs_one_sentence(misbehaving):
    assert asked(misbehaving, 0)["score"].shape == (1, 1)
    os.kill(misbehaving.bridge.pid, signal.SIGKILL)
    with pytest.raises(CraftError, match="ended"):
        asked(misbehaving, 0)


def test_a_frozen_server_is_ended_in_time(misbehaving):
    pid, start = misbehaving.bridge.pid, time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(CraftError, match=r"did not answer within 2 s \(run\)"):
        asked(misbehaving, 0)
    assert time.monotonic() - start < 20
    assert not alive(pid)


def test_a_failing_model_is_quoted_and_goes_on(misbehaving):
    with pytest.raises(CraftError, match="ValueError: the camera is upside down"):
        asked(misbehaving, 3)
    assert asked(misbehaving, 0)["score"].shape == (1, 1)


def test_an_answer_that_is_no_tensor_is_named(misbehaving):
    with pytest.raises(CraftError, match="score is a str and no array"):
        asked(misbehaving, 4)


def test_a_failing_factory_is_quoted():
    with pytest.raises(CraftError, match=r"could not build served:broken: RuntimeError: no such GPU"):
        Bridge(sys.executable, "served:broken", path=[HERE]).start()
    with pytest.raises(CraftError, match="No module named 'nowhere'"):
        Bridge(sys.executable, "nowhere:build").start()
    with pytest.raises(CraftError, match="not of the form module:function"):
        Bridge(sys.executable, "served", path=[HERE]).start()


def test_a_missing_interpreter_is_named():
    with pytest.raises(CraftError, match=r"/nowhere/python cannot be started"):
        Bridge("/nowhere/python", "served:build").start()


def test_a_slow_factory_is_not_waited_for():
    bridge = Bridge(sys.executable, "served:slow", path=[HERE], start_timeout=3.0)
    with pytest.raises(CraftError, match=r"did not answer within 3 s \(building the model\)"):
        bridge.start()
    assert bridge.pid is None


def test_places_that_the_model_lacks_are_named():
    source = bridged()
    try:
        with pytest.raises(CraftError, match="no module midst"):
            source.connect({"x": "midst:output"}, CALL)
        with pytest.raises(CraftError, match="not of the form"):
            source.connect({"x": "inner"}, CALL)
        source.connect({"x": ":output.scores"}, CALL)
        with pytest.raises(CraftError, match="no 'scores' among list, score, several"):
            source.run(inputs())
    finally:
        source.close()


def test_nonsense_on_the_wire_is_refused():
    ours, theirs = socket.socketpair()
    bridge = Bridge(sys.executable, "served:build")
    bridge._connection = ours
    theirs.sendall(b"\x04\x00\x00\x00\x00\x00\x00\x00null")
    with pytest.raises(CraftError, match="answered nonsense"):
        bridge.ask("run")
    for text, body in (
        (b'{"arrays": [["a", "object", [1]]]}', b"12345678"),
        (b'{"arrays": [["a", "int64", [9]]]}', b""),
    ):
        with pytest.raises(bridge_server.ServerFault):
            bridge_server.unpack(text, body)
    first, second = socket.socketpair()
    first.sendall(b"\xff" * 8)
    with pytest.raises(bridge_server.ServerFault, match="is refused"):
        bridge_server.receive(second)


def test_messages_keep_every_type():
    for dtype in bridge_server.DTYPES:
        array = np.arange(6).reshape(2, 3).astype(dtype)
        message = bridge_server.pack({"a": 1}, {"x": array, "empty": array[:0]})
        text = int.from_bytes(message[:4], "little")
        header, arrays = bridge_server.unpack(message[8 : 8 + text], message[8 + text :])
        assert header == {"a": 1}
        assert arrays["x"].dtype == array.dtype
        assert np.array_equal(arrays["x"], array)
        assert arrays["empty"].shape == (0, 3)
    with pytest.raises(bridge_server.ServerFault, match="dtype"):
        bridge_server.pack({}, {"x": np.array(["a"])})


def test_the_server_reads_old_pythons_grammar():
    # The file runs in the user's interpreter: Python 3.8, numpy and the standard library.
    import ast

    tree = ast.parse(Path(bridge_server.__file__).read_text(), feature_version=(3, 8))
    names = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names - set(sys.stdlib_module_names) == {"numpy", "torch"}
    # Annotations are never evaluated there; nothing else may need a newer Python.
    assert "annotations" in {alias.name for node in tree.body[:2] for alias in getattr(node, "names", [])}


def test_lists_and_attributes_are_followed():
    nested = bridge_server.nest({"a.b": 1, "a.c.1": 2, "a.c.0": 3})
    assert nested == {"a": {"b": 1, "c": [3, 2]}}
    assert bridge_server.pick(nested, ["a", "c", "-1"]) == 2
    assert bridge_server.pick(np.arange(6).reshape(2, 3), ["1"]).tolist() == [3, 4, 5]
