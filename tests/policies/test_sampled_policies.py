"""Policies with densities in the loop: replay, greedy driving, divergence in closed form, a few steps of CRAFT."""

import pytest
import torch
from torch.distributions import Normal

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.entropy import Entropy
from craft_lightning.objectives.functional import kl_divergence
from craft_lightning.objectives.group_relative import GroupRelative
from craft_lightning.objectives.policy_gradient import ProximalPolicy, ReinforcePlusPlus
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.testing.straight_road import straight_road
from craft_lightning.testing.tiny_densities import TinyBetaPolicy, TinyDiffusionPolicy, TinyGaussianPolicy
from craft_lightning.testing.transitions import (
    ProgressWorld,
    SyntheticDataModule,
    random_observation,
    synthetic_transitions,
)

POLICIES = {"gaussian": TinyGaussianPolicy, "beta": TinyBetaPolicy, "diffusion": TinyDiffusionPolicy}


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]().set_trainable("heads")


@torch.no_grad()
def driven(policy, states=6, seed=0):
    context = policy.encode(random_observation(states, torch.Generator().manual_seed(seed)))
    noise = torch.rand(states, policy.proposal_noise, generator=torch.Generator().manual_seed(seed + 1))
    return context, policy.propose(context, noise=noise), noise


def moved(policy, size=0.05):
    generator = torch.Generator().manual_seed(9)
    return {
        name: p.detach() + size * torch.randn(p.shape, generator=generator)
        for name, p in policy.trainable_parameters().items()
    }


def test_first_scoring_is_exactly_the_proposal(policy):
    context, candidates, _ = driven(policy)
    assert torch.equal(policy.score(context, candidates).joint, candidates.log_probs)
    part = torch.tensor([4, 1])
    joint = policy.score(context[part], candidates[part]).joint
    mask = candidates.mask[part]
    torch.testing.assert_close(joint[mask], candidates.log_probs[part][mask], atol=1e-5, rtol=0)


def test_noise_fixes_the_proposal(policy):
    context, candidates, noise = driven(policy)
    again = policy.propose(context, noise=noise)
    assert torch.equal(again.trajectories, candidates.trajectories)
    other = policy.propose(context, noise=1.0 - noise)
    assert not torch.equal(other.trajectories, candidates.trajectories)
    assert torch.equal(policy.propose(context).trajectories, policy.listing(context).trajectories)
    with pytest.raises(CraftError, match="proposal_noise"):
        policy.propose(context, noise=noise[:, 1:])


def test_a_stored_support_is_replayed(policy):
    context, candidates, noise = driven(policy)
    rows = torch.tensor([5, 2, 9]).expand(6, -1)
    ids = candidates.ids[:, [5, 2, 9]]
    part = policy.propose(context, support=ids, noise=noise)
    assert torch.equal(part.trajectories, candidates.trajectories[:, [5, 2, 9]])
    expected = candidates.log_probs.gather(1, rows)
    torch.testing.assert_close(part.log_probs, expected.log_softmax(1))
    torch.testing.assert_close(part.log_mass, expected.logsumexp(1))
    torch.testing.assert_close(policy.score(context, part).joint, part.log_probs, atol=1e-6, rtol=0)
    with pytest.raises(CraftError, match="outside"):
        policy.propose(context, support=ids + 1000, noise=noise)


def test_greedy_driving_executes_the_centre(policy):
    context, candidates, noise = driven(policy)
    index, plan = policy.act(candidates, greedy=True)
    assert not candidates.mask[torch.arange(6), index].any()
    other = policy.propose(context, noise=1.0 - noise)
    assert torch.equal(policy.act(other, greedy=True)[1], plan)  # no noise in it
    drawn, _ = policy.act(candidates, noise=torch.rand(candidates.mask.shape))
    assert candidates.mask[torch.arange(6), drawn].all()


def test_latents_are_required(policy):
    context, candidates, _ = driven(policy)
    candidates.latent = None
    with pytest.raises(CraftError, match="latent"):
        policy.score(context, candidates)


def test_divergence_is_zero_at_home_and_near_that_of_the_candidates_abroad(policy):
    if isinstance(policy, TinyDiffusionPolicy):
        policy = TinyDiffusionPolicy(group=256).set_trainable("heads")
    else:
        policy = type(policy)(samples=512).set_trainable("heads")
    context, candidates, _ = driven(policy)
    student = policy.score(context, candidates)
    home = policy.divergence(student.law, student.law.detach())
    assert (home == 0).all()
    gradients = torch.autograd.grad(home.sum(), list(policy.trainable_parameters().values()))
    assert all((gradient == 0).all() for gradient in gradients)
    other = policy.score(context, candidates, params=moved(policy, 0.01))
    closed = policy.divergence(other.law, student.law).detach()
    sampled = kl_divergence(other.joint, student.joint, candidates.mask).detach()
    assert (closed > 0).all()
    torch.testing.assert_close(closed, sampled, rtol=0.35, atol=1e-4)


def test_chain_ratio_is_the_difference_of_step_densities():
    policy = TinyDiffusionPolicy()
    _, candidates, _ = driven(policy)
    chain, old = candidates.latent["chain"], candidates.latent["mean"]
    new = old + 0.05
    sigma = policy.deviation[:, None]
    exact = (Normal(new, sigma).log_prob(chain[:, :, 1:]) - Normal(old, sigma).log_prob(chain[:, :, 1:])).sum((2, 3))
    torch.testing.assert_close(policy.chain_log_ratio(new, old, chain), exact, atol=1e-4, rtol=1e-4)
    assert (policy.deviation >= 0.1).all()


def test_modes_and_chains_are_factors():
    policy = TinyDiffusionPolicy()
    context, candidates, _ = driven(policy)
    found = policy.score(context, candidates)
    mask = candidates.mask
    torch.testing.assert_close(found.factors.sum(-1)[mask], found.joint[mask])
    exact = policy.mode_logits(context).log_softmax(1)
    torch.testing.assert_close(found.tables[0].squeeze(1), exact)
    torch.testing.assert_close(found.tables[1].exp().sum(-1), torch.ones(6, 4))


def test_expected_gradient_of_mode_and_chain_is_the_policy_gradient():
    """One coordinate, one step, A = x^2: E = sum_m pi_m (mean_m^2 + s^2); the chain's part carries 1 - pi_m / G."""
    from craft_lightning.policies.densities import self_normalised

    repeats, group, sigma = 40_000, 3, 0.5
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.5, -0.3], dtype=torch.float64)
    mean = torch.tensor([0.2, -0.6], dtype=torch.float64)
    scores = logits.expand(repeats, -1).clone().requires_grad_()
    means = mean.expand(repeats, -1).clone().requires_grad_()
    mode = torch.tensor([0, 0, 0, 1, 1, 1])
    value = mean[mode] + sigma * torch.randn(repeats, 6, generator=generator, dtype=torch.float64)
    ratio = Normal(means[:, mode], sigma).log_prob(value) - Normal(mean[mode], sigma).log_prob(value)
    joint = self_normalised(ratio, torch.ones(repeats, 6, dtype=torch.bool), scores.log_softmax(1)[:, mode])
    objective = (joint.exp() * value.square()).sum(1)
    found = torch.autograd.grad(objective.sum(), (scores, means))
    pi = logits.softmax(0)
    expected = mean.square() + sigma**2
    exact = (pi * (expected - (pi * expected).sum()), (1 - pi / group) * pi * 2 * mean)
    for rows, truth in zip(found, exact, strict=True):
        assert ((rows.mean(0) - truth).abs() < 4.5 * rows.std(0) / repeats**0.5).all()


def test_entropy_follows_the_law_and_not_the_samples(policy):
    context, candidates, _ = driven(policy)
    outputs = policy.score(context, candidates)
    parameters = list(policy.trainable_parameters().values())
    term = policy.law_entropy(outputs.law).mean()
    found = torch.autograd.grad(term, parameters, allow_unused=True, materialize_grads=True, retain_graph=True)
    assert any((gradient != 0).any() for gradient in found)
    host = type("Host", (), {"adapter": policy, "report": lambda self, values: None})()
    torch.testing.assert_close(Entropy().term(host, None, candidates, outputs), -term)


def proxy():
    loss = CounterfactualProxy(name="proxy", floor=1.0)
    loss._world = ProgressWorld()
    return loss


def losses(kind):
    if kind == "craft":
        return [proxy(), GroundedResidual(0.5, name="residual"), SelfDistillation(0.1, name="anchor"), Entropy(1e-3)]
    if kind == "grpo":
        loss = GroupRelative(name="group", floor=1.0)
        loss._world = ProgressWorld()
        return [loss]
    executed = ReinforcePlusPlus if kind == "reinforce" else ProximalPolicy
    return [executed(name=kind), proxy()]


@pytest.mark.parametrize("kind", ["craft", "grpo", "reinforce", "ppo"])
def test_a_few_steps_raise_the_return(policy, kind, quiet_trainer):
    def returned():
        transitions = synthetic_transitions(policy, 256, seed=77)
        candidates = transitions.candidates
        end = policy.trajectories(candidates)[:, :, -1]
        value = (end[..., 0] - 3.0 * end[..., 1].abs()).masked_fill(~candidates.mask, 0.0)
        return float((candidates.log_probs.exp() * value).sum(1).mean())

    before = returned()
    module = CraftModule(policy, learning_rate=2e-2)
    trainer = quiet_trainer(losses(kind), max_epochs=4)
    trainer.fit(module, datamodule=SyntheticDataModule(transitions=64, passes=2))
    assert returned() > before + 0.5
    if kind == "craft":
        assert float(trainer.callback_metrics["anchor/kl_student_teacher"]) > 0.0


def test_more_samples_may_be_drawn_than_a_checkpoint_did(tmp_path):
    saved = save_policy(tmp_path / "policy.safetensors", TinyGaussianPolicy(samples=4))
    policy = TinyGaussianPolicy(samples=32)
    load_policy(saved, policy)
    assert driven(policy)[1].mask.sum(1).tolist() == [32] * 6
    with pytest.raises(CraftError, match="width"):
        load_policy(saved, TinyGaussianPolicy(width=9))


def test_the_counterfactual_world_judges_the_draws(policy):
    transitions = synthetic_transitions(policy, 12, seed=1)
    world = CounterfactualProxy(name="proxy", backend="torch")
    values = {}
    host = type("Host", (), {"adapter": policy, "device": torch.device("cpu")})()
    host.report = host.report_iteration = values.update
    world.annotate(transitions, host, [straight_road()])
    candidates = transitions.candidates
    assert (transitions.advantage[~candidates.mask] == 0).all()
    assert (transitions.advantage[candidates.mask] != 0).any()
    assert candidates.mask[torch.arange(12), candidates.chosen].all()  # what is executed is among the draws
    outputs = policy.score(transitions.context, candidates)
    term = world.term(host, transitions, candidates, outputs)
    found = torch.autograd.grad(term, list(policy.trainable_parameters().values()))
    assert all(torch.isfinite(gradient).all() and (gradient != 0).any() for gradient in found)
