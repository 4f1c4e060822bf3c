"""Loss callbacks inside a real Lightning fit on a tiny policy: what they annotate, log, refuse and remember."""

import pytest
import torch
from lightning.pytorch import Trainer

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule
from craft_lightning.objectives.base import LossCallback
from craft_lightning.objectives.diagnostics import LossDiagnostics, gradient_shares
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.entropy import Entropy
from craft_lightning.objectives.imitation import Imitation
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.objectives.stop import PolicyDriftStop
from craft_lightning.structures import Demonstration
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import (
    ProgressWorld,
    SyntheticDataModule,
    random_observation,
    synthetic_transitions,
)


def proxy(world=None, **arguments):
    loss = CounterfactualProxy(name="proxy", **arguments)
    loss._world = world or ProgressWorld()
    return loss


def fit(*callbacks, epochs=2, data=None, module=None, **arguments):
    module = module or CraftModule(TinyVocabularyPolicy(), **{"learning_rate": 1e-2, **arguments})
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, datamodule=data or SyntheticDataModule())
    return module, {name: float(value) for name, value in trainer.callback_metrics.items()}


class Host:
    """The part of CraftModule that a loss sees, without a trainer."""

    def __init__(self, adapter):
        self.adapter, self.device, self.values = adapter, torch.device("cpu"), {}

    def report(self, values):
        self.values.update(values)

    report_iteration = report


@pytest.fixture
def host():
    return Host(TinyVocabularyPolicy().set_trainable("heads"))


@pytest.fixture
def transitions(host):
    return synthetic_transitions(host.adapter)


# --- proxy ------------------------------------------------------------------------------------------------------------


def test_proxy_raises_the_return_it_is_given():
    _, before = fit(proxy(), epochs=1)
    _, after = fit(proxy(), epochs=8)
    assert after["proxy/return_policy"] > before["proxy/return_policy"] + 1.0
    assert after["proxy/return_best"] == pytest.approx(before["proxy/return_best"])


def test_proxy_equal_rewards_give_no_push_at_all():
    before = TinyVocabularyPolicy().state_dict()
    module, metrics = fit(proxy(ProgressWorld(scale=0.0)), weight_decay=0.0)
    assert all(torch.equal(before[name], value) for name, value in module.adapter.state_dict().items())
    assert metrics["proxy/advantage_std"] == 0.0


@pytest.mark.parametrize("valid", range(3, 17))
def test_proxy_equal_rewards_leave_no_rounding_behind(host, transitions, valid):
    class Equal(ProgressWorld):
        def rollout(self, *arguments):
            answer = super().rollout(*arguments)
            answer.returns[:] = 0.1
            return answer

    transitions.candidates.mask = (torch.arange(16) < valid).expand(64, -1)
    transitions.advantage[:] = 7.0
    proxy(Equal()).annotate(transitions, host, [])
    assert (transitions.advantage == 0).all()


def test_proxy_nearly_equal_rewards_stay_nearly_silent(host, transitions):
    loss = proxy(ProgressWorld(scale=1e-4))
    loss.annotate(transitions, host, [])
    assert 0 < transitions.advantage.abs().max() < 2e-3
    assert host.values["proxy/floored_share"] == 1.0


def test_proxy_rescaled_rewards_give_the_same_advantage_above_the_floor(host, transitions):
    loss = proxy(ProgressWorld(scale=10.0))
    loss.annotate(transitions, host, [])
    first = transitions.advantage.clone()
    loss._world = ProgressWorld(scale=1000.0)
    loss.annotate(transitions, host, [])
    torch.testing.assert_close(transitions.advantage, first, rtol=1e-4, atol=1e-5)


class JunkWorld(ProgressWorld):
    """Some candidates are worth nothing whatever they do."""

    def rollout(self, scene, trajectories, mask, grids):
        answer = super().rollout(scene, trajectories, mask, grids)
        answer.returns[:, -4:] = -60.0
        return answer


@pytest.mark.parametrize("statistics", ["policy", "uniform"])
def test_junk_candidates_of_no_probability_hardly_move_the_update(host, transitions, statistics):
    logits = transitions.candidates.log_probs.clone()
    logits[:, -4:] -= 12.0
    transitions.candidates.log_probs = logits.log_softmax(1)

    def gradient(mask):
        transitions.candidates.mask = mask
        loss = proxy(JunkWorld(), statistics=statistics)
        loss.annotate(transitions, host, [])
        free = transitions.candidates.log_probs.clone().requires_grad_()
        joint = free.masked_fill(~mask, -torch.inf).log_softmax(1)
        from craft_lightning.objectives.functional import expected_advantage_loss

        expected_advantage_loss(joint, transitions.advantage, mask).backward()
        return free.grad

    everything = torch.ones_like(transitions.candidates.mask)
    without = everything.clone()
    without[:, -4:] = False
    clean, junk = gradient(without), gradient(everything)
    # Uniform statistics can only shrink the update, by the larger standard deviation; the direction stays.
    assert torch.cosine_similarity(clean.flatten(), junk.flatten(), dim=0) > 0.98
    if statistics == "policy":
        assert (junk - clean).norm() < 0.1 * clean.norm()
    else:
        assert junk.norm() < clean.norm()


def test_proxy_refuses_a_return_that_is_not_finite_and_trains_on_nothing():
    class Broken(ProgressWorld):
        def rollout(self, *arguments):
            answer = super().rollout(*arguments)
            answer.returns[11, 3] = torch.nan
            return answer

    module = CraftModule(TinyVocabularyPolicy())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CraftError, match=r"losses\.proxy: the counterfactual return is nan in rollout 1, step 3"):
        fit(proxy(Broken()), module=module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


# --- residual ---------------------------------------------------------------------------------------------------------


def test_residual_refuses_a_nan_reward(host, transitions):
    transitions.events[9, 0] = torch.nan
    with pytest.raises(CraftError, match=r"losses\.residual: events is nan in rollout 1, step 1"):
        GroundedResidual(name="residual").annotate(transitions, host, [])


def test_residual_writes_clipped_returns_and_lowers_what_collided(host, transitions):
    loss = GroundedResidual(name="residual")
    loss.annotate(transitions, host, [])
    crashed = transitions.events[:, 0] == 1
    assert crashed.any()
    torch.testing.assert_close(transitions.residual[crashed], torch.full((int(crashed.sum()),), -0.625))
    before = crashed.nonzero()[0] - 1
    torch.testing.assert_close(transitions.residual[before], torch.tensor([-0.5]))
    outputs = host.adapter.score(transitions.context, transitions.candidates)
    loss.term(host, transitions, transitions.candidates, outputs).backward()
    assert float(host.values["residual/ratio_largest_change"]) == 0.0  # the policy that drove is the one scored
    assert host.adapter.head.weight.grad.abs().max() > 0


def test_residual_bounds_what_many_events_add_up_to(host, transitions):
    transitions.events[:, EVENTS.index("stop_zone")] = 1.0
    GroundedResidual(name="residual").annotate(transitions, host, [])
    assert float(transitions.residual.min()) == -1.0
    GroundedResidual(name="residual", low=-9.0).annotate(transitions, host, [])
    assert float(transitions.residual.min()) < -1.0


def test_residual_refuses_a_transition_without_an_executed_candidate(host, transitions):
    transitions.candidates.chosen[20] = -1
    outputs = host.adapter.score(transitions.context, transitions.candidates)
    with pytest.raises(CraftError, match="rollout 2"):
        GroundedResidual().term(host, transitions, transitions.candidates, outputs)


# --- self-distillation ------------------------------------------------------------------------------------------------


def test_distillation_alone_moves_nothing():
    before = TinyVocabularyPolicy().state_dict()
    module, metrics = fit(SelfDistillation(name="anchor"), weight_decay=0.0, epochs=3)
    assert all(torch.equal(before[name], value) for name, value in module.adapter.state_dict().items())
    assert metrics["anchor/kl_student_teacher"] == 0.0
    assert metrics["anchor/kl_teacher_pretrained"] == 0.0


@pytest.mark.parametrize(("update", "times"), [("iteration", 3), ("step", 24)])
def test_the_teacher_is_the_moving_average_it_claims_to_be(update, times):
    class Watch(LossCallback):
        """Remembers the student after every mini-batch."""

        free = True

        def __init__(self):
            super().__init__(0.0, "watch")
            self.students = []

        def term(self, module, batch, candidates, outputs):
            return outputs.joint[:, 0].mean()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.students.append(pl_module.adapter.head.weight.detach().clone())

    anchor, watch = SelfDistillation(name="anchor", decay=0.9, update=update), Watch()
    start = TinyVocabularyPolicy().head.weight.detach()
    fit(anchor, watch, proxy(), epochs=3)
    seen = watch.students if update == "step" else watch.students[7::8]
    assert len(seen) == times
    expected = start
    for student in seen:
        expected = 0.9 * expected + 0.1 * student
    torch.testing.assert_close(anchor.teacher["head.weight"], expected)
    assert set(anchor.teacher) == {"head.weight", "head.bias"}
    assert torch.equal(anchor.pretrained["head.weight"], start)


def test_a_resting_teacher_is_scored_once_an_iteration(host, transitions):
    anchor = SelfDistillation()
    anchor.teacher = {name: p.detach() + 0.1 for name, p in host.adapter.trainable_parameters().items()}
    anchor.pretrained = {name: p.detach().clone() for name, p in host.adapter.trainable_parameters().items()}
    transitions = transitions[torch.randperm(64, generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        anchor.annotate(transitions, host, [])
    assert host.values["SelfDistillation/kl_teacher_pretrained"] > 0
    rows = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:16]
    batch = transitions[rows]
    outputs = host.adapter.score(batch.context, batch.candidates)
    stored = anchor.term(host, batch, batch.candidates, outputs)
    live = host.adapter.score(batch.context, batch.candidates, params=anchor.teacher).joint
    torch.testing.assert_close(anchor._stored(batch).joint, live.detach())
    anchor._scores = None
    torch.testing.assert_close(stored, anchor.term(host, batch, batch.candidates, outputs))
    # A transition that was never annotated is not looked up.
    anchor.annotate(transitions, host, [])
    batch.rollout += 10_000
    assert anchor._stored(batch) is None


def test_distillation_pulls_back_to_the_teacher(host, transitions):
    anchor = SelfDistillation()
    anchor.teacher = {name: p.detach().clone() for name, p in host.adapter.trainable_parameters().items()}
    with torch.no_grad():
        host.adapter.head.weight.mul_(2.0)
    for _ in range(2):
        outputs = host.adapter.score(transitions.context, transitions.candidates)
        term = anchor.term(host, transitions, transitions.candidates, outputs)
        reverse = host.values["SelfDistillation/kl_student_teacher"]
        forward = host.values["SelfDistillation/kl_teacher_student"]
        torch.testing.assert_close(term.detach(), 0.5 * reverse + 0.1 * forward)
        gradient = torch.autograd.grad(term, host.adapter.head.weight)[0]
    away = host.adapter.head.weight.detach() - anchor.teacher["head.weight"]
    assert (gradient * away).sum() > 0


# --- imitation, entropy -----------------------------------------------------------------------------------------------


class Demonstrated(SyntheticDataModule):
    """Yields the same demonstrations: the expert drives entry 5 of the vocabulary."""

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        goal = TinyVocabularyPolicy().table[5].expand(16, -1, -1)
        batch = Demonstration(observation=random_observation(16, generator), trajectory=goal, batch_size=[16])
        return torch.utils.data.DataLoader([batch] * 8, batch_size=None)


def test_imitation_learns_from_demonstrations():
    _, first = fit(Imitation(name="imitation"), data=Demonstrated(), epochs=1, trainable="all", learning_rate=0.05)
    module, last = fit(Imitation(name="imitation"), data=Demonstrated(), epochs=12, trainable="all", learning_rate=0.05)
    assert last["loss/imitation"] < 0.5 * first["loss/imitation"]
    assert last["imitation/accuracy"] == 1.0
    assert last["imitation/nearest_distance"] == pytest.approx(0.0, abs=2e-2)
    assert not torch.equal(module.adapter.trunk[0].weight, TinyVocabularyPolicy().trunk[0].weight)


def test_imitation_on_transitions_counts_only_states_with_an_expert(host, transitions):
    transitions.expert[:10] = host.adapter.table[3]
    outputs = host.adapter.score(transitions.context, transitions.candidates)
    loss = Imitation(sigma=0.0)
    term = loss.term(host, transitions, transitions.candidates, outputs)
    torch.testing.assert_close(term, -outputs.joint[:10, 3].mean())
    term.backward()
    assert torch.isfinite(host.adapter.head.weight.grad).all()


def test_imitation_without_any_expert_is_zero(host, transitions):
    outputs = host.adapter.score(transitions.context, transitions.candidates)
    term = Imitation().term(host, transitions, transitions.candidates, outputs)
    gradient = torch.autograd.grad(term, host.adapter.head.weight)[0]
    assert float(term.detach()) == 0.0
    assert (gradient == 0).all()


def test_entropy_bonus_flattens_the_policy():
    _, before = fit(Entropy(1.0), epochs=1)
    _, after = fit(Entropy(1.0), epochs=6)
    assert after["Entropy/nats"] > before["Entropy/nats"] + 0.05


# --- stop and diagnostics ---------------------------------------------------------------------------------------------


def test_drift_stop_skips_the_rest_of_an_iteration_only():
    class Steps(LossCallback):
        """Counts trained mini-batches an epoch."""

        free = True

        def __init__(self):
            super().__init__(0.0, "steps")
            self.epochs = []

        def on_train_epoch_start(self, trainer, pl_module):
            self.epochs.append(0)

        def term(self, module, batch, candidates, outputs):
            self.epochs[-1] += 1
            return outputs.joint[:, 0].sum()

    steps = Steps()
    _, metrics = fit(proxy(), steps, PolicyDriftStop(1e-4), epochs=3, learning_rate=0.05)
    # The first mini-batch is scored by the policy that drove, so its drift is 0; the second one's is not.
    assert steps.epochs == [2, 2, 2]
    assert metrics["drift/skipped_share"] == pytest.approx(6 / 8)
    steps = Steps()
    fit(proxy(), steps, PolicyDriftStop(1e3), epochs=1, learning_rate=0.05)
    assert steps.epochs == [8]


def test_skipped_mini_batches_leave_everything_as_it_is():
    class Freeze(PolicyDriftStop):
        def on_train_epoch_start(self, trainer, pl_module):
            pl_module.skip_updates = True

    before = TinyVocabularyPolicy().state_dict()
    module, _ = fit(proxy(), Freeze(), weight_decay=0.1)
    assert module.global_step == 16
    assert all(torch.equal(before[name], value) for name, value in module.adapter.state_dict().items())


def test_gradient_shares_by_hand():
    class Two:
        def __init__(self):
            self.adapter = self
            self.parameters = {"a": torch.zeros(2, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}

        def trainable_parameters(self):
            return self.parameters

    module = Two()
    a, b = module.parameters["a"], module.parameters["b"]
    terms = {"x": a @ torch.tensor([3.0, 0.0]), "y": 1.0 * b.sum(), "z": -2.0 * a[0], "off": torch.zeros(())}
    values = {name: float(value) for name, value in gradient_shares(terms, module).items()}
    assert values == pytest.approx(
        {
            "gradient/x/norm": 3.0,
            "gradient/y/norm": 1.0,
            "gradient/z/norm": 2.0,
            "gradient/x/share": 0.5,
            "gradient/y/share": 1 / 6,
            "gradient/z/share": 1 / 3,
            "gradient/cosine/x~y": 0.0,
            "gradient/cosine/x~z": -1.0,
            "gradient/cosine/y~z": 0.0,
        }
    )


def test_diagnostics_of_a_fit_and_that_they_change_nothing():
    losses = lambda: (proxy(), GroundedResidual(name="residual"), SelfDistillation(name="anchor"))  # noqa: E731
    watched, metrics = fit(*losses(), LossDiagnostics(every=1))
    plain, _ = fit(*losses())
    for name, value in plain.adapter.state_dict().items():
        assert torch.equal(value, watched.adapter.state_dict()[name])
    shares = [metrics[f"gradient/{name}/share"] for name in ("proxy", "residual", "anchor")]
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert -1.0 <= metrics["gradient/cosine/proxy~residual"] <= 1.0
    assert metrics["policy/kl_behaviour"] > 0
    assert 0 < metrics["policy/entropy"] < 2.78
    assert metrics["policy/logit_range"] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: GroundedResidual(weight=-1.0),
        lambda: GroundedResidual(weight=float("nan")),
        lambda: GroundedResidual(dual_clip=0.5),
        lambda: SelfDistillation(decay=1.5),
        lambda: SelfDistillation(update="epoch"),
        lambda: CounterfactualProxy(statistics="median"),
        lambda: CounterfactualProxy(floor=0.0),
        lambda: Imitation(sigma=-1.0),
        lambda: PolicyDriftStop(0.0),
        lambda: LossDiagnostics(every=0),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make):
    with pytest.raises(CraftError):
        make()
