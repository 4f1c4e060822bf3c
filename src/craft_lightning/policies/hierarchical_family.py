"""The family of policies that choose a path and then a speed profile on it: pi(path) pi(speed | path)."""

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Self

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.candidates import merge_logits
from craft_lightning.policies.factored import duplicate_plans, flat_ids, joint_logits, list_plans, score_plans
from craft_lightning.policies.grid_building import build_plan_grid
from craft_lightning.policies.plan_grid import PlanGrid, compose
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec

DUPLICATE_RMS = 0.05
"""Plans of one state nearer than this (metres, root mean square over the poses) are one candidate."""


class HierarchicalPolicy(PolicyAdapter):
    """A policy whose candidates are the pairs of P paths and V speed profiles of a ``PlanGrid``.

    A subclass implements ``encode``, whose context must hold ``ego`` [B, 5] (EGO_FEATURES), and ``factor_logits``. The
    grid and the temperature are buffers, so a ``state_dict`` carries both; loading another grid is refused, since ids
    mean nothing across grids. Trajectories follow from ids and the ego's speed, which candidates carry as a latent
    beside the duplicates that their state has.

    Args:
        paths: number of paths P.
        speeds: number of speed profiles V.
        num_poses: poses of a plan.
        path_points: points of a path, one metre apart.
        dt: seconds between poses.

    """

    family = "hierarchical"

    path_table: Tensor
    speed_table: Tensor
    top_speed: Tensor
    temperature: Tensor

    def __init__(
        self, paths: int = 16, speeds: int = 12, num_poses: int = 40, path_points: int = 40, dt: float = 0.1
    ) -> None:
        super().__init__()
        self.dt = dt
        self.register_buffer("path_table", torch.zeros(paths, path_points, 3))
        self.register_buffer("speed_table", torch.zeros(speeds, num_poses))
        self.register_buffer("top_speed", torch.zeros(()))
        self.register_buffer("temperature", torch.ones(()))
        self.grid_report: dict[str, Any] = {}
        self.register_load_state_dict_pre_hook(_refuse_another_grid)
        self.register_load_state_dict_post_hook(_grid_was_loaded)

    @classmethod
    def example(cls) -> Self:
        """Return an instance with the grid of random drivable trajectories."""
        policy = cls()
        policy.prepare(torch.from_numpy(sample_trajectories(600)).float())
        return policy

    @abstractmethod
    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return raw logits, before the temperature: of the paths [B, P] and of the speeds on each path [B, P, V].

        A logit must not depend on which other paths or speeds are listed.
        """

    @property
    def spec(self) -> PlanSpec:
        """Two factors, "path" and "speed", with the stored temperature."""
        (paths, speeds), poses = self._sizes(), self.speed_table.shape[1]
        factors = (Factor("path", paths), Factor("speed", speeds))
        return PlanSpec(poses, self.dt, factors, "static", False, float(self.temperature))

    @property
    def grid(self) -> PlanGrid:
        """The grid, with the report of its making (empty where a checkpoint brought it).

        Raises:
            CraftError: none was given and no checkpoint was loaded.

        """
        self._require_grid()
        paths, speeds = (table.detach().cpu().clone() for table in (self.path_table, self.speed_table))
        return PlanGrid(paths, speeds, float(self.top_speed), self.dt, self.grid_report)

    def set_grid(self, grid: PlanGrid) -> None:
        """Fill an empty policy with ``grid``.

        Raises:
            CraftError: the sizes or time steps differ.

        """
        found = (tuple(grid.paths.shape), tuple(grid.speeds.shape), grid.dt)
        own = (tuple(self.path_table.shape), tuple(self.speed_table.shape), self.dt)
        if found != own:
            raise CraftError(
                f"the plan grid is {found} (paths, speeds, dt) and the policy {own}; construct the policy with the "
                "same paths, speeds, num_poses, path_points and dt"
            )
        self.path_table.copy_(grid.paths)
        self.speed_table.copy_(grid.speeds)
        self.top_speed.fill_(grid.top_speed)
        self.grid_report = dict(grid.report)
        self._grid_changed()

    def prepare(self, trajectories: Tensor, seed: int = 0) -> None:
        """Build the grid from demonstrations where there is none yet."""
        if self.vocabulary_hash is None:
            paths, speeds = self._sizes()
            length, poses = self.path_table.shape[1], self.speed_table.shape[1]
            if trajectories.shape[1] != poses:
                raise CraftError(
                    f"demonstrations have {trajectories.shape[1]} poses and the policy {poses}; equal them"
                )
            self.set_grid(build_plan_grid(trajectories, paths, speeds, seed, self.dt, length))

    @torch.no_grad()
    def listing(self, context: Context) -> CandidateSet:
        """List all plans with log-probabilities of uniform factors, without running the decoder."""
        paths, speeds = self._sizes()
        return self._listed(context, self.path_table.new_zeros(context.batch_size[0], paths * speeds), None)

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List all plans of B states, or exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, 2] ids of a stored support; None lists every plan.
            noise: not used: the support is static.

        """
        return self._listed(context, self._joint_logits(context), support)

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored support and its factors, normalised over its mask."""
        self._require_grid()
        same = self._latent(candidates)["representative"].long()
        return score_plans(self._joint_logits(context), same, self.speed_table.shape[0], candidates)

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return [B, K, T, 3] from the ids and the speed of the ego when the candidates were proposed."""
        self._require_grid()
        if candidates.trajectories is not None:
            return candidates.trajectories
        return self._picked(self._composed(self._latent(candidates)["ego_speed"]), candidates.ids)

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature of both factors on held-out states and keep it.

        Args:
            context: what ``encode`` answered for held-out states.
            target: wanted mean probability of the greedy plan.

        Returns:
            The temperature, also found in ``spec`` and in every later checkpoint.

        Raises:
            CraftError: ``target`` lies outside (1 / plans, 1).

        """
        self._require_grid()
        with torch.no_grad():
            # In parts: held-out sets are larger than mini-batches.
            logits = [self.factor_logits(part) for part in context.split(256)]
            path, speed = (torch.cat(parts).double() for parts in zip(*logits, strict=True))
            states = context["ego"][:, 0].float().split(256)
            same = torch.cat([duplicate_plans(self._composed(part), DUPLICATE_RMS) for part in states])

        def greedy(temperature: float) -> float:
            merged = merge_logits(joint_logits(path, speed, temperature), same)
            return float(merged.log_softmax(1).amax(1).exp().mean())

        self.temperature.fill_(fit_temperature(greedy, target, same.shape[1]))
        return float(self.temperature)

    def _sizes(self) -> tuple[int, int]:
        return self.path_table.shape[0], self.speed_table.shape[0]

    def _joint_logits(self, context: Context) -> Tensor:
        self._require_grid()
        return joint_logits(*self.factor_logits(context), self.temperature)

    def _composed(self, ego_speed: Tensor) -> Tensor:
        return compose(self.path_table, self.speed_table, self.top_speed, self.dt, ego_speed).flatten(1, 2)

    def _picked(self, plans: Tensor, ids: Tensor) -> Tensor:
        flat = flat_ids(ids, *self._sizes())
        return plans.gather(1, flat[..., None, None].expand(-1, -1, *plans.shape[2:]))

    def _listed(self, context: Context, logits: Tensor, support: Tensor | None) -> CandidateSet:
        self._require_grid()
        ego_speed = context["ego"][:, 0].float()
        plans = self._composed(ego_speed)
        same = duplicate_plans(plans, DUPLICATE_RMS)
        candidates = list_plans(logits, same, self.speed_table.shape[0], support)
        candidates.trajectories = plans if support is None else self._picked(plans, support)
        # What scoring and composing need later; the trajectories themselves are not stored.
        latent = {"ego_speed": ego_speed, "representative": same.short()}
        candidates.latent = TensorDict(latent, batch_size=[len(ego_speed)])
        return candidates

    def _latent(self, candidates: CandidateSet) -> TensorDict:
        if candidates.latent is None:
            raise CraftError("the candidates have lost the ego's speed (latent), without which ids say no trajectory")
        return candidates.latent

    def require_observed(self, fields: Collection[str]) -> None:
        """Refuse to drive without a grid of plans."""
        super().require_observed(fields)
        self._require_grid()

    def _require_grid(self) -> None:
        if self.vocabulary_hash is None:
            raise CraftError(
                f"{type(self).__name__} has no plan grid yet; set model.checkpoint, pre-train it with a pretrain_* "
                "recipe, or give the plan_grid.safetensors that a policy's save_pretrained writes beside its model"
            )

    def _grid_changed(self) -> None:
        paths, speeds = self.path_table.detach(), self.speed_table.detach()
        self.vocabulary_hash = PlanGrid(paths, speeds, float(self.top_speed), self.dt).hash


def _refuse_another_grid(module: HierarchicalPolicy, state: dict[str, Any], prefix: str, *_: Any) -> None:
    names = [f"{prefix}{name}" for name in ("path_table", "speed_table", "top_speed")]
    if module.vocabulary_hash is None or not state.keys() >= set(names):
        return
    paths, speeds, top_speed = (state[name].detach().cpu() for name in names)
    found = PlanGrid(paths, speeds, float(top_speed), module.dt).hash
    if found != module.vocabulary_hash:
        raise CraftError(
            f"the checkpoint's plan grid {found[:12]} is not the policy's {module.vocabulary_hash[:12]}; construct the "
            "policy without a grid to take the checkpoint's"
        )


def _grid_was_loaded(module: HierarchicalPolicy, _: Any) -> None:
    if module.top_speed > 0.0:
        module._grid_changed()
