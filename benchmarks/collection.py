"""All-in collection: worlds, criteria, scenarios, observation and policy; decisions (10 ticks each) a second.

Beside the rate stands the processor time a decision costs in every kind of process (client and kernel time): it is what
remains comparable on a machine that others use.
"""

import statistics
import time

import psutil
import torch

from benchmarks.table import Row
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.roads.towns import load_town
from craft_lightning.rollouts.collect import Traffic, collect
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.suites import load_suites
from craft_lightning.rollouts.worker import WorldOptions
from craft_lightning.testing.tiny import TinyVocabularyPolicy

KINDS = ("server", "worker", "parent")


def spent(pool: WorldPool) -> dict[str, float]:
    """Return the processor seconds that the processes of each kind have used so far."""
    groups = {
        "server": [world.server for world in pool.worlds if world.server is not None],
        "worker": [psutil.Process(world.process.pid) for world in pool.worlds],
        "parent": [psutil.Process()],
    }
    times = {kind: [process.cpu_times() for process in group] for kind, group in groups.items()}
    return {kind: sum(one.user + one.system for one in found) for kind, found in times.items()}


def run(quick: bool) -> list[Row]:
    """Collect with the shipped policy and, side by side, with a policy that costs nothing."""
    routes, _ = load_suites(load_town("craftville"), "", "", 20, 8, 0)
    decisions, repeats = (128, 1) if quick else (512, 3)
    policies = {"tiny policy": TinyVocabularyPolicy(), "vocabulary_craftville": load_policy("vocabulary_craftville")}
    rates: dict[str, list[float]] = {name: [] for name in policies}
    costs: dict[str, dict[str, float]] = {name: dict.fromkeys(KINDS, 0.0) for name in policies}
    torch.set_num_threads(2)
    with WorldPool(4, WorldOptions("craftville")) as pool:
        collect(policies["tiny policy"], pool, routes, Traffic(), 64, 0, 0)  # warm up
        for iteration in range(repeats):
            for name, policy in policies.items():
                before, started = spent(pool), time.perf_counter()
                collect(policy, pool, routes, Traffic(), decisions, iteration, 0)
                rates[name].append(decisions / (time.perf_counter() - started))
                for kind, seconds in spent(pool).items():
                    costs[name][kind] += 1000.0 * (seconds - before[kind]) / (decisions * repeats)
    median = {name: statistics.median(values) for name, values in rates.items()}
    reference = median["tiny policy"]
    rows = [
        Row(
            f"collection, 4 worlds, 20 vehicles, {name}",
            value,
            "decisions/s",
            "same worlds, tiny policy",
            value / reference,
        )
        for name, value in median.items()
    ]
    cost = costs["vocabulary_craftville"]
    total = sum(cost.values())
    rows += [
        Row(f"... processor time of a decision, {kind}", milliseconds, "ms", "all processes", milliseconds / total)
        for kind, milliseconds in {**cost, "all": total}.items()
    ]
    return rows
