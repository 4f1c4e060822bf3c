"""The kit itself: sound adapters of all kinds pass, and every check finds its own fault and nothing else."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.testing import AdapterFault, check_adapter
from craft_lightning.testing.checks import CHECKS
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.tiny_densities import TinyBetaPolicy, TinyDiffusionPolicy, TinyGaussianPolicy
from craft_lightning.testing.tiny_hierarchical import TinyHierarchicalPolicy
from craft_lightning.testing.tiny_regressor import TinyRegressor
from craft_lightning.testing.tiny_scorers import TinyFactorisedPolicy, TinyMetricPolicy, TinyReadoutPolicy


def neighbour(name: str):
    """A module beside this file; checkpoints find classes of imported modules alone."""
    spec = importlib.util.spec_from_file_location(f"kit_{name}", Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BROKEN = neighbour("broken").BROKEN
SOUND = [
    TinyVocabularyPolicy,
    TinyHierarchicalPolicy,
    TinyFactorisedPolicy,
    TinyMetricPolicy,
    TinyReadoutPolicy,
    TinyRegressor,
    TinyGaussianPolicy,
    TinyBetaPolicy,
    TinyDiffusionPolicy,
]
PAIRS = [pytest.param(name, cls, id=cls.__name__) for name, classes in BROKEN.items() for cls in classes]


def test_every_check_has_an_adapter_that_fails_it():
    assert list(BROKEN) == list(CHECKS)


@pytest.mark.parametrize(("name", "cls"), PAIRS)
def test_a_fault_is_found_by_its_own_check_and_by_no_other(name, cls):
    report = check_adapter(cls(), raises=False, seconds=0.0)
    assert [failure.name for failure in report.failures] == [name], str(report)
    (failure,) = report.failures
    assert "\n" not in failure.sentence
    assert 10 < len(failure.sentence) < 300
    # What depends on it is not judged, and everything else was.
    for result in report.results:
        assert (result.outcome == "not judged") <= bool(CHECKS[result.name].needs)


@pytest.mark.parametrize("cls", SOUND, ids=lambda cls: cls.__name__)
def test_sound_adapters_of_every_kind_of_support_pass(cls):
    report = check_adapter(cls(), seconds=0.01)
    assert report.passed
    assert {result.outcome for result in report.results} == {"passed"}
    assert report.numbers["decisions_per_second"] > 0.0
    assert report.numbers["bytes_per_decision"] > 0
    assert report.numbers["trainable"]["all"] == report.numbers["parameters"]


def test_a_failure_is_raised_and_names_every_check():
    with pytest.raises(AdapterFault, match="ForgetsTheTemperature fails 1 of") as raised:
        check_adapter(next(iter(BROKEN["ratio"]))(), seconds=0.0)
    assert isinstance(raised.value, CraftError)
    assert raised.value.report.failures[0].name == "ratio"
    assert "same temperature" in str(raised.value)


def test_a_report_is_json():
    report = check_adapter(TinyVocabularyPolicy(), seconds=0.01)
    read = json.loads(report.json())
    assert read["passed"] is True
    assert [result["name"] for result in read["results"]] == list(CHECKS)
    assert read["numbers"]["candidates"] == 16.0


def test_a_check_leaves_the_adapter_as_it_was():
    policy = TinyVocabularyPolicy().set_trainable("heads")
    policy.trunk[0].weight.requires_grad_(True)  # what a user arranged by hand stays, too
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    trained = set(policy.trainable_parameters())
    state = torch.random.get_rng_state()
    check_adapter(policy, seconds=0.01)
    assert policy.profile == "heads"
    assert set(policy.trainable_parameters()) == trained
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_checks_can_be_left_out():
    cls = next(iter(BROKEN["memory"]))
    report = check_adapter(cls(), skip=["memory"], seconds=0.0)
    assert {result.name: result.outcome for result in report.results}["memory"] == "not judged"
    assert check_adapter(cls(), memory_limit=10**7, seconds=0.0).passed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"skip": ["rattio"]}, "rattio; checks are"), ({"states": 2}, "at least 3")],
)
def test_wrong_arguments_end_in_a_sentence(arguments, words):
    with pytest.raises(CraftError, match=words):
        check_adapter(TinyVocabularyPolicy(), **arguments)
    with pytest.raises(CraftError, match="Linear"):
        check_adapter(torch.nn.Linear(1, 1))
