"""Demonstrations of the privileged expert for imitation: driven once in the worlds, then shuffled for many epochs."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset

from craft_lightning.conventions import BEV_CELLS, BEV_CHANNELS
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.rollouts.collect import Traffic, episode_seed
from craft_lightning.rollouts.compact import pack_sensors, stack_packed, unpack_sensors
from craft_lightning.rollouts.loop import EachAlone, Keep, Running, run_episodes
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.progress import DrivingProgress
from craft_lightning.rollouts.visits import training_order
from craft_lightning.rollouts.worlds import WorldsDataModule
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.structures import Demonstration, Observation


class DisturbedExpertDriver(EachAlone):
    """The expert drives; now and then it is pushed off its plan, so that demonstrations show recoveries.

    A disturbance lasts one to three decisions: the expert's plan with a lateral offset that grows along it and a scaled
    speed. The label of every state stays the expert's own plan from there.

    Args:
        seed: seed of the disturbances, which belong to (seed, rollout number, step).
        share: probability that a disturbance begins at a decision.
        offset: standard deviation of the lateral offset after two seconds, metres.
        speed: standard deviation of the logarithm of the speed factor.

    """

    def __init__(self, seed: int, share: float, offset: float = 1.2, speed: float = 0.5) -> None:
        self.seed, self.share, self.offset, self.speed = seed, share, offset, speed
        self._left: dict[int, tuple[int, int, float, float]] = {}

    def decide(self, running: dict[int, Running]) -> dict[int, tuple[str, Any, Keep]]:
        """Return each waiting world's command; the decision kept is nothing, since the label is in the result."""
        return {world: self._one(world, episode) for world, episode in running.items()}

    def _one(self, world: int, episode: Running) -> tuple[str, Any, Keep]:
        number = episode.spec.number
        generator = np.random.default_rng([self.seed, number, episode.steps])
        begins = generator.random() < self.share
        owner, left, offset, factor = self._left.get(world, (-1, 0, 0.0, 1.0))
        if owner != number or episode.steps == 0:
            left = 0
        if left == 0 and begins:
            left = int(generator.integers(1, 4))
            offset = float(generator.normal(0.0, self.offset))
            factor = float(np.exp(generator.normal(0.0, self.speed)))
        if left == 0:
            return "expert_step", None, None
        self._left[world] = (number, left - 1, offset, factor)
        return "step", disturb(episode.result.expert_plan, offset, factor), None


def disturb(plan: np.ndarray, offset: float, factor: float) -> np.ndarray:
    """Return a plan [T, 3] with scaled speed and a lateral offset that reaches ``offset`` metres after 2 s."""
    steps = np.arange(1, len(plan) + 1)
    source = np.vstack([np.zeros(3), plan])
    scaled = np.stack(
        [np.interp(np.minimum(steps * factor, len(plan)), np.arange(len(plan) + 1), source[:, i]) for i in range(3)], 1
    )
    ramp = np.minimum(steps / 20.0, 1.0) * offset
    scaled[:, 0] -= np.sin(scaled[:, 2]) * ramp
    scaled[:, 1] += np.cos(scaled[:, 2]) * ramp
    return scaled.astype(np.float32)


class _DemonstrationSource:
    """Collects (observation, expert plan) until every world has its quota."""

    def __init__(
        self, routes: Sequence[RouteConfig], traffic: Traffic, size: int, quota: int, seed: int, bar: DrivingProgress
    ) -> None:
        self.routes, self.traffic, self.size, self.quota, self.seed, self.bar = routes, traffic, size, quota, seed, bar
        self.order = training_order(routes, size, [seed, 1])
        self.samples: list[list[tuple[dict[str, Any], np.ndarray]]] = [[] for _ in range(size)]
        self.start = [0] * size
        self.count = [0] * size
        self.failures = 0

    def next_episode(self, world: int) -> EpisodeSpec | None:
        if len(self.samples[world]) >= self.quota:
            return None
        self.start[world] = len(self.samples[world])
        number = world + self.count[world] * self.size
        order = self.order[world]
        route = self.routes[order[self.count[world] % len(order)]]
        self.count[world] += 1
        return EpisodeSpec(
            route=route,
            number=number,
            seed=episode_seed(self.seed, 0, number),
            vehicles=self.traffic.vehicles,
            walkers=self.traffic.walkers,
            traffic=self.traffic.source,
            end_on_collision=True,
            expert=True,
        )

    def stepped(self, world: int, before: Any, decision: Any, after: Any) -> bool:
        observation = dict(before.observation)
        observation["bev"] = np.packbits(observation["bev"] > 0)
        if "sensors" in observation:
            observation["sensors"] = pack_sensors(observation["sensors"])
        self.samples[world].append((observation, np.asarray(before.expert_plan, np.float32)))
        self.bar.decision(after.events, sum(map(len, self.samples)))
        return len(self.samples[world]) < self.quota

    def finished(self, world: int, spec: EpisodeSpec, result: Any) -> None:
        self.bar.record(result.record, advance=False)

    def failed(self, world: int, spec: EpisodeSpec, error: WorldError) -> EpisodeSpec:
        del self.samples[world][self.start[world] :]
        self.failures += 1
        if self.failures > 20:
            raise CraftError(f"demonstrations failed {self.failures} times, the last time with: {error}") from error
        return spec


class Demonstrations:
    """Demonstrations in memory, the rasters as packed bits (7 kB a state), pictures as PNG.

    Args:
        tensors: ``bev`` [N, bytes] packed bits, ``ego`` [N, 5], ``route`` [N, 20, 2], ``trajectory`` [N, T, 3], and
            ``objects`` [N, 24, 7], which files of earlier versions lack; of worlds with a rig also its packed
            measurements (``compact``).

    """

    bev_shape = (len(BEV_CHANNELS), BEV_CELLS, BEV_CELLS)

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors

    @classmethod
    def from_samples(cls, samples: list[tuple[dict[str, Any], np.ndarray]]) -> Self:
        """Stack (observation with packed ``bev`` and ``sensors``, expert plan) pairs."""
        fields = ("bev", "ego", "route", "objects")
        stacked = {name: np.stack([observation[name] for observation, _ in samples]) for name in fields}
        stacked["trajectory"] = np.stack([plan for _, plan in samples])
        tensors = {name: torch.from_numpy(array) for name, array in stacked.items()}
        if "sensors" in samples[0][0]:
            tensors |= stack_packed([observation["sensors"] for observation, _ in samples])
        return cls(tensors)

    @classmethod
    def load(cls, path: Path, key: str) -> Self:
        """Read a file that ``save`` wrote.

        Raises:
            CraftError: a broken file, or demonstrations collected under other settings.

        """
        try:
            with safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("settings", "")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        except (SafetensorError, OSError) as error:
            raise CraftError(f"data.file: {path} is not a file of demonstrations ({error}); delete it") from error
        missing = {"bev", "ego", "route", "trajectory"} - tensors.keys()
        if missing:
            raise CraftError(f"data.file: {path} lacks {', '.join(sorted(missing))}; delete it to collect anew")
        if found != key:
            raise CraftError(
                f"data.file: {path} was collected as {found}, now asked as {key}; delete it or name another"
            )
        return cls(tensors)

    def save(self, path: Path, key: str) -> None:
        """Write the demonstrations in one step; ``key`` names the settings that produced them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        save_file(self.tensors, partial, {"settings": key})
        partial.replace(path)

    def __len__(self) -> int:
        return len(self.tensors["trajectory"])

    def batch(self, index: torch.Tensor) -> Demonstration:
        """Return the states at ``index`` [B]."""
        packed = self.tensors["bev"][index].numpy()
        bits = np.unpackbits(packed, axis=1, count=math.prod(self.bev_shape))
        bev = torch.from_numpy(bits * np.uint8(255)).view(len(index), *self.bev_shape)
        size = [len(index)]
        # Any: the fields of a tensorclass are not in its own signature.
        others: dict[str, Any] = {
            name: self.tensors[name][index] for name in ("ego", "route", "objects") if name in self.tensors
        }
        sensors = unpack_sensors(self.tensors, index)
        observation = Observation(bev=bev, **others, sensors=sensors, batch_size=size)
        return Demonstration(observation=observation, trajectory=self.tensors["trajectory"][index], batch_size=size)


def demonstrate(
    pool: WorldPool,
    routes: Sequence[RouteConfig],
    traffic: Traffic,
    decisions: int,
    seed: int,
    disturbance: float,
    progress: bool = True,
) -> Demonstrations:
    """Let the expert drive ``decisions`` decisions, disturbed now and then."""
    with DrivingProgress("demonstrate", decisions, "decision", progress) as bar:
        source = _DemonstrationSource(routes, traffic, pool.size, decisions // pool.size, seed, bar)
        run_episodes(pool, source, DisturbedExpertDriver(seed, disturbance))
    samples = [sample for world in source.samples for sample in world]
    return Demonstrations.from_samples(samples)


class DemonstrationDataModule(WorldsDataModule):
    """The expert's demonstrations as an ordinary training set; collected once at the start of a fit.

    Args:
        decisions: demonstrated decisions, a multiple of ``worlds``.
        disturbance: probability that the expert is pushed off its plan at a decision.
        batch_size: states in a mini-batch.
        held_out: share of the demonstrations kept out of training (temperature calibration, coverage).
        file: keep the demonstrations in this file and read them from it the next time; empty collects anew.
        worlds_arguments: arguments of ``WorldsDataModule``.

    """

    def __init__(
        self,
        decisions: int = 8192,
        disturbance: float = 0.12,
        batch_size: int = 128,
        held_out: float = 0.05,
        file: str = "",
        **worlds_arguments: Any,
    ) -> None:
        super().__init__(**worlds_arguments)
        if decisions < 1 or decisions % self.worlds:
            raise CraftError(f"data.decisions is {decisions}; give a positive multiple of data.worlds={self.worlds}")
        self.decisions, self.disturbance, self.batch_size = decisions, disturbance, batch_size
        self.held_out, self.file = round(decisions * held_out), Path(file) if file else None
        self.demonstrations: Demonstrations | None = None

    def collect(self) -> Demonstrations:
        """Drive the demonstrations once, or read them from ``file``; later calls return the same."""
        if self.demonstrations is None:
            self.equip(getattr(self.trainer.lightning_module, "adapter", None) if self.trainer else None)
            where = self.training_suite or self.town
            key = f"{where}, {self.decisions} decisions, disturbance {self.disturbance}, seed {self.seed}"
            if self.options.rig:
                key += f", rig {self.options.rig}"
            if self.file is not None and self.file.exists():
                self.demonstrations = Demonstrations.load(self.file, key)
                return self.demonstrations
            self.demonstrations = demonstrate(
                self.pool,
                self.train_suite,
                self.traffic,
                self.decisions,
                self.seed,
                self.disturbance,
                self.show_progress,
            )
            if self.file is not None:
                self.demonstrations.save(self.file, key)
        return self.demonstrations

    def held_out_batch(self) -> Demonstration:
        """Return the demonstrations that training never sees (the last ones of the last world)."""
        count = len(self.collect())
        return self.collect().batch(torch.arange(count - self.held_out, count))

    def train_dataloader(self) -> DataLoader:
        """Return the loader over shuffled demonstrations."""
        return DataLoader(_Shuffled(self), batch_size=None, num_workers=0)


class _Shuffled(IterableDataset):
    def __init__(self, data: DemonstrationDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return math.ceil((self.data.decisions - self.data.held_out) / self.data.batch_size)

    def __iter__(self) -> Iterator[Demonstration]:
        data = self.data
        demonstrations = data.collect()
        epoch = data.trainer.current_epoch if data.trainer else 0
        generator = torch.Generator().manual_seed(episode_seed(data.seed, 1, epoch))
        order = torch.randperm(len(demonstrations) - data.held_out, generator=generator)
        for start in range(0, len(order), data.batch_size):
            yield demonstrations.batch(order[start : start + data.batch_size])
