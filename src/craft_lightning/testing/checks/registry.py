"""What a check is: a function of the subject that raises ``Violation``, with the checks that must hold before it."""

import dataclasses
from collections.abc import Callable, Sequence

from craft_lightning.testing.subject import Subject


@dataclasses.dataclass(frozen=True)
class Check:
    """One claim about an adapter.

    name: of the check; claim: what it claims, in a sentence; needs: checks without which it says nothing; run: raises
    ``Violation``.
    """

    name: str
    claim: str
    needs: tuple[str, ...]
    run: Callable[[Subject], None]


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they run."""


def check(*needs: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make a function a check under its own name; its docstring's first line is the claim.

    Args:
        needs: names of checks that must have passed; where one did not, this one is not judged.

    """

    def register(run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        claim = (run.__doc__ or "").strip().splitlines()[0]
        unknown = set(needs) - CHECKS.keys()
        assert not unknown, f"{run.__name__} needs {unknown}, which come later or nowhere"
        CHECKS[run.__name__] = Check(run.__name__, claim, needs, run)
        return run

    return register


def names(values: Sequence[str]) -> str:
    """Return up to three names as words."""
    ordered = sorted(values)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
