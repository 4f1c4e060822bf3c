"""A distribution around what a deterministic policy regresses: lateral offsets of its path, speeds around its own.

The released decision is the first candidate. What is trained starts at zero, so the policy starts as a declared prior
whose greedy choice is the released policy's.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.geometry import arc_length
from craft_lightning.policies.decoder import full
from craft_lightning.policies.released.frames import ModelFrame, path_to_poses
from craft_lightning.policies.released.listed import ListedPolicy
from craft_lightning.structures import Context, Factor

RAMP = 8.0
"""Metres of path over which a lateral offset grows to its full size."""

OFFSETS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Lateral offsets in metres, positive to the left."""


class AroundPolicy(ListedPolicy):
    """pi(offset) pi(speed) around a regressed path and speed.

    A subclass's context holds ``feature`` [B, width] (the hidden state that the released decision is read from),
    ``path`` [B, P, 2] in forward-left axes of the model's reference point, and ``distance`` [B, V, T] metres driven by
    each speed, the released one first. ``path_head`` is new and starts at zero.

    Args:
        width: features of the hidden state.
        speeds: V.
        offsets: lateral offsets, the first of them 0.
        keep_path: probability of the released path at the start.
        frame: the model's frame; its axes were turned already, its reference point counts.

    """

    family = "around a regressed plan"

    def __init__(self, width: int, speeds: int, offsets: Sequence[float], keep_path: float, frame: ModelFrame) -> None:
        if len(offsets) < 2 or offsets[0] != 0.0 or not 1.0 / len(offsets) < keep_path < 1.0:
            raise CraftError(
                f"offsets={list(offsets)} and keep_path={keep_path} do not fit; give 0 first, one more at least, and a "
                "probability above that of a uniform choice"
            )
        super().__init__((Factor("offset", len(offsets)), Factor("speed", speeds)), (len(offsets), speeds))
        self.offsets = tuple(float(offset) for offset in offsets)
        self.frame = ModelFrame("forward_left", frame.ahead)
        self.register_buffer("path_prior", log_prior(len(offsets), keep_path), persistent=False)
        self.path_head = zero_linear(width, len(offsets))

    @abstractmethod
    def speed_logits(self, context: Context) -> Tensor:
        """Return the logits [B, V] of the speeds, the released one first."""

    def joint(self, context: Context, temperature: Tensor | float) -> Tensor:
        """Return log pi(offset) + log pi(speed), [B, P * V]."""
        offset = self.get_buffer("path_prior") + self.path_head(full(context["feature"]))
        offset, speed = (part / temperature for part in (offset, self.speed_logits(context)))
        return (offset.log_softmax(-1).unsqueeze(-1) + speed.log_softmax(-1).unsqueeze(1)).flatten(1)

    def logits(self, context: Context) -> Tensor:
        """Return the joint at temperature 1."""
        return self.joint(context, 1.0)

    def listed_plans(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return every offset with every speed."""
        paths = shifted(context["path"].float(), self.offsets)
        distance = context["distance"].float()
        plans = path_to_poses(paths.unsqueeze(2), distance.unsqueeze(1), self.frame).flatten(1, 2)
        index = torch.arange(self.count, device=plans.device)
        ids = torch.stack([index // self.listed[1], index % self.listed[1]], -1).expand(len(plans), -1, -1)
        return ids, plans, torch.ones_like(ids[..., 0], dtype=torch.bool)


def shifted(path: Tensor, offsets: Sequence[float]) -> Tensor:
    """Return [B, O, P, 2]: a path [B, P, 2] moved sideways, from nothing at the origin to the offset after 8 m."""
    whole = torch.cat([torch.zeros_like(path[:, :1]), path], 1)
    step = whole.diff(dim=1)
    length = step.norm(dim=-1, keepdim=True)
    # Where points coincide the ego stands; any direction will do, and ahead is one.
    ahead = torch.tensor([1.0, 0.0], device=path.device, dtype=path.dtype)
    direction = torch.where(length > 1e-3, step / length.clamp(min=1e-3), ahead)
    left = torch.stack([-direction[..., 1], direction[..., 0]], -1)
    share = (arc_length(whole)[:, 1:] / RAMP).clamp(max=1.0)
    ramp = share * share * (3.0 - 2.0 * share)
    size = torch.tensor(list(offsets), device=path.device, dtype=path.dtype)[:, None, None]
    return path.unsqueeze(1) + size * (ramp[..., None] * left).unsqueeze(1)


def log_prior(count: int, keep: float) -> Tensor:
    """Return log-probabilities [count]: ``keep`` for the first, the rest shared evenly."""
    return torch.tensor([math.log(keep), *[math.log((1.0 - keep) / (count - 1))] * (count - 1)])


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer of zeros: what it is added to starts unchanged, and gradients reach it."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def expected_speed(logits: Tensor, classes: Tensor, brake_above: float | None = None) -> Tensor:
    """Return the released target speed [B]: the mean over speed classes, or 0 where standing is likely enough.

    Args:
        logits: [B, C] of the classes.
        classes: [C] speeds in m/s, the first of them 0.
        brake_above: probability of the first class above which the policy brakes (TransFuser++); None for no such rule.

    """
    probability = logits.softmax(-1)
    speed = (probability * classes).sum(-1)
    return speed if brake_above is None else torch.where(probability[:, 0] > brake_above, 0.0, speed)


def two_hot(speed: Tensor, classes: Tensor) -> Tensor:
    """Return the two-hot encoding [B, C] of speeds [B]: weights on the two neighbouring classes whose mean it is."""
    speed = speed.clamp(classes[0], classes[-1])
    upper = torch.searchsorted(classes, speed).clamp(1, len(classes) - 1)
    low, high = classes[upper - 1], classes[upper]
    share = (speed - low) / (high - low)
    empty = torch.zeros(len(speed), len(classes), device=speed.device, dtype=speed.dtype)
    return empty.scatter(1, (upper - 1)[:, None], (1.0 - share)[:, None]).scatter(1, upper[:, None], share[:, None])


def class_logits(decision: Tensor, classes: Tensor, keep: float) -> Tensor:
    """Return logits [B, 1 + C] of the released mean speed, with probability ``keep`` at the start, and of the classes.

    Args:
        decision: [B, 1] what has been learnt about the released decision, 0 at the start.
        classes: [B, C] logits of the speed classes.
        keep: see above.

    """
    return torch.cat([decision + math.log(keep), classes.log_softmax(-1) + math.log(1.0 - keep)], -1)
