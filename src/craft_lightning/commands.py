"""The small tools beside training: ``routes``, results, moving pictures, the audit and benchmarks."""

import argparse
import importlib
import os
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
    merge = tools.add_parser("merge", allow_abbrev=False, description="Merge the result files of a folder.")
    merge.add_argument("folder", metavar="DIR", type=Path, help="folder of the shards' .json files")
    merge.add_argument("--output", type=Path, help="the file to write; default DIR/merged.json")
    score = tools.add_parser("score", allow_abbrev=False, description="Print the scores of result files.")
    score.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="leaderboard, Bench2Drive or our own results"
    )
    score.add_argument("--json", action="store_true", help="print one JSON object a file, one line each")
    score.add_argument("--protocol", help="score under this protocol instead of the file's own")
    score.add_argument("--metric-info", type=Path, metavar="DIR", help="folder with <save_name>/metric_info.json")
    score.add_argument("--routes", type=Path, metavar="XML", help="route file of the suite; names missing routes")
    score.add_argument("--maps", type=Path, metavar="DIR", help="folder of OpenDRIVE files, TOWN.xodr")
    pdms = tools.add_parser("pdms", allow_abbrev=False, description="Compose planner scores from tables of sub-scores.")
    pdms.add_argument("files", metavar="FILE", nargs="+", type=Path, help=".csv, as NAVSIM writes it; a row a scene")
    pdms.add_argument("--score", help="pdms, epdms or nuplan; default: told by the columns")
    pdms.add_argument("--json", action="store_true", help="print one JSON object a file, one line each")
    clip = tools.add_parser(
        "clip",
        allow_abbrev=False,
        description="Play one scenario type; write a moving picture, twice as fast as it was driven.",
        epilog="TYPE is one of Bench2Drive's 44 names; `gallery` shows them all, a misspelt one names the closest.",
    )
    clip.add_argument("type", metavar="TYPE", help="scenario type, such as ParkingCutIn")
    clip.add_argument("--output", type=Path, help="a .gif, .webp or .mp4 file; default TYPE.gif")
    gallery = tools.add_parser("gallery", allow_abbrev=False, description="Play all types; write a page of pictures.")
    gallery.add_argument("folder", metavar="DIR", type=Path, help="folder of index.html and the pictures")
    gallery.add_argument("--only", metavar="TYPE", action="append", default=[], help="one type; may be repeated")
    sensors = tools.add_parser(
        "sensors", allow_abbrev=False, description="Drive a few seconds; draw what every sensor sees into sensors.png."
    )
    sensors.add_argument("folder", metavar="DIR", type=Path, help="folder of sensors.png")
    sensors.add_argument("--town", default="craftville", help="built-in town or .xodr file")
    sensors.add_argument("--seed", type=int, default=0, help="draws the place and the traffic")
    for tool in (clip, gallery):
        tool.add_argument("--town", default="", help="built-in town or .xodr file; default: any with room for the type")
        tool.add_argument("--seed", type=int, default=0, help="draws the place, the scenario and the traffic")
        tool.add_argument("--driver", default="expert", help="expert, or a policy: shipped checkpoint or file")
        tool.add_argument("--camera", action="store_true", help="show the ego's camera beside the bird's-eye view")
    _add_official(tools)
    _add_audit(tools)
    _add_adapter_tools(tools)
    options = parser.parse_args(list(arguments))
    if options.tool == "routes":
        write_generated_routes(options.town, options.count, options.seed, options.output)
    elif options.tool == "merge":
        merge_results(options.folder, options.output)
    elif options.tool == "score":
        print_scores(options.files, options.json, options.protocol, options.metric_info, options.routes, options.maps)
    elif options.tool == "pdms":
        print_planner_scores(options.files, options.score, options.json)
    elif options.tool == "clip":
        write_clip(options.type, options.town, options.seed, options.driver, options.camera, options.output)
    elif options.tool == "gallery":
        wanted = options.town, options.seed, options.driver, options.camera
        write_gallery(options.folder, options.only, *wanted)
    elif options.tool == "sensors":
        from craft_lightning.reports.sensor_sheet import write_sensor_sheet

        print(write_sensor_sheet(options.folder, options.town, options.seed))
    elif options.tool == "carla-root":
        write_root(options.folder, options.town, options.maps)
    elif options.tool == "official":
        run_officially({name: value for name, value in vars(options).items() if name != "tool"})
    elif options.tool == "audit":
        from craft_lightning.audit.run import AuditOptions, audit

        audit(AuditOptions(**{name: value for name, value in vars(options).items() if name != "tool"}))
    elif options.tool == "audit-learning":
        from craft_lightning.audit.learning import print_learning

        print_learning(options.config, options.override, options.json, options.routes)
    elif options.tool == "new-adapter":
        write_adapter(options.name, options.family, options.directory)
    else:
        run_benchmarks(options.quick, options.only)


def _add_official(tools: Any) -> None:
    """Add the arguments of ``carla-root`` and ``official``."""
    root = tools.add_parser(
        "carla-root",
        allow_abbrev=False,
        description="Write a folder that evaluators take for a CARLA installation (CARLA_ROOT); its start script runs "
        "the embedded server.",
    )
    root.add_argument("folder", metavar="DIR", type=Path, help="the folder")
    official = tools.add_parser(
        "official",
        allow_abbrev=False,
        description="Let an official evaluator (CRAFT_LEADERBOARD: a checkout of Bench2Drive, leaderboard 2.0) judge a "
        "policy on the embedded server, and hold its verdicts beside ours. See docs/official_evaluator.md.",
    )
    official.add_argument("--routes", type=Path, required=True, help="route file in the Leaderboard schema")
    official.add_argument("--output", type=Path, required=True, help="the evaluator's result file")
    official.add_argument("--policy", default="vocabulary_craftville", help="policy, by name or file, or a recipe")
    official.add_argument("--agent", type=Path, help="another agent's file; default: this package's agent")
    official.add_argument("--subset", default="", help="ids of routes, separated by commas; default: all")
    official.add_argument("--repetitions", type=int, default=1, help="how often each route is driven")
    official.add_argument("--seed", type=int, default=0, help="of the evaluator's Traffic Manager")
    official.add_argument("--timeout", type=float, default=300.0, help="seconds it waits for server and agent")
    official.add_argument("--resume", action="store_true", help="go on with what --output holds")
    for tool in (root, official):
        tool.add_argument("--town", default="craftville", help="town to begin with: built in, or an .xodr file")
        tool.add_argument("--maps", default="", help="folder of further towns, TOWN.xodr")


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
    audit.add_argument(
        "--branches",
        type=int,
        default=12,
        help="candidates drawn a state, beside the executed and the most probable one",
    )
    audit.add_argument("--seed", type=int, default=0, help="the same seed gives the same audit")
    audit.add_argument("--workers", type=int, default=2, help="worlds side by side")
    audit.add_argument("--town", default="", help="built-in town or OpenDRIVE file (default: the routes' own)")
    audit.add_argument("--maps", default="", help="folder of .xodr files of towns that are not built in")
    audit.add_argument("--horizon", type=float, default=2.0, help="seconds of the proxy")
    audit.add_argument("--seconds", type=float, default=4.0, help="seconds of a branch in which the policy takes over")
    audit.add_argument("--vehicles", type=int, default=20, help="vehicles of the background traffic")
    audit.add_argument("--walkers", type=int, default=10, help="pedestrians of the background traffic")


def _add_adapter_tools(tools: Any) -> None:
    """Add the tools of whoever writes an adapter."""
    learning = tools.add_parser(
        "audit-learning",
        allow_abbrev=False,
        description="Collect a few decisions with a recipe's policy and print whether its losses can teach it.",
    )
    learning.add_argument("--config", action="append", required=True, help="a recipe's name or file; may be repeated")
    learning.add_argument("--routes", type=int, default=8, help="routes driven greedily and by sampling; 0 for none")
    learning.add_argument("--json", action="store_true", help="print one JSON object")
    learning.add_argument(
        "override", nargs="*", metavar="FIELD=VALUE", help="fields of the recipe, such as data.transitions=512"
    )
    adapter = tools.add_parser(
        "new-adapter",
        allow_abbrev=False,
        description="Write an adapter that drives at once, a recipe that trains it and a test that passes: into "
        "adapters/, recipes/ and tests/adapters/ of a checkout, or as a small package elsewhere.",
    )
    adapter.add_argument("name", metavar="NAME", help="class or module, such as MyPlanner or my_planner")
    adapter.add_argument("--family", required=True, help="what its candidates are, such as vocabulary")
    adapter.add_argument("--directory", type=Path, help="a checkout, or the folder of a package of your own")


def write_adapter(name: str, family: str, directory: Path | None) -> None:
    """Write the files of a new adapter and say what comes next.

    Args:
        name: class or module.
        family: what its candidates are.
        directory: see ``scaffold.writing.new_adapter``.

    Raises:
        CraftError: a name that cannot be used, an unknown family, a file that is there already, or a folder that cannot
            be written.

    """
    from craft_lightning.scaffold.writing import new_adapter

    written = new_adapter(name, family, directory)
    for path in written.files:
        print(path)
    print("next:", *written.steps, sep="\n  ")


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


def merge_results(folder: Path, output: Path | None = None) -> None:
    """Merge the result files of a folder and say what came out.

    Args:
        folder: folder of the shards.
        output: the file to write; None = ``merged.json`` in the folder.

    Raises:
        CraftError: no folder, a broken file, files of different worlds or protocols, or a file that cannot be written.

    """
    from craft_lightning.metrics.merging import (
        MERGED,
        merge_folder,
        merged_json,
        require_target,
        write_merged,
    )

    merged = merge_folder(folder)
    target = folder / MERGED if output is None else output
    if output is not None:
        require_target(output, folder)
    write_merged(target, merged)
    figures = merged_json(merged)
    for note in merged.notes:
        print(note)
    print(
        f"{figures['eval num']} routes written to {target}: driving score {figures['driving score']:.4f}, "
        f"success rate {100.0 * figures['success rate']:.3f} %"
    )


def print_scores(
    files: Sequence[Path],
    as_json: bool = False,
    protocol: str | None = None,
    metric_info: Path | None = None,
    routes: Path | None = None,
    maps: Path | None = None,
) -> None:
    """Print the scores of result files as a table, or as JSON, one object a line and file.

    Args:
        files: the result files.
        as_json: print JSON lines.
        protocol: protocol to score under; None = each file's own.
        metric_info: folder with ``<save_name>/metric_info.json``, for driving smoothness.
        routes: route file of the suite.
        maps: folder of OpenDRIVE files.

    Raises:
        CraftError: an unknown protocol, or whatever is wrong with a file; nothing is printed then.

    """
    import json

    from craft_lightning.metrics.documents import read_document
    from craft_lightning.metrics.motion import read_motions
    from craft_lightning.metrics.protocols import protocol_rules
    from craft_lightning.metrics.summary import summarise

    rules = None if protocol is None else protocol_rules(protocol)
    suite = []
    if routes is not None:
        from craft_lightning.roads.routes import read_routes

        suite = read_routes(routes)
    summaries, driven = [], []
    for file in files:
        document = read_document(file)
        driven.append({record.route_id for record in document.records})
        motions = None
        if metric_info is not None:
            motions = read_motions(metric_info, [record.save_name for record in document.records])
        summaries.append(summarise(document, rules, suite, maps, motions))
    if as_json:
        for summary in summaries:
            print(json.dumps(summary, allow_nan=False))
        return
    from craft_lightning.metrics.scoreboard import print_scoreboard

    print_scoreboard(summaries)
    if len(files) > 1 and len(set().union(*driven)) == sum(map(len, driven)):
        print(
            f"No route is in two of these {len(files)} files: where they are shards of one run, "
            "`craft-lightning merge DIR` makes them the one file to score."
        )


def print_planner_scores(files: Sequence[Path], score: str | None = None, as_json: bool = False) -> None:
    """Print planner scores composed from tables of sub-scores.

    Args:
        files: .csv tables.
        score: pdms, epdms or nuplan; None tells by the columns.
        as_json: print JSON lines.

    Raises:
        CraftError: an unknown score, or whatever is wrong with a file; nothing is printed then.

    """
    import json

    from craft_lightning.metrics.planner_files import print_table, read_sub_scores

    summaries = [read_sub_scores(file, score).summary() for file in files]
    for summary in summaries:
        if as_json:
            print(json.dumps(summary, allow_nan=False))
        else:
            print_table(summary)


def write_clip(kind: str, town: str, seed: int, driver: str, camera: bool, output: Path | None = None) -> None:
    """Play one scenario type and write a moving picture of it.

    Args:
        kind: the type.
        town: built-in town or OpenDRIVE file; empty = any that has room for the type.
        seed: draws the place, the scenario and the traffic.
        driver: ``expert``, or a policy.
        camera: show the ego's camera beside the bird's-eye view.
        output: a .gif, .webp or .mp4 file; None = TYPE.gif.

    Raises:
        CraftError: an unknown type, no room for it, an unknown driver, or a file that cannot be written.

    """
    from craft_lightning.reports.clips import Clip, Studio
    from craft_lightning.reports.gallery import known_types

    known_types([kind])
    clip = Clip(kind, town, seed, driver, camera, str(output or f"{kind}.gif"))
    with Studio() as studio:
        played = studio.film(clip)
    print(f"{clip.output}: {kind} in {played.town}, {played.outcome}; shown twice as fast as it was driven")


def write_gallery(folder: Path, only: Sequence[str], town: str, seed: int, driver: str, camera: bool) -> None:
    """Play scenario types and write a page with a moving picture of each.

    Args:
        folder: where ``index.html`` and the pictures go.
        only: types; empty = all.
        town: see ``write_clip``.
        seed: see ``write_clip``.
        driver: see ``write_clip``.
        camera: see ``write_clip``.

    Raises:
        CraftError: an unknown type, or a folder that cannot be written. A type that cannot be played costs its own
            entry alone.

    """
    from craft_lightning.reports.gallery import build_gallery

    page, played, failed = build_gallery(folder, only, town, seed, driver, camera)
    print(f"{page}: {played} types played, {failed} not")


def write_root(folder: Path, town: str, maps: str) -> None:
    """Write a folder that evaluators take for a CARLA installation, and say how to use it.

    Args:
        folder: where.
        town: town that the server begins with.
        maps: folder of further towns.

    Raises:
        CraftError: see ``official.carla_root.write_carla_root``.

    """
    from craft_lightning.official import leaderboard_agent
    from craft_lightning.official.carla_root import write_carla_root
    from craft_lightning.official.checkout import CHECKOUT_VARIABLE, find_checkout

    agents = find_checkout().agents if os.environ.get(CHECKOUT_VARIABLE) else None
    written = write_carla_root(folder, town, maps, agents)
    print(f"export CARLA_ROOT={written}")
    print(f"export TEAM_AGENT={leaderboard_agent.__file__}")


def run_officially(options: dict[str, Any]) -> None:
    """Let an official evaluator judge a policy; print its scores and how they agree with ours.

    Args:
        options: fields of ``official.evaluation.OfficialRun``.

    Raises:
        CraftError: see ``official.evaluation.evaluate_officially``.

    """
    from craft_lightning.official.agreement import print_agreement, read_verdicts
    from craft_lightning.official.evaluation import OfficialRun, evaluate_officially, referee_file

    output = evaluate_officially(OfficialRun(**options))
    print_agreement(read_verdicts(output, referee_file(output)))
    print_scores([output])


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
