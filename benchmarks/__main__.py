"""``python -m benchmarks [--quick] [--only NAME]``: runs the benchmarks of this folder and prints one table.

A module takes part by having ``run(quick: bool) -> list[Row]``; others here are programs of their own. What it
compares, it measures in turns in one run, so that a busy machine slows both sides alike.
"""

import argparse
import difflib
import importlib
import os
import pkgutil
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.table import Row, table
from benchmarks.yardstick import yardstick
from craft_lightning.errors import CraftError
from craft_lightning.tables import table_console


def modules() -> dict[str, Callable[[bool], list[Row]]]:
    """Return the benchmarks by name, found by listing this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    loaded = {name: importlib.import_module(f"benchmarks.{name}") for name in names if name != "__main__"}
    return {name: module.run for name, module in loaded.items() if hasattr(module, "run")}


def machine() -> str:
    """Return one line on the machine, since a number without it means little."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}{load}; {yardstick()}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks and print the table.

    Raises:
        CraftError: --only names no benchmark.

    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="smaller work, fewer rounds")
    parser.add_argument("--only", action="append", default=[], help="run one module; may be repeated")
    options = parser.parse_args(arguments)
    benchmarks = modules()
    for name in options.only:
        if name not in benchmarks:
            near = difflib.get_close_matches(name, benchmarks, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(benchmarks)}"
            raise CraftError(f"--only {name}: no such benchmark; {hint}")
    rows: list[Row] = []
    progress = Console(stderr=True)
    for name in options.only or benchmarks:
        progress.print(f"[dim]running {name} ...[/dim]")
        rows += benchmarks[name](options.quick)
    table_console().print(table(rows, f"{machine()}{'; quick run' if options.quick else ''}"))


if __name__ == "__main__":
    import sys

    try:
        main()
    except CraftError as error:
        sys.exit(f"error: {error}")
