"""CraftModule inside Lightning's Trainer: the objective, its checkpoints, resumption, and what it refuses."""

import math

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from torch import nn

from craft_lightning.errors import CraftError
from craft_lightning.module import CraftModule, learning_rate_factor
from craft_lightning.objectives.base import LossCallback
from craft_lightning.objectives.distillation import SelfDistillation
from craft_lightning.objectives.entropy import Entropy
from craft_lightning.objectives.imitation import Imitation
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.objectives.residual import GroundedResidual
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import ProgressWorld, SyntheticDataModule, synthetic_transitions


def craft(weights=(1.0, 0.5, 1.0), update="iteration"):
    proxy = CounterfactualProxy(weights[0], name="proxy")
    proxy._world = ProgressWorld()
    anchor = SelfDistillation(weights[2], decay=0.9, update=update, name="anchor")
    return [proxy, GroundedResidual(weights[1], name="residual"), anchor]


def trainer(callbacks, epochs=2, **arguments):
    return Trainer(
        **{
            "max_epochs": epochs,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "gradient_clip_val": 0.5,
            "callbacks": callbacks,
            **arguments,
        }
    )


def module(**arguments):
    return CraftModule(TinyVocabularyPolicy(), **{"learning_rate": 1e-2, **arguments})


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def values(run):
    return {name: float(value) for name, value in run.callback_metrics.items()}


# --- the objective ----------------------------------------------------------------------------------------------------


def test_the_total_is_the_sum_of_the_weighted_terms():
    run = trainer(craft(), epochs=1)
    run.fit(module(), datamodule=SyntheticDataModule())
    logged = values(run)
    terms = [logged[f"loss/{name}"] for name in ("proxy", "residual", "anchor")]
    assert logged["loss/total"] == pytest.approx(sum(terms), abs=1e-6)
    assert all(abs(term) > 1e-6 for term in terms)
    assert logged["collect/decisions_per_second"] == 1.0


def test_a_weight_scales_its_own_term_alone():
    one, two = trainer(craft(), epochs=1), trainer(craft((3.0, 0.5, 1.0)), epochs=1)
    for run in (one, two):
        run.fit(module(learning_rate=1e-9, final_learning_rate=0.0), datamodule=SyntheticDataModule())
    assert values(two)["loss/proxy"] == pytest.approx(3 * values(one)["loss/proxy"], rel=1e-4)
    assert values(two)["loss/residual"] == pytest.approx(values(one)["loss/residual"], rel=1e-4)


def test_the_order_of_losses_does_not_matter():
    first, second = module(), module()
    trainer(craft()).fit(first, datamodule=SyntheticDataModule())
    trainer(craft()[::-1]).fit(second, datamodule=SyntheticDataModule())
    assert same(first.state_dict(), second.state_dict())
    assert not torch.equal(first.adapter.head.weight, TinyVocabularyPolicy().head.weight)


def test_the_same_seed_gives_the_same_numbers_under_another_global_seed():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        policy = module()
        trainer(craft()).fit(policy, datamodule=SyntheticDataModule())
        results.append(policy.state_dict())
    assert same(*results)


def test_all_weights_zero_train_and_leave_the_weights_exactly_as_they_are():
    policy = module(weight_decay=0.1)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    run = trainer(craft((0.0, 0.0, 0.0)))
    run.fit(policy, datamodule=SyntheticDataModule())
    assert run.global_step == 16
    assert same(before, policy.state_dict())
    logged = values(run)
    assert logged["loss/total"] == 0.0
    assert logged["residual/ratio_largest_change"] == 0.0  # free, so still watched
    assert "proxy/return_mean" not in logged  # costs a rollout of every candidate, so left out


def test_only_the_chosen_part_is_trained():
    policy = module(trainable="heads")
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    trainer(craft()).fit(policy, datamodule=SyntheticDataModule())
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {"adapter.head.weight", "adapter.head.bias"}


def test_dropout_cannot_move_a_ratio():
    run = trainer([GroundedResidual(name="residual")], epochs=1)
    policy = CraftModule(TinyVocabularyPolicy(dropout=0.5), learning_rate=1e-9, final_learning_rate=0.0, weight_decay=0)
    run.fit(policy, datamodule=SyntheticDataModule())
    assert values(run)["residual/ratio_largest_change"] < 1e-6


def test_learning_rate_warms_up_and_ends_where_it_should():
    class Watch(Entropy):
        def __init__(self):
            super().__init__(1.0, "watch")
            self.rates = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.rates.append(optimizer.param_groups[0]["lr"])

    watch = Watch()
    policy = module(learning_rate=1e-3, final_learning_rate=1e-5, warmup=3)
    trainer([watch]).fit(policy, datamodule=SyntheticDataModule())
    assert len(watch.rates) == 16
    assert watch.rates[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert watch.rates[-1] == pytest.approx(1e-5)
    assert all(a > b for a, b in zip(watch.rates[3:-1], watch.rates[4:], strict=True))


def test_learning_rate_factor_of_one_step():
    assert learning_rate_factor(0, 1, 0, 0.1) == 1.0
    assert math.isclose(learning_rate_factor(100, 10, 0, 0.1), 0.1)


def test_the_command_line_builds_module_and_losses_and_keeps_checkpoints_plain(tmp_path):
    class Command(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_argument("--losses", type=dict[str, LossCallback])

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        """
        model: {adapter: {class_path: craft_lightning.testing.tiny.TinyVocabularyPolicy}, trainable: decoder}
        losses:
          proxy: {class_path: CounterfactualProxy, init_args: {reward: {collision: 20.0}}}
          residual: {class_path: GroundedResidual, init_args: {penalties: {zones: false}}}
          anchor: {class_path: SelfDistillation, init_args: {update: step}}
        """
    )
    command = Command(
        CraftModule,
        SyntheticDataModule,
        run=False,
        args=[f"--config={recipe}", "--losses.residual.weight=0.3", "--model.warmup=2"],
        save_config_callback=None,
        trainer_defaults={"logger": False, "accelerator": "cpu"},
    )
    losses = command.config_init["losses"]
    assert losses["residual"].weight == 0.3
    assert losses["residual"].penalties.zones is False
    assert losses["proxy"].world.reward.collision == 20.0
    assert losses["anchor"].update == "step"
    assert set(command.model.adapter.trainable_parameters()) >= {"embedding.weight", "head.weight"}
    assert dict(command.model.hparams) == {
        "trainable": "decoder",
        "learning_rate": 1e-4,
        "final_learning_rate": 5e-6,
        "weight_decay": 1e-5,
        "warmup": 2,
        "support_mass": 0.5,
    }


# --- losses that own parameters ---------------------------------------------------------------------------------------


class Centre(LossCallback):
    """A loss with a parameter of its own, for a value head's sake."""

    def build(self, module):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Linear(8, 1)

    def term(self, module, batch, candidates, outputs):
        guess = module.owned(self.name)(batch.context["state"]).squeeze(-1)
        return (guess - 1.0).square().mean()


def test_owned_parameters_are_trained_saved_and_restored(tmp_path):
    policy = module()
    run = trainer([Centre(name="centre"), *craft()], epochs=3)
    run.fit(policy, datamodule=SyntheticDataModule())
    start = Centre().build(None).weight
    assert not torch.equal(policy.loss_modules["centre"].weight, start)
    run.save_checkpoint(tmp_path / "a.ckpt")
    other = module()
    again = trainer([Centre(name="centre"), *craft()], epochs=3)
    again.fit(other, datamodule=SyntheticDataModule(), ckpt_path=tmp_path / "a.ckpt")
    assert same(policy.state_dict(), other.state_dict())


def test_a_loss_that_built_nothing_is_told_so():
    with pytest.raises(CraftError, match="'nobody' owns no module"):
        module().owned("nobody")


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", ["iteration", "step"])
def test_resuming_between_iterations_gives_the_same_weights(tmp_path, update):
    straight, straight_losses = module(), craft(update=update)
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer([*straight_losses, keep], epochs=4, enable_checkpointing=True).fit(
        straight, datamodule=SyntheticDataModule()
    )
    torch.manual_seed(99)
    resumed, resumed_losses = module(), craft(update=update)
    path = tmp_path / "epoch=1.ckpt"
    trainer(resumed_losses, epochs=4).fit(resumed, datamodule=SyntheticDataModule(), ckpt_path=path)
    assert same(straight.state_dict(), resumed.state_dict())
    assert same(straight_losses[2].teacher, resumed_losses[2].teacher)
    assert same(straight_losses[2].pretrained, resumed_losses[2].pretrained)
    assert not same(straight_losses[2].teacher, straight_losses[2].pretrained)


def test_a_checkpoint_is_plain_and_complete(tmp_path):
    run = trainer(craft())
    policy = module()
    run.fit(policy, datamodule=SyntheticDataModule())
    run.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["craft_lightning"]["vocabulary_hash"] == policy.adapter.vocabulary_hash
    assert checkpoint["craft_lightning"]["plan"]["factors"] == [["trajectory", 16]]
    assert checkpoint["hyper_parameters"]["learning_rate"] == 1e-2
    assert {f"adapter.{name}" for name in policy.adapter.state_dict()} <= checkpoint["state_dict"].keys()
    assert "SelfDistillation{'name': 'anchor'}" in checkpoint["callbacks"]
    again = CraftModule.load_from_checkpoint(tmp_path / "a.ckpt", adapter=TinyVocabularyPolicy(), weights_only=True)
    assert same(policy.state_dict(), again.state_dict())


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (TinyVocabularyPolicy(seed=1), "vocabulary"),
        (TinyVocabularyPolicy(size=12), "factors"),
        (TinyVocabularyPolicy(num_poses=20), "num_poses"),
    ],
    ids=["vocabulary", "size", "poses"],
)
def test_a_checkpoint_of_another_policy_is_refused(tmp_path, policy, fault):
    run = trainer(craft(), epochs=1)
    run.fit(module(), datamodule=SyntheticDataModule())
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(CraftError, match=fault):
        CraftModule.load_from_checkpoint(tmp_path / "a.ckpt", adapter=policy)


def test_another_vocabulary_is_refused_before_any_weight_is_loaded():
    policy, checkpoint = module(), {}
    policy.on_save_checkpoint(checkpoint)
    policy.on_load_checkpoint(checkpoint)
    checkpoint["craft_lightning"]["vocabulary_hash"] = "0" * 64
    with pytest.raises(CraftError, match="the checkpoint's vocabulary 000000000000"):
        policy.on_load_checkpoint(checkpoint)


def test_a_checkpoint_of_something_else_is_refused():
    with pytest.raises(CraftError, match="not written by craft_lightning"):
        module().on_load_checkpoint({"state_dict": {}})


def test_a_teacher_of_other_parameters_is_refused(tmp_path):
    run = trainer(craft(), epochs=1)
    run.fit(module(), datamodule=SyntheticDataModule())
    run.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    loss = SelfDistillation(name="anchor")
    loss.load_state_dict(checkpoint["callbacks"][loss.state_key])
    with pytest.raises(CraftError, match="other parameters"):
        loss.on_fit_start(run, module(trainable="decoder"))


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_no_losses_at_all():
    with pytest.raises(CraftError, match="losses is empty"):
        trainer([]).fit(module(), datamodule=SyntheticDataModule())


def test_two_losses_of_one_name():
    with pytest.raises(CraftError, match="two losses are called 'Entropy'"):
        trainer([Entropy(), Entropy()]).fit(module(), datamodule=SyntheticDataModule())


def test_nothing_to_train():
    with pytest.raises(CraftError, match=r"model\.trainable"):
        trainer([Entropy()]).fit(module(trainable="none"), datamodule=SyntheticDataModule())


def test_an_endless_fit():
    with pytest.raises(CraftError, match="max_epochs"):
        trainer([Entropy()], epochs=-1).fit(module(), datamodule=SyntheticDataModule())


def test_losses_that_do_not_apply():
    class Demonstrations(LossCallback):
        batches = ()

    with pytest.raises(CraftError, match="applies to a Transition"):
        trainer([Demonstrations()]).fit(module(), datamodule=SyntheticDataModule())


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("advantage", r"losses\.proxy: the term is nan \(advantage is not finite in rollout 2, step \d"),
        ("residual", r"losses\.residual: the term is nan \(residual is not finite in rollout 2, step \d"),
        ("log_probs", r"losses\.Watch/anchor/proxy/residual: the gradient is nan \(rollouts .*\b2\b"),
    ],
)
def test_a_number_that_is_not_finite_stops_before_the_step(field, message):
    class Data(SyntheticDataModule):
        def train_dataloader(self):
            return self

        def __len__(self):
            return 8

        def __iter__(self):
            return spoiled(self, field)

    policy = module()
    weights = []

    class Watch(Entropy):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            weights.append(pl_module.adapter.head.weight.detach().clone())

    with pytest.raises(CraftError, match=message):
        trainer([*craft(), Watch()]).fit(policy, datamodule=Data())
    assert len(weights) == 1
    assert torch.equal(policy.adapter.head.weight, weights[0])


def spoiled(data, field):
    """Mini-batches of an iteration, rollout 2 spoiled in the second one after everything was annotated."""
    for index, batch in enumerate(SyntheticDataModule.train_dataloader(data)):
        if index == 1:
            owner = batch.candidates if field == "log_probs" else batch
            getattr(owner, field)[batch.rollout == 2] = -torch.inf if field == "log_probs" else torch.nan
        yield batch


def test_a_broken_behaviour_policy_is_found_when_the_iteration_is_annotated():
    class Data(SyntheticDataModule):
        def train_dataloader(self):
            policy = self.trainer.lightning_module
            transitions = synthetic_transitions(policy.adapter)
            transitions.candidates.log_probs[50, 2] = torch.nan
            policy.annotate(transitions, [])
            return super().train_dataloader()

    with pytest.raises(CraftError, match=r"candidates\.log_probs is nan in rollout 6, step 2"):
        trainer([Entropy()]).fit(module(), datamodule=Data())


@pytest.mark.parametrize("arguments", [{"learning_rate": 0.0}, {"weight_decay": -1.0}, {"warmup": -1}])
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(CraftError, match=next(iter(arguments))):
        CraftModule(TinyVocabularyPolicy(), **arguments)


# --- evaluation -------------------------------------------------------------------------------------------------------

RECORDS = [
    {"route_id": "a", "index": 0, "status": "Completed", "route_completion": 100.0},
    {
        "route_id": "b",
        "index": 1,
        "status": "Failed",
        "route_completion": 40.0,
        "collisions_vehicle": 1,
    },
]


class Routes(SyntheticDataModule):
    def val_dataloader(self):
        return torch.utils.data.DataLoader([RECORDS], batch_size=None)

    test_dataloader = predict_dataloader = val_dataloader


@pytest.mark.parametrize("stage", ["val", "test"])
def test_routes_are_scored(stage):
    run = trainer([])
    run_stage = run.validate if stage == "val" else run.test
    logged = run_stage(module(), datamodule=Routes(), verbose=False)[0]
    assert logged[f"{stage}/success_rate"] == 50.0
    assert logged[f"{stage}/route_completion"] == 70.0
    assert logged[f"{stage}/driving_score"] == pytest.approx((100.0 + 40.0 * 0.6) / 2)
    assert logged[f"{stage}/infraction_score"] == pytest.approx(0.8)


def test_prediction_returns_the_records():
    assert trainer([]).predict(module(), datamodule=Routes()) == [RECORDS]


def test_validation_inside_a_fit_and_collected_episodes_are_logged():
    policy = module()
    run = trainer([GroundedResidual(name="residual"), Imitation(0.1)], epochs=1, num_sanity_val_steps=0)
    run.fit(policy, datamodule=Routes())
    assert values(run)["val/success_rate"] == 50.0
    policy.log_collection(RECORDS, synthetic_transitions(policy.adapter), 61.0, 1)
    assert policy._iteration_log["collect/success_rate"] == 50.0
    assert policy._iteration_log["collect/episodes"] == 2.0
    assert policy._iteration_log["collect/replaced_worlds"] == 1.0
    assert float(policy._iteration_log["collect/events/collision"]) > 0
