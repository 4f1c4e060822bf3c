"""Whether a recipe's losses can teach its policy: one small iteration measured, nothing learnt, one table."""

import copy
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.table import Table
from torch import Tensor

from craft_lightning.audit.junk import junk_sensitivity
from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.objectives.diagnostics import gradient_shares
from craft_lightning.objectives.functional import entropy
from craft_lightning.objectives.proxy import CounterfactualProxy
from craft_lightning.rollouts.worlds import WorldsDataModule
from craft_lightning.structures import Transition
from craft_lightning.tables import table_console

DECISIONS = 256  # collected unless the recipe is overridden
ROUTES = 8  # driven greedily and by sampling

MEANINGS = {
    "distinct_share": "distinct tracked rollouts a candidate; below 1/4 the vocabulary is finer than its controller",
    "executed_variance_share": "share of the returns' variance that the executed 0.5 s explain; the rest is planning",
    "floored_share": "states whose candidates do about equally well, so that they teach little",
    "collision_share": "candidates that collide in the counterfactual world",
    "return_policy": "mean counterfactual return of what the policy samples",
    "return_greedy": "mean counterfactual return of its most probable candidate",
    "return_best": "mean return of each state's best candidate: what there is to gain",
    "entropy": "nats of the policy a state; 0 explores nothing",
    "support_mass": "share of the policy's mass on the candidates that were listed",
    "score_sampled": "driving score of sampled actions, as training collects",
    "score_greedy": "driving score of the most probable candidate, as evaluation drives",
}
"""What each number means, in a line."""

_PROXY = tuple(name for name in MEANINGS if name.split("_")[-1] in ("share", "policy", "greedy", "best"))


class LearningAudit(Callback):
    """Measures the first mini-batch of a fit and lets nothing be learnt.

    Attributes:
        figures: name -> number, see ``MEANINGS``; gradients as ``gradient/LOSS/share``, ``gradient/LOSS/norm``,
            ``gradient/cosine/A~B`` and ``junk/...`` (``audit.junk``).

    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Measure while the graph of the terms is alive."""
        latest = pl_module.latest
        if latest is None or self.figures or not isinstance(latest.batch, Transition):
            return
        mask, log_probs = latest.candidates.mask, latest.outputs.joint.detach()
        found: dict[str, Tensor | float] = {
            "entropy": entropy(log_probs, mask).mean(),
            "support_mass": latest.candidates.log_mass.exp().mean(),
            **gradient_shares(latest.terms, pl_module),
        }
        for proxy in trainer.callbacks:
            if isinstance(proxy, CounterfactualProxy) and proxy.weight > 0.0:
                grids = trainer.datamodule.grids
                returns = proxy.returns(latest.batch, pl_module, grids)
                parameters = list(pl_module.adapter.trainable_parameters().values())
                found.update(junk_sensitivity(latest.outputs.joint, returns, mask, parameters, proxy.floor))
                break
        self.figures = {name: float(value) for name, value in found.items()}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take over what the proxy has logged of its own."""
        for callback in trainer.callbacks:
            if isinstance(callback, CounterfactualProxy):
                for name in _PROXY:
                    value = trainer.callback_metrics.get(f"{callback.name}/{name}")
                    if value is not None:
                        self.figures[name] = float(value)


def audit_learning(configs: Sequence[str], overrides: Sequence[str] = (), routes: int = ROUTES) -> dict[str, float]:
    """Collect a few decisions with a recipe's policy and measure its losses on them.

    Args:
        configs: recipes, by name or path.
        overrides: ``FIELD=VALUE`` on top of them.
        routes: evaluation routes driven greedily and by sampling; 0 leaves them out.

    Returns:
        The figures by name (``MEANINGS``, gradients, junk).

    Raises:
        CraftError: whatever is wrong with the recipe, or a recipe that does not learn from driving.

    """
    from craft_lightning.cli import build

    if routes < 0:
        raise CraftError(f"--routes is {routes}; give 0 (to drive none) or more")
    words = [word for config in configs for word in ("--config", config)]
    quiet = {"logger": "false", "enable_checkpointing": "false", "enable_progress_bar": "false", "max_epochs": "1"}
    words += [f"--trainer.{name}={value}" for name, value in quiet.items()]
    built = build([*words, "--comparison=null", *(f"--{word.removeprefix('--')}" for word in overrides)])
    module, data, trainer = built.model, built.datamodule, built.trainer
    given = {word.removeprefix("--").split("=")[0] for word in overrides}
    if hasattr(data, "transitions"):
        if "data.transitions" not in given:
            worlds = getattr(data, "worlds", 1)
            data.transitions = min(data.transitions, DECISIONS // worlds * worlds)
        # All of it in one mini-batch: a gradient of the whole iteration.
        data.passes, data.batch_size = 1, data.transitions
    if routes and isinstance(data, WorldsDataModule):
        data.eval_limit = min(routes, data.eval_limit or routes)
    before = copy.deepcopy(module.adapter)
    audit = LearningAudit()
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.append(audit)
    try:
        trainer.fit(module, datamodule=data)
        if "entropy" not in audit.figures:
            raise CraftError(
                "audit-learning found no loss on driven transitions; give a recipe that drives, not one that imitates"
            )
        figures = dict(audit.figures)
        if routes and isinstance(data, WorldsDataModule):
            for name, greedy in (("score_sampled", False), ("score_greedy", True)):
                records = data.drive(before, name.replace("_", " "), greedy=greedy)
                scores = [RouteRecord.from_dict(record).driving_score for record in records]
                figures[name] = sum(scores) / len(scores)
    finally:
        if isinstance(data, WorldsDataModule):
            data.close()
    return figures


def print_learning(configs: Sequence[str], overrides: Sequence[str], as_json: bool, routes: int = ROUTES) -> None:
    """Audit a recipe and print the table, or one JSON object.

    Raises:
        CraftError: see ``audit_learning``.

    """
    begun = time.monotonic()
    figures = audit_learning(configs, overrides, routes)
    if as_json:
        plain = {name: value if torch.isfinite(torch.tensor(value)) else None for name, value in figures.items()}
        print(json.dumps({"config": list(configs), "override": list(overrides), "figures": plain}, allow_nan=False))
        return
    console = table_console()
    console.print(learning_table(figures, f"{' + '.join(configs)} {' '.join(overrides)}".strip()))
    console.print(f"{time.monotonic() - begun:.0f} s; nothing was learnt", highlight=False)


def learning_table(figures: Mapping[str, float], title: str) -> Table:
    """Return the figures as a table with a line of meaning each."""
    table = Table(title=f"Can {title} learn?")
    table.add_column("number")
    table.add_column("value", justify="right")
    table.add_column("what it means")
    ordered = [name for name in MEANINGS if name in figures]
    ordered += [name for name in figures if name not in MEANINGS]
    for name in ordered:
        table.add_row(
            name, f"{figures[name]:.3g}" if abs(figures[name]) < 1000 else f"{figures[name]:.0f}", meaning(name)
        )
    return table


def meaning(name: str) -> str:
    """Return the line that says what a figure means."""
    if name in MEANINGS:
        return MEANINGS[name]
    parts = name.split("/")
    if parts[0] == "junk":
        if parts[1] == "policy~uniform":
            return "cosine between the proxy's gradients with statistics under the policy and uniform ones"
        kind = {"cosine": "cosine to", "norm": "norm over that of"}[parts[3]]
        return f"{kind} the proxy's own gradient once {parts[2]} % of the group are junk, {parts[1]} statistics"
    if parts[1] == "cosine":
        return f"cosine between the gradients of {parts[2].replace('~', ' and ')}; below 0 they pull apart"
    return {
        "norm": f"norm of the gradient of {parts[1]}, weight included",
        "share": f"share of {parts[1]} in the sum of norms; near 1 it learns alone",
    }[parts[2]]
