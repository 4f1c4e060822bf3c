"""One source for every target: copies in single precision, named by what they reach."""

import types

import numpy as np
import pytest

from craft_lightning.counterfactual import kernels, parameters, prepare
from craft_lightning.counterfactual.compilation import call_tree, compile_tree, digest
from craft_lightning.counterfactual.lanes import LANES
from craft_lightning.counterfactual.parameters import DecayParameters, RewardParameters

SCALE = 3.0


def leaf(x):
    return 0.1 * x + SCALE


def root(x):
    return leaf(x) * LANES


def test_floats_become_single_and_callees_are_replaced():
    seen = []

    def keep(function):
        seen.append(function)
        return function

    copy = compile_tree(root, keep, keep)
    assert [function.__name__.rpartition("_")[0] for function in seen] == ["leaf", "root"]
    assert copy(np.float32(1.0)) == np.float32(LANES) * (np.float32(0.1) + np.float32(3.0))
    assert copy(np.float32(1.0)).dtype == np.float32
    assert root(1.0) == LANES * 3.1  # the original is untouched
    narrow = compile_tree(root, keep, keep, {"LANES": 1})
    assert narrow(np.float32(1.0)) * LANES == pytest.approx(copy(np.float32(1.0)))


def test_digest_sees_constants_callees_and_overrides(monkeypatch):
    before = digest(root, {})
    assert digest(root, {"LANES": 1}) != before
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    assert digest(root, {}) != before
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert digest(root, {}) == before
    monkeypatch.setitem(globals(), "leaf", types.FunctionType((lambda x: x).__code__, globals(), "leaf"))
    assert digest(root, {}) != before


def test_the_kernels_reach_the_shared_control():
    names = {function.__name__ for function in call_tree(kernels.score_lanes)}
    assert {"track", "bicycle_motion", "aim_point", "boxes_overlap", "bilinear"} <= names
    assert "decay_rollout" in {function.__name__ for function in call_tree(prepare.prepare_state)}


@pytest.mark.parametrize(
    ("settings", "first", "count"), [(RewardParameters(), "DISCOUNT", 33), (DecayParameters(), "HOLD", 8)]
)
def test_indices_name_the_fields(settings, first, count):
    names = [field.upper() for field in settings.__dataclass_fields__]
    assert names[0] == first
    assert len(settings.as_array()) == count
    for position, name in enumerate(names):
        assert getattr(parameters, name) == position, name
        assert settings.as_array()[position] == np.float32(getattr(settings, name.lower()))
