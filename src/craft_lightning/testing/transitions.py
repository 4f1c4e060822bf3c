"""Made-up transitions and a stand-in for the worlds, for tests of anything that trains on transitions."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from tensordict import TensorDict
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from craft_lightning.conventions import BEV_CELLS, BEV_CHANNELS, EGO_FEATURES, EVENTS, ROUTE_FEATURE_POINTS
from craft_lightning.counterfactual.rollout import Rollout
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.structures import Observation, Scene, Transition
from craft_lightning.testing.straight_road import empty_scene, straight_road


def random_observation(states: int, generator: torch.Generator) -> Observation:
    """Return ``states`` random observations."""
    bev = torch.rand(states, len(BEV_CHANNELS), BEV_CELLS, BEV_CELLS, generator=generator) < 0.3
    return Observation(
        bev=bev.to(torch.uint8) * 255,
        ego=torch.randn(states, len(EGO_FEATURES), generator=generator).abs(),
        route=torch.randn(states, ROUTE_FEATURE_POINTS, 2, generator=generator) * 5.0,
        batch_size=[states],
    )


def synthetic_transitions(
    policy: PolicyAdapter,
    count: int = 64,
    seed: int = 0,
    episode: int = 8,
    collisions: float = 0.3,
    scene: Scene | None = None,
) -> Transition:
    """Return ``count`` transitions of made-up episodes, scored and sampled by ``policy``.

    Args:
        policy: whose contexts and candidates are stored.
        count: transitions.
        seed: fixes everything but the policy.
        episode: decisions an episode lasts.
        collisions: probability that an episode's last decision is a collision.
        scene: the visited states [count]; None for an empty straight road (``straight_road``).

    """
    generator = torch.Generator().manual_seed(seed)
    training = policy.training
    policy.eval()
    with torch.no_grad():
        device = next(policy.parameters()).device
        context = policy.encode(random_observation(count, generator).to(device))
        proposal = torch.rand(count, policy.proposal_noise, generator=generator) if policy.proposal_noise else None
        candidates = policy.propose(context, noise=None if proposal is None else proposal.to(device)).cpu()
        noise = torch.rand(candidates.mask.shape, generator=generator)
        candidates.chosen = policy.act(candidates, noise=noise)[0]
    policy.train(training)
    poses = policy.trajectories(candidates).shape[-2]
    if not policy.stores_geometry:
        candidates.trajectories = None
    step = torch.arange(count) % episode
    last = (step == episode - 1) | (torch.arange(count) == count - 1)
    events = torch.zeros(count, len(EVENTS))
    events[:, EVENTS.index("collision")] = (last & (torch.rand(count, generator=generator) < collisions)).float()
    return Transition(
        context=context.cpu(),
        candidates=candidates,
        scene=empty_scene(count) if scene is None else scene,
        events=events,
        continues=(~last).float(),
        done=(step == episode - 1).float(),
        rollout=1000 * seed + torch.arange(count) // episode,
        step=step,
        world=torch.zeros(count, dtype=torch.int64),
        advantage=torch.zeros(candidates.mask.shape),
        residual=torch.zeros(count),
        expert=torch.full((count, poses, 3), torch.nan),
        notes=TensorDict(batch_size=[count]),
        batch_size=[count],
    )


@dataclasses.dataclass
class ProgressWorld:
    """A stand-in for ``CounterfactualWorld``: the return is the distance driven ahead minus that to the side.

    Args:
        scale: factor of every return.

    """

    scale: float = 1.0

    def rollout(self, scene: Scene, trajectories: Tensor, mask: Tensor, grids: Sequence[Any]) -> Rollout:
        """Return the scores [B, K]; nothing collides, and a quarter of every return falls into the first 0.5 s."""
        end = trajectories[:, :, -1].expand(len(mask), -1, -1)
        returns = self.scale * (end[..., 0] - 3.0 * end[..., 1].abs())
        return Rollout(
            returns=returns,
            first_returns=0.25 * returns,
            collision_step=torch.full(mask.shape, -1),
            flags=torch.zeros(*mask.shape, 7, dtype=torch.bool),
            progress=end[..., 0],
            final=torch.nn.functional.pad(end, (0, 1)),
            mask=mask,
        )


class SyntheticDataModule(LightningDataModule):
    """Yields iterations as ``rollouts.datamodule.DrivingDataModule`` does, without any world.

    Args:
        transitions: an iteration's transitions.
        passes: passes over them.
        batch_size: transitions in a mini-batch.
        seed: base seed; an iteration depends on (seed, iteration, policy).

    Attributes:
        scene: the visited states of every iteration, None for an empty straight road.
        grids: road grids given to the losses.

    """

    scene: Scene | None = None

    def __init__(self, transitions: int = 64, passes: int = 2, batch_size: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.grids: list[Any] = [straight_road()]
        self.transitions, self.passes, self.batch_size, self.seed = transitions, passes, batch_size, seed

    def train_dataloader(self) -> DataLoader:
        """Return the loader whose every pass makes a new iteration."""
        return DataLoader(_SyntheticIteration(self), batch_size=None, num_workers=0)


class _SyntheticIteration(IterableDataset):
    def __init__(self, data: SyntheticDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.passes * (self.data.transitions // self.data.batch_size)

    def __iter__(self) -> Iterator[Transition]:
        data, trainer = self.data, self.data.trainer
        assert trainer is not None  # Lightning attaches it before any loader is read
        seed = data.seed + 10_000 * trainer.current_epoch
        module: Any = trainer.lightning_module
        transitions = synthetic_transitions(module.adapter, data.transitions, seed, scene=data.scene)
        module.annotate(transitions, data.grids)
        module.log_collection([], transitions, 1.0, 0)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(data.passes):
            for rows in torch.randperm(data.transitions, generator=generator).split(data.batch_size):
                yield transitions[rows]
