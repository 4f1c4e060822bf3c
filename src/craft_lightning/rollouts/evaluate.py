"""Drives a list of routes once each, greedily, and returns one record a route whatever happens."""

from collections.abc import Callable, Sequence
from typing import Any

from craft_lightning.errors import WorldError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.rollouts.collect import Traffic, episode_seed
from craft_lightning.rollouts.drivers import ExpertDriver, PolicyDriver
from craft_lightning.rollouts.loop import Driver, run_episodes
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.simulation.episode import EpisodeSpec

RETRIES = 2  # after a fault the route is driven again this often, then recorded as failed with score 0


class _EvaluationSource:
    """World w drives routes w, w + N, ...; a route is never dropped."""

    def __init__(
        self,
        routes: Sequence[RouteConfig],
        traffic: Traffic,
        size: int,
        seed: int,
        progress: Callable[[dict[str, Any]], None],
    ) -> None:
        self.routes, self.traffic, self.size, self.seed, self.progress = routes, traffic, size, seed, progress
        self.next_index = list(range(size))
        self.attempts: dict[int, int] = {}
        self.records: dict[int, dict[str, Any]] = {}

    def next_episode(self, world: int) -> EpisodeSpec | None:
        index = self.next_index[world]
        if index >= len(self.routes):
            return None
        self.next_index[world] += self.size
        self.attempts[index] = 1
        return EpisodeSpec(
            route=self.routes[index],
            number=index,
            seed=episode_seed(self.seed, 0, index),
            vehicles=self.traffic.vehicles,
            walkers=self.traffic.walkers,
            end_on_collision=self.traffic.end_on_collision,
        )

    def stepped(self, world: int, before: Any, decision: Any, after: Any) -> bool:
        return True

    def finished(self, world: int, spec: EpisodeSpec, result: Any) -> None:
        self._keep(spec.number, {**result.record, "index": spec.number, "attempts": self.attempts[spec.number]})

    def failed(self, world: int, spec: EpisodeSpec, error: WorldError) -> EpisodeSpec | None:
        if self.attempts[spec.number] <= RETRIES:
            self.attempts[spec.number] += 1
            return spec
        crashed = {
            "route_id": spec.route.id,
            "index": spec.number,
            "town": spec.route.town,
            "scenario": spec.route.scenarios[0].type if spec.route.scenarios else "",
            "status": "Failed - Simulation crashed",
            "route_completion": 0.0,
            "number": spec.number,
            "seed": spec.seed,
            "attempts": self.attempts[spec.number],
        }
        self._keep(spec.number, crashed)
        return self.next_episode(world)

    def _keep(self, index: int, record: dict[str, Any]) -> None:
        self.records[index] = record
        self.progress(record)


def drive_routes(
    policy: PolicyAdapter | None,
    pool: WorldPool,
    routes: Sequence[RouteConfig],
    traffic: Traffic,
    seed: int,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Drive every route once.

    Args:
        policy: decides greedily; None lets the privileged expert drive.
        pool: started worlds.
        routes: routes in the order of their indices.
        traffic: traffic of every episode.
        seed: seed of traffic and scenarios; the same seed gives the same conditions to every policy.
        progress: called with every new record.

    Returns:
        One ``metrics.records.RouteRecord`` dictionary a route, in route order.

    """
    source = _EvaluationSource(routes, traffic, pool.size, seed, progress)
    driver: Driver = ExpertDriver() if policy is None else PolicyDriver(policy, pool.size, seed, greedy=True)
    run_episodes(pool, source, driver)
    return [source.records[index] for index in range(len(routes))]
