"""The episode loop: worlds that wait for a decision get it together, worlds that reset join when they are ready."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeAlias

from craft_lightning.errors import WorldError
from craft_lightning.rollouts.pool import WorldPool

GROUPS = 2
"""Batches in flight; more would make them smaller and gain no overlap."""

Keep: TypeAlias = Callable[[], Any] | None
"""Makes the decision that ``Source.stepped`` gets; called when the worlds are driving already. None keeps nothing."""


@dataclasses.dataclass
class Running:
    """One episode in one world.

    Its specification, the newest ``StepResult`` (None while it resets) and executed decisions.
    """

    spec: Any
    result: Any = None
    decision: Any = None
    steps: int = 0


class Source(Protocol):
    """Where episodes come from and where what they produce goes."""

    def next_episode(self, world: int) -> Any | None:
        """Return the next ``EpisodeSpec`` of this world, or None when the world has done its share."""

    def stepped(self, world: int, before: Any, decision: Any, after: Any) -> bool:
        """Take one executed decision; return False to cut the episode here."""

    def finished(self, world: int, spec: Any, result: Any) -> None:
        """Take the record of an episode that ended by itself."""

    def failed(self, world: int, spec: Any, error: WorldError) -> Any | None:
        """Say which episode follows a fault: the same specification again, another, or None."""


class Driver(Protocol):
    """Who decides.

    Attributes:
        rows: for how many worlds it decides at once.

    """

    rows: int

    def row(self, world: int) -> int:
        """Return the row of a batch in which a world always sits."""

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Keep]]:
        """Return world -> (command, payload, what makes the decision kept) for waiting worlds, each of another row."""


class EachAlone:
    """Drivers for whom no world waits for another."""

    rows = 1

    def row(self, world: int) -> int:
        """Return the only row."""
        del world
        return 0


def run_episodes(pool: WorldPool, source: Source, driver: Driver) -> None:
    """Run episodes in all worlds until every world has done its share.

    While the policy decides for some worlds the others step, so that neither waits for the other; a world that resets
    joins when it is ready. What an episode contains does not depend on that timing: a world has its own row in batches
    of a fixed size, and seeds belong to rollout numbers.
    """
    running: dict[int, Running] = {}
    waiting: dict[int, Running] = {}  # for a decision, the longest first
    stepping: set[int] = set()

    def begin(world: int, spec: Any | None) -> None:
        running.pop(world, None)
        if spec is not None:
            running[world] = Running(spec)
            pool.submit(world, "reset", spec)

    for world in range(pool.size):
        begin(world, source.next_episode(world))
    while running:
        while batch := next_batch(waiting, stepping, driver):
            _drive(pool, driver, {world: waiting.pop(world) for world in batch})
            stepping.update(batch)
        for world, answer in pool.wait().items():
            stepping.discard(world)
            episode = running[world]
            if isinstance(answer, WorldError):
                begin(world, source.failed(world, episode.spec, answer))
                continue
            before, episode.result = episode.result, answer
            goes_on = True
            if before is not None:
                goes_on = source.stepped(world, before, episode.decision, answer)
                episode.steps += 1
            if answer.done:
                source.finished(world, episode.spec, answer)
            if answer.done or not goes_on:
                begin(world, source.next_episode(world))
            else:
                waiting[world] = episode


def next_batch(waiting: Collection[int], stepping: Collection[int], driver: Driver) -> list[int]:
    """Return the worlds to decide for now: the longest waiting of each row, once no row is left to wait for.

    A row whose world steps is waited for, since a batch costs nearly the same with a row more; but not where that would
    leave the processor with too few worlds.
    """
    chosen: dict[int, int] = {}
    for world in waiting:
        chosen.setdefault(driver.row(world), world)
    full = len(chosen) == driver.rows or all(driver.row(world) in chosen for world in stepping)
    return sorted(chosen.values()) if full or len(stepping) < GROUPS else []


def _drive(pool: WorldPool, driver: Driver, batch: dict[int, Running]) -> None:
    orders = driver.decide(batch)
    for world, (command, payload, _) in orders.items():
        pool.submit(world, command, payload)
    for world, (_, _, keep) in orders.items():
        batch[world].decision = None if keep is None else keep()
