"""Makes a distribution out of a deterministic head: anchors around its own plan, a prior centred on it."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.factored import joint_logits, plan_ids
from craft_lightning.policies.listed_family import ListedPolicy
from craft_lightning.policies.regressed_plan import RegressedPlan, shifted_paths
from craft_lightning.policies.released.frames import ModelFrame, path_to_poses
from craft_lightning.policies.released.heads import kept, zero_linear
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, Observation

OFFSETS = (0.75, -0.75, 1.5, -1.5)
"""Lateral offsets in metres beside 0, positive to the left."""


class AnchoredPolicy(ListedPolicy):
    """Lateral offsets x speeds around what a deterministic head regresses (SimLingo, PlanT 2, TransFuser++).

    A subclass implements ``regress``. Candidate 0 is the regressed plan itself; the others lie beside it and drive
    slower or faster. pi(offset) pi(speed | offset): the logits are those of a declared prior plus heads on the last
    hidden state, which start at zero. So the policy starts as the prior, which gives the regressed plan more than half
    of each factor: greedy driving is exactly the original policy's until something is learnt, and a teacher that starts
    as the student starts as the prior.

    Of what the prior leaves, offsets share by a Gaussian, and speeds evenly or, where the head has a distribution over
    target speeds of its own (``RegressedPlan.speed_scores``), as that says. A subclass whose speed classes are trained
    themselves replaces ``speed_logits``.

    Trajectories are stored and the regressor rests in fine-tuning: else geometry would drift under its rewards.

    Args:
        hidden: features H of the last hidden state.
        speeds: speeds V that ``regress`` answers, the regressed one included.
        offsets: metres to the left, beside 0.
        keep_path: prior probability of the regressed path, above one half.
        keep_speed: prior probability of the regressed speed, above one half.
        reach: metres of path within which a lateral offset is taken up.
        width: features of a classifier between the hidden state and the heads; 0 for none.
        ahead: metres by which the head's reference point lies ahead of the centre of the ego's box.
        num_poses: poses of a trajectory.
        dt: seconds between poses.

    """

    family = "anchored regression"
    profiles = {  # noqa: RUF012 - ClassVar of the base
        "heads": ("offset_head", "speed_head"),
        "decoder": ("classifier", "offset_head", "speed_head"),
    }

    offset_table: Tensor

    def __init__(
        self,
        hidden: int,
        speeds: int,
        offsets: Sequence[float] = OFFSETS,
        keep_path: float = 0.7,
        keep_speed: float = 0.7,
        reach: float = 8.0,
        width: int = 0,
        ahead: float = 0.0,
        num_poses: int = 40,
        dt: float = 0.1,
    ) -> None:
        if not (0.5 < keep_path < 1.0 and 0.5 < keep_speed < 1.0) or not reach > 0.0:
            raise CraftError(
                f"keep_path={keep_path} and keep_speed={keep_speed} must lie above one half and below 1, and "
                f"reach={reach} above 0"
            )
        if 0.0 in offsets or not len(offsets):
            raise CraftError(f"offsets={list(offsets)} must name one at least and leave out 0, which is always there")
        sizes = (1 + len(offsets), speeds)
        super().__init__((Factor("offset", sizes[0]), Factor("speed", speeds)), sizes, num_poses, dt)
        self.keep_path, self.keep_speed, self.reach = keep_path, keep_speed, reach
        self.frame = ModelFrame("forward_left", ahead)
        self.register_buffer("offset_table", torch.tensor([0.0, *offsets]), persistent=False)
        self.classifier: nn.Module = nn.Identity()
        if width:
            self.classifier = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.ReLU(inplace=True))
        self.offset_head = zero_linear(width or hidden, sizes[0])
        self.speed_head: nn.Module = zero_linear(width or hidden, sizes[0] * speeds)

    @abstractmethod
    def regress(self, observation: Observation) -> RegressedPlan:
        """Run the original policy up to its heads."""

    def encode(self, observation: Observation) -> Context:
        """Return what ``regress`` answers, ``feature`` in half precision, and ``ego``."""
        plan = self.regress(observation)
        speeds = self.listed[1]
        if plan.distance.shape[1] != speeds:
            raise CraftError(f"{type(self).__name__}.regress answers {plan.distance.shape[1]} speeds and not {speeds}")
        context = {
            "path": plan.path.float(),
            "distance": plan.distance.float(),
            "feature": half_rounded(plan.feature),
            "ego": observation.ego.float(),
        }
        if plan.speed_scores is not None:
            if plan.speed_scores.shape[1] != speeds - 1:
                raise CraftError(f"{type(self).__name__}.regress must score all speeds but the first, {speeds - 1}")
            context["speed_scores"] = plan.speed_scores.float().log_softmax(1)
        return Context(context, batch_size=[len(plan.path)])

    def original(self, context: Context) -> Tensor:
        """Return the regressed plan [B, T, 3], differentiable where the context is."""
        return path_to_poses(context["path"].float(), context["distance"][:, 0].float(), self.frame)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return every offset with every speed."""
        paths = shifted_paths(context["path"].float(), self.offset_table, self.reach)
        plans = path_to_poses(paths.unsqueeze(2), context["distance"].float().unsqueeze(1), self.frame).flatten(1, 2)
        # Equal to the last bit, whatever else is computed beside it.
        plans = torch.cat([self.original(context).unsqueeze(1), plans[:, 1:]], 1)
        offsets, speeds = self.listed
        ids = plan_ids(offsets, speeds, plans.device).expand(len(plans), -1, -1)
        return ids, plans, torch.ones_like(ids[..., 0], dtype=torch.bool)

    def offset_logits(self, context: Context) -> Tensor:
        """Return the logits [B, O] of the offsets, the regressed path first."""
        width = float(self.offset_table.abs().amax())
        aside = -0.5 * (self.offset_table[1:] / (0.5 * width)).square()
        return kept(self.keep_path, aside.log_softmax(0)) + self.offset_head(self.read(context))

    def speed_logits(self, context: Context) -> Tensor:
        """Return the logits [B, O, V] (or [B, V], whatever the offset) of the speeds, the regressed one first."""
        offsets, speeds = self.listed
        if "speed_scores" in context.keys():  # noqa: SIM118 - not a dictionary
            prior = kept(self.keep_speed, context["speed_scores"]).unsqueeze(1)
        else:
            prior = kept(self.keep_speed, self.offset_table.new_zeros(speeds - 1).log_softmax(0))
        return prior + self.speed_head(self.read(context)).unflatten(1, (offsets, speeds))

    def read(self, context: Context) -> Tensor:
        """Return what the heads read, [B, width or H]."""
        read: Tensor = self.classifier(full(context["feature"]))
        return read

    def joint(self, context: Context, temperature: Tensor | float) -> Tensor:
        """Return log pi(offset) + log pi(speed | offset), [B, O * V]."""
        speed = self.speed_logits(context)
        return joint_logits(self.offset_logits(context), speed if speed.ndim == 3 else speed.unsqueeze(1), temperature)

    def logits(self, context: Context) -> Tensor:
        """Return the joint at temperature 1."""
        return self.joint(context, 1.0)

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities as ``ListedPolicy`` does; in pre-training the regressed plan too."""
        outputs = super().forward(context, candidates)
        if self.profile == "all":
            outputs.plan = self.original(context).unsqueeze(1)
        return outputs
