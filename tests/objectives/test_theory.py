"""The propositions of arXiv 2605.04470 proved on a small Markov decision process, with exact expectations."""

import pytest
import torch

from craft_lightning.objectives.functional import (
    clipped_surrogate,
    expected_advantage_loss,
    kl_student_teacher,
)

STATES, ACTIONS, GAMMA = 5, 4, 0.9


class Tabular:
    """A random MDP whose policy is a softmax table; every expectation is a sum over all (state, action) pairs."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.generator = generator
        self.logits = random(STATES, ACTIONS).requires_grad_()
        self.transition = random(STATES, ACTIONS, STATES).softmax(-1)
        self.reward = random(STATES, ACTIONS)
        self.start = random(STATES).softmax(0)
        self.mask = torch.ones(STATES, ACTIONS, dtype=torch.bool)
        self.log_probs = self.logits.log_softmax(-1)

    def objective(self):
        """The normalised discounted return J, differentiable through the dynamics."""
        return (1 - GAMMA) * self.start @ self.values(self.log_probs.exp())

    def values(self, pi):
        moves = torch.einsum("sa,sat->st", pi, self.transition)
        return torch.linalg.solve(torch.eye(STATES, dtype=torch.float64) - GAMMA * moves, (pi * self.reward).sum(-1))

    def visits(self):
        pi = self.log_probs.detach().exp()
        moves = torch.einsum("sa,sat->st", pi, self.transition)
        matrix = torch.eye(STATES, dtype=torch.float64) - GAMMA * moves.T
        return (1 - GAMMA) * torch.linalg.solve(matrix, self.start)

    def advantage(self):
        values = self.values(self.log_probs.detach().exp())
        return self.reward + GAMMA * self.transition @ values - values[:, None]

    def random_table(self):
        return torch.randn(STATES, ACTIONS, generator=self.generator, dtype=torch.float64)

    def gradient(self, score):
        """E_{s ~ d, tau ~ pi}[grad log pi * score] through the loss under test, which averages over its rows."""
        weighted = score * self.visits()[:, None] * STATES
        loss = expected_advantage_loss(self.log_probs, weighted, self.mask)
        return -torch.autograd.grad(loss, self.logits, retain_graph=True)[0]

    def pairs(self):
        """Probabilities [S*A] of all pairs and the score function grad log pi [S*A, S*A] at each."""
        weight = (self.visits()[:, None] * self.log_probs.detach().exp()).flatten()
        rows = [
            torch.autograd.grad(entry, self.logits, retain_graph=True)[0].flatten()
            for entry in self.log_probs.flatten()
        ]
        return weight, torch.stack(rows)


@pytest.fixture(params=range(5))
def mdp(request):
    return Tabular(request.param)


def test_equation_2_the_loss_is_the_policy_gradient(mdp):
    exact = torch.autograd.grad(mdp.objective(), mdp.logits, retain_graph=True)[0]
    torch.testing.assert_close(mdp.gradient(mdp.advantage()), exact, rtol=1e-10, atol=1e-12)
    assert exact.norm() > 1e-3


def test_proposition_3_1_any_proxy_plus_its_residual_is_the_exact_gradient(mdp):
    exact = torch.autograd.grad(mdp.objective(), mdp.logits, retain_graph=True)[0]
    for _ in range(3):
        proxy = 5.0 * mdp.random_table()
        dense, residual = mdp.gradient(proxy), mdp.gradient(mdp.advantage() - proxy)
        torch.testing.assert_close(dense + residual, exact, rtol=1e-10, atol=1e-12)
        assert (dense - exact).norm() > 1e-2  # the proxy alone is wrong


def variance(weight, values):
    return weight @ values.square() - (weight @ values) ** 2


def covariance(weight, a, b):
    return weight @ (a * b) - (weight @ a) * (weight @ b)


def test_proposition_3_2_variance_of_the_residual(mdp):
    weight, score = mdp.pairs()
    real = mdp.advantage().flatten()
    reduced = []
    for step in range(24):
        mix = step / 12.0  # from pure noise to twice the truth
        proxy = mix * real + 0.3 * mdp.random_table().flatten()
        for coordinate in (0, 7, 19):
            y, c = score[:, coordinate] * real, score[:, coordinate] * proxy
            for a in (0.5, 1.0, 2.0):
                identity = variance(weight, y) + a**2 * variance(weight, c) - 2 * a * covariance(weight, y, c)
                torch.testing.assert_close(variance(weight, y - a * c), identity, rtol=1e-8, atol=1e-12)
            smaller = bool(variance(weight, y - c) < variance(weight, y))
            assert smaller == bool(covariance(weight, y, c) > variance(weight, c) / 2)
            reduced.append(smaller)
    assert any(reduced)
    assert not all(reduced)


def test_a_proxy_must_be_aligned_not_unbiased(mdp):
    weight, score = mdp.pairs()
    real = mdp.advantage().flatten()
    y = score[:, 3] * real
    biased = score[:, 3] * (1.2 * real)
    assert abs(weight @ (biased - y)) > 0
    assert variance(weight, y - biased) < variance(weight, y)


def test_theorem_3_3_bias_of_an_approximate_residual(mdp):
    weight, score = mdp.pairs()
    size = (weight @ score.square().sum(1)).sqrt()
    for _ in range(10):
        error = mdp.random_table().flatten()
        bias = (weight[:, None] * score * error[:, None]).sum(0).norm()
        assert bias <= size * (weight @ error.square()).sqrt() + 1e-12
    # The bound is tight for one parameter and an error along its score function.
    one = score[:, 0]
    bias = weight @ (one * one)
    torch.testing.assert_close(bias, (weight @ one.square()).sqrt() * (weight @ one.square()).sqrt())


@pytest.mark.parametrize("eta", [0.5, 1.0, 3.0])
def test_proposition_a_1_the_proximal_optimum(eta):
    generator = torch.Generator().manual_seed(3)
    utility = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(1, 6, generator=generator, dtype=torch.float64).log_softmax(-1)
    mask = torch.ones(1, 6, dtype=torch.bool)
    optimum = (teacher + utility / eta).log_softmax(-1)

    def gradient(logits):
        logits = logits.clone().requires_grad_()
        log_probs = logits.log_softmax(-1)
        loss = expected_advantage_loss(log_probs, utility, mask)
        loss = loss + eta * kl_student_teacher(log_probs, teacher, mask).mean()
        return torch.autograd.grad(loss, logits)[0]

    assert gradient(optimum).abs().max() < 1e-12
    logits = torch.zeros(1, 6, dtype=torch.float64)
    for _ in range(600):
        logits -= 1.5 / eta * gradient(logits)
    torch.testing.assert_close(logits.log_softmax(-1), optimum, rtol=0, atol=1e-5)


def test_proposition_a_2_dual_clip_bounds_the_surrogate():
    ratio = torch.logspace(-4, 4, 401, dtype=torch.float64)[:, None].expand(-1, 41)
    largest = 1.5
    advantage = torch.linspace(-largest, largest, 41, dtype=torch.float64).expand(401, -1)
    for clip, dual in ((0.2, 2.0), (0.1, 3.0)):
        value = clipped_surrogate(ratio.flatten(), advantage.flatten(), clip, dual)
        assert value.min() >= -dual * largest - 1e-12
        assert value.max() <= (1 + clip) * largest + 1e-12
        torch.testing.assert_close(value.min(), torch.tensor(-dual * largest, dtype=torch.float64))
        torch.testing.assert_close(value.max(), torch.tensor((1 + clip) * largest, dtype=torch.float64))
    # Without the second clip the lower bound does not hold.
    assert clipped_surrogate(ratio.flatten(), advantage.flatten(), 0.2, 1e9).min() < -100.0
