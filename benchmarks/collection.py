"""All-in collection: worlds, criteria, scenarios, observation and policy; decisions (10 ticks each) a second.

Beside the rate stands the processor time a decision costs in every kind of process (client and kernel time): it is what
remains comparable on a machine that others use.
"""

import dataclasses
import statistics
import time

import psutil
import torch

from benchmarks.table import Row
from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.roads.towns import load_town
from craft_lightning.rollouts.collect import Traffic, collect
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.suites import load_suites
from craft_lightning.rollouts.worker import WorldOptions
from craft_lightning.testing.tiny import TinyVocabularyPolicy

KINDS = ("server", "worker", "parent")


@dataclasses.dataclass
class Measured:
    """Decisions a second, run by run, and the milliseconds of processor time of a decision in each kind of process."""

    rates: list[float]
    cost: dict[str, float]


def spent(pool: WorldPool) -> dict[str, float]:
    """Return the processor seconds that the processes of each kind have used so far."""
    groups = {
        "server": [world.server for world in pool.worlds if world.server is not None],
        "worker": [psutil.Process(world.process.pid) for world in pool.worlds],
        "parent": [psutil.Process()],
    }
    times = {kind: [process.cpu_times() for process in group] for kind, group in groups.items()}
    return {kind: sum(one.user + one.system for one in found) for kind, found in times.items()}


def measure(
    worlds: int, policies: dict[str, PolicyAdapter], decisions: int, repeats: int, tick_seconds: float = TICK_SECONDS
) -> dict[str, Measured]:
    """Return the decisions a second of every policy in so many worlds, in turns, and what they cost."""
    routes, _ = load_suites(load_town("craftville"), "", "", 20, 8, 0)
    found = {name: Measured([], dict.fromkeys(KINDS, 0.0)) for name in policies}
    with WorldPool(worlds, WorldOptions("craftville", episode={"tick_seconds": tick_seconds})) as pool:
        collect(TinyVocabularyPolicy(), pool, routes, Traffic(), 16 * worlds, 0, 0)  # warm up
        for iteration in range(repeats):
            for name, policy in policies.items():
                before, started = spent(pool), time.perf_counter()
                collect(policy, pool, routes, Traffic(), decisions, iteration, 0)
                found[name].rates.append(decisions / (time.perf_counter() - started))
                for kind, seconds in spent(pool).items():
                    found[name].cost[kind] += 1000.0 * (seconds - before[kind]) / (decisions * repeats)
    return found


def run(quick: bool) -> list[Row]:
    """Collect with the shipped policy and, side by side, with a policy that costs nothing."""
    # The shipped recipes collect 2048 at a time; much less, and the episodes that are cut at the end weigh too much.
    decisions, repeats = (120, 1) if quick else (2040, 3)
    shipped = {"vocabulary_craftville": load_policy("vocabulary_craftville")}
    torch.set_num_threads(2)
    four = measure(4, {"tiny policy": TinyVocabularyPolicy(), **shipped}, decisions, repeats)
    six = measure(6, shipped, decisions, repeats)
    coarse = measure(6, shipped, decisions, repeats, 0.1)
    reference = statistics.median(four["tiny policy"].rates)
    rows = [
        Row(
            f"collection, {setting}, 20 vehicles, {name}",
            statistics.median(measured.rates),
            "decisions/s",
            "4 worlds, tiny policy",
            statistics.median(measured.rates) / reference,
        )
        for setting, found in (("4 worlds", four), ("6 worlds", six), ("6 worlds, ticks of 0.1 s", coarse))
        for name, measured in found.items()
    ]
    cost = four["vocabulary_craftville"].cost
    total = sum(cost.values())
    rows += [
        Row(f"... processor time of a decision, {kind}", milliseconds, "ms", "all processes", milliseconds / total)
        for kind, milliseconds in {**cost, "all": total}.items()
    ]
    return rows
