"""Sentences of motion: drawn without replacement with the right law, and scored again as they were drawn."""

import itertools

import pytest
import torch
from craft_lightning.adapters.vision_language_motion import VisionLanguageMotion

from craft_lightning.errors import CraftError
from craft_lightning.objectives.factored import divergence
from craft_lightning.policies.vision_language.motion import MotionCode
from craft_lightning.policies.vision_language.sequences import draw_sequences
from craft_lightning.testing.subject import observe_at_random

TINY = {"width": 64, "layers": 2, "vision_width": 32, "vision_layers": 1}


def make(**arguments) -> VisionLanguageMotion:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        policy = VisionLanguageMotion(**{"candidates": 6, **TINY, **arguments})
        for parameter in policy.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return policy.set_trainable("lora").eval()


def noise_for(policy, states, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(states, policy.proposal_noise, generator=generator, dtype=torch.float64)


class Chain:
    """A law over sentences of three tokens out of four whose every prefix has a distribution of its own."""

    length, size = 3, 4

    def __init__(self, states: int) -> None:
        generator = torch.Generator().manual_seed(2)
        self.tables = [torch.randn(4**level, 4, generator=generator).log_softmax(-1) for level in range(3)]
        self.first = self.tables[0].expand(states, -1)
        self.prefix = torch.zeros(states, 1, dtype=torch.int64)
        self.level = 0

    def step(self, parent, token):
        self.level += 1
        self.prefix = self.prefix.gather(1, parent) * 4 + token
        return self.tables[self.level][self.prefix]

    def joint(self):
        """Log-probabilities [64] of all sentences."""
        every = itertools.product(range(4), repeat=3)
        return torch.stack(
            [self.tables[0][0, a] + self.tables[1][a, b] + self.tables[2][4 * a + b, c] for a, b, c in every]
        )


def number(tokens):
    return (tokens * torch.tensor([16, 4, 1])).sum(-1)


def test_sequences_are_distinct_and_without_noise_the_most_probable():
    chain = Chain(1)
    joint = chain.joint()
    found = number(draw_sequences(chain.first, chain.step, 3, 64, None))[0]
    assert torch.equal(found, joint.argsort(descending=True))
    other = Chain(1)
    drawn = number(draw_sequences(other.first, other.step, 3, 20, torch.rand(1, 3 * 20 * 4)))[0]
    assert len(set(drawn.tolist())) == 20


def test_the_first_sequence_follows_the_law_and_pairs_are_without_replacement():
    count, draws = 3, 40_000
    chain = Chain(draws)
    noise = torch.rand(draws, 3 * count * 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = number(draw_sequences(chain.first, chain.step, 3, count, noise))
    law = chain.joint().exp()
    share = torch.bincount(found[:, 0], minlength=64) / draws
    # Five standard errors of each share.
    assert ((share - law).abs() < 5 * (law / draws).sqrt() + 1e-4).all()
    # The second one follows the law without the first: sum_i p_i p_j / (1 - p_i).
    second = (law[:, None] * law[None, :] / (1 - law[:, None])).fill_diagonal_(0.0).sum(0)
    share = torch.bincount(found[:, 1], minlength=64) / draws
    assert ((share - second).abs() < 5 * (second / draws).sqrt() + 1e-4).all()


@pytest.mark.parametrize("architecture", ["smolvlm", "internvl", "qwen2_5_vl", "qwen3_vl"])
def test_what_the_cache_says_word_by_word_is_what_one_pass_scores(architecture, monkeypatch):
    policy = make(architecture=architecture)
    kept = []
    original = VisionLanguageMotion._log_probs
    monkeypatch.setattr(VisionLanguageMotion, "_log_probs", lambda self, x: kept.append(original(self, x)) or kept[-1])
    context = policy.encode(observe_at_random(3, 0))
    with torch.no_grad():
        ids = policy._drawn(context, None)
        stepped = kept[:]
        tables, factors = policy._tables(context, ids)
    torch.testing.assert_close(tables[0][:, 0], stepped[0], atol=5e-6, rtol=0)
    # Most probable sentences: the cache's own sums give the same order as the pass that scores them.
    total = factors.sum(-1)
    assert (total.diff(dim=1) <= 1e-5).all()
    assert factors.shape == (3, 6, 4)


def test_the_first_ratio_is_exactly_one_with_dropout_configured():
    policy = make(lora_dropout=0.5, dropout=0.5)
    policy.train()
    context = policy.encode(observe_at_random(4, 1))
    candidates = policy.propose(context, noise=noise_for(policy, 4))
    outputs = policy.score(context, candidates)
    assert torch.equal(outputs.joint.exp(), candidates.log_probs.exp())
    assert torch.equal(outputs.factors, candidates.latent["factors"])


def test_tables_are_the_full_law_at_every_visited_prefix():
    policy = make()
    context = policy.encode(observe_at_random(2, 2))
    with torch.no_grad():
        candidates = policy.propose(context, noise=noise_for(policy, 2))
        outputs = policy.score(context, candidates)
    for place, (table, prefix) in enumerate(zip(outputs.tables, outputs.prefix, strict=True)):
        torch.testing.assert_close(table.exp().sum(-1), torch.ones(table.shape[:2]))
        rows = torch.arange(2)[:, None]
        assert torch.equal(table[rows, prefix, candidates.ids[..., place]], outputs.factors[..., place])


def test_a_rao_blackwellised_divergence_sees_what_was_not_drawn():
    # Enumerated over all sentences of two tokens, it is the exact divergence; over a few drawn ones it is near it.
    policy = make(curvatures=(-0.05, 0.0, 0.05), accelerations=(-2.0, 1.0), pieces=2, candidates=36)
    other = make(curvatures=(-0.05, 0.0, 0.05), accelerations=(-2.0, 1.0), pieces=2, candidates=36)
    with torch.no_grad():
        other.trunk.actions.output.add_(0.05 * torch.randn(other.trunk.actions.output.shape))
        context = policy.encode(observe_at_random(4, 3))
        everything = policy.propose(context)
        everything.mask = torch.ones_like(everything.mask)
        p, q = policy.score(context, everything), other.score(context, everything)
        exact = (p.joint.exp() * (p.joint - q.joint)).sum(1)
        torch.testing.assert_close(divergence(p, q, everything.mask), exact, atol=1e-5, rtol=1e-3)
        assert (exact > 1e-4).all()
        few = policy.propose(context, support=everything.ids[:, :8])
        near = divergence(policy.score(context, few), other.score(context, few), few.mask)
    torch.testing.assert_close(near, exact, rtol=0.6, atol=0.02)


def test_a_motion_code_holds_what_its_tokens_say():
    code = MotionCode(curvatures=(0.0, 0.05), accelerations=(-4.0, 0.0), pieces=2)
    plans = code.trajectories(torch.tensor([[[1, 1], [0, 0], [3, 3]]]), torch.tensor([8.0]))
    straight, stop, bend = plans[0]
    torch.testing.assert_close(straight[:, 0], 0.8 * torch.arange(1.0, 41.0))
    assert stop[-1, 0] == pytest.approx(8.0**2 / 8.0, abs=0.5)
    assert (stop[:, 0].diff() >= 0).all()
    # An arc of radius 20 m.
    torch.testing.assert_close(
        (bend[:, :2] - torch.tensor([0.0, 20.0])).norm(dim=-1), torch.full((40,), 20.0), rtol=1e-3, atol=0
    )
    with pytest.raises(CraftError, match="whole pieces"):
        MotionCode(pieces=3)


def test_foreign_tokens_and_noise_are_refused():
    policy = make()
    context = policy.encode(observe_at_random(2, 4))
    candidates = policy.propose(context)
    candidates.ids = candidates.ids + policy.code.size
    with pytest.raises(CraftError, match="lies outside|outside"):
        policy.score(context, candidates)
    with pytest.raises(CraftError, match="noise has shape"):
        policy.propose(context, noise=torch.rand(2, 3))
