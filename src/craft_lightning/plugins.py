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
    loaded = []
    package = importlib.import_module(ADAPTERS)
    for module in pkgutil.iter_modules(package.__path__):
        name = f"{ADAPTERS}.{module.name}"
        try:
            importlib.import_module(name)
        except Exception as error:  # a half-written file must not take every recipe with it
            file = getattr(module.module_finder, "path", ADAPTERS) + f"/{module.name}.py"
            warnings.warn(f"{file} is left out, it fails to import: {error!r}", stacklevel=2)
        else:
            loaded.append(name)
    for entry in entry_points(group=ADAPTERS):
        try:
            entry.load()
        except Exception as error:  # a plug-in may fail in any way, and the user can go on without it
            owner = entry.dist.name if entry.dist else "an unknown distribution"
            warnings.warn(f"adapter '{entry.name}' of {owner} is left out, it fails to import: {error!r}", stacklevel=2)
        else:
            loaded.append(f"{entry.module}.{entry.attr}" if entry.attr else entry.module)
    return loaded


def load_modules(package: ModuleType) -> list[str]:
    """Import the modules that lie directly in a package and return their dotted names."""
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    for name in names:
        importlib.import_module(name)
    return names
