"""What every adapter of a released policy must do, on stand-ins of the documented layout."""

import copy
import importlib
from pathlib import Path

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.plugins import load_adapters
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.policies.released.policy import ReleasedPolicy
from craft_lightning.policies.released.source import FeatureSource, LocalModel
from craft_lightning.policies.released.weights import read_released
from craft_lightning.structures import Observation


def classes() -> list[type[ReleasedPolicy]]:
    load_adapters()
    todo, found = [ReleasedPolicy], []
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__.startswith("craft_lightning.adapters."):
                found.append(cls)
    return sorted(found, key=lambda cls: cls.__name__)


CLASSES = classes()


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def policy(request) -> ReleasedPolicy:
    return request.param.example().set_trainable("decoder")


def observe(states: int, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    bev = (torch.rand(states, 6, 96, 96, generator=generator) > 0.7).to(torch.uint8) * 255
    ego = torch.rand(states, 5, generator=generator) * torch.tensor([12.0, 2.0, 0.3, 0.5, 14.0])
    route = torch.cumsum(torch.rand(states, 20, 2, generator=generator) * 2.0, 1)
    return Observation(bev=bev, ego=ego, route=route, batch_size=[states])


@torch.no_grad()
def driven(policy, states=5, seed=0):
    context = policy.encode(observe(states, seed))
    numbers = torch.rand(states, policy.proposal_noise, generator=torch.Generator().manual_seed(seed))
    return context, policy.propose(context, noise=numbers if policy.proposal_noise else None)


def test_there_are_adapters():
    assert len(CLASSES) >= 3


def test_the_context_can_be_stored_and_scores_give_ratio_one(policy):
    context, candidates = driven(policy)
    assert not any(value.requires_grad for value in context.values())
    rows = torch.stack([row.clone() for row in candidates.unbind(0)])
    found = policy.score(context, rows)
    assert torch.equal(found.joint.exp(), candidates.log_probs.exp())
    order = torch.tensor([3, 0])
    part = policy.score(context[order], rows[order]).joint
    valid = candidates.mask[order]
    torch.testing.assert_close(part[valid], candidates.log_probs[order][valid], atol=1e-5, rtol=0)


def test_factors_sum_to_the_joint_and_are_found_in_the_tables(policy):
    context, candidates = driven(policy)
    found = policy.score(context, candidates)
    valid = candidates.mask
    torch.testing.assert_close(found.factors.sum(-1)[valid], found.joint[valid], atol=2e-6, rtol=0)
    states = torch.arange(5)[:, None]
    for number, (table, row) in enumerate(zip(found.tables, found.prefix, strict=True)):
        entry = table[states, row, candidates.ids[..., number]]
        torch.testing.assert_close(entry[valid], found.factors[..., number][valid], atol=2e-6, rtol=0)
    torch.testing.assert_close(candidates.log_probs.exp().sum(1), torch.ones(5))
    assert [table.shape[-1] for table in found.tables] == [factor.size for factor in policy.spec.factors]


def test_trajectories_are_forty_poses_that_begin_near_the_ego(policy):
    _, candidates = driven(policy)
    plans = policy.trajectories(candidates)
    assert plans.shape[1:] == (candidates.mask.shape[1], 40, 3)
    assert torch.isfinite(plans).all()
    # A tenth of a second at any speed a car has.
    assert plans[:, :, 0, :2].norm(dim=-1).max() < 6.0


def test_only_the_head_learns(policy):
    context, candidates = driven(policy)
    allowed = set(policy.trainable_parameters())
    assert allowed
    joint = policy.score(context, candidates).joint[candidates.mask]
    (joint * torch.linspace(-1, 1, len(joint))).sum().backward()
    touched = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert touched == allowed


def test_a_support_is_replayed(policy):
    if policy.proposal_noise:
        pytest.skip("a support of samples is drawn again with its noise")
    context, everything = driven(policy)
    chosen = everything.log_probs.argsort(1, descending=True)[:, :3]
    rows = torch.arange(5)[:, None]
    part = policy.propose(context, support=everything.ids[rows, chosen])
    torch.testing.assert_close(part.log_mass, everything.log_probs[rows, chosen].logsumexp(1))
    found = policy.score(context, part)
    torch.testing.assert_close(found.joint, part.log_probs, atol=1e-6, rtol=0)
    assert torch.equal(policy.trajectories(part), policy.trajectories(everything).expand(5, -1, -1, -1)[rows, chosen])


def test_a_checkpoint_holds_the_head_and_starts_nothing(policy, tmp_path):
    context, candidates = driven(policy)
    path = save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(path)
    assert torch.equal(driven(loaded)[1].log_probs, candidates.log_probs)
    # With a source of one's own nothing of it is written.
    mine = copy.deepcopy(policy)
    mine.arguments["source"] = policy.source
    path = save_policy(tmp_path / "mine.safetensors", mine)
    bare = load_policy(path)
    assert bare.source is None
    with pytest.raises(CraftError, match="has no model to run"):
        bare.encode(observe(2))
    found = bare.score(context, candidates).joint
    torch.testing.assert_close(found, candidates.log_probs)


def test_a_file_cannot_name_a_program(policy):
    for source in ({"class_path": "BridgedModel", "init_args": {"python": "/bin/false"}}, "served:build"):
        with pytest.raises(CraftError, match="give a LocalModel or a BridgedModel"):
            type(policy)(**{**policy.arguments, "source": source})


def test_copies_share_the_model_and_not_the_head(policy):
    other = copy.deepcopy(policy)
    assert other.source is policy.source
    own, theirs = dict(policy.named_parameters()), dict(other.named_parameters())
    assert own.keys() == theirs.keys()
    assert all(own[name] is not theirs[name] for name in own)


def test_the_trained_head_goes_back_under_upstreams_names(policy, tmp_path):
    if not policy.head_names:
        with pytest.raises(CraftError, match="no layer of upstream's"):
            policy.save_upstream_head(tmp_path / "head.safetensors")
        return
    state = policy.source.state(tuple(policy.head_names.values()))
    head = policy.upstream_head()
    assert head
    for name, value in head.items():
        assert torch.equal(value, state[name]), name
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.5)
    moved = policy.upstream_head()
    assert moved.keys() == head.keys()
    assert any(not torch.equal(moved[name], head[name]) for name in head)
    policy.save_upstream_head(tmp_path / "head.safetensors")
    again = read_released(tmp_path / "head.safetensors")
    assert all(torch.equal(again[name], value) for name, value in moved.items())
    # The user's model is as it was.
    again = policy.source.state(tuple(policy.head_names.values()))
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_what_the_model_needs_is_said_where_it_is_missing(policy):
    policy.observation_inputs = {}
    with pytest.raises(CraftError) as caught:
        policy.encode(observe(2))
    text = str(caught.value)
    assert policy.card.name in text
    assert "\n" not in text
    assert "observation_inputs" in text


def test_a_model_of_another_size_is_named(policy):
    class Other(FeatureSource):
        def connect(self, taps, call, blank=()):
            self.taps = taps

        def state(self, prefixes):
            return {}

        def run(self, inputs):
            return {name: torch.zeros(2, 3) for name in self.taps}

    policy.source = Other()
    policy._connect(policy.taps)
    with pytest.raises(CraftError, match="construct the adapter with the model's sizes"):
        policy.encode(observe(2))
    if all(place.startswith(":") for place in policy.taps.values()):
        return  # Whatever answers by these names will do.
    with pytest.raises(CraftError, match="the model does not fit the adapter: the model Identity has no"):
        type(policy).example().attach(LocalModel(torch.nn.Identity()))


def test_cards_are_complete(policy):
    card = policy.card
    assert card.source.startswith("https://")
    for text in (card.name, card.licence, card.distribution, card.environment):
        assert text
    assert card.inputs
    assert len({item.name for item in card.inputs}) == len(card.inputs)
    assert {"heads", "decoder"} <= set(policy.profiles)
    assert card.tracker is not None or card.controller
    page = (Path(__file__).parents[2] / "docs" / "released_models.md").read_text()
    assert f"`{type(policy).__name__}`" in page


def test_importing_adapters_imports_no_stand_in():
    for cls in CLASSES:
        module = importlib.import_module(cls.__module__)
        assert not [name for name in vars(module) if name.startswith("StandIn")]
