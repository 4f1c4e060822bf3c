"""Densities against torch.distributions and numerical integrals; self-normalised samples against exact expectations."""

import math

import pytest
import torch
from torch.distributions import Beta, Independent, Normal, kl_divergence

from craft_lightning.policies.densities import (
    beta_divergence,
    beta_entropy,
    beta_log_density,
    beta_log_ratio,
    beta_quantile,
    gaussian_divergence,
    gaussian_entropy,
    gaussian_log_density,
    gaussian_log_ratio,
    normal_quantile,
    self_normalised,
)
from craft_lightning.policies.held_control import held_trajectories
from craft_lightning.policies.plan_basis import PlanBasis
from craft_lightning.policies.sampling import sample_trajectories

REPEATS, K = 40_000, 8


def numbers(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussians(seed=0):
    law = torch.cat([numbers(5, 3, seed=seed) * 4 - 2, numbers(5, 3, seed=seed + 1) - 0.5], 1)
    mean, log_deviation = law.chunk(2, -1)
    return law, Independent(Normal(mean, log_deviation.exp()), 1)


def betas(seed=0):
    law = 1.0 + 4.0 * numbers(5, 6, seed=seed)
    return law, Independent(Beta(*law.chunk(2, -1)), 1)


def test_gaussian_closed_forms():
    (law, exact), (other, other_exact) = gaussians(), gaussians(7)
    value = numbers(5, 3, seed=3) * 3
    torch.testing.assert_close(gaussian_log_density(law, value), exact.log_prob(value))
    torch.testing.assert_close(
        gaussian_log_ratio(law, other, value), exact.log_prob(value) - other_exact.log_prob(value)
    )
    torch.testing.assert_close(gaussian_divergence(law, other), kl_divergence(exact, other_exact))
    torch.testing.assert_close(gaussian_entropy(law), exact.entropy())


def test_beta_closed_forms():
    (law, exact), (other, other_exact) = betas(), betas(7)
    action = 1.8 * numbers(5, 3, seed=3) - 0.9
    share = 0.5 * (action + 1.0)
    torch.testing.assert_close(beta_log_density(law, action), exact.log_prob(share) - 3 * math.log(2.0))
    torch.testing.assert_close(
        beta_log_ratio(law, other, action), beta_log_density(law, action) - beta_log_density(other, action)
    )
    torch.testing.assert_close(beta_divergence(law, other), kl_divergence(exact, other_exact))
    torch.testing.assert_close(beta_entropy(law), exact.entropy() + 3 * math.log(2.0))
    first, second = law.clone().requires_grad_(), other.clone().requires_grad_()
    assert torch.autograd.gradcheck(beta_divergence, (first, second))


def test_the_change_of_variables_keeps_the_mass():
    law = torch.tensor([[2.0, 5.0], [1.5, 1.2], [8.0, 3.0]], dtype=torch.float64)
    action = torch.linspace(-1.0, 1.0, 200_001, dtype=torch.float64)[1:-1].view(-1, 1, 1)
    density = beta_log_density(law, action).exp()
    torch.testing.assert_close(density.sum(0) * 1e-5, torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("divergence", "laws"), [(gaussian_divergence, gaussians), (beta_divergence, betas)])
def test_equal_laws_have_no_divergence_and_exactly_no_gradient(divergence, laws):
    law = laws()[0].float()
    first, second = law.clone().requires_grad_(), law.clone().requires_grad_()
    value = divergence(first, second)
    assert (value == 0).all()
    assert all((gradient == 0).all() for gradient in torch.autograd.grad(value.sum(), (first, second)))


def test_quantiles_invert_the_distribution_functions():
    uniform = numbers(1000, 2).float()
    normal = normal_quantile(uniform)
    torch.testing.assert_close(Normal(0.0, 1.0).cdf(normal), uniform, atol=1e-5, rtol=0)
    drawn = beta_quantile(torch.tensor([[2.0, 4.0, 5.0, 1.5]]), uniform)
    exact = Beta(torch.tensor([2.0, 4.0]), torch.tensor([5.0, 1.5]))
    # Four standard errors of a mean.
    assert ((drawn.mean(0) - exact.mean).abs() < 4 * exact.stddev / 1000**0.5).all()
    assert torch.isfinite(normal_quantile(torch.tensor([0.0, 1.0]))).all()
    assert torch.isfinite(
        beta_log_density(torch.ones(1, 2), 2 * beta_quantile(torch.ones(1, 2), normal[:2, :1]) - 1)
    ).all()


class Toy:
    """z ~ N(mu, sigma) on a line with A(z) = z^2 + z, whose expectation mu^2 + sigma^2 + mu is known."""

    def __init__(self, moved=(0.0, 0.0)):
        self.old = torch.tensor([0.4, math.log(0.7)], dtype=torch.float64)
        self.law = (self.old + torch.tensor(moved, dtype=torch.float64)).requires_grad_()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(REPEATS, K, 1, generator=generator, dtype=torch.float64)
        self.value = self.old[0] + self.old[1].exp() * noise
        self.advantage = (self.value.square() + self.value).squeeze(-1)
        self.per_row = self.law.expand(REPEATS, 1, 2)
        ratio = gaussian_log_ratio(self.per_row, self.old.expand(REPEATS, 1, 2), self.value)
        self.log_probs = self_normalised(ratio, torch.ones(REPEATS, K, dtype=torch.bool))

    def expectation(self):
        mean, log_deviation = self.law
        return mean.square() + (2 * log_deviation).exp() + mean

    def gradients(self, objective):
        """Mean over the repeats and its standard error, of the gradient with respect to mu and log sigma."""
        rows = torch.autograd.grad(objective.sum(), self.per_row)[0].squeeze(1)
        return rows.mean(0), rows.std(0) / REPEATS**0.5


def close(found, exact):
    mean, error = found
    return bool(((mean - exact).abs() < 4.5 * error + 1e-12).all())


def test_the_ratio_starts_at_one_and_probabilities_at_equal_shares():
    toy = Toy()
    assert torch.equal(toy.log_probs, torch.zeros(REPEATS, K, dtype=torch.float64).log_softmax(1))


def test_expected_gradient_of_the_proxy_is_the_policy_gradient():
    toy = Toy()
    exact = torch.autograd.grad(toy.expectation(), toy.law)[0]
    found = toy.gradients((toy.log_probs.exp() * toy.advantage).sum(1))
    assert close(found, (1 - 1 / K) * exact)
    assert not close(found, exact)  # the test can tell


def test_expected_gradient_of_the_executed_ratio_is_the_policy_gradient():
    toy = Toy()
    exact = torch.autograd.grad(toy.expectation(), toy.law)[0]
    ratio = (toy.log_probs[:, 0] - toy.log_probs[:, 0].detach()).exp()
    assert close(toy.gradients(ratio * toy.advantage[:, 0]), (1 - 1 / K) * exact)


def test_divergence_of_samples_is_the_analytic_one_to_second_order():
    toy = Toy(moved=(0.02, 0.02))
    uniform = -math.log(K)
    estimated = (toy.log_probs.exp() * (toy.log_probs - uniform)).sum(1)
    exact = gaussian_divergence(toy.law.detach(), toy.old)
    mean, error = estimated.mean(), estimated.std() / REPEATS**0.5
    assert abs(mean - (1 - 1 / K) * exact) < 5 * error + 0.05 * exact


def test_far_from_the_old_policy_samples_are_reweighted():
    toy = Toy(moved=(0.3, -0.1))
    pooled = gaussian_log_ratio(toy.law.detach(), toy.old, toy.value.view(1, -1, 1))
    weights = self_normalised(pooled, torch.ones(1, REPEATS * K, dtype=torch.bool)).exp()
    estimate = (weights * toy.advantage.view(1, -1)).sum()
    torch.testing.assert_close(estimate, toy.expectation().detach(), atol=0.02, rtol=0)
    assert abs(toy.advantage.mean() - toy.expectation()) > 0.2


def test_masked_samples_get_neither_probability_nor_gradient():
    ratio = torch.tensor([[0.3, torch.nan, -0.2]], requires_grad=True)
    found = self_normalised(ratio, torch.tensor([[True, False, True]]))
    assert found[0, 1] == -torch.inf
    (gradient,) = torch.autograd.grad(found[0, 0], ratio)
    assert gradient[0, 1] == 0
    assert torch.isfinite(gradient).all()


def test_basis_covers_plans_it_was_not_fitted_to():
    basis = PlanBasis.of_random_plans(8)
    plans = torch.from_numpy(sample_trajectories(500, 7)).float()
    value = basis.project(plans)
    error = (basis.expand(value) - plans)[..., :2].norm(dim=-1).mean(1)
    assert error.mean() < 0.1
    assert error.max() < 0.4
    assert ((value.std(0) - 1).abs() < 0.2).all()
    torch.testing.assert_close(basis.project(basis.expand(value)), value, atol=1e-4, rtol=0)


def test_held_actions_follow_the_one_bicycle():
    from craft_lightning.control import BicycleParameters, bicycle_step

    action, speed = numbers(9, 2).float() * 2 - 1, numbers(9, seed=1).float() * 14 - 1
    found = held_trajectories(action, speed, 40, 0.1, 2.9)
    constants = BicycleParameters().as_array().tolist()
    for (steer, push), start, track in zip(action.tolist(), speed.tolist(), found, strict=True):
        x, y, yaw, now = 0.0, 0.0, 0.0, max(start, 0.0)
        for pose in track:
            x, y, yaw, now = bicycle_step(x, y, yaw, now, max(push, 0.0), steer, max(-push, 0.0), 2.9, 0.1, constants)
            assert pose.tolist() == pytest.approx([x, y, yaw], abs=1e-4)
