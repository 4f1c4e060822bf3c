"""Numbers about an adapter: size, memory of a decision, decisions a second on one core."""

import time
from typing import Any

import torch

from craft_lightning.policies.feasibility import Limits, feasible
from craft_lightning.structures import CandidateSet, Context
from craft_lightning.testing.subject import Subject, leaves

_ROWS = 4  # worlds beside each other in a rollout


def decision_bytes(context: Context, stored: CandidateSet) -> int:
    """Return the bytes a state that a context [B] and stored candidates [B] take."""
    tensors = [value for part in (context, stored.to_tensordict()) for value in leaves(part).values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // max(1, context.batch_size[0])


def decisions_a_second(subject: Subject, seconds: float = 0.5) -> float:
    """Return how many decisions (encode, propose, act) a core takes a second, four states at a time.

    Args:
        subject: the adapter.
        seconds: how long to measure at least, after one round that warms up.

    """
    adapter, observation, noise = subject.adapter, subject.observation(_ROWS), subject.noise(_ROWS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds, spent = -1, 0.0
        while spent < seconds:
            begun = time.process_time()
            with torch.no_grad():
                adapter.act(adapter.propose(adapter.encode(observation), noise=noise), greedy=True)
            if torch.cuda.is_available() and subject.device.type == "cuda":
                torch.cuda.synchronize()
            rounds += 1
            spent += time.process_time() - begun if rounds else 0.0
    finally:
        torch.set_num_threads(threads)
    return rounds * _ROWS / spent


def measure(subject: Subject, seconds: float = 0.5) -> dict[str, Any]:
    """Return the numbers of an adapter that drives.

    Returns:
        ``family``, ``support``, ``factors``, ``candidates`` (valid ones a state, mean), ``parameters``, ``trainable``
        by profile, ``decisions_per_second`` on one core, ``bytes_per_decision`` as stored, ``drivable`` (share of valid
        candidates within 5 m/s^2 lateral and -8 to 4 m/s^2 longitudinal acceleration), ``spread`` (metres, the mean
        standard deviation of end points).

    """
    adapter = subject.adapter
    context, found = subject.driven
    subject.reset()
    spec = adapter.spec
    trainable = {}
    for profile in subject.every_profile[:-1]:
        parameters = adapter.set_trainable(profile).trainable_parameters()
        trainable[profile] = sum(parameter.numel() for parameter in parameters.values())
    subject.reset()
    table = adapter.trajectories(found).expand(subject.states, -1, -1, -1)
    valid = table[found.mask]
    ends = [table[row][found.mask[row]][:, -1, :2].std(0, correction=0).norm() for row in range(subject.states)]
    return {
        "family": type(adapter).family,
        "support": spec.support,
        "factors": {factor.name: factor.size for factor in spec.factors},
        "candidates": float(found.mask.sum(1).float().mean()),
        "parameters": sum(parameter.numel() for parameter in adapter.parameters()),
        "trainable": trainable,
        "decisions_per_second": decisions_a_second(subject, seconds),
        "bytes_per_decision": decision_bytes(context, subject.stored(found)),
        "drivable": float(feasible(valid.double().cpu().numpy(), spec.dt, Limits()).mean()),
        "spread": float(torch.stack(ends).mean()),
    }
