"""Does a recipe learn? Several training seeds, held-out routes, several traffic seeds, one interval over all.

    python -m benchmarks.learning runs/learning [--recipe craft_vocabulary] [--seeds 0 1 2] [--evaluation-seeds 0 1]

Each training seed is a fit of its own in a process of its own, followed by the drives of the fine-tuned policy; the
pre-trained one, the same for all, drives after the first. A seed whose comparison is there already is not run again,
so a cut run goes on. The difference of a route is
the mean over training and traffic seeds; the interval resamples routes and training seeds together.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.table import Table

from craft_lightning.metrics.paired import PairedInterval, paired_interval
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import write_json
from craft_lightning.reports.comparison import MEASURES
from craft_lightning.tables import table_console

BEFORE, AFTER = "pretrained", "craft"


def fit(recipe: str, seed: int, evaluation_seeds: list[int], arms: list[str], folder: Path, further: list[str]) -> None:
    """Run one training seed and its comparison, unless its result is there."""
    if (folder / "comparison.json").exists():
        return
    words = [
        *("fit", "--config", recipe, f"--seed_everything={seed}", f"--data.seed={seed}"),
        f"--comparison.arms=[{','.join(arms)}]",
        f"--comparison.reference={arms[0]}",
        f"--comparison.seeds={evaluation_seeds}",
        f"--comparison.output={folder}",
        f"--trainer.default_root_dir={folder}",
        *further,
    ]
    subprocess.run([sys.executable, "-m", "craft_lightning", *words], check=True)


def values(folder: Path, arm: str, measure: str) -> np.ndarray:
    """Return [routes], the measure of every route, its mean over traffic seeds."""
    runs = json.loads((folder / "comparison.json").read_text())["records"][arm]
    value = MEASURES[measure][1]
    ordered = [sorted((RouteRecord.from_dict(record) for record in run), key=lambda one: one.index) for run in runs]
    return np.array([[value(record) for record in run] for run in ordered]).mean(0)


def nested_interval(differences: np.ndarray, seed: int = 0, resamples: int = 10_000) -> PairedInterval:
    """Return the mean difference and its 95 % percentile interval, resampling training seeds and routes together.

    Args:
        differences: [training seeds, routes].
        seed: seed of the resampling.
        resamples: bootstrap resamples.

    """
    rng = np.random.default_rng(seed)
    seeds, routes = differences.shape
    weights_seed = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=resamples) / seeds
    weights_route = rng.multinomial(routes, np.full(routes, 1.0 / routes), size=resamples) / routes
    means = np.einsum("bs,br,sr->b", weights_seed, weights_route, differences, optimize=True)
    low, high = np.quantile(means, [0.025, 0.975])
    return PairedInterval(float(differences.mean()), float(low), float(high), 0.95, routes)


def summary(folders: dict[int, Path]) -> tuple[Table, dict[str, object]]:
    """Return the table and the numbers of all training seeds."""
    table = Table(title=f"fine-tuned minus pre-trained, {len(folders)} training seeds")
    document: dict[str, object] = {}
    for column in ("seed", *MEASURES):
        table.add_column(column, justify="right")
    base = {name: values(next(iter(folders.values())), BEFORE, name) for name in MEASURES}
    table.add_row("pre-trained", *(f"{column.mean():.1f}" for column in base.values()))
    for seed, folder in folders.items():
        found = {name: paired_interval(base[name], values(folder, AFTER, name)) for name in MEASURES}
        table.add_row(str(seed), *(cell(interval) for interval in found.values()))
        document[str(seed)] = {name: vars(interval) for name, interval in found.items()}
    together = {}
    for name in MEASURES:
        rows = [values(folder, AFTER, name) - base[name] for folder in folders.values()]
        together[name] = nested_interval(np.stack(rows))
    table.add_section()
    table.add_row("all", *(cell(interval) for interval in together.values()))
    document["all"] = {name: vars(interval) for name, interval in together.items()}
    document["pretrained"] = {name: float(column.mean()) for name, column in base.items()}
    return table, document


def cell(interval: PairedInterval) -> str:
    """Return one interval as a cell of a table."""
    verdict = "" if interval.significant else " no difference"
    return f"{interval.difference:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]{verdict}"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("--recipe", default="craft_vocabulary")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument("--evaluation-seeds", type=int, nargs="+", default=[0, 1], help="traffic and scenario seeds")
    options, further = parser.parse_known_args()
    folders = {seed: options.folder / f"seed_{seed}" for seed in options.seeds}
    for number, (seed, folder) in enumerate(folders.items()):
        fit(options.recipe, seed, options.evaluation_seeds, [AFTER] if number else [BEFORE, AFTER], folder, further)
    table, document = summary(folders)
    write_json(options.folder / "learning.json", document)
    table_console().print(table)


if __name__ == "__main__":
    main()
