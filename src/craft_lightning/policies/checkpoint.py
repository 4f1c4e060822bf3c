"""Saves and loads policies: safetensors and plain metadata, never a pickle, every mismatch told in one sentence."""

import dataclasses
import difflib
import importlib
import inspect
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.files import find_file, read_safetensors, write_safetensors
from craft_lightning.structures import Factor, PlanSpec

FORMAT = "policy/1"
LIGHTNING_PREFIX = "adapter."
"""What ``CraftModule`` puts in front of the policy's parameters in a Lightning checkpoint."""

_FIELD = "checkpoint"
_PLAIN = (str, int, float, bool, type(None))


def save_policy(path: str | os.PathLike[str], policy: PolicyAdapter, notes: Mapping[str, Any] | None = None) -> Path:
    """Write a policy into one safetensors file that rebuilds it without any other file.

    Args:
        path: file to write; it appears whole or not at all.
        policy: the policy, on any device.
        notes: plain values kept beside it (how it was trained, what it reached), found in ``read_metadata``.

    Returns:
        The path.

    Raises:
        CraftError: a weight that is not finite, arguments or notes that are not plain, or a path that cannot be
            written.

    """
    state = policy.state_dict()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise CraftError(
                f"{name} in the state of {type(policy).__name__} is no tensor; keep extra state in buffers"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CraftError(f"{name} of {type(policy).__name__} holds NaN or infinity; it is not saved")
    arguments, extra = policy.checkpoint_arguments(), dict(notes or {})
    for what, values in (("arguments", arguments), ("notes", extra)):
        _require_plain(values, f"{what} of {type(policy).__name__}")
    metadata = {
        "format": FORMAT,
        "class_path": f"{type(policy).__module__}.{type(policy).__qualname__}",
        "init_args": arguments,
        "plan_spec": dataclasses.asdict(policy.spec),
        "vocabulary_hash": policy.vocabulary_hash,
        "notes": extra,
    }
    # Cloned: safetensors refuses tensors that share memory.
    return write_safetensors(path, {name: tensor.detach().clone() for name, tensor in state.items()}, metadata)


def load_policy(name: str | os.PathLike[str], policy: PolicyAdapter | None = None) -> PolicyAdapter:
    """Read a policy's checkpoint.

    Args:
        name: path of a ``.safetensors`` file or of a Lightning ``.ckpt``, or the name of a shipped one.
        policy: fill this policy; None builds the one that the file describes (a ``.ckpt`` describes none).

    Returns:
        The policy; frozen (profile "none") and in evaluation mode where it was built here. A given policy is changed
        only if everything fits.

    Raises:
        CraftError: a missing, truncated, corrupt or pickled file; another format, class or architecture; unknown,
            missing or misshapen weights; another vocabulary. Nothing in the file is executed.

    """
    path = find_file(name, _FIELD)
    if path.suffix == ".ckpt":
        if policy is None:
            raise CraftError(f"{_FIELD}: {path} does not say which adapter it is of; load it into a given policy")
        return _fill(policy, _lightning_state(path), path)
    tensors, metadata = read_safetensors(path, _FIELD)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format mark")
        raise CraftError(f"{_FIELD}: {path} has {found} and not {FORMAT}; give a file written by save_policy")
    if policy is not None:
        own = f"{type(policy).__module__}.{type(policy).__qualname__}"
        if metadata.get("class_path") != own:
            raise CraftError(
                f"{_FIELD}: {path} is of {metadata.get('class_path')} and the adapter is {own}; change one"
            )
        _require_same_arguments(policy, metadata.get("init_args"), path)
        return _fill(policy, tensors, path)
    built = _fill(_build(metadata, path), tensors, path)
    if built.spec != plan_spec_from_dict(metadata.get("plan_spec", {})):
        raise CraftError(f"{_FIELD}: the plan_spec of {path} does not fit its weights; save the policy again")
    return built.set_trainable("none").eval()


def require_one_source(checkpoint: Any, pretrained: Any) -> None:
    """Refuse a policy whose weights are to come from two places, before anything is read.

    Args:
        checkpoint: value of ``model.checkpoint``.
        pretrained: value of the adapter's argument ``pretrained``.

    Raises:
        CraftError: both are given.

    """
    if checkpoint is not None and pretrained:
        raise CraftError(
            f"model.checkpoint={checkpoint} and model.adapter.pretrained={pretrained} both say where the weights come "
            "from; set one of them to null"
        )


def read_metadata(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a checkpoint's metadata: class_path, init_args, plan_spec, vocabulary_hash, notes."""
    return read_safetensors(find_file(name, _FIELD), _FIELD)[1]


def plan_spec_from_dict(values: Mapping[str, Any]) -> PlanSpec:
    """Return the ``PlanSpec`` of the dictionary that ``dataclasses.asdict`` made of one.

    Raises:
        CraftError: unknown or missing fields.

    """
    try:
        factors = tuple(Factor(**factor) for factor in values["factors"])
        return PlanSpec(**{**values, "factors": factors})
    except (KeyError, TypeError) as error:
        raise CraftError(f"plan_spec cannot be read ({error}); save the policy again with this package") from error


def _require_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _require_plain(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_plain(item, where)
    elif not isinstance(value, _PLAIN):
        raise CraftError(f"{where} is a {type(value).__name__}; only numbers, strings, lists and mappings can be saved")


def _lightning_state(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own words about a pickle that is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CraftError(
            f"{_FIELD}: {path} holds more than tensors and plain values, or is corrupt; it was refused and nothing in "
            "it was executed, so convert the policy with save_policy"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CraftError(
            f"{_FIELD}: {path} is truncated or no Lightning checkpoint ({reason}); fetch it again"
        ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    own = {
        key.removeprefix(LIGHTNING_PREFIX): tensor
        for key, tensor in (state.items() if isinstance(state, dict) else ())
        if key.startswith(LIGHTNING_PREFIX) and isinstance(tensor, Tensor)
    }
    if not own:
        raise CraftError(f"{_FIELD}: {path} has no entry {LIGHTNING_PREFIX}* in its state_dict; give a CraftModule's")
    return own


def _build(metadata: dict[str, Any], path: Path) -> PolicyAdapter:
    cls = _adapter_class(str(metadata.get("class_path")), path)
    arguments = metadata.get("init_args")
    if not isinstance(arguments, dict):
        raise CraftError(f"{_FIELD}: the init_args of {path} are no mapping; save the policy again with this package")
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise CraftError(
            f"{_FIELD}: the init_args of {path} do not fit {cls.__name__} ({error}); it is of another version"
        ) from error
    # A file must not start a download or read other files.
    safe = {key: cls.outside_arguments.get(key, value) for key, value in arguments.items()}
    return cls(**safe)


def _require_same_arguments(policy: PolicyAdapter, saved: Any, path: Path) -> None:
    """Equal shapes are not enough: another number of heads computes something else with the same weights."""
    own = json.loads(json.dumps(policy.checkpoint_arguments()))
    for key, value in (saved if isinstance(saved, dict) else {}).items():
        if key in own and key not in policy.free_arguments and own[key] != value:
            raise CraftError(
                f"{_FIELD}: {path} was saved with {key}={value!r} and the adapter {key}={own[key]!r}; make them equal"
            )


def _adapter_class(class_path: str, path: Path) -> type[PolicyAdapter]:
    """Import the class only from this package, from registered adapters, or from what is imported already."""
    module_name, _, class_name = class_path.rpartition(".")
    registered = {entry.value.partition(":")[0] for entry in entry_points(group="craft_lightning.adapters")}
    known = module_name.startswith("craft_lightning.") or module_name in registered or module_name in sys.modules
    try:
        cls = getattr(importlib.import_module(module_name), class_name, None) if known else None
    except ImportError:
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, PolicyAdapter)) or inspect.isabstract(cls):
        raise CraftError(
            f"{_FIELD}: the class_path {class_path} in {path} is no installed policy adapter; install the package that "
            "registers it under the entry point craft_lightning.adapters"
        )
    return cls


def _fill(policy: PolicyAdapter, tensors: dict[str, Tensor], path: Path) -> PolicyAdapter:
    """Load tensors after checking all of them, so that a refused file leaves the policy as it was."""
    own = policy.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        parts = []
        if missing:
            parts.append(f"lacks {_some(missing)}")
        if unknown:
            near = difflib.get_close_matches(unknown[0], list(own), 1)
            parts.append(f"has unknown {_some(unknown)}" + (f" (nearest: {near[0]})" if near else ""))
        raise CraftError(
            f"{_FIELD}: {path} {' and '.join(parts)}; construct {type(policy).__name__} with the arguments that it was "
            "saved with"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape or tensor.dtype != own[name].dtype:
            found, wanted = ((tuple(item.shape), str(item.dtype)) for item in (tensor, own[name]))
            raise CraftError(
                f"{_FIELD}: {name} in {path} is {found} and {type(policy).__name__} has {wanted}; construct it "
                "with the arguments that it was saved with"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CraftError(f"{_FIELD}: {name} in {path} holds NaN or infinity; take another checkpoint")
    try:
        policy.load_state_dict(tensors)
    except CraftError as error:
        raise CraftError(f"{_FIELD}: {path}: {error}") from error
    return policy


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
