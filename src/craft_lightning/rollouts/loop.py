"""The episode loop: worlds that drive step together, worlds that reset join when they are ready."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from craft_lightning.errors import WorldError
from craft_lightning.rollouts.pool import WorldPool

GROUPS = 2
"""Groups of worlds in flight; more would make the policy's batches smaller and gain no overlap."""

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
    """Who decides."""

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Keep]]:
        """Return world -> (command, payload, what makes the decision kept) for all waiting worlds of one group."""


def group_count(worlds: int) -> int:
    """Return how many groups so many worlds drive in; world i is row i // groups of group i % groups."""
    return min(worlds, GROUPS)


def run_episodes(pool: WorldPool, source: Source, driver: Driver) -> None:
    """Run episodes in all worlds until every world has done its share.

    Worlds drive in two groups: while the policy decides for one, the other's worlds step, so that neither waits for the
    other. Within a group there is a barrier a decision; a world that resets misses rounds of its group until it is
    ready. What an episode contains does not depend on that timing: drivers place a world in its own row of a batch of
    fixed size, and seeds belong to rollout numbers.
    """
    running: dict[int, Running] = {}
    stepping: set[int] = set()  # driving worlds that have not answered yet
    count = group_count(pool.size)
    groups = [range(first, pool.size, count) for first in range(count)]

    def begin(world: int, spec: Any | None) -> None:
        running.pop(world, None)
        if spec is not None:
            running[world] = Running(spec)
            pool.submit(world, "reset", spec)

    for world in range(pool.size):
        begin(world, source.next_episode(world))
    while running:
        for group in groups:
            if stepping.isdisjoint(group):
                waiting = {
                    world: running[world] for world in group if world in running and running[world].result is not None
                }
                if waiting:
                    _drive(pool, driver, waiting)
                    stepping.update(waiting)
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


def _drive(pool: WorldPool, driver: Driver, waiting: dict[int, Running]) -> None:
    orders = driver.decide(waiting)
    for world, (command, payload, _) in orders.items():
        pool.submit(world, command, payload)
    for world, (_, _, keep) in orders.items():
        waiting[world].decision = None if keep is None else keep()
