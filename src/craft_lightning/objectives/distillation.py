"""Staying near a slow copy of oneself: KL to a teacher that is a moving average of the trained parameters."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from craft_lightning.errors import CraftError
from craft_lightning.objectives.base import Learner, LossCallback
from craft_lightning.objectives.factored import divergence
from craft_lightning.structures import CandidateSet, FactorLogProbs, Transition

_CHUNK = 256  # states scored at once while annotating
_STEPS = 2**20  # more decisions than an episode can have


class SelfDistillation(LossCallback):
    """reverse * KL(pi || pi_T) + forward * KL(pi_T || pi) over the stored candidates.

    An exact sum where the candidates are all there are. With several factors the chain rule is used: the same number
    where plans are listed, and where they were sampled an expectation over visited prefixes in which every factor is
    summed out. A policy whose candidates are drawn from a density (``FactorLogProbs.law``) gives both divergences in
    closed form (``PolicyAdapter.divergence``).

    The teacher is an exponential moving average of the trainable parameters, theta_T <- decay theta_T + (1 - decay)
    theta, which starts as the policy the fit starts from (pre-trained). It shares everything frozen with the student.

    Args:
        weight: factor of both terms together.
        reverse: factor of KL(pi || pi_T), mode-seeking.
        forward: factor of KL(pi_T || pi), mass-covering.
        decay: share of the teacher that survives an update.
        update: "iteration" updates the teacher after the last mini-batch of an iteration (after 25 iterations it is
            still 78 % pre-trained at 0.99), "step" after every mini-batch (then hardly at all): two different
            algorithms.
        factor_weights: a coefficient a factor of the divergences, e.g. [2.0, 1.0] to hold paths tighter than speeds;
            None for ones.
        name: name in logs and checkpoints.

    """

    def __init__(
        self,
        weight: float = 1.0,
        reverse: float = 0.5,
        forward: float = 0.1,
        decay: float = 0.99,
        update: Literal["iteration", "step"] = "iteration",
        factor_weights: list[float] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, name)
        if not (reverse >= 0 and forward >= 0 and 0 <= decay <= 1) or update not in ("iteration", "step"):
            raise CraftError(
                f"losses.{self.name}: reverse={reverse}, forward={forward}, decay={decay}, update={update!r} do not "
                "fit; need reverse >= 0, forward >= 0, 0 <= decay <= 1 and update 'iteration' or 'step'"
            )
        self.reverse, self.forward, self.decay, self.update = reverse, forward, decay, update
        if factor_weights is not None and not all(0.0 <= one < float("inf") for one in factor_weights):
            raise CraftError(f"losses.{self.name}: factor_weights={factor_weights} holds a number that is no weight")
        self.factor_weights = factor_weights
        self._average = get_ema_multi_avg_fn(decay)
        self.teacher: dict[str, Tensor] = {}
        self.pretrained: dict[str, Tensor] = {}
        self._restored = False
        self._scores: tuple[Tensor, FactorLogProbs] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the teacher as the student, or check what a checkpoint gave back.

        Raises:
            CraftError: the checkpoint's teacher has other parameters than are trained now.

        """
        student = {name: p.detach() for name, p in pl_module.adapter.trainable_parameters().items()}
        if not self._restored:
            self.teacher = {name: tensor.clone() for name, tensor in student.items()}
            self.pretrained = {name: tensor.clone() for name, tensor in student.items()}
        elif {n: t.shape for n, t in self.teacher.items()} != {n: t.shape for n, t in student.items()}:
            raise CraftError(
                f"losses.{self.name}: the checkpoint's teacher covers other parameters than model.trainable selects "
                "now; resume with the trainable profile of the checkpoint"
            )
        self.teacher = {name: tensor.to(student[name]) for name, tensor in self.teacher.items()}
        self.pretrained = {name: tensor.to(student[name]) for name, tensor in self.pretrained.items()}
        self._restored = False
        self._scores = None

    def annotate(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> None:
        """Score the iteration's candidates once with a teacher that rests, and log how far it has come."""
        if not self.teacher:
            raise CraftError(f"losses.{self.name}: there is no teacher before a fit; annotate inside Trainer.fit")
        self._report_drift(transitions, module)
        self._scores = None
        if self.update == "step":
            return
        parts = []
        for start in range(0, len(transitions.rollout), _CHUNK):
            batch = transitions[start : start + _CHUNK].to(module.device)
            parts.append(self._teacher_log_probs(module, batch.context, batch.candidates))
        keys, order = _keys(transitions).to(module.device).sort()
        self._scores = keys, _joined(parts).rows(order)

    def _report_drift(self, transitions: Transition, module: Learner) -> None:
        """Log KL(teacher || pre-trained) over a chunk of states spread over the iteration."""
        every = -(-len(transitions.rollout) // _CHUNK)
        batch = transitions[::every].to(module.device)
        teacher = self._teacher_log_probs(module, batch.context, batch.candidates)
        origin = module.adapter.score(batch.context, batch.candidates, params=self.pretrained)
        drift = self._divergence(module, teacher, origin, batch.candidates.mask)
        self.report_iteration(module, {"kl_teacher_pretrained": drift})

    def term(self, module: Learner, batch: Transition, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return the weighted sum of both divergences of the mini-batch."""
        with torch.no_grad():
            teacher = self._stored(batch)
            if teacher is None:
                teacher = self._teacher_log_probs(module, batch.context, candidates)
        reverse = self._divergence(module, outputs, teacher, candidates.mask, self.factor_weights)
        forward = self._divergence(module, teacher, outputs, candidates.mask, self.factor_weights)
        self.report(module, {"kl_student_teacher": reverse.detach(), "kl_teacher_student": forward.detach()})
        return self.reverse * reverse + self.forward * forward

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the teacher: after every mini-batch, or after the last one of the iteration.

        The last mini-batch and not the epoch's end, so that a checkpoint taken after validation already holds it.
        """
        last = trainer.is_last_batch or batch_idx + 1 >= trainer.num_training_batches
        if self.update == "step" or last:
            student = pl_module.adapter.trainable_parameters()
            with torch.no_grad():
                self._average(list(self.teacher.values()), [student[name] for name in self.teacher], 0)
            self._scores = None

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher and the policy the fit started from, as plain tensors on the CPU."""
        return {
            "teacher": {name: tensor.cpu().clone() for name, tensor in self.teacher.items()},
            "pretrained": {name: tensor.cpu().clone() for name, tensor in self.pretrained.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a checkpoint's teacher."""
        self.teacher = dict(state_dict["teacher"])
        self.pretrained = dict(state_dict["pretrained"])
        self._restored = bool(self.teacher)

    def _teacher_log_probs(self, module: Learner, context: Any, candidates: CandidateSet) -> FactorLogProbs:
        return module.adapter.score(context, candidates, params=self.teacher)

    def _stored(self, batch: Transition) -> FactorLogProbs | None:
        """Return the teacher's scores kept by ``annotate``, or None where some transition is not among them."""
        if self._scores is None:
            return None
        (keys, scores), wanted = self._scores, _keys(batch)
        row = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        return scores.rows(row) if torch.equal(keys[row], wanted) else None

    @staticmethod
    def _divergence(
        module: Learner,
        first: FactorLogProbs,
        second: FactorLogProbs,
        mask: Tensor,
        factor_weights: Sequence[float] | None = None,
    ) -> Tensor:
        """Return the mean of KL(first || second): of the laws where there are any, else over the candidates."""
        if first.law is not None and second.law is not None:
            return module.adapter.divergence(first.law, second.law).mean()
        return divergence(first, second, mask, factor_weights).mean()


def _joined(parts: Sequence[FactorLogProbs]) -> FactorLogProbs:
    """Return one batch of what a divergence needs; with one factor the joint log-probabilities say everything."""
    joint = torch.cat([part.joint for part in parts])
    laws = [part.law for part in parts if part.law is not None]
    if len(parts[0].tables) == 1:
        tables, prefix = [joint.unsqueeze(1)], [torch.zeros_like(joint, dtype=torch.int64)]
    else:
        tables = [torch.cat(each) for each in zip(*(part.tables for part in parts), strict=True)]
        prefix = [torch.cat(each) for each in zip(*(part.prefix for part in parts), strict=True)]
    return FactorLogProbs(joint, joint.unsqueeze(-1), tables, prefix, torch.cat(laws) if laws else None)


def _keys(transitions: Transition) -> Tensor:
    """Number every transition by its rollout and step [N] int64."""
    return transitions.rollout.long() * _STEPS + transitions.step.long()
