"""Imports released projects from checkouts without their own dependencies, so that adapters meet the real modules."""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest


def checkout(name: str) -> Path:
    """Folder of a checkout below CRAFT_UPSTREAM; the test is skipped where there is none."""
    root = os.environ.get("CRAFT_UPSTREAM")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"no checkout of {name}; set CRAFT_UPSTREAM to a folder of checkouts")
    return Path(root) / name


class _Anything(type):
    """The class of hollow classes: whatever they are asked for they have."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class _Hollow(ModuleType):
    """A module of which every name is a mock."""

    __path__ = ()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        # Classes are inherited from, everything else is called or compared.
        made = _Anything(name, (), {"__init__": lambda self, *_, **__: None})
        value = made if name[:1].isupper() else MagicMock()
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, hollow: tuple[str, ...]) -> None:
        self.hollow = hollow

    def find_spec(self, name, path=None, target=None):
        if any(name == part or name.startswith(f"{part}.") for part in self.hollow):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Hollow(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def imported(folders: list[Path], hollow: tuple[str, ...]) -> Iterator[None]:
    """Import from ``folders`` with the packages ``hollow`` made of mocks; everything is forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    finder = _Finder(hollow)
    sys.meta_path.insert(0, finder)
    site = Path(os.environ["CRAFT_UPSTREAM"]) / "site"
    sys.path[:0] = [str(folder) for folder in folders] + [str(site)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path
        # Several projects use the same names; what is installed beside them stays.
        for name in set(sys.modules) - before:
            file = str(getattr(sys.modules[name], "__file__", None))
            if finder.find_spec(name) or any(file.startswith(f"{folder}/") for folder in folders) or file == "None":
                del sys.modules[name]
