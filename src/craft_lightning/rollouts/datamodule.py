"""CARLA rollouts as a streaming DataModule: one Lightning epoch is one policy-improvement iteration."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader, IterableDataset

from craft_lightning.errors import CraftError
from craft_lightning.rollouts.collect import collect, episode_seed
from craft_lightning.rollouts.progress import DrivingProgress
from craft_lightning.rollouts.worlds import WorldsDataModule
from craft_lightning.structures import Transition


class DrivingDataModule(WorldsDataModule):
    """Collects on-policy transitions with the live policy, then yields passes of shuffled mini-batches of exactly
    those.

    The dataset has a length and no workers: Lightning then neither prefetches a batch of the previous policy nor copies
    the policy into another process. Rollouts are seeded by (seed, rank, rollout number), so a resumed run collects
    what an uninterrupted one would have.

    Args:
        transitions: decisions collected in an iteration, a multiple of ``worlds``.
        passes: passes over them.
        batch_size: transitions in a mini-batch.
        max_attempts: how often one rollout is collected again after faults.
        worlds_arguments: arguments of ``WorldsDataModule``.

    """

    def __init__(
        self,
        transitions: int = 2048,
        passes: int = 4,
        batch_size: int = 256,
        max_attempts: int = 5,
        **worlds_arguments: Any,
    ) -> None:
        super().__init__(**worlds_arguments)
        if transitions < 1 or transitions % self.worlds:
            raise CraftError(
                f"data.transitions is {transitions}; give a positive multiple of data.worlds={self.worlds}"
            )
        if passes < 1 or batch_size < 1:
            raise CraftError(f"data.passes={passes} and data.batch_size={batch_size} must both be at least 1")
        self.transitions, self.passes, self.batch_size, self.max_attempts = (
            transitions,
            passes,
            batch_size,
            max_attempts,
        )

    def train_dataloader(self) -> DataLoader:
        """Return the loader whose every pass collects anew."""
        return DataLoader(_Iteration(self), batch_size=None, num_workers=0)


class _Iteration(IterableDataset):
    """One improvement iteration: collect, annotate, then mini-batches; nothing outlives the iteration."""

    def __init__(self, data: DrivingDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.passes * math.ceil(self.data.transitions / self.data.batch_size)

    def __iter__(self) -> Iterator[Transition]:
        data = self.data
        trainer = data.trainer
        policy = data._live_policy()
        assert trainer is not None  # _live_policy has refused a missing trainer
        iteration, rank = trainer.current_epoch, trainer.global_rank

        def check() -> None:
            if trainer.received_sigterm:
                raise SIGTERMException

        with DrivingProgress(f"collect {iteration}", data.transitions, "decision", data.show_progress, check) as bar:
            replaced = data.pool.statistics.replaced
            collection = collect(
                policy,
                data.pool,
                data.train_suite,
                data.traffic,
                data.transitions,
                iteration,
                data.seed,
                rank,
                data.max_attempts,
                bar,
            )
            rate = data.transitions / bar.seconds
        transitions = collection.transitions
        module = trainer.lightning_module
        module.annotate(transitions, data.grids)  # type: ignore[operator]
        module.log_collection(  # type: ignore[operator]
            collection.records, transitions, rate, data.pool.statistics.replaced - replaced
        )
        for number in range(data.passes):
            generator = torch.Generator().manual_seed(episode_seed(data.seed, rank, iteration * data.passes + number))
            order = torch.randperm(data.transitions, generator=generator)
            for start in range(0, data.transitions, data.batch_size):
                yield transitions[order[start : start + data.batch_size]]
