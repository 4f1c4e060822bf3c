"""Small sound adapters of the kinds of support that the shipped tiny policy does not have."""

import dataclasses
from typing import ClassVar

import torch
from tensordict import TensorDict
from torch import nn

from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, PlanSpec
from craft_lightning.testing.tiny import TinyVocabularyPolicy

POSES, DT, DRAWS = 20, 0.1, 6


def straight(speed, acceleration):
    """[..., POSES, 3] of a straight drive."""
    time = torch.arange(1, POSES + 1) * DT
    end = torch.where(acceleration < 0, -speed / acceleration.clamp(max=-1e-6), torch.inf)[..., None]
    moving = torch.minimum(time.expand(*speed.shape, POSES), end)
    x = speed[..., None] * moving + 0.5 * acceleration[..., None] * moving**2
    return torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], -1)


class Small(PolicyAdapter):
    profiles: ClassVar = {"heads": ("head",), "decoder": ("body", "head")}

    def __init__(self, outputs, inputs=5):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.trunk, self.body, self.head = nn.Linear(5, inputs), nn.Linear(inputs, 8), nn.Linear(8, outputs)

    def encode(self, observation):
        return Context({"ego": observation.ego, "state": self.trunk(observation.ego)}, [len(observation.ego)])

    def raw(self, context):
        return self.head(torch.tanh(self.body(context["state"])))


class TwoFactors(Small):
    """A path of three by a speed of four given the path; geometry from the ego's speed."""

    stores_geometry = True

    def __init__(self):
        super().__init__(3 + 3 * 4)

    @property
    def spec(self):
        return PlanSpec(POSES, DT, (Factor("path", 3), Factor("speed", 4)), temperature=0.5)

    def tables(self, context):
        raw = self.raw(context) / 0.5
        return raw[:, :3].log_softmax(-1)[:, None], raw[:, 3:].unflatten(1, (3, 4)).log_softmax(-1)

    @torch.no_grad()
    def propose(self, context, support=None, noise=None):
        states = len(context["ego"])
        grid = torch.cartesian_prod(torch.arange(3), torch.arange(4))
        ids = grid.expand(states, -1, -1) if support is None else support
        path, speed = self.tables(context)
        rows = torch.arange(states)[:, None]
        log_probs = path[rows, 0, ids[..., 0]] + speed[rows, ids[..., 0], ids[..., 1]]
        poses = straight(context["ego"][:, :1].expand(ids.shape[:2]), ids[..., 1] - 2.0)
        poses[..., 1] = 0.1 * (ids[..., 0, None] - 1.0) * poses[..., 0]
        return CandidateSet(
            trajectories=poses,
            ids=ids,
            mask=torch.ones(ids.shape[:2], dtype=torch.bool),
            log_probs=log_probs.log_softmax(1),
            log_mass=log_probs.logsumexp(1),
            multiplicity=torch.ones(ids.shape[:2], dtype=torch.int64),
            chosen=torch.full((states,), -1),
            batch_size=[states],
        )

    def forward(self, context, candidates):
        path, speed = self.tables(context)
        ids, rows = candidates.ids, torch.arange(len(path))[:, None]
        parts = torch.stack([path[rows, 0, ids[..., 0]], speed[rows, ids[..., 0], ids[..., 1]]], -1)
        joint = parts.sum(-1).masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
        return FactorLogProbs(joint, parts, [path, speed], [torch.zeros_like(ids[..., 0]), ids[..., 0]])


class Filtered(TinyVocabularyPolicy):
    """Keeps the six most probable entries, and the mass that they have."""

    @property
    def spec(self):
        return dataclasses.replace(super().spec, support="filtered")

    def propose(self, context, support=None, noise=None):
        if support is None:
            support = super().propose(context).log_probs.topk(6, 1).indices.unsqueeze(-1)
        return super().propose(context, support)

    def listing(self, context):
        return self.propose(context)

    calibrate_temperature = PolicyAdapter.calibrate_temperature


class Gaussian(Small):
    """Draws accelerations from a Gaussian by proposal noise; pi is the density, normalised over the draws."""

    stores_geometry = True
    proposal_noise = DRAWS

    def __init__(self):
        super().__init__(2)

    @property
    def spec(self):
        return PlanSpec(POSES, DT, (Factor("draw", DRAWS),), "generated", True)

    def density(self, context, value):
        mean, width = self.raw(context).unsqueeze(-1).unbind(1)
        return torch.distributions.Normal(mean, width.exp()).log_prob(value)

    @torch.no_grad()
    def propose(self, context, support=None, noise=None):
        if noise is None:
            noise = (torch.arange(DRAWS).expand(len(context["ego"]), -1) + 0.5) / DRAWS
        mean, width = self.raw(context).unsqueeze(-1).unbind(1)
        value = mean + width.exp() * torch.special.ndtri(noise.clamp(1e-3, 1 - 1e-3)).float()
        ids = torch.arange(DRAWS).expand(len(value), -1).unsqueeze(-1) if support is None else support
        log_probs = self.density(context, value).log_softmax(1).gather(1, ids[..., 0])
        value = value.gather(1, ids[..., 0])
        return CandidateSet(
            trajectories=straight(context["ego"][:, :1].expand_as(value), value),
            ids=ids,
            mask=torch.ones_like(value, dtype=torch.bool),
            log_probs=log_probs.log_softmax(1),
            log_mass=log_probs.logsumexp(1),
            multiplicity=torch.ones_like(ids[..., 0]),
            chosen=torch.full((len(value),), -1),
            latent=TensorDict({"value": value}, [len(value)]),
            batch_size=[len(value)],
        )

    def forward(self, context, candidates):
        part = self.density(context, candidates.latent["value"]).masked_fill(~candidates.mask, -torch.inf)
        joint = part.log_softmax(1)
        table = torch.full((len(joint), DRAWS), -torch.inf).scatter(1, candidates.ids[..., 0], joint)
        return FactorLogProbs(joint, joint[..., None], [table[:, None]], [torch.zeros_like(candidates.ids[..., 0])])


SOUND = [TinyVocabularyPolicy, TwoFactors, Filtered, Gaussian]
