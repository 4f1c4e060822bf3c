"""Drives the arms of a comparison after a fit: expert, pre-trained, fine-tuned, and the same recipe with weights 0."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.module import CraftModule
from craft_lightning.objectives.base import LossCallback
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.reports.comparison import Comparison, ComparisonResult
from craft_lightning.rollouts.worlds import WorldsDataModule

# Lightning's names of accelerators where they are not those of torch's devices.
_ACCELERATORS = {"cuda": "gpu"}


class Arms:
    """Who drives in a comparison.

    Args:
        module: the trained module.
        pretrained: a copy of its policy taken before the fit.
        data: the worlds and evaluation routes.
        trainer: the trainer of the fit, whose device, precision, length and losses the weight-0 control repeats.

    Attributes:
        device: where the policy was trained; all arms drive there.

    """

    def __init__(
        self, module: CraftModule, pretrained: PolicyAdapter, data: WorldsDataModule, trainer: Trainer
    ) -> None:
        self.module, self.pretrained, self.data, self.trainer = module, pretrained, data, trainer
        self.device: torch.device = trainer.strategy.root_device
        self._control: PolicyAdapter | None = None

    def drive(self, arm: str, seed: int) -> list[RouteRecord]:
        """Let one arm drive every evaluation route once.

        Raises:
            CraftError: an arm that does not exist.

        """
        policy = self._policy(arm)
        if policy is not None:
            # Lightning takes a policy back to the CPU when a fit ends; it drives where it was trained.
            policy.to(self.device)
        try:
            records = self.data.drive(policy, f"evaluate {arm}", seed)
        finally:
            if policy is not None:
                policy.cpu()
        return [RouteRecord.from_dict(record) for record in records]

    def _policy(self, arm: str) -> PolicyAdapter | None:
        if arm == "expert":
            return None
        if arm == "pretrained":
            return self.pretrained
        if arm == "craft":
            return self.module.adapter
        if arm == "zero_weights":
            if self._control is None:
                self._control = self._train_control()
            return self._control
        raise CraftError(f"comparison.arms has '{arm}'; known are expert, pretrained, craft and zero_weights")

    def _train_control(self) -> PolicyAdapter:
        """Run the same recipe again from the same start with every loss weight at 0."""
        arguments = {name: value for name, value in self.module.hparams.items() if name != "checkpoint"}
        module = CraftModule(adapter=copy.deepcopy(self.pretrained), **arguments)
        trainer = Trainer(
            accelerator=_ACCELERATORS.get(self.device.type, self.device.type),
            devices=1,
            precision=self.trainer.precision,
            max_epochs=self.trainer.max_epochs,
            accumulate_grad_batches=self.trainer.accumulate_grad_batches,
            gradient_clip_val=self.trainer.gradient_clip_val,
            gradient_clip_algorithm=self.trainer.gradient_clip_algorithm,
            callbacks=_without_weight(self.trainer.callbacks),  # type: ignore[attr-defined]
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.fit(module, datamodule=self.data)
        return module.adapter


def _without_weight(callbacks: Sequence[Any]) -> list[Callback]:
    losses = [copy.deepcopy(callback) for callback in callbacks if isinstance(callback, LossCallback)]
    for loss in losses:
        loss.weight = 0.0
    return list(losses)


def compare(comparison: Comparison, arms: Arms, folder: Path) -> ComparisonResult:
    """Drive all arms, print the table and write its files."""
    arms.data.setup()
    try:
        return comparison.run(arms.drive, arms.data.protocol, folder)
    finally:
        arms.data.close()
