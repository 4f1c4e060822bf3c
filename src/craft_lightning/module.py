"""The LightningModule: one policy, and an objective that is the sum of what loss callbacks contribute."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.metrics import RouteRecord
from craft_lightning.metrics.driving import DrivingScore, InfractionScore, RouteCompletion, SuccessRate
from craft_lightning.metrics.protocols import VariantName
from craft_lightning.objectives.base import ContributesLoss, LossCallback, collect_losses, require_finite
from craft_lightning.policies.base import PolicyAdapter, Profile
from craft_lightning.policies.checkpoint import load_policy, require_one_source
from craft_lightning.structures import CandidateSet, Demonstration, FactorLogProbs, PlanSpec, Transition

_HEADER = "craft_lightning"


@dataclasses.dataclass
class Latest:
    """The mini-batch that is being trained on; lives from its ``training_step`` to its ``on_train_batch_end``.

    batch: the mini-batch; candidates: its candidates; outputs: the student's log-probabilities, before the step;
    terms: name -> weighted scalar with a live graph.
    """

    batch: Transition | Demonstration
    candidates: CandidateSet
    outputs: FactorLogProbs
    terms: dict[str, Tensor]


class CraftModule(LightningModule):
    """Trains a driving policy with the losses found among the trainer's callbacks, and scores driven routes.

    A mini-batch of ``Transition`` is scored from its stored contexts and candidates; a ``Demonstration`` is encoded and
    proposed live (pre-training). The objective is the sum of the weighted terms in the order of their names. A term
    without a graph takes no part in the backward pass, and where no term has one (all weights 0) there is no gradient
    at all: AdamW then leaves parameters untouched, weight decay included.

    Args:
        adapter: the policy.
        checkpoint: name of a shipped policy or path of a policy file, loaded into ``adapter`` first; None keeps the
            adapter as constructed.
        trainable: what is trained: "heads", "decoder", "all" (pre-training) or "none".
        learning_rate: AdamW's learning rate after the warm-up.
        final_learning_rate: where the cosine ends at the last step.
        weight_decay: AdamW's decoupled weight decay.
        warmup: optimiser steps of linear warm-up.
        support_mass: states on whose stored support the policy has come to leave less than this share of the
            probability that it had when it drove are left out of the mini-batch, for every loss alike: renormalised on
            it, they say little about the policy that would drive now. Where everything is enumerated, all of it stays.

    """

    def __init__(
        self,
        adapter: PolicyAdapter,
        checkpoint: str | None = None,
        trainable: Profile = "heads",
        learning_rate: float = 1e-4,
        final_learning_rate: float = 5e-6,
        weight_decay: float = 1e-5,
        warmup: int = 0,
        support_mass: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0.0 <= support_mass < 1.0:
            raise CraftError(f"model.support_mass is {support_mass}; give a share of at least 0 and below 1")
        if not (learning_rate > 0.0 and final_learning_rate >= 0.0 and weight_decay >= 0.0 and warmup >= 0):
            raise CraftError(
                f"model.learning_rate={learning_rate}, final_learning_rate={final_learning_rate}, "
                f"weight_decay={weight_decay}, warmup={warmup} do not fit; the first must be above 0, none negative"
            )
        # As a mapping: LightningCLI would else add the adapter's configuration, and a path in there would make
        # checkpoints depend on files. What the policy is stands in the checkpoint's header.
        self.save_hyperparameters(
            {
                "trainable": trainable,
                "learning_rate": learning_rate,
                "final_learning_rate": final_learning_rate,
                "weight_decay": weight_decay,
                "warmup": warmup,
                "support_mass": support_mass,
            }
        )
        require_one_source(checkpoint, adapter.arguments.get("pretrained"))
        self.started_from = checkpoint
        self.adapter = adapter
        if checkpoint is not None:
            try:
                load_policy(checkpoint, adapter)
            except CraftError as error:
                raise CraftError(f"model.{error}") from error
        adapter.set_trainable(trainable)
        self.learning_rate, self.final_learning_rate = learning_rate, final_learning_rate
        self.weight_decay, self.warmup = weight_decay, warmup
        self.support_mass = support_mass
        self.loss_modules = nn.ModuleDict()
        self.metrics = nn.ModuleDict({stage: nn.ModuleDict(_driving_metrics()) for stage in ("val", "test")})
        self.latest: Latest | None = None
        self.skip_updates = False
        self._losses: list[ContributesLoss] = []
        self._batch_size = 1
        self._iteration_log: dict[str, Tensor | float] = {}

    # --- losses -------------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Let every loss build the modules it owns; safe to call twice (weight averaging does)."""
        if self._trainer is None:
            return
        for loss in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(loss, LossCallback) and loss.name not in self.loss_modules:
                owned = loss.build(self)
                if owned is not None:
                    self.loss_modules[loss.name] = owned

    def setup(self, stage: str) -> None:
        """Score by the data's protocol, and capture the losses: the learning-rate finder hides callbacks later on.

        Raises:
            CraftError: a fit without losses, two losses of one name, or nothing to train.

        """
        rules = getattr(getattr(self.trainer, "datamodule", None), "rules", None)
        if rules is not None:
            variant = rules.variant
            self.metrics = nn.ModuleDict({name: nn.ModuleDict(_driving_metrics(variant)) for name in ("val", "test")})
        if stage != "fit":
            return
        # By name, so that the order in a recipe cannot change even the last bit of a sum.
        losses = collect_losses(self.trainer.callbacks)  # type: ignore[attr-defined]
        self._losses = sorted(losses, key=lambda loss: loss.name)
        if not self.adapter.trainable_parameters():
            raise CraftError("model.trainable selects no parameter to train; choose heads, decoder or all")

    def owned(self, name: str) -> nn.Module:
        """Return what the loss ``name`` built.

        Raises:
            CraftError: it built nothing, or ``configure_model`` was overridden without calling it.

        """
        if name not in self.loss_modules:
            raise CraftError(
                f"the loss '{name}' owns no module here; return one from its build(), and call "
                "super().configure_model() where configure_model is overridden"
            )
        return self.loss_modules[name]

    @torch.no_grad()
    def annotate(self, transitions: Transition, grids: Sequence[Any]) -> None:
        """Let every loss compute in place what it needs of a whole iteration; before any mini-batch of it.

        Args:
            transitions: all transitions of the iteration [N].
            grids: road grids that ``Scene.town`` indexes.

        Raises:
            CraftError: a number that a loss needs is not finite.

        """
        mask = transitions.candidates.mask
        require_finite("*", "candidates.log_probs", transitions.candidates.log_probs, transitions, mask)
        for loss in self._losses:
            if isinstance(loss, LossCallback) and not loss.idle:
                loss.annotate(transitions, self, grids)

    # --- training -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Transition | Demonstration, batch_idx: int) -> Tensor:
        """Return the objective of a mini-batch.

        Raises:
            CraftError: a term is not finite, or no loss applies to this kind of mini-batch.

        """
        self._batch_size = len(batch.rollout if isinstance(batch, Transition) else batch.trajectory)
        if self._iteration_log:
            self.log_dict(self._iteration_log, on_step=False, on_epoch=True, batch_size=1)
            self._iteration_log = {}
        # Without any weight nothing is trained: the first mini-batch of an iteration is scored for the logs alone.
        trains = any(getattr(loss, "weight", 1.0) > 0.0 for loss in self._losses)
        if self.skip_updates or (not trains and batch_idx > 0):
            return torch.zeros((), device=self.device)
        with torch.set_grad_enabled(trains):
            candidates, outputs = self._score(batch)
        if isinstance(batch, Transition) and outputs.log_mass is not None:
            mass = outputs.log_mass.detach()
            kept = (mass - batch.candidates.log_mass).exp() >= self.support_mass
            self.report({"support/mass": mass.exp().mean(), "support/kept": kept.float().mean()})
            if not kept.any():
                # With several ranks the others wait for this one's gradient, which is zero.
                alone = self.trainer.world_size == 1
                valid = outputs.joint.masked_fill(~candidates.mask, 0.0)
                return torch.zeros((), device=self.device) if alone else 0.0 * valid.sum()
            if not kept.all():
                batch = batch[kept]
                candidates, outputs = batch.candidates, outputs.rows(kept)
        terms: dict[str, Tensor] = {}
        for loss in self._losses:
            terms.update(loss.loss_terms(self, batch, candidates, outputs))
        if not terms and not all(getattr(loss, "idle", False) for loss in self._losses):
            raise CraftError(
                f"no loss among {', '.join(loss.name for loss in self._losses)} applies to a {type(batch).__name__}; "
                "add one that does (Imitation for demonstrations)"
            )
        self._require_finite(terms, batch, outputs)
        self.latest = Latest(batch, candidates, outputs, terms)
        total = torch.stack(list(terms.values())).sum() if terms else torch.zeros((), device=self.device)
        self.report({f"loss/{name}": term.detach() for name, term in terms.items()})
        self.log("loss/total", total.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=self._batch_size)
        return total

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run the backward pass, if the objective has one; without it no parameter has a gradient and none moves."""
        if loss.requires_grad:
            super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient before clipping, and refuse to step along one that is not finite.

        Raises:
            CraftError: naming the rollouts of the mini-batch.

        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # A gradient scaler (fp16) meets infinities by design and skips the step itself.
        if not gradients or self.latest is None or getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return
        norm = torch.nn.utils.get_total_norm(gradients)
        self.report({"gradient/norm": norm})
        if not torch.isfinite(norm):
            where = "demonstrations"
            if isinstance(self.latest.batch, Transition):
                where = f"rollouts {', '.join(map(str, self.latest.batch.rollout.unique().tolist()))}"
            raise CraftError(
                f"losses.{'/'.join(self.latest.terms)}: the gradient is {float(norm)} ({where}); the step was not "
                "taken, lower model.learning_rate or look at the losses one by one"
            )

    def on_train_epoch_start(self) -> None:
        """Forget what an aborted iteration left behind."""
        self.latest = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let go of the mini-batch and its graph."""
        self.latest = None

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW over trainable and loss-owned parameters, and a cosine to ``final_learning_rate`` by steps.

        Raises:
            CraftError: a trainer without an end.

        """
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise CraftError("trainer.max_epochs is unlimited, so the learning rate has no end; set max_epochs")
        parameters = [*self.adapter.trainable_parameters().values(), *self.loss_modules.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        final, warmup, count = self.final_learning_rate / self.learning_rate, self.warmup, int(steps)
        scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, count, warmup, final))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def validation_step(self, batch: list[dict[str, Any]], batch_idx: int) -> None:
        """Take the records of routes that the DataModule drove greedily with the live policy."""
        self._evaluate("val", batch)

    def test_step(self, batch: list[dict[str, Any]], batch_idx: int) -> None:
        """Take the records of test routes."""
        self._evaluate("test", batch)

    def predict_step(self, batch: list[dict[str, Any]], batch_idx: int) -> list[dict[str, Any]]:
        """Return the records of the driven routes as they are."""
        return batch

    # --- logging ------------------------------------------------------------------------------------------------------

    def report(self, values: Mapping[str, Tensor | float]) -> None:
        """Log numbers of the current mini-batch; loggers see their mean over the epoch."""
        self.log_dict(dict(values), on_step=False, on_epoch=True, batch_size=self._batch_size)

    def report_iteration(self, values: Mapping[str, Tensor | float]) -> None:
        """Log numbers of the current iteration once, with its first mini-batch: Lightning takes none before it."""
        self._iteration_log.update(values)

    def log_collection(
        self, records: Sequence[Mapping[str, Any]], transitions: Transition, rate: float, replaced: int
    ) -> None:
        """Log how the policy drove while an iteration was collected.

        Args:
            records: records of the episodes that ended by themselves.
            transitions: what was collected [N].
            rate: decisions a second.
            replaced: worlds that were replaced.

        """
        values: dict[str, Tensor | float] = {
            "collect/episodes": float(len(records)),
            "collect/decisions_per_second": float(rate),
            "collect/replaced_worlds": float(replaced),
        }
        for name, share in zip(EVENTS, transitions.events.float().mean(0), strict=True):
            values[f"collect/events/{name}"] = share
        driven = [RouteRecord.from_dict(dict(record)) for record in records]
        if driven:
            values["collect/driving_score"] = sum(record.driving_score for record in driven) / len(driven)
            values["collect/route_completion"] = sum(record.route_completion for record in driven) / len(driven)
            values["collect/success_rate"] = 100.0 * sum(record.success for record in driven) / len(driven)
        self.report_iteration(values)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what the policy's candidates are beside its weights."""
        checkpoint[_HEADER] = self._header()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of a policy with other candidates, before any is loaded.

        Raises:
            CraftError: no header, another PlanSpec or another vocabulary.

        """
        found = checkpoint.get(_HEADER)
        if not isinstance(found, dict):
            raise CraftError("the checkpoint was not written by craft_lightning; give one that `lightning fit` wrote")
        own = self._header()
        for field, mine in own["plan"].items():
            theirs = found["plan"].get(field)
            if theirs != mine:
                raise CraftError(
                    f"the checkpoint's PlanSpec has {field}={theirs} and model.adapter has {mine}; construct the "
                    "adapter as it was trained"
                )
        hashes = found["vocabulary_hash"], own["vocabulary_hash"]
        if None not in hashes and hashes[0] != hashes[1]:
            raise CraftError(
                f"the checkpoint's vocabulary {hashes[0][:12]} is not model.adapter's {hashes[1][:12]}; give the "
                "vocabulary (or plan grid) it was trained with"
            )

    def _header(self) -> dict[str, Any]:
        return {
            "plan": _plain_spec(self.adapter.spec),
            "vocabulary_hash": self.adapter.vocabulary_hash,
            "adapter": f"{type(self.adapter).__module__}.{type(self.adapter).__qualname__}",
            "started_from": self.started_from,
        }

    # --- inside -------------------------------------------------------------------------------------------------------

    def _score(self, batch: Transition | Demonstration) -> tuple[CandidateSet, FactorLogProbs]:
        if isinstance(batch, Transition):
            return batch.candidates, self.adapter.score(batch.context, batch.candidates)
        context = self.adapter.encode(batch.observation)
        with torch.no_grad():
            candidates = self.adapter.listing(context)
        return candidates, self.adapter.score(context, candidates)

    def _require_finite(self, terms: dict[str, Tensor], batch: Transition | Demonstration, outputs: Any) -> None:
        if not terms or bool(torch.isfinite(torch.stack([term.detach() for term in terms.values()])).all()):
            return
        name, term = next((name, term) for name, term in terms.items() if not torch.isfinite(term))
        where = "this mini-batch of demonstrations"
        if isinstance(batch, Transition):
            where = _first_bad(batch, outputs)
        raise CraftError(
            f"losses.{name}: the term is {float(term)} ({where}); the step was not taken, lower model.learning_rate or "
            "look at the number named here"
        )

    def _evaluate(self, stage: str, records: list[dict[str, Any]]) -> None:
        for name, metric in self.metrics[stage].items():  # type: ignore[operator]
            metric.update(records)
            self.log(
                f"{stage}/{name}",
                metric,
                on_step=False,
                on_epoch=True,
                prog_bar=name in ("driving_score", "success_rate"),
                batch_size=len(records),
            )


def learning_rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """Return the learning rate of an optimiser step as a share of its peak: linear warm-up, then a cosine to ``final``.

    A function of the step alone, so that a resumed run follows the same curve.

    Args:
        step: optimiser steps taken.
        steps: optimiser steps in all.
        warmup: steps of warm-up.
        final: share at the last step.

    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _driving_metrics(variant: VariantName = "b2d") -> dict[str, nn.Module]:
    return {
        "driving_score": DrivingScore(variant=variant),
        "route_completion": RouteCompletion(),
        "infraction_score": InfractionScore(variant=variant),
        "success_rate": SuccessRate(),
    }


def _plain_spec(spec: PlanSpec) -> dict[str, Any]:
    """Return a PlanSpec as lists and numbers; without the temperature, which is a buffer of the policy."""
    plain = dataclasses.asdict(spec)
    del plain["temperature"]
    return {**plain, "factors": [[factor.name, factor.size] for factor in spec.factors]}


def _first_bad(batch: Transition, outputs: FactorLogProbs) -> str:
    """Say which field of which rollout is to blame for a term that is not finite."""
    mask = batch.candidates.mask
    fields = {
        "advantage": batch.advantage,
        "residual": batch.residual,
        "candidates.log_probs": batch.candidates.log_probs.masked_fill(~mask, 0.0),
        "the student's log-probability": outputs.joint.detach().masked_fill(~mask, 0.0),
    }
    for field, values in fields.items():
        bad = ~torch.isfinite(values.reshape(len(values), -1)).all(1)
        if bad.any():
            row = int(bad.nonzero()[0])
            return f"{field} is not finite in rollout {int(batch.rollout[row])}, step {int(batch.step[row])}"
    first = int(batch.rollout.min())
    return f"all stored numbers are finite, rollouts {first} to {int(batch.rollout.max())}"
