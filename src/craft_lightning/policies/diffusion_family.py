"""The family of truncated diffusion planners: anchors, a little noise, a few stochastic DDIM steps (DiffusionDrive)."""

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.densities import normal_quantile, self_normalised
from craft_lightning.policies.factored import split_joint
from craft_lightning.policies.sampled_family import checked_ids, fixed_uniform, greedy_centre, listed, proposal_numbers
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec

_TRAIN_STEPS, _FIRST_BETA, _LAST_BETA = 1000, 1e-4, 0.02  # the scaled linear schedule of DDPM


class TruncatedDiffusionPolicy(PolicyAdapter):
    """A mode among M anchors, then a chain x_0 ... x_S from the noised anchor to a plan, all numbers in R^D.

    x_0 = sqrt(a_0) anchor + sqrt(1 - a_0) noise, and x_i ~ N(mean(x_{i-1}), s_i^2) with DDIM's mean and deviation
    (eq. (12) and (16) of arXiv 2010.02502, eta above 0) and s_i no smaller than ``floor``, the same number when a chain
    is drawn and when it is scored; DiffusionDriveV2 (arXiv 2512.07745) fine-tunes this way. So a plan's log-probability
    is log pi(mode) + sum_i log N(x_i; mean(x_{i-1}), s_i): the noise of x_0 depends on no parameter.

    ``propose`` draws ``group`` chains for every mode and stores them whole; ``score`` evaluates the stored chains again
    and weighs them (``densities.self_normalised`` with the modes as the enumerated part). Candidate (mode, 0) is the
    best mode's chain without noise: masked, and executed by ``act(greedy=True)``.

    The mode is scored from the anchors without noise, so that its probability is a number of the state alone.

    Args:
        modes: M, anchors.
        group: chains a mode, at least 2: a lone chain has nothing to be compared with once its mode is chosen.
        dimensions: D.
        num_poses: poses of a trajectory.
        dt: seconds between poses.
        times: noise levels of x_0 and of what each step leads to, in steps of a schedule of 1000; ends with 0.
        eta: share of DDIM's full noise, above 0.
        floor: smallest deviation of a step, in units of x.

    """

    family = "truncated diffusion"
    stores_geometry = True
    free_arguments = PolicyAdapter.free_arguments | {"group"}

    temperature: Tensor
    deviation: Tensor
    ddim: Tensor
    signal: Tensor

    def __init__(
        self,
        modes: int,
        group: int,
        dimensions: int,
        num_poses: int = 40,
        dt: float = 0.1,
        times: Sequence[int] = (8, 4, 0),
        eta: float = 1.0,
        floor: float = 0.1,
    ) -> None:
        super().__init__()
        falling = all(a > b for a, b in itertools.pairwise(times))
        if len(times) < 2 or not falling or times[-1] != 0 or times[0] >= _TRAIN_STEPS:
            raise CraftError(f"times is {list(times)}; give falling noise levels below {_TRAIN_STEPS} that end with 0")
        if modes < 1 or group < 2 or not 0.0 < eta <= 1.0 or not floor > 0.0:
            raise CraftError(
                f"modes={modes}, group={group}, eta={eta}, floor={floor} do not fit; need at least 1 mode, 2 chains a "
                "mode, 0 < eta <= 1 and floor above 0"
            )
        self.modes, self.group, self.dimensions, self.steps = modes, group, dimensions, len(times) - 1
        self.num_poses, self.dt = num_poses, dt
        self.proposal_noise = modes * group * (self.steps + 1) * dimensions
        beta = torch.linspace(_FIRST_BETA**0.5, _LAST_BETA**0.5, _TRAIN_STEPS, dtype=torch.float64).square()
        signal = torch.cat([torch.ones(1, dtype=torch.float64), (1.0 - beta).cumprod(0)])[list(times)]
        now, then = signal[:-1], signal[1:]
        ddim = eta * ((1.0 - then) / (1.0 - now) * (1.0 - now / then)).sqrt()
        self.register_buffer("signal", signal.float(), persistent=False)
        self.register_buffer("ddim", ddim.float(), persistent=False)
        self.register_buffer("deviation", ddim.clamp_min(floor).float(), persistent=False)
        self.register_buffer("temperature", torch.ones(()))

    @property
    @abstractmethod
    def anchors(self) -> Tensor:
        """The anchors [M, D]."""

    @abstractmethod
    def mode_logits(self, context: Context) -> Tensor:
        """Return the raw logits [B, M] of the modes, from anchors without noise."""

    @abstractmethod
    def denoise(self, context: Context, noisy: Tensor, mode: Tensor, step: int) -> Tensor:
        """Return the plans [B, N, D] behind noisy ones.

        Args:
            context: B states.
            noisy: [B, N, D].
            mode: [B, N] int64, the anchor that each comes from.
            step: number of the step that is to be taken, 0 first.

        """

    @abstractmethod
    def decode(self, context: Context, value: Tensor) -> Tensor:
        """Return the trajectories [B, N, T, 3] of plans [B, N, D]."""

    @property
    def spec(self) -> PlanSpec:
        """Two factors: the mode, and the number of a chain in it (0 is the greedy one)."""
        factors = (Factor("mode", self.modes), Factor("chain", self.group + 1))
        return PlanSpec(self.num_poses, self.dt, factors, "generated", False, float(self.temperature))

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """Draw ``group`` chains a mode.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, N, 2] ids of the chains to list, drawn with the same ``noise``; None lists all.
            noise: [B, proposal_noise] uniform numbers; None takes a fixed set of low discrepancy.

        """
        states = context.batch_size[0]
        scores = self._mode_log_probs(context)
        chains = self._noise(noise, states, scores)
        mode = torch.arange(self.modes, device=scores.device).repeat_interleave(self.group).expand(states, -1)
        number = (torch.arange(self.modes * self.group, device=scores.device) % self.group + 1).expand(states, -1)
        mode = torch.cat([scores.argmax(1, keepdim=True), mode], 1)
        ids = torch.stack([mode, torch.cat([torch.zeros_like(number[:, :1]), number], 1)], -1)
        chain = self._walk(context, chains, mode)
        mask = ids[..., 1] > 0
        drawn = CandidateSet(
            trajectories=self.decode(context, chain[:, :, -1]),
            ids=ids,
            mask=mask,
            log_probs=self_normalised(torch.zeros_like(mask, dtype=scores.dtype), mask, scores.gather(1, mode)),
            log_mass=scores.new_zeros(states),
            multiplicity=torch.ones_like(mode),
            chosen=torch.full((states,), -1, device=mask.device),
            latent=TensorDict({"chain": chain, "mean": self._means(context, chain, mode)}, batch_size=[states]),
            batch_size=[states],
        )
        return drawn if support is None else listed(drawn, support, self._row(support), ("chain", "mean"))

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored chains.

        The tables are the modes' [B, 1, M] and, for every mode, its chains' [B, M, group + 1]; both sum to 1 over what
        is listed.
        """
        if candidates.latent is None:
            raise CraftError(f"the candidates of {type(self).__name__} lack their latent chains; store them whole")
        self._row(candidates.ids)
        mode, number = candidates.ids.unbind(-1)
        scores = self._mode_log_probs(context)
        means = self._means(context, candidates.latent["chain"], mode)
        ratio = self.chain_log_ratio(means, candidates.latent["mean"], candidates.latent["chain"])
        joint = self_normalised(ratio, candidates.mask, scores.gather(1, mode))
        outputs = self._tables(joint, mode, number)
        kept = torch.where(candidates.mask, mode, -1).to(means)
        outputs.law = torch.cat([scores, kept, means.flatten(1)], 1)
        if self.profile == "all":
            outputs.plan = self._central_plans(context, scores)
        return outputs

    def act(self, candidates: CandidateSet, greedy: bool = False, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose a mode and chain by ``noise``, or the best mode's chain without noise where ``greedy``."""
        return greedy_centre(self, candidates) if greedy else super().act(candidates, greedy, noise)

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature of the modes to a mean probability of the most probable one and keep it."""
        with torch.no_grad():
            # In parts: held-out sets are larger than mini-batches.
            logits = torch.cat([self.mode_logits(part) for part in context.split(256)]).double()

        def greedy(temperature: float) -> float:
            return float((logits / temperature).softmax(1).amax(1).mean())

        self.temperature.fill_(fit_temperature(greedy, target, self.modes))
        return float(self.temperature)

    def chain_log_ratio(self, means: Tensor, old_means: Tensor, chain: Tensor) -> Tensor:
        """Return log pi(chain) - log pi_old(chain) [B, K], exactly 0 where the means are equal.

        Args:
            means: [B, K, S, D] of the steps of stored chains.
            old_means: [B, K, S, D] when they were drawn.
            chain: [B, K, S + 1, D] the chains.

        """
        reached = chain[:, :, 1:]
        moved = (means - old_means) * (2.0 * reached - means - old_means)
        return (0.5 * moved / self.deviation[:, None].square()).sum((-2, -1))

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL of the modes, exact, plus that of the chains at the states that stored chains visited.

        By the chain rule KL = KL(mode) + E[sum_i |mean_i - mean_i'|^2 / (2 s_i^2)], the expectation over modes exact
        and over chains the mean of the stored ones: Gaussians of one deviation need no sample of the step itself.
        """
        (scores, mode, means), (other, _, other_means) = self._parts(first), self._parts(second)
        probability = scores.exp()
        modes = (probability * (scores - other) - probability + other.exp()).sum(1)
        steps = (0.5 * (means - other_means).square() / self.deviation[:, None].square()).sum((-2, -1))
        kept = mode >= 0
        index = mode.clamp_min(0)
        count = torch.zeros_like(scores).scatter_add(1, index, kept.to(scores)).clamp_min(1.0)
        weight = (probability / count).gather(1, index) * kept
        return modes + (weight * steps).sum(1)

    def law_entropy(self, law: Tensor) -> Tensor:
        """Return the entropy of the modes; the chains' own is a constant, since their deviations are."""
        scores = self._parts(law)[0]
        return -(scores.exp() * scores).sum(1)

    def _mode_log_probs(self, context: Context) -> Tensor:
        return (self.mode_logits(context) / self.temperature).log_softmax(1)

    def _parts(self, law: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mode log-probabilities [B, M], modes of the candidates [B, K] (-1: none) and means [B, K, S, D]."""
        candidates = (law.shape[1] - self.modes) // (1 + self.steps * self.dimensions)
        scores, mode, means = law.split([self.modes, candidates, law.shape[1] - self.modes - candidates], 1)
        return scores, mode.detach().round().long(), means.view(len(law), candidates, self.steps, self.dimensions)

    def _noise(self, noise: Tensor | None, states: int, like: Tensor) -> Tensor:
        """Return standard normal numbers [B, 1 + M * group, S + 1, D]; the first row, for the greedy chain, is 0."""
        shape = (self.modes * self.group, self.steps + 1, self.dimensions)
        if noise is None:
            width = (self.steps + 1) * self.dimensions
            uniform = fixed_uniform(shape[0], width).view(1, *shape).expand(states, -1, -1, -1)
        else:
            uniform = proposal_numbers(noise, states, *shape)
        normal = normal_quantile(uniform).to(like.device)
        return torch.cat([torch.zeros_like(normal[:, :1]), normal], 1)

    def _row(self, ids: Tensor) -> Tensor:
        """Return which row of a full proposal an id is."""
        checked_ids(ids[..., :1], self.modes)
        checked_ids(ids[..., 1:], self.group + 1)
        mode, number = ids.unbind(-1)
        return torch.where(number > 0, mode * self.group + number, 0)

    def _walk(self, context: Context, normal: Tensor, mode: Tensor) -> Tensor:
        """Return chains [B, K, S + 1, D] from standard normal numbers of that shape."""
        start = self.signal[0].sqrt() * self.anchors[mode] + (1.0 - self.signal[0]).sqrt() * normal[:, :, 0]
        chain = [start]
        for step in range(self.steps):
            mean = self._mean(context, chain[-1], mode, step)
            chain.append(mean + self.deviation[step] * normal[:, :, step + 1])
        return torch.stack(chain, 2)

    def _means(self, context: Context, chain: Tensor, mode: Tensor) -> Tensor:
        return torch.stack([self._mean(context, chain[:, :, step], mode, step) for step in range(self.steps)], 2)

    def _mean(self, context: Context, noisy: Tensor, mode: Tensor, step: int) -> Tensor:
        """Return DDIM's mean of the next state."""
        clean = self.denoise(context, noisy, mode, step)
        now, then = self.signal[step], self.signal[step + 1]
        noise = (noisy - now.sqrt() * clean) / (1.0 - now).sqrt()
        return then.sqrt() * clean + (1.0 - then - self.ddim[step].square()).clamp_min(0.0).sqrt() * noise

    def _central_plans(self, context: Context, scores: Tensor) -> Tensor:
        """Return every mode's plan without noise, [B, M, T, 3]."""
        mode = torch.arange(self.modes, device=scores.device).expand(len(scores), -1)
        normal = scores.new_zeros(len(scores), self.modes, self.steps + 1, self.dimensions)
        return self.decode(context, self._walk(context, normal, mode)[:, :, -1])

    def _tables(self, joint: Tensor, mode: Tensor, number: Tensor) -> FactorLogProbs:
        """Split the joint into the marginal of the modes and the chains given the mode."""
        states, size = len(joint), self.group + 1
        empty = joint.new_full((states, self.modes * size), -torch.inf)
        full = empty.scatter_reduce(1, mode * size + number, joint, "amax").view(states, self.modes, size)
        marginal, conditional = split_joint(full)
        rows = torch.arange(states, device=joint.device)[:, None]
        factors = torch.stack([marginal.gather(1, mode), conditional[rows, mode, number]], -1)
        return FactorLogProbs(joint, factors, [marginal.unsqueeze(1), conditional], [torch.zeros_like(mode), mode])
