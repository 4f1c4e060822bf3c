"""Files that are computed once and kept: where they lie and how they are written whole or not at all."""

import contextlib
import os
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from craft_lightning.errors import CraftError


def cache_directory(kind: str) -> Path:
    """Return (and create) ``$XDG_CACHE_HOME/craft-lightning/<kind>``, by default under ``~/.cache``.

    Raises:
        CraftError: it cannot be created.

    """
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    directory = Path(root) / "craft-lightning" / kind
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CraftError(
            f"cannot create the cache folder {directory} ({error.strerror}); set XDG_CACHE_HOME to a writable folder"
        ) from error
    return directory


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path`` that takes its place when the block ends well and vanishes otherwise.

    Several processes may write the same file at once: each writes its own scratch file and the last rename wins, so a
    reader never sees half a file.
    """
    scratch = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def cached_arrays(path: Path, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays stored at ``path``, or build and store them.

    Args:
        path: an ``.npz`` file; its name carries everything that the arrays depend on.
        build: called when the file is missing or unreadable (for example cut off by a full disk).

    """
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
    arrays = build()
    try:
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        # What was built is right all the same; it will be built again next time.
        warnings.warn(f"cannot keep {path} ({error.strerror}); it is built anew in every process", stacklevel=2)
    return arrays
