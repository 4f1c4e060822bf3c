"""Deliberately broken adapters, each with one fault that exactly one check of the kit must find."""

import dataclasses
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.rigs import RIGS
from craft_lightning.structures import Context, FactorLogProbs
from craft_lightning.testing.tiny import TinyVocabularyPolicy, random_vocabulary
from craft_lightning.testing.tiny_densities import TinyGaussianPolicy

Tiny = TinyVocabularyPolicy


class ProposesNothing(Tiny):
    def propose(self, context, support=None, noise=None):
        return None


class WrongRate(Tiny):
    @property
    def spec(self):
        return dataclasses.replace(super().spec, dt=0.5)


class NanInContext(Tiny):
    def encode(self, observation):
        context = super().encode(observation)
        context["junk"] = context["state"] * torch.nan
        return context


class ChosenAlready(Tiny):
    def propose(self, context, support=None, noise=None):
        found = super().propose(context, support, noise)
        found.chosen = torch.zeros_like(found.chosen)
        return found


class WrongLogSoftmax(Tiny):
    """Normalises over the states instead of the candidates."""

    def propose(self, context, support=None, noise=None):
        found = super().propose(context, support, noise)
        found.log_probs = self._masked_logits(context)[0].log_softmax(0).detach()
        return found


class Centimetres(Tiny):
    def propose(self, context, support=None, noise=None):
        found = super().propose(context, support, noise)
        found.trajectories = self.trajectories(found).expand_as(found.trajectories)
        return found

    def trajectories(self, candidates):
        return super().trajectories(candidates) * 100.0


class ListsUnnormalised(Tiny):
    def listing(self, context):
        listed = super().listing(context)
        listed.log_probs = torch.zeros_like(listed.log_probs)
        return listed


class KilometresAnHour(Tiny):
    def control_view(self, trajectory):
        view = super().control_view(trajectory)
        # Still below the speed that no car can have.
        return {**view, "speed": view["speed"] * 3.6}


class Random(Tiny):
    def logits(self, context):
        return super().logits(context) + torch.rand(1, len(self.table))


class StirsTheGenerator(Tiny):
    def encode(self, observation):
        torch.rand(1)
        return super().encode(observation)


class DeafToNoise(Tiny):
    proposal_noise = 3


class LooksAtOtherRows(Tiny):
    def encode(self, observation):
        context = super().encode(observation)
        return Context({**context, "state": context["state"] - context["state"].mean(0)}, context.batch_size)


class ScoresByTheBatch(Tiny):
    def forward(self, context, candidates):
        if len(context["state"]) != 3:  # a mini-batch of another size
            return super().forward(context, candidates)
        return super().forward(Context({**context, "state": context["state"] * 0.5}, context.batch_size), candidates)


def answer(joint, prefix):
    return FactorLogProbs(joint, joint.unsqueeze(-1), [joint.unsqueeze(1)], prefix)


class ScoresUnnormalised(Tiny):
    def forward(self, context, candidates):
        found = super().forward(context, candidates)
        return answer(found.joint + 0.1, found.prefix)


class ForgetsTheTemperature(Tiny):
    def __init__(self):
        super().__init__()
        self.temperature.fill_(2.0)

    def forward(self, context, candidates):
        found = super().forward(context, candidates)
        return answer((found.joint * self.temperature).log_softmax(1), found.prefix)


class ForgetsItsGeometry(Tiny):
    """Geometry that follows from more than the ids, and is not stored."""

    def trajectories(self, candidates):
        table = super().trajectories(candidates)
        return table if candidates.trajectories is not None else table + 0.01


class RoundsWhenStored(Tiny):
    def encode(self, observation):
        context = super().encode(observation)
        if not torch.is_grad_enabled():
            context["state"] = context["state"].half().float()
        return context


class WrongTables(Tiny):
    def forward(self, context, candidates):
        found = super().forward(context, candidates)
        return dataclasses.replace(found, tables=[table * 0.5 for table in found.tables])


class WrongFactors(Tiny):
    def forward(self, context, candidates):
        found = super().forward(context, candidates)
        return dataclasses.replace(found, factors=found.factors * 0.5)


class CalibratesInVain(Tiny):
    def calibrate_temperature(self, context, target=0.9):
        found = super().calibrate_temperature(context, target)
        self.temperature.fill_(1.0)
        return found


class SortsTheSupport(Tiny):
    def propose(self, context, support=None, noise=None):
        return super().propose(context, None if support is None else support.sort(1).values, noise)


class IgnoresTheMask(Tiny):
    def forward(self, context, candidates):
        whole = candidates.clone(recurse=False)
        whole.mask = torch.ones_like(whole.mask)
        return super().forward(context, whole)


class DrivesAnother(Tiny):
    def act(self, candidates, greedy=False, noise=None):
        index, trajectory = super().act(candidates, greedy, noise)
        return index, trajectory.flip(0)


class SamplesHotter(Tiny):
    def act(self, candidates, greedy=False, noise=None):
        hot = candidates.clone(recurse=False)
        hot.log_probs = (hot.log_probs / 3.0).log_softmax(1)
        return super().act(hot, greedy, noise)


class TrainsItsTrunk(Tiny):
    def set_trainable(self, profile):
        super().set_trainable(profile)
        if profile != "none":
            self.trunk.requires_grad_(True)
        return self


class LeaksIntoTheTrunk(Tiny):
    def encode(self, observation):
        self.trunk.requires_grad_(True)
        return super().encode(observation)


class TrainsAnIdleModule(Tiny):
    profiles: ClassVar = {"heads": ("head",), "decoder": ("embedding", "head", "idle")}

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(2, 2)


class HoldsItsWeights(Tiny):
    """Reads the head from a place that other parameters do not reach."""

    def __init__(self):
        super().__init__()
        self.__dict__["held"] = (self.head.weight, self.head.bias)

    def logits(self, context):
        poses = self.table[:, [10, 20, -1]].flatten(1) / 20.0
        return functional.linear(torch.tanh(context["state"][:, None] + self.embedding(poses)), *self.held).squeeze(-1)


class KeepsDropoutOn(Tiny):
    def __init__(self):
        super().__init__(dropout=0.5)

    def train(self, mode=True):
        return nn.Module.train(self, mode)


class TakesAnyTeacher(Tiny):
    def score(self, context, candidates, params=None):
        known = dict(self.named_parameters())
        fitting = {name: value for name, value in (params or {}).items() if name in known}
        return super().score(context, candidates, {k: v for k, v in fitting.items() if v.shape == known[k].shape})


class KeepsStateAside(Tiny):
    made = 0

    def __init__(self):
        super().__init__()
        type(self).made += 1
        self.shift = torch.linspace(0.0, float(self.made), len(self.table))

    def logits(self, context):
        return super().logits(context) + self.shift


class PreparesAgain(Tiny):
    def prepare(self, trajectories, seed=0):
        self.set_vocabulary(random_vocabulary(len(self.table), seed=seed + 1))


class StoresTooMuch(Tiny):
    def encode(self, observation):
        context = super().encode(observation)
        context["picture"] = torch.zeros(len(context["state"]), 300_000)
        return context


class ScoresAnything(Tiny):
    def score(self, context, candidates, params=None):
        return self(context, candidates) if params is None else super().score(context, candidates, params)


class ActsWithoutNoise(Tiny):
    def act(self, candidates, greedy=False, noise=None):
        fits = noise is not None and noise.shape == candidates.mask.shape
        return super().act(candidates, greedy or not fits, noise)


class TakesAnyProfile(Tiny):
    def set_trainable(self, profile):
        return super().set_trainable(profile if profile in {"heads", "decoder", "all"} else "none")


class CentresOnItsNoise(TinyGaussianPolicy):
    """Its greedy plan, listed beside the draws, is the first draw."""

    def propose(self, context, support=None, noise=None):
        found = super().propose(context, support, noise)
        if support is None:
            found.trajectories[:, 0] = found.trajectories[:, 1]
        return found


class BlindToItsRig(Tiny):
    """Asks for a camera and never looks."""

    rig = RIGS["front_camera"]


class StumblesInTheDark(Tiny):
    """Looks through its camera, and knows no sentence where there is none."""

    rig = RIGS["front_camera"]

    def encode(self, observation):
        context = super().encode(observation)
        context["seen"] = observation.sensors["front"].float().mean((1, 2, 3))
        return context


BROKEN: dict[str, list[type[PolicyAdapter]]] = {
    "drives": [ProposesNothing],
    "plan_spec": [WrongRate],
    "context": [NanInContext],
    "candidates": [ChosenAlready],
    "distribution": [WrongLogSoftmax],
    "trajectories": [Centimetres],
    "listing": [ListsUnnormalised],
    "control_view": [KilometresAnHour],
    "determinism": [Random, StirsTheGenerator],
    "proposal_noise": [DeafToNoise],
    "rows": [LooksAtOtherRows, ScoresByTheBatch],
    "scores": [ScoresUnnormalised],
    "ratio": [ForgetsTheTemperature],
    "storage": [ForgetsItsGeometry],
    "live_context": [RoundsWhenStored],
    "factors": [WrongTables, WrongFactors],
    "temperature": [CalibratesInVain],
    "replay": [SortsTheSupport],
    "masked": [IgnoresTheMask],
    "acts": [DrivesAnother, CentresOnItsNoise],
    "sampling": [SamplesHotter],
    "profiles": [TrainsItsTrunk],
    "gradients": [LeaksIntoTheTrunk, TrainsAnIdleModule],
    "teacher": [HoldsItsWeights],
    "evaluation_mode": [KeepsDropoutOn],
    "teacher_names": [TakesAnyTeacher],
    "checkpoint": [KeepsStateAside],
    "prepared": [PreparesAgain],
    "memory": [StoresTooMuch],
    "refusals": [ScoresAnything],
    "act_refusals": [ActsWithoutNoise],
    "profile_refusal": [TakesAnyProfile],
    "rig": [BlindToItsRig, StumblesInTheDark],
}
