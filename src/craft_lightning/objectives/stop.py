"""A brake on the policy's drift inside an iteration."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from craft_lightning.errors import CraftError
from craft_lightning.objectives.functional import kl_behaviour
from craft_lightning.structures import Transition


class PolicyDriftStop(Callback):
    """Skips the remaining mini-batches of an iteration once KL(pi_old || pi) of one exceeds ``target``.

    Skipped mini-batches are neither scored nor stepped: parameters, moments and weight decay stay as they are, while
    validation, checkpoints and the learning-rate schedule go on as usual.

    Args:
        target: nats; the mean over a mini-batch, measured before its own step.

    """

    def __init__(self, target: float = 0.03) -> None:
        if not target > 0.0:
            raise CraftError(f"PolicyDriftStop.target is {target}; give a positive number of nats")
        self.target = target

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Let a new iteration train."""
        pl_module.skip_updates = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure the drift of the mini-batch that was just trained on."""
        latest = pl_module.latest
        if latest is not None and isinstance(batch, Transition):
            with torch.no_grad():
                old = latest.candidates.log_probs
                drift = kl_behaviour(latest.outputs.joint.detach(), old, latest.candidates.mask).mean()
            # All ranks must stop together.
            drift = trainer.strategy.reduce(drift, reduce_op="mean")
            pl_module.report({"drift/kl_behaviour": drift})
            if float(drift) > self.target:
                pl_module.skip_updates = True
        pl_module.report({"drift/skipped_share": float(latest is None)})
