"""CRAFT beside GRPO, PPO and REINFORCE++: the same policies, budgets, routes and seeds; only `losses:` differs.

    python -m benchmarks.methods runs/methods [--recipes craft_vocabulary ...] [--seeds 0 1] [--trainer.max_epochs=3]

Every fit is a process of its own and drives the held-out routes at its end; what is there already is not run again, so
that a cut run goes on, and the table shows what there is. Intervals resample training seeds and routes together.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.learning import AFTER, BEFORE, cell, fit, nested_interval, values
from craft_lightning.metrics.results import write_json
from craft_lightning.reports.comparison import MEASURES
from craft_lightning.tables import table_console

METHODS = {"CRAFT": "", "GRPO": "baseline_grpo", "PPO": "baseline_ppo", "REINFORCE++": "baseline_reinforce"}
RECIPES = ("craft_vocabulary", "craft_hierarchical", "craft_vla")


def place(folder: Path, recipe: str, method: str, seed: int) -> Path:
    """Return the folder of one fit."""
    return folder / recipe / (METHODS[method] or "craft") / f"seed_{seed}"


def fit_methods(folder: Path, recipe: str, seed: int, further: list[str]) -> None:
    """Fit every method with one seed; the pre-trained policy, the same for all, drives once."""
    for method, overlay in METHODS.items():
        first = seed == 0 and not overlay
        arms = [BEFORE, AFTER] if first else [AFTER]
        words = ["--config", overlay] if overlay else []
        fit(recipe, seed, [0], arms, place(folder, recipe, method, seed), [*words, *further])


def table(folder: Path, recipe: str, seeds: list[int]) -> tuple[Table, dict[str, object]]:
    """Return the table and the numbers of one family, over the seeds that all methods have finished."""
    done = [
        seed for seed in seeds if all((place(folder, recipe, m, seed) / "comparison.json").exists() for m in METHODS)
    ]
    drawn = Table(title=f"{recipe}, training seeds {', '.join(map(str, done)) or 'none yet'}")
    for column in ("method", *MEASURES, *(f"{name}, CRAFT minus it" for name in MEASURES)):
        drawn.add_column(column, justify="right")
    document: dict[str, object] = {"seeds": done}
    if not done:
        return drawn, document
    base = {name: values(place(folder, recipe, "CRAFT", 0), BEFORE, name) for name in MEASURES}
    found = {
        method: {
            name: np.stack([values(place(folder, recipe, method, seed), AFTER, name) for seed in done])
            for name in MEASURES
        }
        for method in METHODS
    }
    rows = {"pre-trained": {name: np.repeat(one[None], len(done), 0) for name, one in base.items()}, **found}
    for method, measured in rows.items():
        gains = {name: nested_interval(found["CRAFT"][name] - measured[name]) for name in MEASURES}
        compared = [] if method == "CRAFT" else [cell(gain) for gain in gains.values()]
        drawn.add_row(method, *(f"{measured[name].mean():.1f}" for name in MEASURES), *compared)
        document[method] = {
            "mean": {name: float(measured[name].mean()) for name in MEASURES},
            "per_seed": {name: measured[name].mean(1).tolist() for name in MEASURES},
            "craft_minus": {name: vars(gain) for name, gain in gains.items()},
        }
    return drawn, document


def main() -> None:
    """Run what is missing, seed by seed, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="training seeds; the first must be 0")
    parser.add_argument("--only-table", action="store_true", help="run nothing, print what there is")
    options, further = parser.parse_known_args()
    if not options.only_table:
        for seed in options.seeds:
            for recipe in options.recipes:
                fit_methods(options.folder, recipe, seed, further)
    document = {}
    for recipe in options.recipes:
        drawn, document[recipe] = table(options.folder, recipe, options.seeds)
        table_console(200).print(drawn)
    write_json(options.folder / "methods.json", document)


if __name__ == "__main__":
    main()
