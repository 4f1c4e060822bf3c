"""The adapter under test: what it saw, what it proposed, and how rollouts would keep that."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from craft_lightning.conventions import (
    AGENT_STATIC,
    AGENT_VEHICLE,
    BEV_CELLS,
    BEV_CHANNELS,
    EGO_FEATURES,
    MAX_CLOSED_LINES,
    MAX_OBJECTS,
    OBJECT_CLOSED_LINE,
    ROUTE_FEATURE_POINTS,
)
from craft_lightning.policies.base import PolicyAdapter, Profile
from craft_lightning.rig import COUNT, Camera, Rig
from craft_lightning.structures import CandidateSet, Context, Observation

_LARGEST = (12.0, 2.0, 0.3, 0.5, 14.0)  # of EGO_FEATURES

Observe = Callable[[int, int], Observation]
"""(states, seed) -> what that many states look like; the same seed gives the same observation."""


class Violation(Exception):
    """One clear sentence about what an adapter does against the contract."""


def violated(sentence: str) -> NoReturn:
    """Raise a ``Violation``."""
    raise Violation(sentence)


def require(condition: bool | Tensor, sentence: str) -> None:
    """Raise a ``Violation`` with ``sentence`` unless ``condition`` holds (everywhere, for a tensor)."""
    if not bool(condition.all() if isinstance(condition, Tensor) else condition):
        violated(sentence)


def observe_at_random(states: int, seed: int) -> Observation:
    """Return random observations of plausible sizes that differ much: noise of any density, a moving ego, a route."""
    generator = torch.Generator().manual_seed(seed)
    filled = torch.rand(states, len(BEV_CHANNELS), 1, 1, generator=generator)
    bev = torch.rand(states, len(BEV_CHANNELS), BEV_CELLS, BEV_CELLS, generator=generator) < filled
    return Observation(
        bev=bev.to(torch.uint8) * 255,
        ego=torch.rand(states, len(EGO_FEATURES), generator=generator) * torch.tensor(_LARGEST),
        route=torch.cumsum(torch.rand(states, ROUTE_FEATURE_POINTS, 2, generator=generator) * 2.0, 1),
        objects=_objects(states, generator),
        batch_size=[states],
    )


def measured_at_random(rig: Rig, states: int, seed: int) -> TensorDict:
    """Return what the sensors of a rig might tell of B states: pictures of a few blocks each, points all around."""
    generator = torch.Generator().manual_seed(seed + 7)
    found: dict[str, Tensor] = {}
    for sensor in rig:
        (shape, kind) = sensor.shapes()[sensor.name]
        if isinstance(sensor, Camera):
            rows, columns, *last = shape
            blocks = torch.rand(states, math.prod(last), 6, 8, generator=generator)
            if kind == "uint8":
                blocks = (blocks * (255.0 if last else 28.0)).round()
            whole = functional.interpolate(blocks, size=(rows, columns), mode="nearest").movedim(1, -1)
            found[sensor.name] = whole.reshape(states, *shape).to(getattr(torch, kind))
            continue
        count = torch.randint(shape[0] // 4, shape[0] // 2 + 1, (states,), generator=generator)
        points = torch.rand(states, *shape, generator=generator) * torch.tensor([60.0, 60.0, 3.0, 1.0])
        points[..., :2] -= 30.0
        found[sensor.name] = points * (torch.arange(shape[0]) < count[:, None]).unsqueeze(-1)
        found[f"{sensor.name}{COUNT}"] = count
    return TensorDict(found, batch_size=[states])


def _objects(states: int, generator: torch.Generator) -> Tensor:
    """[B, 24, 7] a random number of road users and closed stop lines around the ego; the other rows are zeros."""
    rows = MAX_OBJECTS + MAX_CLOSED_LINES
    low = torch.tensor([-20.0, -10.0, -3.0, 0.0, 0.5, 0.5])
    high = torch.tensor([60.0, 10.0, 3.0, 12.0, 6.0, 2.5])
    values = low + torch.rand(states, rows, 6, generator=generator) * (high - low)
    kind = torch.randint(AGENT_VEHICLE, AGENT_STATIC + 1, (states, rows, 1), generator=generator).float()
    kind[:, MAX_OBJECTS:] = OBJECT_CLOSED_LINE
    there = torch.rand(states, rows, 1, generator=generator) < torch.rand(states, 1, 1, generator=generator)
    return torch.cat([values, kind], -1) * there


@dataclasses.dataclass
class Subject:
    """An adapter with a batch of states that it has driven.

    Args:
        adapter: the policy under test.
        observe: what its states look like.
        states: states in the batch.
        seed: seed of observations and noise.
        memory_limit: bytes that a stored decision may take.

    """

    adapter: PolicyAdapter
    observe: Observe = observe_at_random
    states: int = 5
    seed: int = 0
    memory_limit: int = 1 << 20
    _driven: tuple[Context, CandidateSet] | None = None

    @property
    def device(self) -> torch.device:
        """Where the adapter lives."""
        return next(self.adapter.parameters()).device

    @property
    def profiles(self) -> list[Profile]:
        """The profiles of fine-tuning that the adapter offers."""
        return cast(list[Profile], [name for name in type(self.adapter).profiles if name not in ("all", "none")])

    @property
    def every_profile(self) -> list[Profile]:
        """All profiles that a policy must take: its own, "all" and "none"."""
        return [*self.profiles, "all", "none"]

    @property
    def profile(self) -> Profile:
        """The profile under which most checks run: the widest of fine-tuning."""
        offered = self.profiles
        if not offered:
            return "none"
        return "decoder" if "decoder" in offered else offered[-1]

    def reset(self) -> None:
        """Return to the state of fine-tuning, without gradients."""
        self.adapter.zero_grad(set_to_none=True)
        self.adapter.set_trainable(self.profile)
        self.adapter.eval()

    def observation(self, states: int | None = None) -> Observation:
        """Return the observation of the batch, where the adapter lives, with what its rig would measure."""
        count = states or self.states
        seen = self.observe(count, self.seed)
        if seen.sensors is None and self.adapter.rig:
            seen.sensors = measured_at_random(self.adapter.rig, count, self.seed)
        return seen.to(self.device)

    def noise(self, states: int | None = None, seed: int | None = None) -> Tensor | None:
        """Return the proposal noise [B, proposal_noise] (double precision, as rollouts draw it); None without any."""
        count = self.adapter.proposal_noise
        if not count:
            return None
        generator = torch.Generator().manual_seed(self.seed + 1 if seed is None else seed)
        drawn = torch.rand(states or self.states, count, generator=generator, dtype=torch.float64)
        return drawn.to(self.device)

    @torch.no_grad()
    def drive(self) -> tuple[Context, CandidateSet]:
        """Encode and propose afresh, as rollouts do."""
        context = self.adapter.encode(self.observation())
        return context, self.adapter.propose(context, noise=self.noise())

    @property
    def driven(self) -> tuple[Context, CandidateSet]:
        """The batch's context and candidates; made once, not to be changed."""
        if self._driven is None:
            self._driven = self.drive()
        return self._driven

    def stored(self, candidates: CandidateSet) -> CandidateSet:
        """Return candidates as rollouts keep them: rows of their own, without geometry unless the adapter stores it."""
        kept = candidates.clone(recurse=False)
        if not self.adapter.stores_geometry:
            kept.trajectories = None
        return cast(CandidateSet, torch.stack(cast("list[Tensor]", list(kept.clone().unbind(0)))))

    def subset(self, candidates: CandidateSet, count: int = 3) -> Tensor:
        """Return indices [B, k] of up to ``count`` valid candidates a state, in a random order."""
        count = min(count, int(candidates.mask.sum(1).min()))
        generator = torch.Generator().manual_seed(self.seed + 2)
        keys = torch.rand(candidates.mask.shape, generator=generator).to(self.device)
        return keys.masked_fill(~candidates.mask, -1.0).argsort(1, descending=True)[:, :count]

    @contextmanager
    def swapped(self, weights: dict[str, Tensor]) -> Iterator[None]:
        """Put other values into parameters for a while."""
        named = dict(self.adapter.named_parameters())
        before = {name: named[name].detach().clone() for name in weights}
        try:
            with torch.no_grad():
                for name, value in weights.items():
                    named[name].copy_(value)
            yield
        finally:
            with torch.no_grad():
                for name, value in before.items():
                    named[name].copy_(value)


def leaves(structure: Any) -> dict[Any, Tensor]:
    """Return the tensors of a context, those of nested ones too, by their keys."""
    return dict(structure.items(include_nested=True, leaves_only=True))
