"""Imports everything a recipe may name by its short name: importing a class is registering it."""

import importlib
import pkgutil
import warnings
from importlib.metadata import entry_points
from types import ModuleType

ADAPTERS = "craft_lightning.adapters"


def load_adapters() -> list[str]:
    """Import all adapters: the files of ``craft_lightning.adapters``, then other distributions' entry points.

    A distribution registers an adapter in its own metadata, group ``craft_lightning.adapters``. One that fails to
    import is named in a warning and left out, so that it cannot take the others with it.

    Returns:
        Dotted names of what was imported.

    """
    loaded = load_modules(importlib.import_module(ADAPTERS), skip_broken=True)
    for entry in entry_points(group=ADAPTERS):
        try:
            entry.load()
        except Exception as error:  # a plug-in may fail in any way, and the user can go on without it
            owner = entry.dist.name if entry.dist else "an unknown distribution"
            warnings.warn(f"adapter '{entry.name}' of {owner} is left out, it fails to import: {error!r}", stacklevel=2)
        else:
            loaded.append(f"{entry.module}.{entry.attr}" if entry.attr else entry.module)
    return loaded


def load_modules(package: ModuleType, skip_broken: bool = False) -> list[str]:
    """Import the modules that lie directly in a package and return their dotted names.

    Args:
        package: the package.
        skip_broken: name a module that fails to import in a warning and leave it out, so that a half-written file does
            not take the others with it.

    """
    loaded = []
    for module in pkgutil.iter_modules(package.__path__):
        name = f"{package.__name__}.{module.name}"
        try:
            importlib.import_module(name)
        except Exception as error:
            if not skip_broken:
                raise
            file = f"{getattr(module.module_finder, 'path', package.__name__)}/{module.name}.py"
            warnings.warn(f"{file} is left out, it fails to import: {error!r}", stacklevel=3)
        else:
            loaded.append(name)
    return loaded
