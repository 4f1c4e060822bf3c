"""Makes a distribution out of a deterministic head: anchors around its own plan, a prior centred on it."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.candidates import merge_logits
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.factored import duplicate_plans, joint_logits, list_plans, score_plans
from craft_lightning.policies.regressed_plan import (
    RegressedPlan,
    changed_speeds,
    driven,
    ramped_speeds,
    shifted_paths,
)
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, Observation, PlanSpec

DUPLICATE_RMS = 0.05
"""Plans of one state nearer than this (metres, root mean square) are one: most of them, where the ego stands."""

_PUSH, _BRAKE = 2.5, 6.0  # m/s^2 at which other speeds are reached


class AnchoredPolicy(PolicyAdapter):
    """Lateral offsets x speed classes around what a deterministic head regresses (SimLingo, PlanT 2, TF++).

    A subclass implements ``regress``. Candidate 0 is the regressed plan itself; the others lie beside it and drive
    slower or faster. pi(offset) pi(speed | offset): the logits are those of a declared prior plus a classifier on the
    head's last hidden state, whose last layers start at zero. So the policy starts as the prior, which gives the
    regressed plan more than half of each factor: greedy driving is exactly the original policy's until something is
    learnt, and a teacher that starts as the student starts as the prior.

    Where the head has a distribution over target speeds of its own (``RegressedPlan.speed_scores``: TF++'s classes,
    PlanT 2's two-hot), those are the speed classes and that distribution shares out what the prior leaves.

    Trajectories are stored and the regressor rests in fine-tuning: else geometry would drift under its rewards.

    Args:
        hidden: features H of the last hidden state.
        offsets: metres to the left, beside 0.
        speed_changes: metres per second by which the regressed speed is changed, beside 0; -50 is an
            emergency stop at any speed. Not used where ``target_speeds`` are given.
        target_speeds: metres per second of the classes behind ``speed_scores``; None where the head has none.
        keep: prior probability of each factor's original value, above one half.
        reach: metres within which a lateral offset is taken up.
        width: features of the classifier.
        num_poses: poses of a trajectory.
        dt: seconds between poses.

    """

    family = "anchored regression"
    stores_geometry = True
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("offset_head", "speed_head"),
        "decoder": ("classifier", "offset_head", "speed_head"),
    }

    temperature: Tensor
    offset_table: Tensor
    change_table: Tensor
    target_table: Tensor

    def __init__(
        self,
        hidden: int,
        offsets: Sequence[float] = (-1.5, -0.75, 0.75, 1.5),
        speed_changes: Sequence[float] = (-50.0, -4.0, -2.0, 2.0),
        target_speeds: Sequence[float] | None = None,
        keep: float = 0.7,
        reach: float = 12.0,
        width: int = 64,
        num_poses: int = 40,
        dt: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0.5 < keep < 1.0 or not reach > 0.0:
            raise CraftError(f"keep={keep} must lie above one half and below 1, and reach={reach} above 0")
        if 0.0 in offsets or 0.0 in speed_changes:
            raise CraftError(
                f"offsets={offsets} and speed_changes={speed_changes} must leave out 0: it is always there"
            )
        self.num_poses, self.dt, self.keep, self.reach = num_poses, dt, keep, reach
        self.register_buffer("offset_table", torch.tensor([0.0, *offsets]), persistent=False)
        self.register_buffer("change_table", torch.tensor([0.0, *speed_changes]), persistent=False)
        targets = [] if target_speeds is None else list(target_speeds)
        self.register_buffer("target_table", torch.tensor(targets), persistent=False)
        self.register_buffer("temperature", torch.ones(()))
        self.speeds = 1 + (len(targets) or len(speed_changes))
        self.classifier = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.ReLU(inplace=True))
        self.offset_head = _zero_layer(width, len(offsets) + 1)
        self.speed_head = _zero_layer(width, (len(offsets) + 1) * self.speeds)

    @abstractmethod
    def regress(self, observation: Observation) -> RegressedPlan:
        """Run the original policy up to its heads."""

    @property
    def spec(self) -> PlanSpec:
        """Two factors, "offset" and "speed"; value 0 of each is the original."""
        factors = (Factor("offset", len(self.offset_table)), Factor("speed", self.speeds))
        return PlanSpec(self.num_poses, self.dt, factors, "static", False, float(self.temperature))

    def encode(self, observation: Observation) -> Context:
        """Return the regressed ``path`` and ``speed``, ``hidden`` in half precision, ``ego`` and ``speed_scores``."""
        plan = self.regress(observation)
        context = {
            "path": plan.path.float(),
            "speed": plan.speed.float(),
            "hidden": half_rounded(plan.hidden),
            "ego": observation.ego.float(),
        }
        if self._has_targets:
            if plan.speed_scores is None or plan.speed_scores.shape[1] != len(self.target_table):
                raise CraftError(f"{type(self).__name__}.regress must score all {len(self.target_table)} target_speeds")
            context["speed_scores"] = plan.speed_scores.float().log_softmax(1)
        return Context(context, batch_size=[len(plan.path)])

    def original(self, context: Context) -> Tensor:
        """Return the regressed plan [B, T, 3], differentiable where the context is."""
        return driven(context["path"].unsqueeze(1), context["speed"].unsqueeze(1), self.dt)[:, 0, 0]

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List all plans around the regressed one, or exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, 2] ids of a stored support; None lists everything.
            noise: not used: the plans follow from the regressed one.

        """
        plans = self._plans(context)
        same = duplicate_plans(plans, DUPLICATE_RMS)
        candidates = list_plans(self._logits(context), same, self.speeds, support)
        candidates.latent = TensorDict({"representative": same.short()}, batch_size=[len(plans)])
        candidates.trajectories = plans
        if support is not None:
            rows = (support[..., 0] * self.speeds + support[..., 1])[..., None, None]
            candidates.trajectories = plans.gather(1, rows.expand(-1, -1, *plans.shape[2:]))
        return candidates

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of the stored plans and their factors, normalised over the mask."""
        if candidates.latent is None:
            raise CraftError(f"the candidates of {type(self).__name__} lack their latent duplicates; store them whole")
        same = candidates.latent["representative"].long()
        outputs = score_plans(self._logits(context), same, self.speeds, candidates)
        if self.profile == "all":
            outputs.plan = self.original(context).unsqueeze(1)
        return outputs

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature of both factors on held-out states and keep it."""
        with torch.no_grad():
            offset, speed = self._factor_logits(context)
            same = torch.cat([duplicate_plans(self._plans(part), DUPLICATE_RMS) for part in context.split(256)])

        def greedy(temperature: float) -> float:
            return float(merge_logits(joint_logits(offset, speed, temperature), same).amax(1).exp().mean())

        self.temperature.fill_(fit_temperature(greedy, target, same.shape[1]))
        return float(self.temperature)

    @property
    def _has_targets(self) -> bool:
        return len(self.target_table) > 0

    def _plans(self, context: Context) -> Tensor:
        """Return all plans [B, O * V, T, 3]."""
        speed = context["speed"]
        if self._has_targets:
            target = self.target_table.expand(len(speed), -1)
            ramps = ramped_speeds(context["ego"][:, 0], target, self.num_poses, self.dt, _PUSH, _BRAKE)
            speeds = torch.cat([speed.unsqueeze(1), ramps], 1)
        else:
            speeds = changed_speeds(speed, self.change_table, self.dt, _PUSH, _BRAKE)
        plans = driven(shifted_paths(context["path"], self.offset_table, self.reach), speeds, self.dt).flatten(1, 2)
        # Equal to the last bit, whatever else is computed beside it.
        return torch.cat([self.original(context).unsqueeze(1), plans[:, 1:]], 1)

    def _factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the prior's logits plus the classifier's, [B, O] and [B, O, V]."""
        features = self.classifier(full(context["hidden"]))
        width = float(self.offset_table.abs().amax())
        aside = -0.5 * (self.offset_table[1:] / (0.5 * width)).square()
        offset = _kept(self.keep, aside.log_softmax(0))
        if self._has_targets:
            speed = _kept(self.keep, context["speed_scores"])
        else:
            even = torch.zeros(self.speeds - 1, device=features.device)
            speed = _kept(self.keep, even.log_softmax(0)).expand(len(features), -1)
        offset_logits = offset + self.offset_head(features)
        return offset_logits, speed.unsqueeze(1) + self.speed_head(features).unflatten(1, (-1, self.speeds))

    def _logits(self, context: Context) -> Tensor:
        return joint_logits(*self._factor_logits(context), self.temperature)


def _kept(keep: float, rest: Tensor) -> Tensor:
    """Return log-probabilities [..., 1 + N]: ``keep`` for the original, the remainder shared out by ``rest``."""
    first = torch.full_like(rest[..., :1], keep).log()
    return torch.cat([first, torch.full_like(first, 1.0 - keep).log() + rest], -1)


def _zero_layer(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
