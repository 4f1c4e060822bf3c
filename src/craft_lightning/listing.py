"""Registries that are folders: whatever a module of a package offers under one name is found by listing the folder."""

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError


def collect(package: str, folder: Path, attribute: str, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """Return the entries of every dictionary ``attribute`` in the modules of a folder, sorted by their keys.

    Args:
        package: dotted name of the package.
        folder: its folder.
        attribute: name of the dictionaries; a module without it takes no part.
        leave_out: modules that are not imported (the one that asks).

    Raises:
        CraftError: two modules claim one key.

    """
    found: dict[str, Any] = {}
    names = sorted({entry.name for entry in pkgutil.iter_modules([str(folder)])} - set(leave_out))
    for name in names:
        for key, entry in getattr(importlib.import_module(f"{package}.{name}"), attribute, {}).items():
            if key in found:
                raise CraftError(f"{package}.{name} claims '{key}', which another module there has; remove one")
            found[key] = entry
    return dict(sorted(found.items()))
