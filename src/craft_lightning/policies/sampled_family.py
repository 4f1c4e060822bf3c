"""The family of policies whose candidates are drawn from a density: a categorical over the samples that are stored."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.densities import self_normalised
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec


class SampledPolicy(PolicyAdapter):
    """A policy with a density pi(z | s) over vectors z in R^D that decode to trajectories.

    ``propose`` draws K independent samples, so each was as likely to be executed as any other: the behaviour
    log-probabilities are -log K. Rollouts store the samples, their trajectories and the law they came from; ``score``
    weighs them by pi(z) / pi_old(z), self-normalised (``densities.self_normalised``). Ratios are exactly 1 until a
    parameter moves. Candidate 0 is the decoded centre of the law: no sample, hence masked, never drawn, rolled out or
    trained, but executed by ``act(greedy=True)``.

    Trajectories are stored and the decoder rests in fine-tuning, so geometry cannot drift under its rewards.

    Args:
        samples: K, candidates drawn a state, at least 2.
        dimensions: D.
        num_poses: poses of a trajectory.
        dt: seconds between poses.

    """

    family = "sampled density"
    stores_geometry = True
    free_arguments = PolicyAdapter.free_arguments | {"samples"}

    def __init__(self, samples: int, dimensions: int, num_poses: int = 40, dt: float = 0.1) -> None:
        super().__init__()
        if samples < 2 or dimensions < 1:
            raise CraftError(f"samples={samples} and dimensions={dimensions} do not fit; need at least 2 and 1")
        self.samples, self.dimensions, self.num_poses, self.dt = samples, dimensions, num_poses, dt
        self.proposal_noise = samples * dimensions

    @abstractmethod
    def law(self, context: Context) -> Tensor:
        """Return the parameters [B, L] of the density, differentiable."""

    @abstractmethod
    def centre(self, law: Tensor) -> Tensor:
        """Return the vector [B, D] that greedy driving decodes."""

    @abstractmethod
    def draw(self, law: Tensor, uniform: Tensor) -> Tensor:
        """Return samples [B, K, D] by the quantile function, from uniform numbers [B, K, D] and laws [B, 1, L]."""

    @abstractmethod
    def log_ratio(self, law: Tensor, old: Tensor, value: Tensor) -> Tensor:
        """Return log pi(z) - log pi_old(z) [B, K], exactly 0 for equal laws, of z [B, K, D] and laws [B, 1, L]."""

    @abstractmethod
    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return trajectories [B, N, T, 3] of vectors [B, N, D]."""

    @property
    def spec(self) -> PlanSpec:
        """One factor, "sample": the centre and K samples."""
        return PlanSpec(self.num_poses, self.dt, (Factor("sample", self.samples + 1),), "generated")

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """Draw K candidates a state.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, N, 1] numbers of the samples to list, drawn with the same ``noise``; None lists all.
            noise: [B, K * D] uniform numbers; None takes a fixed set of low discrepancy, the same for all states.

        """
        law = self.law(context)
        states = len(law)
        uniform = fixed_uniform(self.samples, self.dimensions).to(law.device).expand(states, -1, -1)
        if noise is not None:
            uniform = proposal_numbers(noise, states, self.samples, self.dimensions)
        value = torch.cat([self.centre(law).unsqueeze(1), self.draw(law.unsqueeze(1), uniform)], 1)
        ids = torch.arange(self.samples + 1, device=law.device).view(1, -1, 1).expand(states, -1, 1)
        mask = ids[..., 0] > 0
        drawn = CandidateSet(
            trajectories=self.decode(context, value),
            ids=ids,
            mask=mask,
            log_probs=self_normalised(torch.zeros_like(mask, dtype=law.dtype), mask),
            log_mass=law.new_zeros(states),
            multiplicity=torch.ones_like(ids[..., 0]),
            chosen=torch.full((states,), -1, device=law.device),
            latent=TensorDict({"value": value, "law": law}, batch_size=[states]),
            batch_size=[states],
        )
        if support is None:
            return drawn
        return listed(drawn, support, checked_ids(support.view(states, -1), self.samples + 1), ("value",))

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return self-normalised log-probabilities of the stored samples; the table is [B, 1, K + 1]."""
        if candidates.latent is None:
            raise CraftError(f"the candidates of {type(self).__name__} lack their latent samples; store them whole")
        law = self.law(context)
        ratio = self.log_ratio(law.unsqueeze(1), candidates.latent["law"].unsqueeze(1), candidates.latent["value"])
        joint = self_normalised(ratio, candidates.mask)
        outputs = sample_table(joint, candidates.ids, self.samples + 1)
        outputs.law = law
        if self.profile == "all":
            outputs.plan = self.decode(context, self.centre(law).unsqueeze(1))
        return outputs

    def act(self, candidates: CandidateSet, greedy: bool = False, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose one sample a state by ``noise``, or the centre of the law where ``greedy``."""
        return greedy_centre(self, candidates) if greedy else super().act(candidates, greedy, noise)


def fixed_uniform(samples: int, dimensions: int) -> Tensor:
    """Return [samples, dimensions] scrambled Sobol points, always the same ones."""
    return torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0).draw(samples)


def proposal_numbers(noise: Tensor, states: int, *shape: int) -> Tensor:
    """Return the noise of a proposal as [B, *shape].

    Raises:
        CraftError: there are more or fewer numbers.

    """
    size = torch.Size(shape).numel()
    if tuple(noise.shape) != (states, size):
        raise CraftError(f"noise has shape {tuple(noise.shape)}; give proposal_noise numbers a state, {(states, size)}")
    return noise.view(states, *shape)


def checked_ids(ids: Tensor, size: int) -> Tensor:
    """Return ``ids``, refusing what lies outside 0..size - 1."""
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < size):
        raise CraftError(f"an id of the support lies outside 0..{size - 1}; it is of another policy")
    return ids


def listed(drawn: CandidateSet, ids: Tensor, rows: Tensor, latents: Sequence[str]) -> CandidateSet:
    """Return the candidates [B, N] in ``rows`` [B, N] of a proposal, renormalised, with their mass.

    Args:
        drawn: the whole proposal, with trajectories and latents.
        ids: [B, N, F] (or [B, N]) their ids.
        rows: [B, N] int64.
        latents: names of the latents that have a row a candidate.

    """
    states = torch.arange(len(rows), device=rows.device)[:, None]
    mask = drawn.mask[states, rows]
    log_probs = drawn.log_probs[states, rows]
    assert drawn.latent is not None  # proposals of this family carry them
    assert drawn.trajectories is not None
    latent = {key: value[states, rows] if key in latents else value for key, value in drawn.latent.items()}
    return CandidateSet(
        trajectories=drawn.trajectories[states, rows],
        ids=ids.view(*rows.shape, -1),
        mask=mask,
        log_probs=log_probs.log_softmax(1),
        log_mass=log_probs.logsumexp(1),
        multiplicity=drawn.multiplicity[states, rows],
        chosen=drawn.chosen,
        latent=TensorDict(latent, batch_size=drawn.batch_size),
        batch_size=drawn.batch_size,
    )


def sample_table(joint: Tensor, ids: Tensor, size: int) -> FactorLogProbs:
    """Return one factor's log-probabilities [B, K] with their table [B, 1, size], -inf where nothing is listed."""
    flat = checked_ids(ids, size)[..., 0]
    table = joint.new_full((len(joint), size), -torch.inf).scatter_reduce(1, flat, joint, "amax")
    return FactorLogProbs(joint, joint.unsqueeze(-1), [table.unsqueeze(1)], [torch.zeros_like(flat)])


def greedy_centre(policy: PolicyAdapter, candidates: CandidateSet) -> tuple[Tensor, Tensor]:
    """Return index [B] and trajectory [B, T, 3] of sample number 0, the centre of the law.

    Raises:
        CraftError: a state's support does not list it.

    """
    centre = candidates.ids[..., -1] == 0
    if not centre.any(1).all():
        raise CraftError(f"the support of {type(policy).__name__} lacks sample number 0, the greedy plan; list it")
    index = centre.int().argmax(1)
    return index, policy.trajectories(candidates)[torch.arange(len(index), device=index.device), index]
