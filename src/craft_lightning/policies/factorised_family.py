"""The family of factorised scorers: paths and speeds alone, then pairs of the best rescored (SparseDriveV2)."""

from abc import abstractmethod

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.factored import duplicate_plans, flat_ids, split_joint
from craft_lightning.policies.hierarchical_family import DUPLICATE_RMS, HierarchicalPolicy
from craft_lightning.policies.plan_grid import SPACING, travelled
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec

_LARGEST_LISTING = 4096


class FactorisedPolicy(HierarchicalPolicy):
    """P paths and V speed profiles are scored alone; p x v of the best are composed and scored again as pairs.

    pi(i, j) = softmax((path_i + speed_j + pair_ij) / temperature) over the kept pairs: the coarse scores stay in, so
    that what decides the filter is trained with what it lets through. A subclass implements ``encode``,
    ``factor_logits`` (its coarse scores: paths [B, P] and speeds [B, 1, V]) and ``pair_logits``.

    The support follows from parameters, so it is stored by its ids and never filtered again: ``score`` and
    ``propose(support=ids)`` rescore exactly the stored pairs and normalise over them, for the policy that drove, the
    student and the teacher alike. ``log_mass``, of a proposal and of every score, is the log of the coarse probability
    of the listed pairs; ``CraftModule.support_mass`` leaves states out where too little of it is left.

    Pairs that coincide are masked after the first; each pair's probability is its own.

    Args:
        paths: number of paths P.
        speeds: number of speed profiles V.
        keep_paths: paths p that pass the filter.
        keep_speeds: speeds v that pass the filter.
        num_poses: poses of a plan.
        path_points: points of a path, one metre apart.
        dt: seconds between poses.

    """

    family = "factorised vocabulary"
    free_arguments = HierarchicalPolicy.free_arguments | {"keep_paths", "keep_speeds"}

    def __init__(
        self,
        paths: int = 32,
        speeds: int = 16,
        keep_paths: int = 12,
        keep_speeds: int = 8,
        num_poses: int = 40,
        path_points: int = 40,
        dt: float = 0.1,
    ) -> None:
        super().__init__(paths, speeds, num_poses, path_points, dt)
        if not (1 <= keep_paths <= paths and 1 <= keep_speeds <= speeds):
            raise CraftError(
                f"keep_paths={keep_paths}, keep_speeds={keep_speeds} do not fit; keep 1..{paths} and 1..{speeds}"
            )
        self.keep_paths, self.keep_speeds = keep_paths, keep_speeds

    @abstractmethod
    def pair_logits(self, context: Context, ids: Tensor) -> Tensor:
        """Return the raw logits [B, K] of pairs with ids [B, K, 2], whichever others are listed."""

    @property
    def spec(self) -> PlanSpec:
        """Two factors, "path" and "speed"; the support is filtered."""
        factors = (Factor("path", self.path_table.shape[0]), Factor("speed", self.speed_table.shape[0]))
        return PlanSpec(self.speed_table.shape[1], self.dt, factors, "filtered", False, float(self.temperature))

    @torch.no_grad()
    def listing(self, context: Context) -> CandidateSet:
        """List every pair, not only those that pass the filter: a filter cannot learn from what it lets through.

        Grids of more than 4096 pairs list the kept ones.
        """
        paths, speeds = self.path_table.shape[0], self.speed_table.shape[0]
        if paths * speeds > _LARGEST_LISTING:
            return self.propose(context)
        self._require_grid()
        states = context.batch_size[0]
        index = torch.arange(paths * speeds, device=self.path_table.device)
        ids = torch.stack([index // speeds, index % speeds], -1).expand(states, -1, -1)
        return self._candidates(context, ids, torch.zeros(ids.shape[:2], device=ids.device), None)

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List the pairs that pass the filter, or exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, 2] ids of a stored support; None filters.
            noise: not used: the filter is deterministic.

        """
        self._require_grid()
        coarse = self._coarse(context)
        kept = self._filtered(coarse)
        logits = self._logits(context, coarse, kept)
        own = self._candidates(context, kept, logits, self._mass(coarse, kept))
        if support is None:
            return own
        flat_ids(support, *coarse.shape[1:])
        scores = self._logits(context, coarse, support)
        # Listed pairs that the filter would keep have their share of what it keeps; others what the coarse scores say.
        normaliser = logits.masked_fill(~own.mask, -torch.inf).logsumexp(1, keepdim=True)
        share = own.log_mass[:, None] + scores - normaliser
        passes = (support.unsqueeze(2) == kept.unsqueeze(1)).all(-1).any(-1)
        mass = torch.where(passes, share, _picked(coarse.flatten(1).log_softmax(1), support, coarse.shape[2]))
        return self._candidates(context, support, scores, mass.logsumexp(1))

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored pairs, normalised over the mask, and the mass that is left on them."""
        self._require_grid()
        coarse = self._coarse(context)
        flat = flat_ids(candidates.ids, *coarse.shape[1:])
        logits = self._logits(context, coarse, candidates.ids)
        joint = logits.masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
        empty = joint.new_full((len(joint), coarse[0].numel()), -torch.inf)
        # A masked twin of a listed id must not overwrite it.
        path, speed = split_joint(empty.scatter_reduce(1, flat, joint, "amax").view_as(coarse))
        rows = candidates.ids[..., 0]
        factors = torch.stack([path.gather(1, rows), speed.flatten(1).gather(1, flat)], -1)
        outputs = FactorLogProbs(joint, factors, [path.unsqueeze(1), speed], [torch.zeros_like(rows), rows])
        outputs.log_mass = self._mass(coarse, candidates.ids)
        return outputs

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return [B, K, T, 3] from the ids and the speed of the ego when the candidates were proposed."""
        self._require_grid()
        if candidates.trajectories is not None:
            return candidates.trajectories
        return self._composed_pairs(candidates.ids, self._latent(candidates)["ego_speed"])

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the temperature to the mean probability of the greedy pair among those kept, and keep it."""
        self._require_grid()
        before = float(self.temperature)
        self.temperature.fill_(1.0)
        logits = []
        with torch.no_grad():
            for part in context.split(256):
                coarse = self._coarse(part)
                kept = self._filtered(coarse)
                same = self._candidates(part, kept, self._logits(part, coarse, kept), None)
                logits.append(self._logits(part, coarse, kept).masked_fill(~same.mask, -torch.inf).double())
        found = torch.cat(logits)
        self.temperature.fill_(before)

        def greedy(temperature: float) -> float:
            return float((found / temperature).softmax(1).amax(1).mean())

        self.temperature.fill_(fit_temperature(greedy, target, found.shape[1]))
        return float(self.temperature)

    def _coarse(self, context: Context) -> Tensor:
        """Return the coarse scores of all pairs [B, P, V], over the temperature."""
        path, speed = self.factor_logits(context)
        return (path.unsqueeze(-1) + speed) / self.temperature

    def _filtered(self, coarse: Tensor) -> Tensor:
        """Return the ids [B, p * v, 2] of the best paths times the best speeds, in the order of the grid."""
        # The scores are sums of a path's and a speed's, so any column ranks the paths and any row the speeds.
        path = coarse[:, :, 0].topk(self.keep_paths, 1).indices.sort(1).values
        speed = coarse[:, 0].topk(self.keep_speeds, 1).indices.sort(1).values
        pairs = path.unsqueeze(2).expand(-1, -1, self.keep_speeds), speed.unsqueeze(1).expand(-1, self.keep_paths, -1)
        return torch.stack(pairs, -1).flatten(1, 2)

    def _logits(self, context: Context, coarse: Tensor, ids: Tensor) -> Tensor:
        return _picked(coarse.flatten(1), ids, coarse.shape[2]) + self.pair_logits(context, ids) / self.temperature

    def _mass(self, coarse: Tensor, ids: Tensor) -> Tensor:
        """Return the log of the coarse probability [B] of the listed pairs."""
        return _picked(coarse.flatten(1).log_softmax(1), ids, coarse.shape[2]).logsumexp(1).clamp_max(0.0)

    def _candidates(self, context: Context, ids: Tensor, logits: Tensor, log_mass: Tensor | None) -> CandidateSet:
        ego_speed = context["ego"][:, 0].float()
        plans = self._composed_pairs(ids, ego_speed)
        same = duplicate_plans(plans, DUPLICATE_RMS)
        mask = same == torch.arange(ids.shape[1], device=ids.device)
        return CandidateSet(
            trajectories=plans,
            ids=ids,
            mask=mask,
            log_probs=logits.masked_fill(~mask, -torch.inf).log_softmax(1),
            log_mass=logits.new_zeros(len(ids)) if log_mass is None else log_mass,
            multiplicity=torch.zeros_like(same).scatter_add(1, same, torch.ones_like(same)),
            chosen=torch.full((len(ids),), -1, device=ids.device),
            latent=TensorDict({"ego_speed": ego_speed}, batch_size=[len(ids)]),
            batch_size=[len(ids)],
        )

    def _composed_pairs(self, ids: Tensor, ego_speed: Tensor) -> Tensor:
        """Return the plans [B, K, T, 3] of pairs alone: a real grid is too large to compose."""
        path, profile = ids.unbind(-1)
        flat_ids(ids, self.path_table.shape[0], self.speed_table.shape[0])
        metres = travelled(self.speed_table, self.top_speed, self.dt, ego_speed)
        states = torch.arange(len(ids), device=ids.device)[:, None]
        place = metres[states, profile] / SPACING
        index = place.floor().clamp(0, self.path_table.shape[1] - 1).long()
        share = (place - index).unsqueeze(-1)
        knots = torch.cat([torch.zeros_like(self.path_table[:, :1]), self.path_table], 1)
        start, end = knots[path.unsqueeze(-1), index], knots[path.unsqueeze(-1), index + 1]
        # The heading turns until the end of the path and stays there.
        share = torch.cat([share, share, share.clamp_max(1.0)], -1)
        return start + share * (end - start)


def _picked(values: Tensor, ids: Tensor, speeds: int) -> Tensor:
    """Return the entries [B, K] of values [B, P * V] at ids [B, K, 2]."""
    return values.gather(1, ids[..., 0] * speeds + ids[..., 1])
