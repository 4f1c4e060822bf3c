"""Reading and writing safetensors files: names, clear refusals, atomic writes, never a pickle."""

import difflib
import importlib.resources
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from craft_lightning.errors import CraftError

SHIPPED = "craft_lightning.checkpoints"
"""Package whose files can be given by name."""

_METADATA_KEY = "craft_lightning"
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def find_file(name: str | os.PathLike[str], field: str) -> Path:
    """Return the path of a file given by path, or by the name of one that ships with the package.

    Args:
        name: a path, or a name without separators such as ``vocabulary_craftville``.
        field: configuration field, named in errors.

    Raises:
        CraftError: there is no such file; the nearest shipped names are listed.

    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    text = os.fspath(name)
    shipped = _shipped_files()
    if os.sep not in text and "/" not in text:
        for candidate in (text, f"{text}.safetensors"):
            if candidate in shipped:
                return shipped[candidate]
    names = sorted(key.removesuffix(".safetensors") for key in shipped)
    near = difflib.get_close_matches(text, names, 3, 0.4) or names
    hint = f"; shipped names: {', '.join(near)}" if near else ""
    fault = "is a folder" if path.is_dir() else "does not exist"
    raise CraftError(f"{field}: the file {text} {fault}; give the path of a .safetensors file{hint}")


def _shipped_files() -> dict[str, Path]:
    # as_file is not needed: the package is always installed as plain files (zip_safe is off with package data).
    folder = Path(str(importlib.resources.files(SHIPPED)))
    return {path.name: path for path in folder.glob("*.safetensors")}


def is_pickled(path: Path) -> bool:
    """Return whether the file begins like a pickle or like the archives that ``torch.save`` writes."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with eight bytes of length, which may look like a pickle's, and an opening brace.
    return start.startswith(_PICKLE_MAGIC) and start[8:] != b"{"


def read_safetensors(path: Path, field: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and our metadata; nothing in the file is executed.

    Args:
        path: an existing file.
        field: configuration field, named in errors.

    Returns:
        Tensors by name on the CPU, and the metadata (empty where the file has none of ours).

    Raises:
        CraftError: a pickle, or a truncated, corrupt or unreadable file.

    """
    try:
        if is_pickled(path):
            raise CraftError(
                f"{field}: {path} is a pickle, which could run code and was not opened; convert it to .safetensors"
            )
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            header = (file.metadata() or {}).get(_METADATA_KEY, "{}")
        metadata = json.loads(header)
    except (SafetensorError, ValueError, TypeError) as error:
        raise CraftError(f"{field}: {path} is truncated or not a safetensors file ({error}); fetch it again") from error
    except OSError as error:
        raise CraftError(f"{field}: {path} cannot be read ({error.strerror}); check the path and its rights") from error
    if not isinstance(metadata, dict):
        raise CraftError(f"{field}: the metadata of {path} is no mapping; save the file again with this package")
    return tensors, metadata


def write_safetensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, Any]) -> Path:
    """Write tensors and metadata in one step: readers see the old file or the whole new one.

    Args:
        path: file to write; missing folders are made.
        tensors: tensors by name.
        metadata: plain values, written as JSON.

    Returns:
        The path.

    Raises:
        CraftError: the file cannot be written.

    """
    target = Path(path).expanduser()
    header = {_METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    content = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, header)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CraftError(f"{target} cannot be written ({error.strerror}); choose another path") from error
    return target
