"""``python -m benchmarks.clocks [FILE]``: the shipped policy's driving at other decision intervals and other ticks.

Every row drives the same evaluation routes of craftville under the house's own limits, with the same seeds of traffic;
differences are paired over routes against decisions of 0.5 s in ticks of 0.05 s, which everything else here has.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from craft_lightning.metrics.paired import paired_interval
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.rollouts.datamodule import DrivingDataModule

CLOCKS = ((0.05, 10), (0.05, 5), (0.05, 1), (0.1, 5), (0.025, 20))
"""Seconds of a tick, and ticks of a decision."""


def scores(tick: float, ticks: int, seeds: int, routes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [routes] driving scores and successes, each the mean over the seeds."""
    episode = {"tick_seconds": tick, "ticks_per_decision": ticks}
    data = DrivingDataModule(worlds=4, episode=episode, eval_limit=routes, progress=False)
    data.setup("test")
    policy = load_policy("vocabulary_craftville")
    found = []
    try:
        for seed in range(seeds):
            records = [RouteRecord.from_dict(record) for record in data.drive(policy, "drive", seed)]
            found.append([(record.driving_score, float(record.success)) for record in records])
    finally:
        data.close()
    driving, success = np.mean(found, 0).T
    return driving, success


def table(seeds: int, routes: int) -> str:
    """Drive and return the Markdown table."""
    lines = [
        "| tick | decision | driving score | against 0.5 s in ticks of 0.05 s | successes |",
        "|---|---|---|---|---|",
    ]
    base: np.ndarray | None = None
    for tick, ticks in CLOCKS:
        driving, success = scores(tick, ticks, seeds, routes)
        against = ""
        if base is None:
            base = driving
        else:
            gap = paired_interval(base, driving)
            verdict = "" if gap.significant else ", no difference"
            against = f"{gap.difference:+.2f} [{gap.low:.2f}, {gap.high:.2f}]{verdict}"
        percent = 100.0 * statistics.fmean(success)
        numbers = f"{driving.mean():.2f} | {against} | {percent:.1f} %"
        lines.append(f"| {tick:g} s | {tick * ticks:g} s | {numbers} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clocks", description=__doc__)
    parser.add_argument("file", nargs="?", default="", help="where to write the table")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of traffic")
    parser.add_argument("--routes", type=int, default=0, help="evaluation routes; 0 = all 60")
    options = parser.parse_args(arguments)
    found = table(options.seeds, options.routes)
    if options.file:
        Path(options.file).write_text(found)


if __name__ == "__main__":
    main()
