"""``check_adapter``: one battery for every adapter, ours and anybody's."""

import dataclasses
import json
from collections.abc import Collection
from typing import Any, Literal

import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.testing.checks import CHECKS, Check
from craft_lightning.testing.measure import measure
from craft_lightning.testing.subject import Observe, Subject, Violation, observe_at_random

Outcome = Literal["passed", "failed", "not judged"]


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One check: its name, its outcome and one sentence (what it claims, what is wrong, or why it was not judged)."""

    name: str
    outcome: Outcome
    sentence: str


@dataclasses.dataclass(frozen=True)
class AdapterReport:
    """What ``check_adapter`` found.

    name: class of the adapter; results: one a check; numbers: see ``testing.measure.measure``, empty where the adapter
    cannot drive.
    """

    name: str
    results: tuple[CheckResult, ...]
    numbers: dict[str, Any]

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = dataclasses.asdict(self)
        return {**plain, "results": list(plain["results"]), "passed": self.passed}

    def json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def __str__(self) -> str:
        verdict = "passes" if self.passed else f"fails {len(self.failures)} of"
        lines = [f"{self.name} {verdict} {len(self.results)} checks"]
        lines += [f"  {result.name}: {result.sentence}" for result in self.failures]
        return "\n".join(lines)


class AdapterFault(CraftError):
    """An adapter does not keep the contract; ``report`` says where."""

    def __init__(self, report: AdapterReport) -> None:
        super().__init__(str(report))
        self.report = report


def check_adapter(
    adapter: PolicyAdapter,
    observe: Observe = observe_at_random,
    *,
    states: int = 5,
    seed: int = 0,
    memory_limit: int = 1 << 20,
    skip: Collection[str] = (),
    seconds: float = 0.5,
    raises: bool = True,
) -> AdapterReport:
    """Hold an adapter against the contract of ``policies.base.PolicyAdapter``.

    The adapter must be ready to drive. Its weights, profile and mode are afterwards as they were. Nothing is assumed
    about its architecture; supports may be static, filtered or generated.

    Args:
        adapter: the policy.
        observe: (states, seed) -> observation; random ones of a plausible size by default.
        states: states in a batch, at least 3.
        seed: of observations and noise.
        memory_limit: bytes that a stored decision may take.
        skip: names of checks that are left out.
        seconds: of CPU for measuring the speed; 0 leaves the numbers out.
        raises: raise where a check fails, instead of only reporting.

    Returns:
        The report.

    Raises:
        AdapterFault: a check failed (a ``CraftError``), one line a check.
        CraftError: an unknown name in ``skip``, too few states, or something that is no adapter.

    """
    if not isinstance(adapter, PolicyAdapter):
        raise CraftError(f"check_adapter was given a {type(adapter).__name__}; give an instance of a PolicyAdapter")
    unknown = set(skip) - CHECKS.keys()
    if unknown:
        raise CraftError(f"skip names {', '.join(sorted(unknown))}; checks are: {', '.join(CHECKS)}")
    if states < 3:
        raise CraftError(f"states is {states}; give at least 3")
    subject = Subject(adapter, observe, states, seed, memory_limit)
    profile, training = adapter.profile, adapter.training
    wanted = {name for name, parameter in adapter.named_parameters() if parameter.requires_grad}
    results: dict[str, CheckResult] = {}
    numbers: dict[str, Any] = {}
    try:
        for name, check in CHECKS.items():
            results[name] = _judge(check, subject, results, name in skip)
        if seconds > 0.0 and all(results[name].outcome == "passed" for name in ("candidates", "trajectories")):
            numbers = measure(subject, seconds)
    finally:
        adapter.zero_grad(set_to_none=True)
        adapter.profile = profile
        adapter.train(training)
        for name, parameter in adapter.named_parameters():
            parameter.requires_grad_(name in wanted)
    report = AdapterReport(type(adapter).__name__, tuple(results.values()), numbers)
    if raises and not report.passed:
        raise AdapterFault(report)
    return report


def _judge(check: Check, subject: Subject, results: dict[str, CheckResult], skipped: bool) -> CheckResult:
    if skipped:
        return CheckResult(check.name, "not judged", "left out")
    missing = [need for need in check.needs if results[need].outcome != "passed"]
    if missing:
        return CheckResult(check.name, "not judged", f"says nothing where {', '.join(missing)} does not hold")
    # Warnings and random state of a check must not reach the next one.
    with torch.random.fork_rng(devices=[]):
        try:
            subject.reset()
            check.run(subject)
        except Violation as violation:
            return CheckResult(check.name, "failed", str(violation))
        except Exception as error:  # an adapter may fail in any way; that is a finding
            words = " ".join(str(error).split())[:300]
            return CheckResult(check.name, "failed", f"{type(error).__name__}: {words}")
    return CheckResult(check.name, "passed", check.claim)
