"""``python -m craft_lightning.testing [NAME...]``: every registered adapter against the contract, in one table."""

import argparse
import difflib
import json
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.tables import table_console
from craft_lightning.testing.checks import CHECKS
from craft_lightning.testing.conformance import AdapterReport
from craft_lightning.testing.registered import check_class, example_of, registered_adapters

__all__ = ["check_class", "example_of", "main", "print_reports", "registered_adapters"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kit.

    Args:
        arguments: words after the program's name; None = those of this process.

    Returns:
        0 where all passed, 1 where an adapter failed, 2 for an unknown name.

    """
    parser = argparse.ArgumentParser(
        prog="python -m craft_lightning.testing",
        description="Hold every registered adapter against the contract, through its example().",
        epilog="checks: " + ", ".join(CHECKS),
        allow_abbrev=False,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="class of an adapter; all where none is given")
    parser.add_argument("--json", action="store_true", help="print one JSON object an adapter, one line each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        chosen = _chosen(options.names)
    except CraftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    reports = []
    for number, (name, cls) in enumerate(chosen.items(), 1):
        print(f"[{number}/{len(chosen)}] {name}", file=sys.stderr, flush=True)
        reports.append(check_class(cls))
        if options.json:
            print(json.dumps(reports[-1].as_dict(), allow_nan=False), flush=True)
    if not options.json:
        print_reports(reports, table_console())
    return 0 if all(report.passed for report in reports) else 1


def print_reports(reports: Sequence[AdapterReport], console: Console) -> None:
    """Print one line an adapter, then every failure in a sentence."""
    table = Table()
    for column in ("adapter", "family", "support"):
        table.add_column(column)
    for column in ("candidates", "trained", "parameters", "decisions/s, a core", "bytes a decision", "passed"):
        table.add_column(column, justify="right")
    for report in reports:
        numbers = report.numbers
        judged = [result for result in report.results if result.outcome != "not judged"]
        verdict = f"{len(judged) - len(report.failures)} of {len(report.results)}"
        cells = [""] * 7
        if numbers:
            trained = numbers["trainable"].get("decoder", next(iter(numbers["trainable"].values())))
            cells = [numbers["family"], numbers["support"], f"{numbers['candidates']:.4g}", f"{trained:,}"]
            cells += [f"{numbers['parameters']:,}", f"{numbers['decisions_per_second']:.0f}"]
            cells += [f"{numbers['bytes_per_decision']:,}"]
        table.add_row(report.name, *cells, f"{'yes' if report.passed else 'NO'}, {verdict}")
    console.print(table)
    for report in reports:
        if not report.passed:
            console.print(str(report), markup=False, highlight=False, soft_wrap=True)


def _chosen(names: Sequence[str]) -> dict[str, type[PolicyAdapter]]:
    adapters = registered_adapters()
    if not names:
        return adapters
    for name in names:
        if name not in adapters:
            near = difflib.get_close_matches(name, adapters, n=1)
            hint = f"did you mean {near[0]}?" if near else f"adapters are: {', '.join(adapters)}"
            raise CraftError(f"no adapter is called '{name}'; {hint}")
    return {name: adapters[name] for name in names}


if __name__ == "__main__":
    sys.exit(main())
