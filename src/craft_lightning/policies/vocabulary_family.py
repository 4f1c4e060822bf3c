"""The family of policies that score a fixed vocabulary of trajectories: one factor, one softmax."""

from abc import abstractmethod
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.building import build_vocabulary
from craft_lightning.policies.candidates import duplicate_groups, merge_logits
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.policies.vocabulary import Vocabulary
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec

DUPLICATE_RMS = 0.05
"""Entries nearer than this (metres, root mean square over the poses) are one candidate."""


class VocabularyPolicy(PolicyAdapter):
    """A policy whose candidates are the entries of a vocabulary: pi = softmax(logits / temperature) over the mask.

    A subclass implements ``encode`` and ``logits``. An entry's logit must not depend on which other entries are listed:
    then a masked or reduced support only renormalises. The vocabulary and the temperature are buffers, so a
    ``state_dict`` carries both; loading another vocabulary is refused, since ids mean nothing across vocabularies.

    Args:
        vocabulary: the entries; None leaves ``size`` empty ones that a checkpoint must fill.
        size: number of entries where ``vocabulary`` is None.
        num_poses: poses of an entry where ``vocabulary`` is None.
        dt: seconds between poses.
        reachable_speed: metres per second by which an entry's initial speed may differ from the ego's; entries outside
            are masked (the nearest ones stay where none is inside). None masks nothing.

    """

    family = "vocabulary"
    # The vocabulary is held to its hash, which says more than its file's name.
    free_arguments = PolicyAdapter.free_arguments | {"vocabulary", "size", "num_poses", "reachable_speed"}
    outside_arguments = {**PolicyAdapter.outside_arguments, "vocabulary": None}  # noqa: RUF012 - ClassVar of the base

    table: Tensor
    temperature: Tensor
    representative: Tensor
    initial_speed: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary | None,
        size: int = 256,
        num_poses: int = 40,
        dt: float = 0.1,
        reachable_speed: float | None = None,
    ) -> None:
        super().__init__()
        self.dt = dt
        self.reachable_speed = reachable_speed
        entries = torch.zeros(size, num_poses, 3) if vocabulary is None else vocabulary.trajectories.float().clone()
        self.register_buffer("table", entries)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("representative", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("initial_speed", torch.zeros(0), persistent=False)
        self.has_duplicates = False
        self.vocabulary_report: dict[str, Any] = {} if vocabulary is None else dict(vocabulary.report)
        self.register_load_state_dict_pre_hook(_refuse_another_vocabulary)
        self.register_load_state_dict_post_hook(_vocabulary_was_loaded)
        if vocabulary is not None:
            self._vocabulary_changed()

    @abstractmethod
    def logits(self, context: Context) -> Tensor:
        """Return the raw logits [B, size] of all entries, before the temperature."""

    @property
    def spec(self) -> PlanSpec:
        """One factor, "trajectory", with the stored temperature."""
        size, poses = self.table.shape[:2]
        return PlanSpec(poses, self.dt, (Factor("trajectory", size),), "static", False, float(self.temperature))

    @property
    def vocabulary(self) -> Vocabulary:
        """The entries, with the report of their making (empty where a checkpoint brought them).

        Raises:
            CraftError: none were given and no checkpoint was loaded.

        """
        self._require_vocabulary()
        return Vocabulary(self.table.detach().cpu().clone(), self.dt, self.vocabulary_report)

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Fill an empty policy with the entries of ``vocabulary``.

        Raises:
            CraftError: the sizes differ.

        """
        if vocabulary.trajectories.shape != self.table.shape:
            raise CraftError(
                f"the vocabulary is {tuple(vocabulary.trajectories.shape)} and the policy {tuple(self.table.shape)}; "
                "construct the policy with the same size and num_poses"
            )
        self.table.copy_(vocabulary.trajectories)
        self.vocabulary_report = dict(vocabulary.report)
        self._vocabulary_changed()

    def prepare(self, trajectories: Tensor, seed: int = 0) -> None:
        """Build the vocabulary from demonstrations where there is none yet."""
        if self.vocabulary_hash is None:
            self.set_vocabulary(build_vocabulary(trajectories, len(self.table), seed, self.dt))

    @torch.no_grad()
    def listing(self, context: Context) -> CandidateSet:
        """List all entries with uniform log-probabilities, without running the decoder."""
        self._require_vocabulary()
        states, size = context.batch_size[0], len(self.table)
        mask = self._mask(context)
        log_probs = torch.zeros_like(mask, dtype=self.table.dtype).masked_fill(~mask, -torch.inf).log_softmax(1)
        return CandidateSet(
            trajectories=self.table.expand(states, -1, -1, -1),
            ids=torch.arange(size, device=mask.device).view(1, -1, 1).expand(states, -1, 1),
            mask=mask,
            log_probs=log_probs,
            log_mass=log_probs.new_zeros(states),
            multiplicity=torch.bincount(self.representative, minlength=size).expand(states, -1),
            chosen=torch.full((states,), -1, device=mask.device),
            batch_size=[states],
        )

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List all entries, or exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, 1] (or [B, K]) ids of a stored support; None lists the whole vocabulary.
            noise: not used: the support is static.

        Returns:
            Candidates whose ``trajectories`` are a view of the vocabulary (expanded where all states share it).

        """
        self._require_vocabulary()
        states = context.batch_size[0]
        logits, mask = self._masked_logits(context)
        log_probs = logits.log_softmax(1)
        multiplicity = torch.bincount(self.representative, minlength=len(self.table)).expand(states, -1)
        log_mass = log_probs.new_zeros(states)
        if support is None:
            ids = torch.arange(len(self.table), device=log_probs.device).view(1, -1, 1).expand(states, -1, 1)
            trajectories = self.table.expand(states, -1, -1, -1)
        else:
            ids = support.view(states, -1, 1)
            flat = self._checked(ids)
            mask, multiplicity = mask.gather(1, flat), multiplicity.gather(1, flat)
            log_probs = log_probs.gather(1, flat).masked_fill(~mask, -torch.inf)
            log_mass = log_probs.logsumexp(1)
            log_probs = log_probs.log_softmax(1)
            trajectories = self.table[flat]
        return CandidateSet(
            trajectories=trajectories,
            ids=ids,
            mask=mask,
            log_probs=log_probs,
            log_mass=log_mass,
            multiplicity=multiplicity,
            chosen=torch.full((states,), -1, device=log_probs.device),
            batch_size=[states],
        )

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored support, normalised over its mask.

        The single table is [B, 1, size] over the whole vocabulary, -inf outside the support.
        """
        self._require_vocabulary()
        logits = self._scaled_logits(context)
        enumerated = self._enumerates(candidates.ids)
        flat = candidates.ids[..., 0] if enumerated else self._checked(candidates.ids)
        if not enumerated:
            logits = logits.gather(1, flat)
        joint = logits.masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
        table = joint
        if not enumerated:
            empty = joint.new_full((len(joint), len(self.table)), -torch.inf)
            # A masked twin of a listed id must not overwrite it.
            table = empty.scatter_reduce(1, flat, joint, "amax")
        return FactorLogProbs(joint, joint.unsqueeze(-1), [table.unsqueeze(1)], [torch.zeros_like(flat)])

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return [1, size, T, 3] for an enumerated support and [B, K, T, 3] for any other, from the ids alone."""
        self._require_vocabulary()
        if self._enumerates(candidates.ids):
            return self.table.unsqueeze(0)
        return self.table[self._checked(candidates.ids)]

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature on held-out states and keep it.

        Args:
            context: what ``encode`` answered for held-out states.
            target: wanted mean probability of the greedy candidate.

        Returns:
            The temperature, also found in ``spec`` and in every later checkpoint.

        Raises:
            CraftError: ``target`` lies outside (1 / size, 1).

        """
        with torch.no_grad():
            # In parts: held-out sets are larger than mini-batches.
            logits = torch.cat([self._masked_logits(part, 1.0)[0] for part in context.split(256)]).double()

        def greedy(temperature: float) -> float:
            return float((logits / temperature).softmax(1).amax(1).mean())

        self.temperature.fill_(fit_temperature(greedy, target, len(self.table)))
        return float(self.temperature)

    def checkpoint_arguments(self) -> dict[str, Any]:
        """Return the constructor arguments, the vocabulary's file replaced by its size: the checkpoint holds it."""
        arguments = super().checkpoint_arguments()
        return {**arguments, "size": len(self.table)} if "size" in arguments else arguments

    def _scaled_logits(self, context: Context, temperature: Tensor | float | None = None) -> Tensor:
        """Logits over the temperature [B, size] (None: the stored one), duplicates pooled."""
        logits = self.logits(context) / (self.temperature if temperature is None else temperature)
        return merge_logits(logits, self.representative) if self.has_duplicates else logits

    def _masked_logits(self, context: Context, temperature: float | None = None) -> tuple[Tensor, Tensor]:
        mask = self._mask(context)
        return self._scaled_logits(context, temperature).masked_fill(~mask, -torch.inf), mask

    def _mask(self, context: Context) -> Tensor:
        mask = self.representative == torch.arange(len(self.table), device=self.table.device)
        mask = mask.expand(context.batch_size[0], -1)
        if self.reachable_speed is not None:
            gap = (self.initial_speed - context["ego"][:, :1]).abs().masked_fill(~mask, torch.inf)
            mask = gap <= gap.amin(1, keepdim=True).clamp_min(self.reachable_speed)
        return mask

    def _enumerates(self, ids: Tensor) -> bool:
        size = len(self.table)
        return ids.shape[1] == size and bool((ids[..., 0] == torch.arange(size, device=ids.device)).all())

    def _checked(self, ids: Tensor) -> Tensor:
        flat = ids[..., 0]
        if flat.numel() and not (int(flat.min()) >= 0 and int(flat.max()) < len(self.table)):
            raise CraftError(f"an id of the support lies outside 0..{len(self.table) - 1}; it is of another vocabulary")
        return flat

    def require_observed(self, fields: Collection[str]) -> None:
        """Refuse to drive without a vocabulary."""
        super().require_observed(fields)
        self._require_vocabulary()

    def _require_vocabulary(self) -> None:
        if self.vocabulary_hash is None:
            raise CraftError(f"{type(self).__name__} has no vocabulary yet; set its field vocabulary or a checkpoint")

    def _vocabulary_changed(self) -> None:
        device = self.table.device
        entries = self.table.detach().cpu()
        self.vocabulary_hash = Vocabulary(entries, self.dt).hash
        self.representative = duplicate_groups(entries, DUPLICATE_RMS).to(device)
        self.has_duplicates = bool((self.representative.cpu() != torch.arange(len(entries))).any())
        self.initial_speed = torch.linalg.vector_norm(self.table[:, 0, :2], dim=-1) / self.dt


def _refuse_another_vocabulary(module: VocabularyPolicy, state: dict[str, Any], prefix: str, *_: Any) -> None:
    table = state.get(f"{prefix}table")
    if table is None or module.vocabulary_hash is None:
        return
    found = Vocabulary(table.detach().cpu(), module.dt).hash
    if found != module.vocabulary_hash:
        raise CraftError(
            f"the checkpoint's vocabulary {found[:12]} is not the policy's {module.vocabulary_hash[:12]}; "
            "give the same vocabulary, or leave the field vocabulary empty to take the checkpoint's"
        )


def _vocabulary_was_loaded(module: VocabularyPolicy, _: Any) -> None:
    if module.table.any():
        module._vocabulary_changed()
