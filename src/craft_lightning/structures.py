"""The data types that rooms hand to each other: what a plan is, what a visited state is, what a policy answers.

Frame: *ego frame* = x forward, y left, yaw counter-clockwise, metres, seconds, origin at the centre of the ego's
    bounding
box at the visited state. *World frame* = the same handedness, origin of the OpenDRIVE map.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from tensordict import TensorClass, TensorDict
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Factor:
    """One factor of a plan's distribution, e.g. ("path", 48) or ("trajectory", 256)."""

    name: str
    size: int


@dataclasses.dataclass(frozen=True)
class PlanSpec:
    """What the candidates of a policy are; serialised with every checkpoint.

    Args:
        num_poses: poses of a candidate after the current one.
        dt: seconds between poses.
        factors: the factors whose product is the distribution over candidates.
        support: whether the candidate set depends on parameters.
        geometry_grad: whether trajectories depend on trainable parameters.
        temperature: softmax temperature of behaviour, student and teacher alike.
        origin: reference point of the trajectories.

    """

    num_poses: int
    dt: float
    factors: tuple[Factor, ...]
    support: Literal["static", "filtered", "generated"] = "static"
    geometry_grad: bool = False
    temperature: float = 1.0
    origin: str = "bbox_center"

    @property
    def horizon(self) -> float:
        """Seconds covered by a candidate."""
        return self.num_poses * self.dt


Context = TensorDict
"""Everything after the perception backbone, [B, ...] tensors; storable, detached."""


class CandidateSet(TensorClass):
    """Candidates of B states, [B] batch.

    trajectories [B, K, T, 3] x, y, yaw in the ego frame at spec.dt; ids [B, K, F] global factor indices;
    mask [B, K] False for padded, duplicate or vetoed; log_probs [B, K] behaviour log-probabilities, normalised over the
    mask, temperature included; log_mass [B] log of the policy's mass on this support (0 when enumerated);
    multiplicity [B, K] raw candidates merged into this one; chosen [B] executed index, -1 before act.
    A static vocabulary keeps ``trajectories`` as an expanded view and stores ids alone. ``latent`` [B, ...] is what
    else ``score`` needs to score these very candidates again: latent vectors, noise chains, tokens. A policy that
    samples plans of several factors also keeps their behaviour log-probabilities there, ``factors`` [B, K, F].
    """

    trajectories: Tensor | None
    ids: Tensor
    mask: Tensor
    log_probs: Tensor
    log_mass: Tensor
    multiplicity: Tensor
    chosen: Tensor
    latent: TensorDict | None = None


@dataclasses.dataclass
class FactorLogProbs:
    """What ``score`` answers; every tensor is differentiable.

    joint [B, K] log-probabilities over the mask (masked entries are -inf); factors [B, K, F]; tables one [B, M_f, N_f]
    conditional log-softmax a factor at the visited prefixes; prefix one [B, K] row index into tables[f] a factor. How
    many rows a table has, and which of them a candidate visits, follows from the ids alone.
    Policies whose candidates are not all there is also fill: law [B, L], the parameters of the density that candidates
    were drawn from, for closed forms (``PolicyAdapter.divergence``); log_mass [B], the log of the mass that the current
    parameters leave on this support; plan [B, N, T, 3], the central plans of N modes, for regression in pre-training.
    """

    joint: Tensor
    factors: Tensor
    tables: list[Tensor]
    prefix: list[Tensor]
    law: Tensor | None = None
    log_mass: Tensor | None = None
    plan: Tensor | None = None

    def rows(self, index: Tensor) -> "FactorLogProbs":
        """Return the states that ``index`` selects (a mask [B] or indices)."""
        optional = (None if value is None else value[index] for value in (self.law, self.log_mass, self.plan))
        tables, prefix = ([part[index] for part in parts] for parts in (self.tables, self.prefix))
        return FactorLogProbs(self.joint[index], self.factors[index], tables, prefix, *optional)


class Observation(TensorClass):
    """What a policy sees of B visited states.

    bev [B, C, H, W] uint8 (0 or 255), C = BEV_CHANNELS; ego [B, 5] EGO_FEATURES in SI (steer in [-1, 1], left
    positive); route [B, 20, 2] points in the ego frame; objects [B, 24, 7] OBJECT_FEATURES of the nearest road users
    and closed stop lines, zeros where there are fewer (None where whoever observes has no list of objects); sensors
    [B]: what the cameras, lidars and radars of a rig measured, by the name of the sensor, as ``rig`` describes them
    (None where the ego carries none).
    """

    bev: Tensor
    ego: Tensor
    route: Tensor
    objects: Tensor | None = None
    sensors: TensorDict | None = None


class Scene(TensorClass):
    """The vector description of B visited states that the counterfactual world rolls out, in the ego frame.

    town [B] int64 index of the road grid; ego_pose [B, 3] float64 world pose; ego_motion [B, 4] speed, longitudinal
    acceleration, yaw rate, steer; ego_size [B, 3] length, width, wheelbase;
    agents [B, A, 8] x, y, yaw, speed, length, width, longitudinal acceleration, yaw rate; agent_kind [B, A] int64;
    agent_junction [B, A] bool, on a junction lane; route [B, R, 2] points 1 m apart (extrapolated straight past its
    end); route_lanes [B, M] int64 lane indices of the road network that the route may use, -1 padded (all -1 = no
    restriction); stop_lines [B, L, 4] x0, y0, x1, y1 across the lane; stop_kind [B, L] int64 LINE_*.
    """

    town: Tensor
    ego_pose: Tensor
    ego_motion: Tensor
    ego_size: Tensor
    agents: Tensor
    agent_kind: Tensor
    agent_junction: Tensor
    route: Tensor
    route_lanes: Tensor
    stop_lines: Tensor
    stop_kind: Tensor


class Transition(TensorClass):
    """Executed decisions, [B]; what losses see.

    context: policy context; candidates: the stored support with behaviour log-probabilities and the executed index;
    scene: the visited state; events [B, len(EVENTS)] float; continues [B] float, u_t of CRAFT (0 where the episode
    ended or was cut); done [B] float, 1 where the episode ended by itself (a cut one is neither done nor continued);
    rollout [B] rollout number; step [B] decision index in its episode; world [B] index of the world that executed it;
    advantage [B, K] annotated by the counterfactual proxy; residual [B] annotated by the grounded residual;
    expert [B, T, 3] the expert's trajectory from this state in the ego frame, NaN where there is none;
    notes: what further losses annotate, by the name of the loss.
    """

    context: TensorDict
    candidates: CandidateSet
    scene: Scene
    events: Tensor
    continues: Tensor
    done: Tensor
    rollout: Tensor
    step: Tensor
    world: Tensor
    advantage: Tensor
    residual: Tensor
    expert: Tensor
    notes: TensorDict


class Demonstration(TensorClass):
    """States shown by an expert, [B].

    Observation as in Observation, trajectory [B, T, 3] of the expert in the ego frame.
    """

    observation: Observation
    trajectory: Tensor


_Structure = TypeVar("_Structure", bound=TensorClass)


def stack_numpy(samples: Sequence[Mapping[str, Any]], cls: type[_Structure]) -> _Structure:
    """Stack per-world dictionaries of numpy arrays (keys = fields of ``cls``) into one batched tensorclass.

    A field that is itself a dictionary of arrays becomes a ``TensorDict``.
    """
    # Any: the fields of a subclass are not in TensorClass's own signature.
    fields: dict[str, Any] = {name: _stacked([sample[name] for sample in samples]) for name in samples[0]}
    return cls(**fields, batch_size=[len(samples)])


def _stacked(values: Sequence[Any]) -> Tensor | TensorDict:
    if isinstance(values[0], Mapping):
        parts = {name: _stacked([value[name] for value in values]) for name in values[0]}
        return TensorDict(parts, batch_size=[len(values)])
    return torch.from_numpy(np.stack(values))
