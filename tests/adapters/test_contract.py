"""One battery for every adapter: a new one adds a row to CASES."""

import copy
from collections.abc import Callable

import pytest
import torch
from craft_lightning.adapters.gtrs import GTRS
from craft_lightning.adapters.vocabulary_scorer import VocabularyScorer

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.structures import CandidateSet, Context, Observation
from craft_lightning.testing.tiny import TinyVocabularyPolicy, random_vocabulary


def scorer(**arguments) -> VocabularyScorer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        policy = VocabularyScorer(**{"size": 24, "width": 32, "feedforward": 32, **arguments})
    policy.set_vocabulary(random_vocabulary(24))
    return policy


CASES: dict[str, Callable[..., PolicyAdapter]] = {
    "tiny": TinyVocabularyPolicy,
    "scorer": scorer,
    "gtrs": lambda **_: GTRS.example(),
    "scorer_reachable": lambda **arguments: scorer(reachable_speed=3.0, **arguments),
}


@pytest.fixture(params=CASES)
def policy(request) -> PolicyAdapter:
    return CASES[request.param]().set_trainable("decoder")


def observe(states: int, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    bev = (torch.rand(states, 6, 96, 96, generator=generator) > 0.7).to(torch.uint8) * 255
    ego = torch.rand(states, 5, generator=generator) * torch.tensor([12.0, 2.0, 0.3, 0.5, 14.0])
    route = torch.cumsum(torch.rand(states, 20, 2, generator=generator) * 2.0, 1)
    return Observation(bev=bev, ego=ego, route=route, batch_size=[states])


def driven(policy: PolicyAdapter, states: int = 5, seed: int = 0) -> tuple[Context, CandidateSet]:
    with torch.no_grad():
        context = policy.encode(observe(states, seed))
        return context, policy.propose(context)


def stored(candidates: CandidateSet) -> CandidateSet:
    """As the rollout keeps them: rows without geometry."""
    rows = [row.clone() for row in candidates.unbind(0)]
    for row in rows:
        row.trajectories = None
    return torch.stack(rows)


def test_candidates_follow_the_spec(policy):
    context, candidates = driven(policy)
    spec = policy.spec
    size = spec.factors[0].size
    assert candidates.trajectories.shape == (5, size, spec.num_poses, 3)
    assert candidates.ids.shape == (5, size, len(spec.factors))
    assert candidates.ids.dtype == torch.int64
    assert (candidates.chosen == -1).all()
    assert (candidates.log_mass == 0).all()
    torch.testing.assert_close(candidates.log_probs.exp().sum(1), torch.ones(5))
    assert (candidates.log_probs[~candidates.mask] == -torch.inf).all()
    assert not any(value.requires_grad for value in context.values())


def test_first_scoring_gives_ratio_one(policy):
    context, candidates = driven(policy)
    again = policy.score(context, stored(candidates))
    assert torch.equal(again.joint.exp(), candidates.log_probs.exp())
    assert torch.equal(again.factors[..., 0], again.joint)


def test_ratio_is_one_in_another_batch(policy):
    # Stored states are scored in mini-batches of another size and order than they were driven in.
    context, candidates = driven(policy, 6)
    order = torch.tensor([4, 1, 5])
    part = policy.score(context[order], stored(candidates)[order]).joint
    valid = candidates.mask[order]
    torch.testing.assert_close(part[valid], candidates.log_probs[order][valid], atol=1e-6, rtol=0)


def test_tables_hold_the_joint(policy):
    context, candidates = driven(policy)
    found = policy.score(context, candidates)
    (table,), (row,) = found.tables, found.prefix
    rebuilt = table[torch.arange(5)[:, None], row, candidates.ids[..., 0]]
    assert torch.equal(rebuilt.exp(), found.joint.exp())
    torch.testing.assert_close(table.exp().sum(-1), torch.ones(5, 1))


def test_greedy_and_sampled_actions_agree_with_proposals(policy):
    _, candidates = driven(policy)
    index, trajectory = policy.act(candidates, greedy=True)
    assert torch.equal(index, candidates.log_probs.argmax(1))
    assert torch.equal(trajectory, candidates.trajectories[torch.arange(5), index])
    bare_index, bare_trajectory = policy.act(stored(candidates), greedy=True)
    assert torch.equal(bare_index, index)
    assert torch.equal(bare_trajectory, trajectory)
    noise = torch.rand(candidates.mask.shape, generator=torch.Generator().manual_seed(0))
    first, second = policy.act(candidates, noise=noise), policy.act(candidates, noise=noise)
    assert torch.equal(first[0], second[0])
    assert candidates.mask[torch.arange(5), first[0]].all()


def test_samples_follow_the_behaviour_distribution(policy):
    _, candidates = driven(policy, 1)
    many = candidates.expand(20_000).clone()
    noise = torch.rand(many.mask.shape, generator=torch.Generator().manual_seed(1))
    index, _ = policy.act(many, noise=noise)
    share = torch.bincount(index, minlength=many.mask.shape[1]) / len(index)
    # Four standard errors of a share of at most one half.
    assert (share - candidates.log_probs[0].exp()).abs().max() < 4 * 0.5 / len(index) ** 0.5


def test_extreme_noise_is_survived(policy):
    _, candidates = driven(policy)
    for value in (0.0, 1.0):
        index, _ = policy.act(candidates, noise=torch.full(candidates.mask.shape, value))
        assert candidates.mask[torch.arange(5), index].all()


@pytest.mark.parametrize("profile", ["heads", "decoder", "all", "none"])
def test_gradient_reaches_only_the_profile(policy, profile):
    policy.set_trainable(profile)
    allowed = set(policy.trainable_parameters())
    context = policy.encode(observe(3))
    candidates = policy.propose(context)
    joint = policy.score(context, candidates).joint[candidates.mask]
    assert joint.requires_grad == (profile != "none")
    if profile == "none":
        return
    (joint * torch.linspace(-1, 1, len(joint))).sum().backward()
    # Exactly the profile: nothing outside is touched and nothing inside is left out (a unit may be dead, not a module).
    touched = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    if profile == "all":
        assert {name.split(".")[0] for name in touched} >= {name.split(".")[0] for name in allowed} - {"backbone"}
    else:
        assert touched == allowed
    assert touched <= allowed


def test_stored_contexts_give_gradient_to_the_decoder_alone(policy):
    policy.set_trainable("all")
    context, candidates = driven(policy)
    policy.score(context, candidates).joint[candidates.mask].sum().backward()
    outside = {name for name, p in policy.named_parameters() if p.grad is not None}
    assert outside
    assert all(name.split(".")[0] in type(policy).profiles["decoder"] for name in outside)


def test_teacher_parameters_equal_swapped_weights(policy):
    context, candidates = driven(policy)
    generator = torch.Generator().manual_seed(5)
    teacher = {
        name: parameter.detach() + 0.1 * torch.randn(parameter.shape, generator=generator)
        for name, parameter in policy.trainable_parameters().items()
    }
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    by_call = policy.score(context, candidates, params=teacher).joint
    swapped = copy.deepcopy(policy)
    with torch.no_grad():
        for name, parameter in swapped.trainable_parameters().items():
            parameter.copy_(teacher[name])
    assert torch.equal(by_call.exp(), swapped.score(context, candidates).joint.exp())
    assert not torch.equal(by_call, policy.score(context, candidates).joint)
    assert all(torch.equal(before[name], parameter) for name, parameter in policy.named_parameters())


def test_unknown_teacher_names_are_refused(policy):
    context, candidates = driven(policy)
    with pytest.raises(CraftError, match=r"head\.wieght"):
        policy.score(context, candidates, params={"head.wieght": torch.zeros(1)})
    name, parameter = next(iter(policy.trainable_parameters().items()))
    with pytest.raises(CraftError, match="shape"):
        policy.score(context, candidates, params={name: torch.zeros(*parameter.shape, 2)})


def test_support_is_replayed_exactly(policy):
    # P3: student, behaviour and teacher are compared on one stored support, renormalised on it.
    context, everything = driven(policy)
    generator = torch.Generator().manual_seed(2)
    keys = torch.rand(everything.mask.shape, generator=generator).masked_fill(~everything.mask, -1.0)
    ids = keys.argsort(1, descending=True)[:, :3].unsqueeze(-1)
    part = policy.propose(context, support=ids)
    assert torch.equal(part.ids, ids)
    expected = everything.log_probs.gather(1, ids[..., 0])
    torch.testing.assert_close(part.log_mass, expected.logsumexp(1))
    found = policy.score(context, stored(part))
    valid = part.mask
    torch.testing.assert_close(found.joint[valid], part.log_probs[valid], atol=1e-6, rtol=0)
    torch.testing.assert_close(part.log_probs.exp().sum(1), torch.ones(5))
    rows = torch.arange(5)[:, None]
    torch.testing.assert_close(found.tables[0][rows, 0, ids[..., 0]], found.joint, rtol=0, atol=0)
    assert torch.equal(part.trajectories, everything.trajectories[rows, ids[..., 0]])
    assert torch.equal(policy.trajectories(stored(part)), part.trajectories)
    # A smaller support only renormalises: differences of log-probabilities stay.
    gaps = expected - expected[:, :1]
    torch.testing.assert_close(part.log_probs - part.log_probs[:, :1], gaps, atol=2e-6, rtol=0)


def test_masked_entries_get_nothing(policy):
    context, candidates = driven(policy)
    keep = candidates.mask.long().argmax(1)
    candidates.mask = candidates.mask.clone()
    candidates.mask[torch.arange(5), candidates.log_probs.argmax(1)] = False
    candidates.mask[torch.arange(5), keep] = True
    joint = policy.score(context, candidates).joint
    assert (joint[~candidates.mask] == -torch.inf).all()
    torch.testing.assert_close(joint.exp().sum(1), torch.ones(5))
    joint.masked_fill(~candidates.mask, 0.0).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.trainable_parameters().values())


def test_training_mode_cannot_move_a_score():
    # P6: dropout and batch statistics belong to pre-training alone.
    for make in (lambda: TinyVocabularyPolicy(dropout=0.5), lambda: scorer(dropout=0.5)):
        policy = make().set_trainable("decoder")
        policy.train()
        context, candidates = driven(policy)
        assert torch.equal(policy.score(context, candidates).joint, candidates.log_probs)
        assert not any(module.training for module in policy.modules())
        policy.set_trainable("all").train()
        moved = policy.score(context, candidates).joint
        assert not torch.allclose(moved, candidates.log_probs, atol=1e-3)
        # Leaving pre-training ends it without another call.
        policy.set_trainable("heads")
        assert torch.equal(policy.score(context, candidates).joint, candidates.log_probs)


def test_running_statistics_are_frozen_in_fine_tuning():
    policy = scorer().set_trainable("decoder").train()
    before = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    policy.encode(observe(4))
    assert all(torch.equal(before[name], buffer) for name, buffer in policy.named_buffers())
    policy.set_trainable("all").train()
    policy.encode(observe(4))
    assert any(not torch.equal(before[name], buffer) for name, buffer in policy.named_buffers())


def test_checkpoint_round_trip_is_bit_equal(policy, tmp_path):
    context, candidates = driven(policy)
    policy.calibrate_temperature(context, 0.5)
    candidates = policy.propose(context)
    loaded = load_policy(save_policy(tmp_path / "policy.safetensors", policy))
    assert loaded is not policy
    assert type(loaded) is type(policy)
    assert loaded.spec == policy.spec
    same_context, same_candidates = driven(loaded)
    assert all(torch.equal(context[key], same_context[key]) for key in context.keys())  # noqa: SIM118
    assert torch.equal(candidates.log_probs, same_candidates.log_probs)
    assert torch.equal(candidates.trajectories, same_candidates.trajectories)
    assert torch.equal(candidates.mask, same_candidates.mask)


def test_temperature_is_shared_by_behaviour_and_score(policy):
    # P2 and P6: one stored temperature, in the spec, in what is drawn and in what is scored.
    context, cold = driven(policy, 8)
    target = 0.5 * (1.0 + 1.0 / cold.mask.sum(1).amax().item())
    found = policy.calibrate_temperature(context, target)
    warm = policy.propose(context)
    assert policy.spec.temperature == found
    assert warm.log_probs.exp().amax(1).mean().item() == pytest.approx(target, abs=1e-3)
    assert torch.equal(policy.score(context, warm).joint, warm.log_probs)
    assert policy.calibrate_temperature(context, target) == pytest.approx(found, rel=1e-6)
    with pytest.raises(CraftError, match="target"):
        policy.calibrate_temperature(context, 1.0)


def test_context_is_small(policy):
    context, _ = driven(policy)
    stored_bytes = sum(value.numel() * value.element_size() for value in context.values()) / 5
    assert stored_bytes <= 30_000


def test_context_is_the_same_alive_and_stored(policy):
    # Pre-training differentiates what fine-tuning stores in half precision: the numbers are the same.
    policy.set_trainable("all").eval()
    alive = policy.encode(observe(2))
    stored_context, candidates = driven(policy, 2)
    for key in alive.keys():  # noqa: SIM118
        assert torch.equal(alive[key].detach().float(), stored_context[key].float())
    assert torch.equal(policy.score(alive, candidates).joint, policy.score(stored_context, candidates).joint)


def test_bad_candidates_are_refused(policy):
    context, candidates = driven(policy)
    for field, value, text in (
        ("mask", torch.zeros_like(candidates.mask), "without a valid candidate"),
        ("mask", candidates.mask.float(), "booleans"),
        ("ids", candidates.ids[..., 0], "candidates.ids"),
        ("log_probs", torch.full_like(candidates.log_probs, torch.nan), "log_probs is NaN"),
        ("log_mass", candidates.log_probs, "log_mass"),
        ("trajectories", candidates.trajectories[..., :2], "trajectories"),
        ("trajectories", candidates.trajectories * torch.nan, "trajectories is NaN"),
        ("ids", candidates.ids.flip(1) + 1, "outside"),
    ):
        broken = candidates.clone(recurse=False)
        setattr(broken, field, value)
        with pytest.raises(CraftError, match=text):
            policy.score(context, broken)


def test_actions_need_noise(policy):
    _, candidates = driven(policy)
    with pytest.raises(CraftError, match="greedy"):
        policy.act(candidates)
    with pytest.raises(CraftError, match="noise has shape"):
        policy.act(candidates, noise=torch.rand(5, 2))


def test_unknown_profile_is_refused(policy):
    with pytest.raises(CraftError, match="backbones"):
        policy.set_trainable("backbones")


def test_control_view_of_a_straight_line(policy):
    line = torch.zeros(40, 3)
    line[:, 0] = torch.arange(1, 41) * 0.5
    view = policy.control_view(line)
    assert torch.equal(view["path"], line[:, :2])
    torch.testing.assert_close(view["speed"], torch.full((40,), 5.0))


def test_one_seed_gives_one_policy():
    contexts = [driven(scorer())[1].log_probs for _ in range(2)]
    assert torch.equal(*contexts)
    state = torch.random.get_rng_state()
    TinyVocabularyPolicy(seed=4)
    assert torch.equal(state, torch.random.get_rng_state())
