"""Several factors: chain rules against the enumerated joint, ratios at every level, advantages by factor."""

import itertools

import pytest
import torch
from tensordict import TensorDict

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives import factored, functional
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.entropy import Entropy
from craft_lightning.objectives.group_relative import GroupRelative
from craft_lightning.objectives.policy_gradient import ReinforcePlusPlus
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.objectives.surrogates import group_relative_loss
from craft_lightning.policies.factored import list_plans, score_plans
from craft_lightning.structures import CandidateSet, FactorLogProbs
from craft_lightning.testing.tiny_hierarchical import TinyHierarchicalPolicy
from craft_lightning.testing.transitions import synthetic_transitions

STATES, PATHS, SPEEDS = 6, 5, 4


def logits(seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(STATES, PATHS * SPEEDS, generator=generator, dtype=torch.float64)).log_softmax(1)


def duplicates(share: float) -> torch.Tensor:
    """Some plans of some states stand for an earlier one."""
    generator = torch.Generator().manual_seed(9)
    same = torch.arange(PATHS * SPEEDS).expand(STATES, -1).clone()
    same[torch.rand(STATES, PATHS * SPEEDS, generator=generator) < share] = 0
    # A path of state 0 keeps nothing of its own.
    same[0, SPEEDS : 2 * SPEEDS] = 0 if share else same[0, SPEEDS : 2 * SPEEDS]
    return same


def distribution(values: torch.Tensor, share: float = 0.0, support: torch.Tensor | None = None):
    same = duplicates(share)
    candidates = list_plans(values.detach(), same, SPEEDS, support)
    return candidates, score_plans(values, same, SPEEDS, candidates)


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("part", [False, True])
def test_chain_rule_equals_the_enumerated_divergence(share, part):
    support = None
    if part:
        support = torch.tensor(list(itertools.product(range(PATHS), range(SPEEDS))))[[0, 1, 6, 7, 13, 19]]
        support = support.expand(STATES, -1, -1)
    candidates, p = distribution(logits(1).requires_grad_(), share, support)
    _, q = distribution(logits(2), share, support)
    for first, second in ((p, q), (q, p)):
        chain = factored.divergence(first, second, candidates.mask)
        exact = functional.kl_divergence(first.joint, second.joint, candidates.mask)
        torch.testing.assert_close(chain, exact, atol=1e-9, rtol=0)
    torch.testing.assert_close(
        factored.plan_entropy(p, candidates.mask), functional.entropy(p.joint, candidates.mask), atol=1e-9, rtol=0
    )


def test_single_precision_is_exact_enough():
    candidates, p = distribution(logits(1).float())
    _, q = distribution(logits(2).float())
    chain, exact = (
        factored.divergence(p, q, candidates.mask),
        functional.kl_divergence(p.joint, q.joint, candidates.mask),
    )
    torch.testing.assert_close(chain, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_chain_rule_has_the_gradient_of_the_enumerated_divergence(share):
    found = []
    for rule in (factored.divergence, lambda p, q, mask: functional.kl_divergence(p.joint, q.joint, mask)):
        values = logits(1).requires_grad_()
        candidates, p = distribution(values, share)
        _, q = distribution(logits(2), share)
        (rule(p, q, candidates.mask) + 0.3 * rule(q, p, candidates.mask)).sum().backward()
        found.append(values.grad)
    assert torch.isfinite(found[0]).all()
    torch.testing.assert_close(*found, atol=1e-9, rtol=0)


def test_uniform_path_weights_are_another_number():
    # The known trap: branches that the first argument never takes would count.
    candidates, p = distribution(logits(1))
    _, q = distribution(logits(2))
    path, speed = factored.factor_divergences(p, q, candidates.mask).unbind(-1)
    rows = functional.kl_divergence(p.tables[1], q.tables[1], torch.ones(STATES, PATHS, SPEEDS, dtype=torch.bool))
    assert ((rows.mean(1) - speed).abs() > 0.05).all()
    weighted = (p.tables[0][:, 0].exp() * rows).sum(1)
    torch.testing.assert_close(speed, weighted)
    # And the weights are the first argument's, not the second's.
    assert ((q.tables[0][:, 0].exp() * rows).sum(1) - speed).abs().max() > 0.05
    torch.testing.assert_close(
        path, functional.kl_divergence(p.tables[0][:, 0], q.tables[0][:, 0], torch.ones(STATES, PATHS) > 0)
    )


def test_equal_policies_leave_no_rounding_behind():
    values = logits(1).float().requires_grad_()
    candidates, p = distribution(values, 0.4)
    q = FactorLogProbs(p.joint.detach(), p.factors.detach(), [table.detach() for table in p.tables], p.prefix)
    loss = factored.divergence(p, q, candidates.mask).sum() + factored.divergence(q, p, candidates.mask).sum()
    loss.backward()
    assert loss == 0.0
    assert (values.grad == 0).all()


def test_factor_weights_scale_their_terms():
    candidates, p = distribution(logits(1))
    _, q = distribution(logits(2))
    terms = factored.factor_divergences(p, q, candidates.mask)
    torch.testing.assert_close(factored.divergence(p, q, candidates.mask, [3.0, 0.0]), 3.0 * terms[:, 0])
    with pytest.raises(CraftError, match="2 factors"):
        factored.divergence(p, q, candidates.mask, [1.0])
    with pytest.raises(CraftError, match="no weight"):
        SelfDistillation(factor_weights=[1.0, -1.0])


# --- sampled sequences ------------------------------------------------------------------------------------------------


def token_policy(seed: int, tokens: int = 3, length: int = 3):
    """Conditional tables of every prefix of ``length`` tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(tokens**step, tokens, generator=generator, dtype=torch.float64).log_softmax(-1)
        for step in range(length)
    ]


def sampled(policy, sequences: torch.Tensor, tokens: int = 3) -> FactorLogProbs:
    """Score one state's sequences [K, L]; a row of a table a candidate, as a model that is run on them gives."""
    rows, factors, tables = torch.zeros(len(sequences), dtype=torch.int64), [], []
    for step, table in enumerate(policy):
        tables.append(table[rows].unsqueeze(0))
        factors.append(table[rows, sequences[:, step]])
        rows = rows * tokens + sequences[:, step]
    stacked = torch.stack(factors, -1).unsqueeze(0)
    prefix = [torch.arange(len(sequences)).unsqueeze(0)] * len(policy)
    return FactorLogProbs(stacked.sum(-1).log_softmax(-1), stacked, tables, prefix)


def test_all_sequences_give_the_exact_divergence():
    everything = torch.tensor(list(itertools.product(range(3), repeat=3)))
    p, q = (sampled(token_policy(seed), everything) for seed in (1, 2))
    mask = torch.ones(1, 27, dtype=torch.bool)
    exact = functional.kl_divergence(p.joint, q.joint, mask)
    torch.testing.assert_close(factored.divergence(p, q, mask), exact)
    torch.testing.assert_close(factored.plan_entropy(p, mask), functional.entropy(p.joint, mask))


def test_sampled_sequences_see_what_the_sample_left_out():
    everything = torch.tensor(list(itertools.product(range(3), repeat=3)))
    p, q = (sampled(token_policy(seed), everything) for seed in (1, 2))
    exact = functional.kl_divergence(p.joint, q.joint, torch.ones(1, 27, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    chained, enumerated = [], []
    for _ in range(400):
        # Eight distinct sequences by the Gumbel trick, as a policy without replacement draws them.
        keys = p.joint[0] - torch.log(-torch.log(torch.rand(27, generator=generator, dtype=torch.float64)))
        some = everything[keys.topk(8).indices]
        mask = torch.ones(1, 8, dtype=torch.bool)
        part_p, part_q = (sampled(token_policy(seed), some) for seed in (1, 2))
        chained.append(factored.divergence(part_p, part_q, mask))
        enumerated.append(functional.kl_divergence(part_p.joint, part_q.joint, mask))
    chained, enumerated = torch.cat(chained), torch.cat(enumerated)
    assert (chained.mean() - exact).abs() < 0.1 * exact
    assert (chained - exact).square().mean() < 0.25 * (enumerated - exact).square().mean()


# --- ratios -----------------------------------------------------------------------------------------------------------


def test_prefix_masses_rebuild_the_factors():
    candidates, p = distribution(logits(1).requires_grad_(), 0.4)
    index = torch.arange(PATHS * SPEEDS).expand(STATES, -1)
    masses = factored.prefix_masses(p.joint, candidates.ids, candidates.mask, index)
    factors = masses.diff(dim=-1, prepend=torch.zeros_like(masses[..., :1]))
    valid = candidates.mask
    torch.testing.assert_close(factors[valid], p.factors[valid])
    assert (masses[~valid] == 0).all()
    masses.sum().backward()


def moved() -> tuple[CandidateSet, FactorLogProbs, torch.Tensor]:
    values = (logits(1) + 0.3 * logits(2)).requires_grad_()
    candidates, _ = distribution(logits(1), 0.4)
    outputs = score_plans(values, duplicates(0.4), SPEEDS, candidates)
    return candidates, outputs, values


@pytest.mark.parametrize("level", factored.LEVELS)
def test_ratios_of_every_level(level):
    candidates, outputs, _ = moved()
    index = candidates.log_probs.argmax(1, keepdim=True)
    new, old = factored.levelled_log_probs(level, outputs, candidates, index)
    total = (outputs.joint - candidates.log_probs).gather(1, index).squeeze(1)
    torch.testing.assert_close((new - old).sum(-1).squeeze(1), total)
    taken = factored.at_level(level, (new - old).squeeze(1), torch.ones(STATES).double(), lambda rho, a: rho * a)
    both = (new - old).squeeze(1)
    expected = {
        "joint": total.exp(),
        "gspo": (total / 2).exp(),
        "factor": both.exp().sum(-1),
        "token": both.exp().mean(-1),
    }[level]
    torch.testing.assert_close(taken, expected)


def test_behaviour_factors_of_a_sampling_policy_come_first():
    candidates, outputs, _ = moved()
    stored = torch.randn(STATES, PATHS * SPEEDS, 2).double()
    candidates.latent = TensorDict({"factors": stored}, batch_size=[STATES])
    index = torch.full((STATES, 1), 3)
    new, old = factored.levelled_log_probs("token", outputs, candidates, index)
    assert torch.equal(old[:, 0], stored[:, 3])
    assert torch.equal(new[:, 0], outputs.factors[:, 3])


@pytest.mark.parametrize(("level", "scale"), [("joint", 1.0), ("factor", 1.0), ("token", 0.5), ("gspo", 0.5)])
def test_an_unmoved_policy_has_the_proxy_gradient_at_every_level(level, scale):
    values = logits(1).requires_grad_()
    candidates, outputs = distribution(values, 0.4)
    index = torch.arange(PATHS * SPEEDS).expand(STATES, -1)
    new, old = factored.levelled_log_probs(level, outputs, candidates, index)
    advantage = logits(5).masked_fill(~candidates.mask, 0.0)
    loss = group_relative_loss(new, old, candidates.log_probs, advantage, candidates.mask, level=level)
    found = torch.autograd.grad(loss, values, retain_graph=True)[0]
    exact = torch.autograd.grad(functional.expected_advantage_loss(outputs.joint, advantage, candidates.mask), values)[
        0
    ]
    torch.testing.assert_close(found, scale * exact, atol=1e-9, rtol=0)


def test_factor_advantages_telescope_and_keep_the_gradient():
    values = logits(1).requires_grad_()
    candidates, outputs = distribution(values, 0.4)
    mask, old = candidates.mask, candidates.log_probs
    advantage = logits(5).masked_fill(~mask, 0.0)
    parts = factored.factor_advantages(advantage, old, candidates.ids, mask)
    torch.testing.assert_close(parts.sum(-1), advantage)
    weights = old.exp()
    for state, path in itertools.product(range(STATES), range(PATHS)):
        own = mask[state] & (candidates.ids[state, :, 0] == path)
        if own.any():
            mean = (weights[state, own] * advantage[state, own]).sum() / weights[state, own].sum()
            torch.testing.assert_close(parts[state, own, 0], mean.expand(int(own.sum())))
    index = torch.arange(PATHS * SPEEDS).expand(STATES, -1)
    new, before = factored.levelled_log_probs("factor", outputs, candidates, index)
    loss = group_relative_loss(new, before, old, parts, mask, level="factor")
    found = torch.autograd.grad(loss, values, retain_graph=True)[0]
    exact = torch.autograd.grad(functional.expected_advantage_loss(outputs.joint, advantage, mask), values)[0]
    torch.testing.assert_close(found, exact, atol=1e-9, rtol=0)


# --- callbacks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def module():
    return CraftModule(TinyHierarchicalPolicy(), trainable="decoder")


@pytest.fixture
def batch(module):
    return synthetic_transitions(module.adapter, count=32, collisions=1.0)


@pytest.mark.parametrize("level", factored.LEVELS)
@pytest.mark.parametrize("make", [GroundedResidual, ReinforcePlusPlus])
def test_losses_on_executed_plans_take_a_level(module, batch, make, level, monkeypatch):
    monkeypatch.setattr(module, "report", lambda values: None)
    monkeypatch.setattr(module, "report_iteration", lambda values: None)
    loss = make(ratio_level=level)
    loss.annotate(batch, module, [])
    outputs = module.adapter.score(batch.context, batch.candidates)
    term = loss.term(module, batch, batch.candidates, outputs)
    term.backward()
    gradients = [p.grad for p in module.adapter.trainable_parameters().values()]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().max() > 0 for g in gradients)


def test_distillation_and_entropy_use_the_chain_rule(module, batch, monkeypatch):
    monkeypatch.setattr(module, "report", lambda values: None)
    monkeypatch.setattr(module, "report_iteration", lambda values: None)
    anchor = SelfDistillation(reverse=1.0, forward=0.0)
    student = {name: p.detach().clone() for name, p in module.adapter.trainable_parameters().items()}
    anchor.teacher = {name: tensor + 0.2 for name, tensor in student.items()}
    anchor.pretrained = student
    with torch.no_grad():
        anchor.annotate(batch, module, [])
    part = batch[torch.tensor([3, 30, 11])]
    outputs = module.adapter.score(part.context, part.candidates)
    term = anchor.term(module, part, part.candidates, outputs)
    teacher = module.adapter.score(part.context, part.candidates, params=anchor.teacher)
    exact = functional.kl_divergence(outputs.joint, teacher.joint, part.candidates.mask).mean()
    torch.testing.assert_close(term, exact, atol=1e-6, rtol=1e-5)
    bonus = Entropy().term(module, part, part.candidates, outputs)
    torch.testing.assert_close(
        -bonus, functional.entropy(outputs.joint, part.candidates.mask).mean(), atol=1e-6, rtol=1e-6
    )


def test_unknown_levels_are_refused():
    with pytest.raises(CraftError, match="ratio_level is 'tokens'"):
        GroundedResidual(ratio_level="tokens")
    with pytest.raises(CraftError, match="ratio a factor"):
        GroupRelative(factor_advantage=True)
