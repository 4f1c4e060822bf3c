"""One improvement iteration's worth of on-policy transitions: the live policy drives training routes in all worlds."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from tensordict import TensorDict

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.rollouts.drivers import PolicyDriver
from craft_lightning.rollouts.loop import run_episodes
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.visits import training_order
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.stage import TRAFFIC_SOURCES
from craft_lightning.structures import CandidateSet, Context, Scene, Transition, stack_numpy

EPISODES_A_WORLD = 1000  # rollout numbers reserved for one world in one iteration


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Traffic and terminations of an episode.

    Args:
        vehicles: vehicles kept in the town.
        walkers: SUMO pedestrians kept in the town.
        end_on_collision: end the episode at the first collision (Bench2Drive*, and training).
        source: who drives the vehicles, ``sumo`` or ``traffic_manager``.

    """

    vehicles: int = 20
    walkers: int = 10
    end_on_collision: bool = True
    source: str = "sumo"

    def __post_init__(self) -> None:
        if self.source not in TRAFFIC_SOURCES:
            raise CraftError(f"data.traffic is '{self.source}'; choose {' or '.join(TRAFFIC_SOURCES)}")


def episode_seed(seed: int, rank: int, number: int) -> int:
    """Return the seed of one rollout, a function of (seed, rank, rollout number) alone."""
    return int(np.random.SeedSequence([seed, rank, number]).generate_state(1)[0] >> 1)


class Progress(Protocol):
    """Who is told what happens while worlds drive."""

    def decision(self, events: np.ndarray, done: int) -> None:
        """One decision was executed; ``done`` are kept so far."""

    def record(self, record: dict[str, Any], advance: bool) -> None:
        """One episode ended by itself."""


class _Quiet:
    def decision(self, events: np.ndarray, done: int) -> None:
        """Say nothing."""

    def record(self, record: dict[str, Any], advance: bool) -> None:
        """Say nothing."""


@dataclasses.dataclass
class _Step:
    result: Any
    decision: Any
    events: np.ndarray
    continues: float
    done: bool
    number: int
    step: int
    world: int


class _TrainingSource:
    """Hands out training episodes until every world has executed its quota of decisions."""

    def __init__(
        self,
        routes: Sequence[RouteConfig],
        traffic: Traffic,
        size: int,
        quota: int,
        iteration: int,
        seed: int,
        rank: int,
        max_attempts: int,
        progress: "Progress",
    ) -> None:
        self.routes, self.traffic, self.size, self.quota = routes, traffic, size, quota
        self.iteration, self.seed, self.rank, self.max_attempts = iteration, seed, rank, max_attempts
        self.progress = progress
        self.order = training_order(routes, size, [seed, rank, iteration])
        self.steps: list[list[_Step]] = [[] for _ in range(size)]
        self.episode_start = [0] * size
        self.episodes = [0] * size
        self.attempts = [0] * size
        self.finished_records: dict[int, dict[str, Any]] = {}  # by rollout number

    def next_episode(self, world: int) -> EpisodeSpec | None:
        if len(self.steps[world]) >= self.quota:
            return None
        count = self.episodes[world]
        self.episodes[world] += 1
        self.attempts[world] = 1
        self.episode_start[world] = len(self.steps[world])
        number = (self.iteration * self.size + world) * EPISODES_A_WORLD + count
        order = self.order[world]
        route = self.routes[order[count % len(order)]]
        return EpisodeSpec(
            route=route,
            number=number,
            seed=episode_seed(self.seed, self.rank, number),
            vehicles=self.traffic.vehicles,
            walkers=self.traffic.walkers,
            traffic=self.traffic.source,
            end_on_collision=self.traffic.end_on_collision,
        )

    def stepped(self, world: int, before: Any, decision: Any, after: Any) -> bool:
        steps = self.steps[world]
        cut = len(steps) + 1 >= self.quota
        steps.append(
            _Step(
                before,
                decision,
                after.events,
                0.0 if after.done or cut else 1.0,
                bool(after.done),
                (self.iteration * self.size + world) * EPISODES_A_WORLD + self.episodes[world] - 1,
                len(steps) - self.episode_start[world],
                world,
            )
        )
        self.progress.decision(after.events, sum(map(len, self.steps)))
        return not cut

    def finished(self, world: int, spec: EpisodeSpec, result: Any) -> None:
        self.finished_records[spec.number] = result.record
        self.progress.record(result.record, advance=False)

    def failed(self, world: int, spec: EpisodeSpec, error: WorldError) -> EpisodeSpec:
        # The same rollout number again: what it had produced so far is dropped, so nothing counts twice.
        del self.steps[world][self.episode_start[world] :]
        self.attempts[world] += 1
        if self.attempts[world] > self.max_attempts:
            raise CraftError(
                f"rollout {spec.number} (route {spec.route.id}) failed {self.max_attempts} times, the last time "
                f"with: {error}; remove the route from the training suite or look at the server's messages"
            ) from error
        return spec


@dataclasses.dataclass
class Collection:
    """What one iteration collected.

    Transitions ordered by world, rollout and step, and the finished episodes' records by rollout number.
    """

    transitions: Transition
    records: list[dict[str, Any]]


def collect(
    policy: PolicyAdapter,
    pool: WorldPool,
    routes: Sequence[RouteConfig],
    traffic: Traffic,
    transitions: int,
    iteration: int,
    seed: int,
    rank: int = 0,
    max_attempts: int = 5,
    progress: "Progress | None" = None,
) -> Collection:
    """Drive ``transitions`` decisions with actions sampled from ``policy``.

    Args:
        policy: the live policy.
        pool: started worlds; each executes the same share.
        routes: training routes, shuffled anew each iteration.
        traffic: traffic of every episode.
        transitions: decisions to execute, a multiple of the number of worlds.
        iteration: number of the improvement iteration; with ``seed`` and ``rank`` it fixes every rollout.
        seed: base seed.
        rank: rank of this process under DDP.
        max_attempts: how often one rollout is collected again after faults.
        progress: told of every executed decision and finished episode.

    Returns:
        Exactly ``transitions`` transitions and the records of episodes that ended by themselves.

    """
    source = _TrainingSource(
        routes, traffic, pool.size, transitions // pool.size, iteration, seed, rank, max_attempts, progress or _Quiet()
    )
    run_episodes(pool, source, PolicyDriver(policy, pool.size, episode_seed(seed, rank, 0), greedy=False))
    records = [record for _, record in sorted(source.finished_records.items())]
    return Collection(_batch([step for steps in source.steps for step in steps]), records)


def _batch(steps: list[_Step]) -> Transition:
    # torch.stack serves tensordicts and tensor classes too; its annotation knows tensors only.
    context = cast(Context, torch.stack([step.decision[0] for step in steps]))
    candidates = cast(CandidateSet, torch.stack([step.decision[1] for step in steps]))
    scene = stack_numpy([step.result.scene for step in steps], Scene)
    count, support = candidates.mask.shape
    plans = [step.result.expert_plan for step in steps]
    length = next((len(plan) for plan in plans if plan is not None), 1)
    missing = np.full((length, 3), np.nan, np.float32)
    expert = np.stack([missing if plan is None else np.asarray(plan, np.float32) for plan in plans])
    return Transition(
        context=context,
        candidates=candidates,
        scene=scene,
        events=torch.from_numpy(np.stack([step.events for step in steps]).astype(np.float32)),
        continues=torch.tensor([step.continues for step in steps]),
        done=torch.tensor([float(step.done) for step in steps]),
        rollout=torch.tensor([step.number for step in steps]),
        step=torch.tensor([step.step for step in steps]),
        world=torch.tensor([step.world for step in steps]),
        advantage=torch.zeros(count, support),
        residual=torch.zeros(count),
        expert=torch.from_numpy(expert),
        notes=TensorDict(batch_size=[count]),
        batch_size=[count],
    )
