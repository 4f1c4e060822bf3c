"""A loss term as a Lightning callback: named, weighted, asked by the module for its part of the objective."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.structures import CandidateSet, Demonstration, FactorLogProbs, Transition

Batch = Transition | Demonstration


class Learner(Protocol):
    """What a loss sees of the module that trains (``craft_lightning.module.CraftModule``)."""

    @property
    def adapter(self) -> PolicyAdapter:
        """The policy being trained."""

    @property
    def device(self) -> torch.device:
        """Where the policy lives."""

    def owned(self, name: str) -> nn.Module:
        """Return what ``LossCallback.build`` of the loss ``name`` answered."""

    def report(self, values: Mapping[str, Tensor | float]) -> None:
        """Log numbers of the current mini-batch; loggers see their mean over the epoch."""

    def report_iteration(self, values: Mapping[str, Tensor | float]) -> None:
        """Log numbers of the current improvement iteration, once."""


@runtime_checkable
class ContributesLoss(Protocol):
    """Anything in ``trainer.callbacks`` with a name and this method takes part in the objective."""

    name: str

    def loss_terms(
        self, module: Any, batch: Batch, candidates: CandidateSet, outputs: FactorLogProbs
    ) -> dict[str, Tensor]:
        """Return weighted scalar terms by name; the module sums and logs them."""


class LossCallback(Callback):
    """One named, weighted term of the objective.

    A subclass implements ``term`` and, where it needs numbers that are computed once an iteration, ``annotate``. The
    module calls both; the callback never logs its own total. A weight of 0 removes the term from the objective and
    from every backward pass; where its value is ``free`` its details are still logged.

    Args:
        weight: factor of the term in the objective, not negative.
        name: name of the term in logs and checkpoints; recipes set it to the key under ``losses``, and it defaults to
            the class's name.

    """

    batches: ClassVar[tuple[type, ...]] = (Transition,)
    """Kinds of mini-batch this loss applies to; it is silent on others."""

    free: ClassVar[bool] = False
    """Whether the value costs nothing worth sparing beside the student's own scores."""

    def __init__(self, weight: float = 1.0, name: str | None = None) -> None:
        self.weight = weight
        self.name = name or type(self).__name__

    @property
    def weight(self) -> float:
        """Factor of the term in the objective."""
        return self._weight

    @weight.setter
    def weight(self, weight: float) -> None:
        if not 0.0 <= weight < float("inf"):
            raise CraftError(f"{type(self).__name__}.weight is {weight}; give a finite number that is not negative")
        self._weight = float(weight)

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint; by name, since one class may appear twice."""
        return self._generate_state_key(name=self.name)

    @property
    def idle(self) -> bool:
        """Whether the module may leave this loss alone: weight 0 and a value that costs something."""
        return self.weight == 0.0 and not self.free

    def build(self, module: Learner) -> nn.Module | None:
        """Return the module whose parameters this loss owns, or None.

        Called from the training module's ``configure_model``, so that owned parameters are optimised, moved, averaged
        and saved with the rest; find them again with ``module.owned(self.name)``.
        """
        return None

    def annotate(self, transitions: Transition, module: Learner, grids: Sequence[Any]) -> None:
        """Compute in place what this loss needs of a whole iteration; called once, before any mini-batch, without
        gradients.

        Args:
            transitions: all transitions of the iteration [N], on the CPU.
            module: the training module.
            grids: road grids that ``Scene.town`` indexes.

        """

    def term(self, module: Learner, batch: Any, candidates: CandidateSet, outputs: FactorLogProbs) -> Tensor:
        """Return the unweighted term, a differentiable scalar.

        Args:
            module: the training module.
            batch: the mini-batch [B], a ``Transition`` or a ``Demonstration``.
            candidates: its candidates.
            outputs: the student's log-probabilities of them.

        """
        raise NotImplementedError(f"{type(self).__name__} must implement term")

    def loss_terms(
        self, module: Learner, batch: Batch, candidates: CandidateSet, outputs: FactorLogProbs
    ) -> dict[str, Tensor]:
        """Return {name: weight * term}, or nothing where the loss does not apply to the mini-batch."""
        if self.idle or not isinstance(batch, self.batches):
            return {}
        if self.weight == 0.0:
            # Without a graph: 0 * term would still send zeros (or NaN) through the backward pass.
            with torch.no_grad():
                return {self.name: 0.0 * self.term(module, batch, candidates, outputs)}
        return {self.name: self.weight * self.term(module, batch, candidates, outputs)}

    def report(self, module: Learner, values: Mapping[str, Tensor | float]) -> None:
        """Log details of a mini-batch under this loss's name."""
        module.report({f"{self.name}/{key}": value for key, value in values.items()})

    def report_iteration(self, module: Learner, values: Mapping[str, Tensor | float]) -> None:
        """Log details of an iteration under this loss's name."""
        module.report_iteration({f"{self.name}/{key}": value for key, value in values.items()})


def require_finite(name: str, field: str, values: Tensor, transitions: Transition, mask: Tensor | None = None) -> None:
    """Refuse NaN and infinity in a per-transition tensor.

    Args:
        name: the loss that found it.
        field: what ``values`` are.
        values: [N, ...].
        transitions: the transitions [N] they belong to.
        mask: [N, ...] bool, where values count; everywhere by default.

    Raises:
        CraftError: naming the loss, the field, the rollout and the step of the first bad value.

    """
    bad = ~torch.isfinite(values)
    if mask is not None:
        bad &= mask.to(bad.device)
    if not bad.any():
        return
    row = int(bad.flatten(1).any(1).nonzero()[0]) if bad.dim() > 1 else int(bad.nonzero()[0])
    shown = float(values[row][bad[row]].flatten()[0])
    raise CraftError(
        f"losses.{name}: {field} is {shown} in rollout {int(transitions.rollout[row])}, "
        f"step {int(transitions.step[row])}; nothing was trained on it, look at the world or the reward that made it"
    )


def collect_losses(callbacks: Sequence[Any]) -> list[ContributesLoss]:
    """Return the callbacks that contribute to the objective, in their order.

    Raises:
        CraftError: there is none, or two share a name.

    """
    losses = [callback for callback in callbacks if isinstance(callback, ContributesLoss)]
    if not losses:
        raise CraftError(
            "losses is empty, so there is nothing to minimise; name at least one in the recipe "
            "(losses: {anchor: {class_path: SelfDistillation}}) or in Trainer(callbacks=[...])"
        )
    names = [loss.name for loss in losses]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CraftError(f"two losses are called '{twice[0]}'; give each its own name=...")
    return losses
