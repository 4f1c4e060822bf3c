"""``python -m benchmarks [--quick] [--only NAME]``: runs every module of this folder and prints one table.

A module takes part by having ``run(quick: bool) -> list[Row]``. What it compares, it measures in turns in one run, so
that a busy machine slows both sides alike.
"""

import argparse
import difflib
import importlib
import os
import pkgutil
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.table import Row, table
from craft_lightning.errors import CraftError


def modules() -> list[str]:
    """Return the names of the benchmark modules, found by listing this folder."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return sorted(name for name in names if name not in ("__main__", "table"))


def machine() -> str:
    """Return one line on the machine, since a number without it means little."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}{load}"


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
    names = modules()
    for name in options.only:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names)}"
            raise CraftError(f"--only {name}: no such benchmark; {hint}")
    rows: list[Row] = []
    progress = Console(stderr=True)
    for name in options.only or names:
        progress.print(f"[dim]running {name} ...[/dim]")
        rows += importlib.import_module(f"benchmarks.{name}").run(options.quick)
    Console().print(table(rows, f"{machine()}{'; quick run' if options.quick else ''}"))


if __name__ == "__main__":
    import sys

    try:
        main()
    except CraftError as error:
        sys.exit(f"error: {error}")
