"""Hand-computed numbers and closed-form gradients of the pure loss functions."""

import math

import pytest
import torch

from craft_lightning.objectives import functional
from craft_lightning.objectives.surrogates import grounded_residual_loss


def log_probs(*probabilities):
    return torch.tensor([probabilities], dtype=torch.float64).log()


def ones(k):
    return torch.ones(1, k, dtype=torch.bool)


def random_batch(states=7, candidates=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(states, candidates, generator=generator, dtype=torch.float64)
    mask = torch.rand(states, candidates, generator=generator) < 0.7
    mask[:, 0] = True
    advantage = torch.randn(states, candidates, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), mask, advantage


def masked(logits, mask):
    return logits.masked_fill(~mask, -torch.inf).log_softmax(-1)


def test_proxy_gradient_is_the_closed_form():
    logits, mask, advantage = random_batch()
    joint = masked(logits, mask)
    functional.expected_advantage_loss(joint, advantage, mask).backward()
    pi = joint.detach().exp()
    expected = -pi * (advantage - (pi * advantage.masked_fill(~mask, 0)).sum(-1, keepdim=True)) / len(pi)
    torch.testing.assert_close(logits.grad, expected.masked_fill(~mask, 0.0), rtol=1e-12, atol=1e-15)


def test_proxy_ignores_whatever_masked_candidates_hold():
    logits, mask, advantage = random_batch()
    clean = functional.expected_advantage_loss(masked(logits, mask), advantage, mask)
    dirty = functional.expected_advantage_loss(masked(logits, mask), advantage.masked_fill(~mask, torch.nan), mask)
    assert torch.equal(clean, dirty)
    gradient = torch.autograd.grad(dirty, logits)[0]
    assert torch.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()


def test_proxy_of_two_candidates_by_hand():
    value = functional.expected_advantage_loss(log_probs(0.25, 0.75), torch.tensor([[2.0, -1.0]]), ones(2))
    assert float(value) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.0, 0.5, 0.5, 0.5),
        (1.1, 0.5, 0.55, 0.5),
        (1.3, 0.5, 0.6, 0.0),  # above 1 + clip a good decision is no longer pushed
        (0.5, 0.5, 0.25, 0.5),  # a good decision that was lost is pushed back
        (1.0, -0.5, -0.5, -0.5),
        (0.9, -0.5, -0.45, -0.5),
        (0.7, -0.5, -0.4, 0.0),  # below 1 - clip a bad decision is no longer pushed
        (1.9, -0.5, -0.95, -0.5),
        (2.5, -0.5, -1.0, 0.0),  # beyond the dual clip it is no longer pushed either
        (3.0, 0.0, 0.0, 0.0),
    ],
)
def test_dual_clip_values_and_dead_zones(ratio, advantage, value, slope):
    rho = torch.tensor([ratio], dtype=torch.float64, requires_grad=True)
    surrogate = functional.clipped_surrogate(rho, torch.tensor([advantage], dtype=torch.float64))
    assert float(surrogate) == pytest.approx(value)
    surrogate.sum().backward()
    assert float(rho.grad) == pytest.approx(slope)


def test_grounded_loss_counts_event_free_transitions_as_zeros():
    log_prob = torch.zeros(4, requires_grad=True)
    loss = grounded_residual_loss(log_prob[:, None], torch.zeros(4, 1), torch.tensor([0.0, -0.625, 0.0, 0.0]))
    assert float(loss) == pytest.approx(0.625 / 4)
    loss.backward()
    assert log_prob.grad.tolist() == pytest.approx([0.0, 0.625 / 4, 0.0, 0.0])


def test_kl_directions_on_two_points():
    student, teacher = log_probs(0.9, 0.1), log_probs(0.5, 0.5)
    reverse = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert abs(reverse - forward) > 0.1
    assert float(functional.kl_student_teacher(student, teacher, ones(2))) == pytest.approx(reverse)
    assert float(functional.kl_teacher_student(student, teacher, ones(2))) == pytest.approx(forward)
    assert float(functional.kl_behaviour(student, teacher, ones(2))) == pytest.approx(forward)


def test_kl_agrees_with_torch_and_has_its_gradient():
    logits, mask, _ = random_batch()
    teacher = masked(torch.randn(logits.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64), mask)
    joint = masked(logits, mask)
    for value, (p, q) in (
        (functional.kl_student_teacher(joint, teacher, mask), (joint, teacher)),
        (functional.kl_teacher_student(joint, teacher, mask), (teacher, joint)),
    ):
        finite_p, finite_q = p.masked_fill(~mask, -1e3), q.masked_fill(~mask, -1e3)
        reference = torch.nn.functional.kl_div(finite_q, finite_p, log_target=True, reduction="none").sum(-1)
        torch.testing.assert_close(value, reference)
        own = torch.autograd.grad(value.sum(), logits, retain_graph=True)[0]
        expected = torch.autograd.grad(reference.sum(), logits, retain_graph=True)[0]
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_teacher_equal_to_student_is_exactly_nothing(dtype):
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(64, 256, generator=generator, dtype=dtype) * 4).requires_grad_()
    mask = torch.rand(64, 256, generator=generator) < 0.8
    joint = masked(logits, mask)
    teacher = joint.detach().clone()
    for divergence in (functional.kl_student_teacher, functional.kl_teacher_student):
        value = divergence(joint, teacher, mask)
        assert (value == 0).all()
        assert (torch.autograd.grad(value.mean(), logits, retain_graph=True)[0] == 0).all()


def test_kl_where_probabilities_vanish():
    joint = log_probs(1.0, 0.0)
    assert float(functional.kl_divergence(joint, log_probs(0.5, 0.5), ones(2))) == pytest.approx(math.log(2))
    assert float(functional.kl_divergence(log_probs(0.5, 0.5), joint, ones(2))) == torch.inf


def test_entropy_and_logit_range():
    mask = torch.tensor([[True, True, True, False]])
    log_prob = torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log()
    assert float(functional.entropy(log_prob, mask)) == pytest.approx(1.5 * math.log(2))
    assert float(functional.logit_range(log_prob, mask)) == pytest.approx(math.log(2))


def test_entropy_gradient_survives_masked_candidates():
    logits, mask, _ = random_batch()
    functional.entropy(masked(logits, mask), mask).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


def test_candidate_distance_by_hand():
    plans = torch.zeros(1, 2, 4, 3)
    plans[0, 1, :, 1] = 3.0
    expert = torch.zeros(2, 4, 3)
    expert[1, :, 0] = 4.0
    distance = functional.candidate_distance(plans, expert)
    torch.testing.assert_close(distance, torch.tensor([[0.0, 3.0], [4.0, 5.0]]))
    own = functional.candidate_distance(plans.expand(2, -1, -1, -1).contiguous(), expert)
    torch.testing.assert_close(own, distance)


def test_imitation_targets_soft_and_nearest():
    distance = torch.tensor([[1.0, 2.0, 0.5]])
    mask = torch.tensor([[True, True, False]])
    soft = functional.imitation_targets(distance, mask, sigma=2.0)
    a, b = math.exp(-0.5), math.exp(-2.0)
    torch.testing.assert_close(soft, torch.tensor([[a / (a + b), b / (a + b), 0.0]]))
    assert functional.imitation_targets(distance, mask, sigma=0.0).tolist() == [[1.0, 0.0, 0.0]]


def test_cross_entropy_ignores_candidates_without_target():
    targets = torch.tensor([[0.5, 0.5, 0.0]])
    log_prob = torch.tensor([[0.25, 0.75, 0.0]]).log().requires_grad_()
    value = functional.cross_entropy(targets, log_prob, torch.tensor([[True, True, False]]))
    assert float(value) == pytest.approx(-0.5 * math.log(0.25) - 0.5 * math.log(0.75))
    value.backward()
    assert log_prob.grad.tolist() == [[-0.5, -0.5, 0.0]]
