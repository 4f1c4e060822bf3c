"""The checks of ``check_adapter``, by topic; importing a module registers its checks in this order."""

from craft_lightning.testing.checks import (  # noqa: I001 - the order in which they run
    proposing,
    repeating,
    scoring,
    supporting,
    acting,
    learning,
    keeping,
    refusing,
    looking,
)
from craft_lightning.testing.checks.registry import CHECKS, Check

__all__ = [
    "CHECKS",
    "Check",
    "acting",
    "keeping",
    "learning",
    "looking",
    "proposing",
    "refusing",
    "repeating",
    "scoring",
    "supporting",
]
