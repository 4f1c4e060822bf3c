"""A vision-language policy: updates from stored contexts against running the model again; all plans against some.

Every number is of CPU seconds of one thread, in turns, so that a busy machine slows both sides alike.
"""

import statistics
import time
from collections.abc import Callable

import torch
from craft_lightning.adapters.vision_language import VisionLanguagePlanner

from benchmarks.table import Row
from craft_lightning.policies.base import Profile
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vision_language.sequences import CachedDecoder, draw_sequences
from craft_lightning.structures import CandidateSet, Context, Observation
from craft_lightning.testing.subject import observe_at_random

STATES = 128
DRAWN = 32


def run(quick: bool) -> list[Row]:
    """Time updates of every profile, and listing all 192 plans beside drawing some word by word."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = VisionLanguagePlanner()
        policy.prepare(torch.from_numpy(sample_trajectories(600)).float())
        rounds = 2 if quick else 7
        # What is trained of a deep model is a smaller part of it.
        deep = VisionLanguagePlanner(layers=12, vision_layers=6)
        deep.prepare(torch.from_numpy(sample_trajectories(600)).float())
        return [
            *(_updates(policy, profile, rounds) for profile in ("heads", "lora", "decoder")),
            _updates(deep, "lora", rounds),
            _proposals(policy, rounds),
        ]
    finally:
        torch.set_num_threads(threads)


def _updates(policy: VisionLanguagePlanner, profile: Profile, rounds: int) -> Row:
    """Return optimiser steps on stored contexts beside steps that run the frozen part again."""
    policy.set_trainable(profile).train()
    optimizer = torch.optim.AdamW(policy.trainable_parameters().values(), lr=1e-6)
    observation = observe_at_random(STATES, 0)
    with torch.no_grad():
        context = policy.encode(observation)
        candidates = policy.propose(context)
    candidates.trajectories = None

    def stored() -> None:
        _step(policy, optimizer, context, candidates)

    def encoded() -> None:
        _step(policy, optimizer, _encode(policy, observation), candidates)

    fast, slow = _in_turns((stored, encoded), rounds)
    kilobytes = sum(value.numel() * value.element_size() for value in context.values()) / STATES / 1000.0
    name = f"VLA of {policy.trunk.layers} layers, updates of {profile}, stored contexts ({kilobytes:.0f} kB a state)"
    return Row(name, STATES / fast, "states/s", "the whole model again", slow / fast)


def _proposals(policy: VisionLanguagePlanner, rounds: int) -> Row:
    """Return all plans in one pass beside some of them drawn by words over a key-value cache."""
    policy.set_trainable("decoder").eval()
    whole = VisionLanguagePlanner(trained_layers=0)
    whole.load_state_dict({**whole.state_dict(), **_shared(policy, whole)})
    whole.set_trainable("decoder").eval()
    paths, speeds = len(policy.path_table), len(policy.speed_table)
    with torch.no_grad():
        context = whole.encode(observe_at_random(STATES, 1))
    noise = torch.rand(STATES, 2 * DRAWN * max(paths, speeds))

    @torch.no_grad()
    def listed() -> None:
        path, speed = whole.factor_logits(context)
        (path.log_softmax(-1)[..., None] + speed.log_softmax(-1)).flatten(1)

    @torch.no_grad()
    def drawn() -> None:
        rows, width = whole.trunk.actions, max(paths, speeds)
        cache = CachedDecoder(whole.trunk.model, whole.trunk.prefix(context))

        def padded(logits: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(logits.log_softmax(-1), (0, width - logits.shape[-1]), value=-torch.inf)

        def step(parent: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
            states = cache.extend(parent, rows.embedding[token])
            return padded(rows.logits(states, paths, paths + speeds))

        draw_sequences(padded(rows.logits(cache.last, 0, paths)), step, 2, DRAWN, noise)

    fast, slow = _in_turns((listed, drawn), rounds)
    name = f"VLA, all {paths * speeds} plans of a read prompt, one pass"
    return Row(name, STATES / fast, "states/s", f"{DRAWN} plans drawn word by word", slow / fast)


def _shared(policy: VisionLanguagePlanner, other: VisionLanguagePlanner) -> dict[str, torch.Tensor]:
    own = policy.state_dict()
    return {name: own[name] for name in other.state_dict() if name in own}


@torch.no_grad()
def _encode(policy: VisionLanguagePlanner, observation: Observation) -> Context:
    return policy.encode(observation)


def _step(
    policy: VisionLanguagePlanner, optimizer: torch.optim.Optimizer, context: Context, candidates: CandidateSet
) -> None:
    joint = policy.score(context, candidates).joint.masked_fill(~candidates.mask, -30.0)
    optimizer.zero_grad()
    (joint.exp() * torch.linspace(-1.0, 1.0, joint.shape[1])).sum(1).mean().backward()
    optimizer.step()


def _in_turns(works: tuple[Callable[[], None], ...], rounds: int) -> list[float]:
    """Return the median CPU seconds of each, after one run of each that does not count."""
    seconds: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for kept, work in zip(seconds, works, strict=True):
            begun = time.process_time()
            work()
            if number:
                kept.append(time.process_time() - begun)
    return [statistics.median(kept) for kept in seconds]
