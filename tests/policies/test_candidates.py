"""Pitfalls of candidate sets: twins, reachability, checks; and the tiny policy's family behaviour."""

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.candidates import duplicate_groups, merge_logits
from craft_lightning.policies.vocabulary import Vocabulary
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.structures import Context, Observation
from craft_lightning.testing.tiny import TinyVocabularyPolicy, random_vocabulary


class Tabular(VocabularyPolicy):
    """Logits are a table, the same in every state."""

    profiles = {"heads": ("values",)}  # noqa: RUF012

    def __init__(self, vocabulary: Vocabulary, values: list[float], reachable_speed: float | None = None) -> None:
        super().__init__(vocabulary, reachable_speed=reachable_speed)
        self.values = torch.nn.Parameter(torch.tensor(values))

    def encode(self, observation: Observation) -> Context:
        return Context({"ego": observation.ego}, batch_size=[len(observation.ego)])

    def logits(self, context: Context) -> torch.Tensor:
        return self.values.expand(len(context["ego"]), -1)


def at_speed(*speeds: float) -> Context:
    ego = torch.zeros(len(speeds), 5)
    ego[:, 0] = torch.tensor(speeds)
    return Context({"ego": ego}, batch_size=[len(speeds)])


@pytest.fixture
def twins() -> Vocabulary:
    """Four entries; 2 is 1 cm from 0, and 3 is 20 cm from 1."""
    entries = torch.zeros(4, 40, 3)
    entries[[0, 2], :, 0] = torch.arange(1, 41) * 0.5
    entries[2, :, 1] = 0.01
    entries[[1, 3], :, 0] = torch.arange(1, 41) * 0.2
    entries[3, :, 1] = 0.2
    return Vocabulary(entries)


def test_duplicates_are_found(twins):
    assert duplicate_groups(twins.trajectories, 0.05).tolist() == [0, 1, 0, 3]
    assert duplicate_groups(twins.trajectories, 0.25).tolist() == [0, 1, 0, 1]
    assert duplicate_groups(twins.trajectories, 0.005).tolist() == [0, 1, 2, 3]


def test_chains_of_neighbours_do_not_collapse():
    # 0, 4, 8 cm apart: the last is near the second but not near its representative, so it stands for itself.
    entries = torch.zeros(3, 40, 3)
    entries[:, :, 1] = torch.tensor([0.0, 0.04, 0.08])[:, None]
    assert duplicate_groups(entries, 0.05).tolist() == [0, 0, 2]


def test_merged_mass_is_the_sum_and_reaches_every_twin():
    logits = torch.tensor([[1.0, 0.5, -2.0, 0.0]], requires_grad=True)
    merged = merge_logits(logits, torch.tensor([0, 1, 0, 3]))
    expected = torch.tensor([[1.0, -2.0]]).logsumexp(1)
    assert merged[0, 0].item() == pytest.approx(expected.item())
    assert merged[0, 2] == -torch.inf
    torch.testing.assert_close(merged[0, [1, 3]], logits[0, [1, 3]])
    merged[0, 0].backward()
    weights = torch.tensor([1.0, -2.0]).softmax(0)
    torch.testing.assert_close(logits.grad, torch.tensor([[weights[0], 0.0, weights[1], 0.0]]))


def test_merging_survives_extreme_logits():
    merged = merge_logits(torch.tensor([[900.0, -900.0, 899.0]]), torch.tensor([0, 1, 0]))
    assert merged[0, 0].item() == pytest.approx(900.0 + torch.tensor([0.0, -1.0]).logsumexp(0).item())
    assert merged[0, 1] == -900.0


def test_a_twin_does_not_count_twice(twins):
    # P4: the plan that is listed twice keeps the mass of both and is one candidate.
    policy = Tabular(twins, [1.0, 0.3, 1.0, 0.0])
    with torch.no_grad():
        policy.temperature.fill_(0.5)
    candidates = policy.propose(at_speed(5.0))
    assert candidates.mask.tolist() == [[True, True, False, True]]
    assert candidates.multiplicity.tolist() == [[2, 1, 0, 1]]
    raw = (policy.values / 0.5).softmax(0)
    merged = torch.stack([raw[0] + raw[2], raw[1], raw[2] * 0, raw[3]])
    torch.testing.assert_close(candidates.log_probs.exp(), merged[None])
    scored = policy.score(at_speed(5.0), candidates)
    assert torch.equal(scored.joint, candidates.log_probs)
    scored.joint[0, 0].backward()
    assert policy.values.grad[0] == policy.values.grad[2]
    assert policy.values.grad[0] > 0


def test_reachable_entries_only(twins):
    speeds = Tabular(twins, [0.0] * 4).initial_speed
    torch.testing.assert_close(speeds[[0, 1]], torch.tensor([5.0, 2.0]))
    policy = Tabular(random_vocabulary(13), [0.0] * 13, reachable_speed=2.5)  # 0, 1, ..., 12 m/s
    candidates = policy.propose(at_speed(0.0, 6.0, 30.0))
    allowed = [set(row.nonzero().flatten().tolist()) for row in candidates.mask]
    assert allowed == [{0, 1, 2}, {4, 5, 6, 7, 8}, {12}]  # too fast for all: the nearest stays
    torch.testing.assert_close(candidates.log_probs[1, 4:9].exp(), torch.full((5,), 0.2))
    assert (candidates.log_mass == 0).all()
    scored = policy.score(at_speed(0.0, 6.0, 30.0), candidates)
    assert torch.equal(scored.joint, candidates.log_probs)


def test_the_stored_mask_decides_not_the_state(twins):
    # P10 and P3: what was vetoed when driving stays vetoed when scoring, and nothing else is.
    policy = Tabular(random_vocabulary(13), [0.0] * 13, reachable_speed=2.5)
    candidates = policy.propose(at_speed(6.0))
    scored = policy.score(at_speed(0.0), candidates)
    assert torch.equal(scored.joint, candidates.log_probs)


def test_calibration_reads_the_masked_distribution():
    policy = Tabular(random_vocabulary(13), [float(i % 5) for i in range(13)], reachable_speed=2.5)
    policy.calibrate_temperature(at_speed(1.0, 6.0, 9.0), 0.8)
    greedy = policy.propose(at_speed(1.0, 6.0, 9.0)).log_probs.exp().amax(1).mean()
    assert greedy.item() == pytest.approx(0.8, abs=1e-4)


def test_sigmoid_trained_logits_need_a_temperature():
    # P2: the top logit +2 and the rest -5 give the best of 144 candidates a probability of 0.89.
    policy = Tabular(random_vocabulary(144), [2.0] + [-5.0] * 143)
    assert policy.propose(at_speed(1.0)).log_probs.exp().amax().item() == pytest.approx(0.885, abs=0.005)
    # Exactly: P = 1 / (1 + 143 exp(-7 / T)), so T = 7 / log(143 * 0.9 / 0.1).
    expected = 7.0 / torch.tensor(143 * 9.0).log().item()
    assert policy.calibrate_temperature(at_speed(1.0), 0.9) == pytest.approx(expected, rel=1e-4)


def test_support_of_another_vocabulary_is_refused():
    policy = TinyVocabularyPolicy()
    context = Context({"state": torch.zeros(1, 8), "ego": torch.zeros(1, 5)}, batch_size=[1])
    with pytest.raises(CraftError, match=r"outside 0\.\.15"):
        policy.propose(context, support=torch.tensor([[[3], [16]]]))


def test_random_vocabulary_is_reproducible_and_distinct():
    first = random_vocabulary(64)
    assert first.hash == random_vocabulary(64).hash
    assert first.hash != random_vocabulary(64, seed=1).hash
    assert duplicate_groups(first.trajectories, 0.05).tolist() == list(range(64))
