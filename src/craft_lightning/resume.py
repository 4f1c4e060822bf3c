"""What a checkpoint gives to a run, and what it does not: settings come from recipes and the command line."""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from craft_lightning.errors import CraftError

# Names that Lightning resolves itself; "last" is ours (Lightning's looks only into the folder of the new run).
KEYWORDS = ("best", "hpc", "registry")
LAST = "last"
# Settings of the module that are also inside the optimizer's state, with their names there.
_OPTIMIZER = {"learning_rate": ("lr", "initial_lr"), "weight_decay": ("weight_decay",)}


def last_checkpoint(root: str | Path | None) -> Path:
    """Return the newest checkpoint of the runs below a folder.

    Args:
        root: ``trainer.default_root_dir``; None = the current folder.

    Raises:
        CraftError: no run there has written one.

    """
    logs = Path(root or ".") / "lightning_logs"
    found = sorted(logs.glob("version_*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise CraftError(
            f"ckpt_path=last: no run below {logs} has a checkpoint yet (one is written after every iteration); "
            "leave --ckpt_path out, or give the path of a .ckpt"
        )
    return found[-1]


def read_checkpoint(path: str | Path) -> dict[str, Any] | None:
    """Read a Lightning checkpoint as tensors and plain values, never executing what is in it.

    Returns:
        The checkpoint, or None for a name that Lightning resolves itself ("best").

    Raises:
        CraftError: a file that is missing, broken, no Lightning checkpoint, or would need unpickling.

    """
    if str(path).startswith(KEYWORDS) and not Path(path).exists():
        return None
    if not Path(path).is_file():
        raise CraftError(f"ckpt_path: there is no file {path}; give the path of a .ckpt that `lightning fit` wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for broken files; each means the same to the user
        raise CraftError(
            f"ckpt_path: {path} is broken or no checkpoint of tensors and plain numbers, nothing in it was executed "
            f"({type(error).__name__}); give a .ckpt that `lightning fit` wrote"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CraftError(f"ckpt_path: {path} has no 'state_dict'; give a .ckpt that `lightning fit` wrote")
    return checkpoint


def describe_resume(path: str | Path, command: str, checkpoint: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return one line: what is taken from the checkpoint, and where its settings and the command line's differ.

    Args:
        path: the checkpoint.
        command: "fit" takes optimizer and epoch too, the others only weights.
        checkpoint: its content.
        settings: fields of the module from recipes and command line.

    """
    taken = f"weights, optimizer state and epoch {checkpoint.get('epoch')}" if command == "fit" else "weights"
    kept = [
        f"model.{name}={settings[name]} (checkpoint: {old})"
        for name, old in checkpoint.get("hyper_parameters", {}).items()
        if name in settings and settings[name] != old and isinstance(old, int | float | str | bool | type(None))
    ]
    difference = f", among them {', '.join(kept)}" if kept else ", which agree with the checkpoint's"
    return f"{path}: taking {taken}; all settings are those of recipes and command line{difference}"


class CommandLineWins(Callback):
    """Puts the run's learning rate and weight decay into the optimizer and scheduler state of a checkpoint.

    Lightning restores both with the optimizer, so that a changed ``--model.learning_rate`` would have no effect. Where
    they are the checkpoint's own, nothing is touched and a resumed run repeats the uninterrupted one.

    Args:
        old: the module's settings in the checkpoint.

    """

    def __init__(self, old: Mapping[str, Any] | None = None) -> None:
        self.old = dict(old or {})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Change the loaded states before the trainer restores them."""
        for name, keys in _OPTIMIZER.items():
            new = pl_module.hparams.get(name)
            if new is None or name not in self.old or new == self.old[name]:
                continue
            ratio = new / self.old[name] if self.old[name] else None
            for state in checkpoint.get("optimizer_states", []):
                for group in state["param_groups"]:
                    for key in keys:
                        # The current rate keeps its place on the schedule.
                        group[key] = group[key] * ratio if key == "lr" and ratio is not None else new
            if name == "learning_rate":
                for state in checkpoint.get("lr_schedulers", []):
                    state["base_lrs"] = [new for _ in state["base_lrs"]]


class ResumeHint(Callback):
    """Says how to go on when Ctrl-C or SIGTERM ends a fit (checkpoints are taken between iterations) or a test."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Print one sentence; other exceptions speak for themselves."""
        if not isinstance(exception, KeyboardInterrupt | SIGTERMException):
            return
        if trainer.training:
            path = getattr(trainer.checkpoint_callback, "best_model_path", "")
            _say(resume_sentence(trainer.current_epoch, path))
        elif trainer.testing:
            kept = getattr(trainer.datamodule, "result_file", None)  # type: ignore[attr-defined]
            _say(kept_sentence(kept))


def resume_sentence(iteration: int, checkpoint: str) -> str:
    """Return how to go on after a fit was interrupted.

    Args:
        iteration: the one that was interrupted, from 0.
        checkpoint: path of the newest checkpoint, "" where there is none.

    """
    if not checkpoint:
        return f"interrupted in iteration {iteration}; nothing is saved yet, the same command begins anew"
    return (
        f"interrupted in iteration {iteration}; all before it is in {checkpoint}: the same command with "
        f"--ckpt_path={checkpoint} (or --ckpt_path=last) collects this iteration again and goes on"
    )


def kept_sentence(results: Path | None) -> str:
    """Return how to go on after a test was interrupted.

    Args:
        results: the file that holds the routes driven so far, None where none is written.

    """
    if results is None:
        return "interrupted; no route is kept, the same command begins anew (data.results=FOLDER keeps them)"
    if not results.exists():
        return "interrupted before a route was driven to its end; the same command begins anew"
    return f"interrupted; the routes driven so far are in {results}: the same command goes on with the others"


@rank_zero_only
def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
