"""The family of policies whose frozen part lists the candidates of a state: the trained head only weighs them."""

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.candidates import merge_logits
from craft_lightning.policies.factored import duplicate_plans, split_joint
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec

DUPLICATE_RMS = 0.05
"""Candidates of a state nearer than this (metres, root mean square over the poses) are one."""


class ListedPolicy(PolicyAdapter):
    """pi = softmax(logits / temperature) over the candidates that a state's context lists.

    What lists them (filters, anchors, regression, a denoiser) is frozen in fine-tuning, so behaviour, student and
    teacher have one support and the mass on it is 1. Candidates have one factor, or two: then candidate k is row
    k // V, column k % V of a state's own P x V list, and ids are global.

    A subclass implements ``encode``, ``logits``, ``listed_plans`` and, with two factors of its own, ``joint``.

    Args:
        factors: global factors.
        listed: candidates that a state lists, factor by factor.
        num_poses: poses of a trajectory.
        dt: seconds between poses.

    """

    family = "listed by the model"
    stores_geometry = True

    temperature: Tensor

    def __init__(
        self, factors: tuple[Factor, ...], listed: tuple[int, ...], num_poses: int = 40, dt: float = 0.1
    ) -> None:
        super().__init__()
        if len(factors) != len(listed) or not 1 <= len(factors) <= 2:
            raise CraftError(f"{len(factors)} factors and {len(listed)} listed sizes; give one or two of both")
        self._factors, self.listed, self.num_poses, self.dt = factors, listed, num_poses, dt
        self.register_buffer("temperature", torch.ones(()))

    @abstractmethod
    def logits(self, context: Context) -> Tensor:
        """Return the raw logits [B, K] of the listed candidates, before the temperature."""

    @abstractmethod
    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids [B, K, F], trajectories [B, K, T, 3] and the mask [B, K] of the listed candidates."""

    def joint(self, context: Context, temperature: Tensor | float) -> Tensor:
        """Return log-probabilities [B, K] up to a constant a state, duplicates not yet pooled."""
        return self.logits(context) / temperature

    @property
    def spec(self) -> PlanSpec:
        """The global factors, with the stored temperature."""
        sizes = math.prod(factor.size for factor in self._factors)
        support: Literal["static", "filtered"] = "static" if sizes == self.count else "filtered"
        return PlanSpec(self.num_poses, self.dt, self._factors, support, False, float(self.temperature))

    @property
    def count(self) -> int:
        """Candidates that a state lists."""
        return math.prod(self.listed)

    @torch.no_grad()
    def listing(self, context: Context) -> CandidateSet:
        """List the candidates with uniform log-probabilities."""
        return self._listed(context, torch.zeros(context.batch_size[0], self.count, device=self.temperature.device))

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List the candidates of B states, or exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, F] ids of a stored support; None lists everything.
            noise: not used.

        """
        candidates = self._listed(context, self.joint(context, self.temperature))
        return candidates if support is None else self._restricted(candidates, support)

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored support and its factors, normalised over its mask."""
        if candidates.latent is None:
            raise CraftError(f"the candidates of {type(self).__name__} have lost their latents; store them whole")
        merged = merge_logits(self.joint(context, self.temperature), candidates.latent["representative"].long())
        place = candidates.latent["place"].long()
        joint = merged.gather(1, place).masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
        empty = joint.new_full((len(joint), self.count), -torch.inf)
        # A masked twin of a listed place must not overwrite it.
        full = empty.scatter_reduce(1, place, joint, "amax")
        return self._factored(joint, full, place, candidates.ids)

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature on held-out states and keep it (see ``VocabularyPolicy``).

        Raises:
            CraftError: ``target`` lies outside (1 / K, 1).

        """
        with torch.no_grad():
            # In parts: held-out sets are larger than mini-batches.
            parts = context.split(256)
            lists = [self._listed(part, self.joint(part, 1.0)) for part in parts]

            def greedy(temperature: float) -> float:
                pairs = zip(parts, lists, strict=True)
                pooled = [_pooled(self.joint(part, temperature), found) for part, found in pairs]
                return float(torch.cat(pooled).log_softmax(1).amax(1).exp().mean())

            self.temperature.fill_(fit_temperature(greedy, target, self.count))
        return float(self.temperature)

    def _listed(self, context: Context, joint: Tensor) -> CandidateSet:
        ids, plans, mask = self.listed_plans(context)
        states, count = joint.shape
        same = duplicates(plans, mask)
        index = torch.arange(count, device=joint.device).expand(states, -1)
        candidates = CandidateSet(
            trajectories=plans,
            ids=ids,
            mask=mask & (same == index),
            log_probs=joint,
            log_mass=joint.new_zeros(states),
            multiplicity=torch.zeros_like(same).scatter_add(1, same, torch.ones_like(same)),
            chosen=torch.full((states,), -1, device=joint.device),
            latent=TensorDict({"representative": same.short(), "place": index.short()}, batch_size=[states]),
            batch_size=[states],
        )
        candidates.log_probs = _pooled(joint, candidates).log_softmax(1)
        return candidates

    def _restricted(self, everything: CandidateSet, support: Tensor) -> CandidateSet:
        sizes = [factor.size for factor in self._factors]
        own, wanted = (_flat(ids, sizes) for ids in (everything.ids, support.view(*support.shape[:2], len(sizes))))
        found = own[:, None] == wanted[..., None]
        if not found.any(-1).all():
            raise CraftError(f"a state's support names a candidate that {type(self).__name__} does not list there")
        place = found.int().argmax(-1)
        log_probs = everything.log_probs.gather(1, place)
        rows = torch.arange(len(place), device=place.device)[:, None]
        assert everything.latent is not None
        assert everything.trajectories is not None
        latent = {"representative": everything.latent["representative"], "place": place.short()}
        return CandidateSet(
            trajectories=everything.trajectories[rows, place],
            ids=everything.ids[rows, place],
            mask=everything.mask.gather(1, place),
            log_probs=log_probs.log_softmax(1),
            log_mass=log_probs.logsumexp(1),
            multiplicity=everything.multiplicity.gather(1, place),
            chosen=everything.chosen,
            latent=TensorDict(latent, batch_size=[len(place)]),
            batch_size=[len(place)],
        )

    def _factored(self, joint: Tensor, full: Tensor, place: Tensor, ids: Tensor) -> FactorLogProbs:
        """Split the joint over a state's list into factors over global ids."""
        states = len(joint)
        zero = torch.zeros_like(place)
        if len(self.listed) == 1:
            empty = joint.new_full((states, self._factors[0].size), -torch.inf)
            table = empty.scatter_reduce(1, ids[..., 0], joint, "amax")
            return FactorLogProbs(joint, joint.unsqueeze(-1), [table.unsqueeze(1)], [zero])
        first, second = split_joint(full.unflatten(1, self.listed))
        row = place // self.listed[1]
        factors = torch.stack([first.gather(1, row), second.flatten(1).gather(1, place)], -1)
        wide = joint.new_full((states, self._factors[0].size), -torch.inf)
        deep = joint.new_full((states, self.listed[0], self._factors[1].size), -torch.inf)
        columns = ids[..., 1][:, None].expand(-1, self.listed[0], -1)
        own = row[:, None] == torch.arange(self.listed[0], device=row.device)[:, None]
        spread = torch.where(own, factors[..., 1][:, None], -torch.inf)
        tables = [
            wide.scatter_reduce(1, ids[..., 0], factors[..., 0], "amax").unsqueeze(1),
            deep.scatter_reduce(2, columns, spread, "amax"),
        ]
        return FactorLogProbs(joint, factors, tables, [zero, row])


def duplicates(plans: Tensor, mask: Tensor) -> Tensor:
    """Return [B, K]: for every valid plan of every state the first valid one that it duplicates, else itself.

    Args:
        plans: [B, K, T, 3].
        mask: [B, K] valid ones.

    """
    # A plan that is not valid stands for none: it is put where no other one is.
    apart = 1e3 * torch.arange(1, plans.shape[1] + 1, device=plans.device)
    return duplicate_plans(plans + torch.where(mask, 0.0, apart)[..., None, None], DUPLICATE_RMS)


def _pooled(joint: Tensor, candidates: CandidateSet) -> Tensor:
    assert candidates.latent is not None  # _listed fills it
    merged = merge_logits(joint, candidates.latent["representative"].long())
    return merged.masked_fill(~candidates.mask, -torch.inf)


def _flat(ids: Tensor, sizes: list[int]) -> Tensor:
    place: Any = 0
    for factor, size in enumerate(sizes):
        place = place * size + ids[..., factor]
    return place
