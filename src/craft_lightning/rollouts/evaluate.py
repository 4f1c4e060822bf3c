"""Drives a list of routes once each, greedily, and returns one record a route whatever happens."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from craft_lightning.errors import WorldError
from craft_lightning.metrics.records import CRASHED
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.rollouts.collect import Traffic, episode_seed
from craft_lightning.rollouts.drivers import ExpertDriver, PolicyDriver
from craft_lightning.rollouts.loop import Driver, run_episodes
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.rules import Judging
from craft_lightning.rollouts.visits import evaluation_shares
from craft_lightning.simulation.episode_spec import EpisodeSpec

RETRIES = 2  # after a fault the route is driven again this often, then recorded as failed with score 0


class Keeper:
    """Who keeps what routes yield while they are driven; this one keeps nothing but the number of attempts."""

    wants_motion = False
    wants_clock = False  # seconds on the clock on the wall make no two runs equal

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def done(self) -> Mapping[int, dict[str, Any]]:
        """Return the records that need not be driven again, by index."""
        return {}

    def begins(self, index: int) -> int:
        """Take that a route begins; return how often it has been begun before without an end."""
        before = self._begun.get(index, 0)
        self._begun[index] = before + 1
        return before

    def keep(
        self, record: dict[str, Any], motion: np.ndarray | None = None, incidents: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """Take one record as soon as it is there, and return it with what was added to it.

        Args:
            record: fields of a ``RouteRecord``.
            motion: the ego's motion, where wanted: [ticks, len(recorder.COLUMNS)].
            incidents: what went wrong, ``simulation.criteria.Incident`` as dictionaries.

        """
        return record


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is driven and how.

    Args:
        routes: routes in the order of their indices.
        traffic: traffic of every episode.
        seed: seed of traffic and scenarios; the same seed gives the same conditions to every policy.
        judging: the protocol's rules.

    """

    routes: Sequence[RouteConfig]
    traffic: Traffic
    seed: int
    judging: Judging = dataclasses.field(default_factory=Judging)

    def spec(self, index: int, motion: bool = False) -> EpisodeSpec:
        """Return the episode of one route, a function of its index and the seed alone."""
        return EpisodeSpec(
            route=self.judging.prescribed(self.routes[index]),
            number=index,
            seed=episode_seed(self.seed, 0, index),
            vehicles=self.traffic.vehicles,
            walkers=self.traffic.walkers,
            traffic=self.traffic.source,
            end_on_collision=self.traffic.end_on_collision,
            rules=self.judging.criteria,
            ignore_stop_sign_at_origin=self.judging.ignore_stop_sign_at_origin,
            clear_blocking_after=self.judging.clear_blocking_after,
            record_motion=motion,
        )


class _EvaluationSource:
    """Deals the routes out to the worlds; a route is never dropped."""

    def __init__(
        self, evaluation: Evaluation, size: int, keeper: Keeper, progress: Callable[[dict[str, Any]], None]
    ) -> None:
        self.evaluation, self.keeper, self.progress = evaluation, keeper, progress
        self.records: dict[int, dict[str, Any]] = dict(keeper.done())
        shares = evaluation_shares(evaluation.routes, size)
        self.waiting = [[index for index in share if index not in self.records] for share in shares]
        self.tries: dict[int, int] = {}  # of this run
        self.attempts: dict[int, int] = {}  # of this run and of those that ended while the route was driven
        self.began: dict[int, float] = {}
        self.incidents: list[list[dict[str, Any]]] = [[] for _ in range(size)]

    def next_episode(self, world: int) -> EpisodeSpec | None:
        return self._begin(world, self.waiting[world].pop(0)) if self.waiting[world] else None

    def _begin(self, world: int, index: int) -> EpisodeSpec:
        self.tries[index] = self.tries.get(index, 0) + 1
        self.attempts[index] = self.keeper.begins(index) + 1
        self.began.setdefault(index, time.monotonic())
        self.incidents[world] = []
        return self.evaluation.spec(index, self.keeper.wants_motion)

    def stepped(self, world: int, before: Any, decision: Any, after: Any) -> bool:
        self.incidents[world] += [dataclasses.asdict(incident) for incident in after.incidents]
        return True

    def finished(self, world: int, spec: EpisodeSpec, result: Any) -> None:
        self._keep(world, spec.number, result.record, result.motion)

    def failed(self, world: int, spec: EpisodeSpec, error: WorldError) -> EpisodeSpec | None:
        if self.tries[spec.number] <= RETRIES:
            return self._begin(world, spec.number)
        self._give_up(world, spec.number)
        return self.next_episode(world)

    def _give_up(self, world: int, index: int) -> None:
        spec = self.evaluation.spec(index)
        crashed = {
            "route_id": spec.route.id,
            "town": spec.route.town,
            "scenario": spec.route.scenarios[0].type if spec.route.scenarios else "",
            "status": CRASHED,
            "route_completion": 0.0,
            "number": spec.number,
            "seed": spec.seed,
        }
        self._keep(world, index, crashed, None)

    def _keep(self, world: int, index: int, record: dict[str, Any], motion: np.ndarray | None) -> None:
        record = {**record, "index": index, "attempts": self.attempts[index]}
        if self.keeper.wants_clock:
            record["duration_system_s"] = round(time.monotonic() - self.began[index], 3)
        self.records[index] = self.keeper.keep(record, motion, self.incidents[world])
        self.progress(self.records[index])


def drive_routes(
    policy: PolicyAdapter | None,
    pool: WorldPool,
    routes: Sequence[RouteConfig],
    traffic: Traffic,
    seed: int,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
    judging: Judging | None = None,
    keeper: Keeper | None = None,
    greedy: bool = True,
) -> list[dict[str, Any]]:
    """Drive every route once.

    Args:
        policy: decides; None lets the privileged expert drive.
        pool: started worlds.
        routes: routes in the order of their indices.
        traffic: traffic of every episode.
        seed: seed of traffic and scenarios; the same seed gives the same conditions to every policy.
        progress: called with every new record.
        judging: the protocol's rules; None = the house's own limits.
        keeper: gets every record as soon as it is there, and knows those that need not be driven again.
        greedy: the policy takes its most probable candidate; else it samples.

    Returns:
        One ``metrics.records.RouteRecord`` dictionary a route, in route order.

    """
    evaluation = Evaluation(routes, traffic, seed, judging or Judging())
    source = _EvaluationSource(evaluation, pool.size, keeper or Keeper(), progress)
    driver: Driver = ExpertDriver() if policy is None else PolicyDriver(policy, pool.size, seed, greedy)
    run_episodes(pool, source, driver)
    return [source.records[index] for index in range(len(routes))]
