"""Checkpoints of released policies: read without executing anything, prefixes stripped, heads taken out by name."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.files import read_safetensors

_NESTS = ("state_dict", "model_state_dict", "model", "module")
"""Entries under which trainers keep the weights: Lightning, plain torch, DeepSpeed and mmcv."""


def read_released(
    path: str | os.PathLike[str], prefixes: Sequence[str] = (), field: str = "weights"
) -> dict[str, Tensor]:
    """Read the weights of a released checkpoint.

    Args:
        path: ``.safetensors``, or a file of ``torch.save`` that holds tensors and plain values alone.
        prefixes: stripped from the front of names, each at most once and in this order (``agent.``,
            ``_sparsedrive_model.``); names without them stay.
        field: configuration field, named in errors.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        CraftError: a missing, truncated or corrupt file, one that holds objects that would have to be executed, or one
            without weights.

    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CraftError(f"{field}: {file} is no file; give the path of the checkpoint that you have downloaded")
    if file.suffix == ".safetensors":
        found: Any = read_safetensors(file, field)[0]
    else:
        found = _plain(file, field)
        for nest in _NESTS:
            inner = found.get(nest) if isinstance(found, Mapping) else None
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
                found = inner
                break
    tensors = {}
    for name, value in found.items() if isinstance(found, Mapping) else ():
        if isinstance(value, Tensor):
            for prefix in prefixes:
                name = str(name).removeprefix(prefix)
            tensors[str(name)] = value
    if not tensors:
        raise CraftError(f"{field}: {file} holds no named tensors; give the file that the policy's authors released")
    return tensors


def load_into(module: nn.Module, path: str | os.PathLike[str], prefixes: Sequence[str] = ()) -> tuple[str, ...]:
    """Load a released checkpoint into the user's module, for factories; extra names in the file are left out.

    Returns:
        Names of the module that the file does not have.

    Raises:
        CraftError: as ``read_released``; a tensor of another shape; a file of which no name fits.

    """
    tensors = read_released(path, prefixes)
    own = module.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own}
    if not fitting:
        raise CraftError(
            f"weights: no name in {path} is one of {type(module).__name__} (its first is {next(iter(own), None)}, the "
            f"file's {next(iter(tensors))}); give the prefixes to strip"
        )
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise CraftError(
                f"weights: {name} in {path} is {tuple(value.shape)} and the model's {tuple(own[name].shape)}"
            )
    module.load_state_dict(fitting, strict=False)
    return tuple(sorted(own.keys() - fitting.keys()))


def _plain(file: Path, field: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own words about a pickle that is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CraftError(
            f"{field}: {file} holds more than tensors and plain values, or is corrupt; it was refused and nothing in "
            "it was executed, so save its state_dict alone in the environment that made it"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CraftError(f"{field}: {file} is truncated or no checkpoint ({reason}); fetch it again") from error


def take_head(head: nn.Module, upstream: Mapping[str, Tensor], names: Mapping[str, str], owner: str) -> None:
    """Fill the rebuilt layers of an adapter from the user's model.

    Args:
        head: the adapter.
        upstream: tensors by upstream's names.
        names: beginning of an adapter's name -> beginning of upstream's.
        owner: the adapter's name, for errors.

    Raises:
        CraftError: a tensor that upstream has not, or has with another shape: the adapter must be constructed with the
            sizes of the user's model.

    """
    own = head.state_dict()
    wanted = {name: there for name in own if (there := upstream_name(name, names)) is not None}
    missing = sorted(there for there in wanted.values() if there not in upstream)
    if missing:
        raise CraftError(
            f"the model of {owner} has no {missing[0]} ({len(missing)} names are missing); is it that model?"
        )
    for name, there in wanted.items():
        if own[name].shape != upstream[there].shape:
            raise CraftError(
                f"{there} of the model of {owner} is {tuple(upstream[there].shape)} and the adapter's is "
                f"{tuple(own[name].shape)}; construct the adapter with the model's sizes"
            )
    head.load_state_dict({name: upstream[there].to(own[name].dtype) for name, there in wanted.items()}, strict=False)


def upstream_name(name: str, names: Mapping[str, str]) -> str | None:
    """Return upstream's name of one of the adapter's tensors, None where it has no counterpart."""
    for ours, theirs in names.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return None
