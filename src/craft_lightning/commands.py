"""The small tools beside training: ``routes``, ``audit`` and ``benchmark``."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from craft_lightning.errors import CraftError


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one sentence."""

    def error(self, message: str) -> NoReturn:
        raise CraftError(f"{self.prog.split()[-1]}: {message}; see --help")


def main(arguments: Sequence[str]) -> None:
    """Run one tool.

    Args:
        arguments: the command line, beginning with the tool's word.

    Raises:
        CraftError: whatever the user can mend.

    """
    parser = _Parser(prog="craft-lightning", allow_abbrev=False)
    tools = parser.add_subparsers(dest="tool", required=True, parser_class=_Parser)
    routes = tools.add_parser("routes", allow_abbrev=False, description="Generate a route file for a town.")
    routes.add_argument("--town", default="craftville", help="built-in town, or path of an OpenDRIVE file")
    routes.add_argument("--count", type=int, default=40, help="number of routes")
    routes.add_argument("--seed", type=int, default=0, help="the same seed gives the same routes")
    routes.add_argument("--output", type=Path, required=True, help="the .xml file to write")
    benchmark = tools.add_parser("benchmark", allow_abbrev=False, description="Print one table of measured speeds.")
    benchmark.add_argument("--quick", action="store_true", help="smaller work, fewer rounds")
    benchmark.add_argument("--only", action="append", default=[], help="run one module; may be repeated")
    _add_audit(tools)
    options = parser.parse_args(list(arguments))
    if options.tool == "routes":
        write_generated_routes(options.town, options.count, options.seed, options.output)
    elif options.tool == "audit":
        from craft_lightning.audit.run import AuditOptions, audit

        audit(AuditOptions(**{name: value for name, value in vars(options).items() if name != "tool"}))
    else:
        run_benchmarks(options.quick, options.only)


def _add_audit(tools: Any) -> None:
    """Add the arguments of ``audit``, which are the fields of ``AuditOptions``."""
    audit = tools.add_parser(
        "audit",
        allow_abbrev=False,
        description="Execute candidates of visited states in branches of the embedded world and compare the proxy with "
        "what really happened; tables, audit.json and audit.png. Interrupted, it goes on in the same --output.",
    )
    audit.add_argument("--checkpoint", default="vocabulary_craftville", help="policy checkpoint, by name or path")
    audit.add_argument("--suite", default="craftville_eval", help="route suite, by name or file")
    audit.add_argument("--output", type=Path, default=Path("audit"), help="folder of the results")
    audit.add_argument("--states", type=int, default=200, help="visited states")
    audit.add_argument("--branches", type=int, default=12, help="candidates drawn a state")
    audit.add_argument("--seed", type=int, default=0, help="the same seed gives the same audit")
    audit.add_argument("--workers", type=int, default=2, help="worlds side by side")
    audit.add_argument("--town", default="", help="built-in town or OpenDRIVE file (default: the routes' own)")
    audit.add_argument("--horizon", type=float, default=2.0, help="seconds of the proxy")
    audit.add_argument("--seconds", type=float, default=4.0, help="seconds of a branch in which the policy takes over")
    audit.add_argument("--vehicles", type=int, default=20, help="vehicles of the background traffic")
    audit.add_argument("--walkers", type=int, default=10, help="pedestrians of the background traffic")


def write_generated_routes(town: str, count: int, seed: int, output: Path) -> None:
    """Generate routes and write them in the Leaderboard/Bench2Drive schema.

    Args:
        town: built-in town, or path of an OpenDRIVE file.
        count: number of routes.
        seed: seed of the generator.
        output: the XML file.

    Raises:
        CraftError: an unknown or broken town, too many routes, or a file that cannot be written.

    """
    from craft_lightning.roads.generate import generate_routes
    from craft_lightning.roads.routes import write_routes
    from craft_lightning.roads.towns import load_town

    if count < 1:
        raise CraftError(f"--count is {count}; give at least 1")
    loaded = load_town(town)
    routes = generate_routes(loaded.network, count, seed, town=loaded.name)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_routes(output, routes)
    except OSError as error:
        raise CraftError(f"--output {output} cannot be written: {error.strerror}") from error
    print(f"{len(routes)} routes of {loaded.name} written to {output}")


def run_benchmarks(quick: bool, only: Sequence[str]) -> None:
    """Run the benchmarks of the checkout that this package is installed from.

    Args:
        quick: smaller work, fewer rounds.
        only: names of benchmark modules; empty = all.

    Raises:
        CraftError: the package was installed without its checkout, or an unknown benchmark.

    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise CraftError("benchmarks come with a checkout, not with the wheel; clone the repository and run them there")
    sys.path.insert(0, str(root))
    importlib.import_module("benchmarks.__main__").main(["--quick"] * quick + [f"--only={name}" for name in only])
