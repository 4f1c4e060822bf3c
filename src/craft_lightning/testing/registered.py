"""The adapters that recipes may name, and their examples under test."""

import inspect
from collections.abc import Iterator

import torch

from craft_lightning.plugins import load_adapters
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.testing.conformance import AdapterReport, CheckResult, check_adapter


def registered_adapters() -> dict[str, type[PolicyAdapter]]:
    """Return the concrete adapters of ``adapters/`` and of other distributions' entry points, by class name.

    Bases that a user's or our own tests define are left out: only modules that ``load_adapters`` imported count.
    """
    modules = set(load_adapters())
    found = {}
    for cls in _below(PolicyAdapter):  # type: ignore[type-abstract]
        known = cls.__module__ in modules or f"{cls.__module__}.{cls.__qualname__}" in modules
        if known and not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


def example_of(cls: type[PolicyAdapter], seed: int = 0) -> PolicyAdapter:
    """Return the class's example; weights depend on ``seed`` alone and the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls.example()


def check_class(cls: type[PolicyAdapter], seconds: float = 0.5) -> AdapterReport:
    """Check a class's example; one that cannot even be made is a failed check, not an end of the run."""
    try:
        adapter = example_of(cls)
    except Exception as error:  # an adapter may fail in any way; that is a finding
        words = f"example() ends in {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return AdapterReport(cls.__name__, (CheckResult("example", "failed", words),), {})
    return check_adapter(adapter, seconds=seconds, raises=False)


def _below(cls: type[PolicyAdapter]) -> Iterator[type[PolicyAdapter]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)
