"""Quiets what Lightning tells on every run and no user of this package can or should act on."""

import logging
import re
import warnings

# What each says, and why it does not concern a user here.
_WARNINGS = (
    r"The '\w+_dataloader' does not have many workers",  # a worker would keep a stale copy of the policy
    r"Your `IterableDataset` has `__len__` defined",  # wanted: without it Lightning prefetches from the old policy
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the frozen trunk
    r"You defined a `validation_step` but have no `val_dataloader`",
    r"The number of training batches .* is smaller than the logging interval",
    r"Checkpoint directory .* exists and is not empty",
    r".*treespec",  # torch's own business with Lightning
)
_TIPS = re.compile(r"Tip: For seamless cloud|TPU available|HPU available|Loading `train_dataloader` to estimate")


def quiet() -> None:
    """Install the filters, once however often it is called."""
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    return not _TIPS.search(record.getMessage())
