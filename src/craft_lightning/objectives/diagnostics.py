"""What to watch while losses compete: gradient shares and cosines, entropy, drift, logit range."""

import itertools
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.objectives.factored import factor_entropies
from craft_lightning.objectives.functional import entropy, kl_behaviour, logit_range
from craft_lightning.structures import PlanSpec, Transition


class LossDiagnostics(Callback):
    """Logs how the terms share the gradient and where the policy is going.

    Every ``every`` optimiser steps each term is differentiated alone with respect to the trained parameters of the
    policy (one more backward pass a term): ``gradient/<name>/norm``, ``gradient/<name>/share`` of the sum of norms and
    ``gradient/cosine/<a>~<b>``, left out where a gradient is exactly zero. Every step, on executed transitions:
    ``policy/entropy``, ``policy/kl_behaviour`` (KL(pi_old || pi)) and ``policy/logit_range``, and with several factors
    ``policy/entropy_<factor>``, what each adds by the chain rule.

    Args:
        every: optimiser steps between two measurements of gradients.

    """

    def __init__(self, every: int = 32) -> None:
        if every < 1:
            raise CraftError(f"LossDiagnostics.every is {every}; give at least 1 optimiser step")
        self.every = every

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Measure while the graph of the terms is alive."""
        latest = pl_module.latest
        if latest is None:
            return
        if isinstance(latest.batch, Transition):
            pl_module.report(_policy_numbers(latest, pl_module.adapter.spec))
        if trainer.global_step % self.every == 0:
            pl_module.report(gradient_shares(latest.terms, pl_module))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a module that keeps no terms."""
        if not hasattr(pl_module, "latest"):
            raise CraftError("LossDiagnostics watches craft_lightning.module.CraftModule alone; remove the callback")


@torch.no_grad()
def _policy_numbers(latest: Any, spec: PlanSpec) -> dict[str, Tensor | float]:
    log_probs, mask = latest.outputs.joint, latest.candidates.mask
    values: dict[str, Tensor | float] = {
        "policy/entropy": entropy(log_probs, mask).mean(),
        "policy/kl_behaviour": kl_behaviour(log_probs, latest.candidates.log_probs, mask).mean(),
        "policy/logit_range": logit_range(log_probs, mask).mean(),
    }
    if len(spec.factors) > 1:
        terms = factor_entropies(latest.outputs, mask).mean(0)
        values |= {f"policy/entropy_{factor.name}": term for factor, term in zip(spec.factors, terms, strict=True)}
    return values


def gradient_shares(terms: dict[str, Tensor], module: Any) -> dict[str, Tensor | float]:
    """Return norms, shares and cosines of the gradients of weighted terms.

    Args:
        terms: name -> scalar with a live graph; terms without one are left out.
        module: whose ``adapter.trainable_parameters()`` are differentiated.

    """
    parameters = list(module.adapter.trainable_parameters().values())
    gradients = {}
    for name, term in terms.items():
        if term.requires_grad:
            parts = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            gradients[name] = torch.cat([part.flatten() for part in parts])
    norms = {name: gradient.norm() for name, gradient in gradients.items()}
    total = float(sum(norms.values()))
    values: dict[str, Tensor | float] = {}
    for name, norm in norms.items():
        values[f"gradient/{name}/norm"] = norm
        values[f"gradient/{name}/share"] = norm / total if total else 0.0
    for a, b in itertools.combinations(sorted(gradients), 2):
        if norms[a] > 0 and norms[b] > 0:
            values[f"gradient/cosine/{a}~{b}"] = gradients[a] @ gradients[b] / (norms[a] * norms[b])
    return values
