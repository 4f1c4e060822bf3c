"""Every registered adapter keeps the contract; the checks themselves are tested in ``tests/testing``."""

import pytest
import torch
from craft_lightning.adapters.anchored_planner import AnchoredPlanner
from craft_lightning.adapters.diffusion_planner import DiffusionPlanner
from craft_lightning.adapters.gaussian_planner import GaussianPlanner
from craft_lightning.adapters.vocabulary_scorer import VocabularyScorer

from craft_lightning.errors import CraftError
from craft_lightning.plugins import ADAPTERS
from craft_lightning.policies.released.policy import ReleasedPolicy
from craft_lightning.testing import check_adapter
from craft_lightning.testing.__main__ import check_class, example_of, registered_adapters
from craft_lightning.testing.subject import Subject
from craft_lightning.testing.tiny import TinyVocabularyPolicy, random_vocabulary
from craft_lightning.testing.transitions import random_observation

OURS = {name: cls for name, cls in registered_adapters().items() if cls.__module__.startswith(f"{ADAPTERS}.")}
REFERENCES = {name: cls for name, cls in OURS.items() if not issubclass(cls, ReleasedPolicy)}


def scorer(**arguments) -> VocabularyScorer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        policy = VocabularyScorer(**{"size": 24, "width": 32, "feedforward": 32, **arguments})
    policy.set_vocabulary(random_vocabulary(24))
    return policy


@pytest.mark.parametrize("name", OURS)
def test_a_registered_adapter_keeps_the_contract(name):
    report = check_class(OURS[name], seconds=0.01)
    assert report.passed, str(report)
    assert report.numbers


def test_the_list_of_adapters_is_the_folder():
    assert set(OURS) - set(REFERENCES) == {
        "CaRL",
        "DiffusionDrive",
        "GTRS",
        "HiPAD",
        "MindDrive",
        "Orion",
        "PlanT2",
        "SimLingo",
        "SparseDriveBench2Drive",
        "SparseDriveNavsim",
        "TransFuserPlusPlus",
        "TransFuserV6",
        "VADv2",
    }
    assert set(REFERENCES) == {
        "AnchorHierarchy",
        "AnchoredPlanner",
        "BetaController",
        "CameraScorer",
        "DiffusionPlanner",
        "FactorisedScorer",
        "GaussianPlanner",
        "MetricReadoutScorer",
        "MetricScorer",
        "ObjectPlanner",
        "VisionLanguageMotion",
        "VisionLanguagePlanner",
        "VocabularyScorer",
    }
    assert not {"VocabularyPolicy", "TinyVocabularyPolicy"} & set(registered_adapters())


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_adapters_are_small_and_say_what_they_are(name):
    assert 100_000 < sum(parameter.numel() for parameter in OURS[name]().parameters()) < 1_500_000
    assert OURS[name].family != "policy"


def test_speed_classes_give_an_anchored_planner_its_speeds():
    torch.manual_seed(0)
    policy = AnchoredPlanner(target_speeds=[0.0, 4.0, 8.0, 12.0], width=32, feedforward=32)
    assert check_adapter(policy, seconds=0.0).passed
    context, candidates = Subject(policy).driven
    assert torch.equal(policy.act(candidates, greedy=True)[1], policy.original(context))


@pytest.mark.parametrize("cls", [GaussianPlanner, DiffusionPlanner])
def test_a_planner_without_a_basis_of_plans_says_so(cls):
    with pytest.raises(CraftError, match="prepare"):
        cls(width=32, feedforward=32).encode(random_observation(2, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("reachable_speed", [None, 3.0])
def test_the_scorer_as_it_ships_keeps_it_in_little_memory(reachable_speed):
    check_adapter(scorer(reachable_speed=reachable_speed), memory_limit=30_000, seconds=0.0)
    check_adapter(scorer(size=24, width=64, feedforward=128, dropout=0.3), memory_limit=30_000, seconds=0.0)


def test_dropout_and_batch_statistics_belong_to_pretraining():
    # The kit says that they are silent in fine-tuning; here, that they are there at all.
    policy = scorer(dropout=0.5)
    subject = Subject(policy)
    subject.reset()
    context, candidates = subject.driven
    before = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    policy.set_trainable("all").train()
    assert not torch.allclose(policy.score(context, candidates).joint, candidates.log_probs, atol=1e-3)
    policy.encode(subject.observation())
    assert any(not torch.equal(before[name], buffer) for name, buffer in policy.named_buffers())
    # Leaving pre-training ends it without another call.
    policy.set_trainable("heads")
    assert not any(module.training for module in policy.modules())


def test_a_temperature_has_a_reachable_target():
    policy = scorer()
    context, _ = Subject(policy).driven
    with pytest.raises(CraftError, match="target"):
        policy.calibrate_temperature(context, 1.0)


def test_one_seed_gives_one_policy():
    first, second = (example_of(VocabularyScorer).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    state = torch.random.get_rng_state()
    TinyVocabularyPolicy(seed=4)
    example_of(VocabularyScorer)
    assert torch.equal(state, torch.random.get_rng_state())
