"""Runs an official evaluator from one command: its checkout as it is, our agent in it, our server under it."""

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

from craft_lightning.errors import CraftError
from craft_lightning.official import leaderboard_agent
from craft_lightning.official.carla_root import write_carla_root
from craft_lightning.official.checkout import Checkout, evaluator_python, find_checkout
from craft_lightning.official.configured import configured_policy
from craft_lightning.official.prepared_routes import prepare_routes
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.launcher import EmbeddedServer, PortBlock

_LONGEST = 86_400.0  # seconds


@dataclasses.dataclass(frozen=True)
class OfficialRun:
    """One run of an official evaluator.

    Args:
        routes: route file in the Leaderboard schema.
        output: the evaluator's result file, which it also resumes from.
        policy: who drives, see ``configured.configured_policy``.
        subset: ids of routes, separated by commas; "" = all. (The evaluator's own subset takes numbers alone.)
        repetitions: how often each route is driven.
        seed: of the evaluator's Traffic Manager.
        timeout: seconds that the evaluator waits for server and agent.
        resume: go on with what ``output`` already holds.
        town: town that the server begins with, built in or an OpenDRIVE file.
        maps: folder of further towns, TOWN.xodr.
        agent: the agent's file; None = this package's.

    Raises:
        CraftError: a number that no evaluator can work with.

    """

    routes: Path
    output: Path
    policy: str = "vocabulary_craftville"
    subset: str = ""
    repetitions: int = 1
    seed: int = 0
    timeout: float = 300.0
    resume: bool = False
    town: str = "craftville"
    maps: str = ""
    agent: Path | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that would only be found out by an evaluator that waits for ever."""
        if not 1.0 <= self.timeout <= _LONGEST:  # NaN is not, either
            raise CraftError(f"--timeout is {self.timeout:g}; give 1 to {_LONGEST:g} seconds")
        if self.repetitions < 1:
            raise CraftError(f"--repetitions is {self.repetitions}; give at least 1")
        if not 0 <= self.seed < 1 << 31:
            raise CraftError(f"--seed is {self.seed}; give 0 to {(1 << 31) - 1}")


def evaluate_officially(run: OfficialRun) -> Path:
    """Let the evaluator judge the routes and return its result file.

    Raises:
        CraftError: no checkout, no Python for it, a missing file, or an evaluator that crashed.

    """
    checkout, python = find_checkout(), evaluator_python()
    if run.agent is not None and not run.agent.is_file():
        raise CraftError(f"--agent {run.agent} does not exist; give the file of an evaluator's agent")
    if not run.routes.is_file():
        raise CraftError(f"--routes {run.routes} does not exist; give a route file in the Leaderboard schema")
    # Mistakes that the server and the agent would find are said here: the evaluator would wait for both for ever.
    try:
        load_town(run.town)
    except CraftError as error:
        raise CraftError(f"--town: {error}") from error
    if run.agent is None:
        configured_policy(run.policy)
    output = run.output.resolve()
    if output.is_dir():
        raise CraftError(f"--output {run.output} is a folder; name a file in it")
    if output.is_file() and not run.resume:
        raise CraftError(f"--output {run.output} exists; name another file, or give --resume to go on with it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CraftError(f"--output {run.output} cannot be written ({error.strerror}); name another file") from error
    if not run.resume:
        referee_file(output).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="craft-carla-root-") as scratch:
        root = write_carla_root(Path(scratch), run.town, run.maps, checkout.agents)
        routes = prepare_routes(run.routes, run.subset, output.with_suffix(".routes.xml"))
        # The evaluator looks for free ports from the given ones on; a block of ours keeps it clear of other servers.
        block = PortBlock()
        port = block.first
        words = command_line(run, routes, checkout, python, port)
        environment = evaluator_environment(checkout, root, output)
        if checkout.starts_server:
            status = subprocess.run(words, cwd=checkout.root, env=environment, check=False).returncode
        else:
            block.close()
            with EmbeddedServer(run.town, maps=run.maps) as server:
                words = command_line(run, routes, checkout, python, server.port)
                status = subprocess.run(words, cwd=checkout.root, env=environment, check=False).returncode
    if status or not output.is_file():
        raise CraftError(
            f"the evaluator {checkout.evaluator} ended with status {status}; what it printed above says why"
            + (f", {run.output} holds what it had judged" if output.is_file() else "")
        )
    return output


def command_line(run: OfficialRun, routes: Path, checkout: Checkout, python: Path, port: int) -> list[str]:
    """Return the words that start the evaluator, with paths that hold from its own folder."""
    agent = run.agent or Path(leaderboard_agent.__file__)
    config = str(Path(run.policy).resolve()) if Path(run.policy).exists() else run.policy
    words = [str(python), "-u", "-m", "craft_lightning.official.start", str(checkout.evaluator)]
    options = {
        "routes": routes,
        "repetitions": run.repetitions,
        "track": "MAP",
        "checkpoint": run.output.resolve(),
        "debug-checkpoint": run.output.resolve().with_suffix(".live.txt"),
        "agent": agent.resolve(),
        "agent-config": config,
        "port": port,
        "traffic-manager-port": port + 3,
        "traffic-manager-seed": run.seed,
        "timeout": run.timeout,
    }
    words += [f"--{name}={value}" for name, value in options.items()]
    return words + (["--resume=True"] if run.resume else [])


def referee_file(output: Path) -> Path:
    """Return the file of our own verdicts beside an evaluator's result file."""
    return output.with_suffix(".ours.jsonl")


def evaluator_environment(checkout: Checkout, carla_root: Path, output: Path) -> dict[str, str]:
    """Return the variables that evaluators read, on top of this process's."""
    packages = (checkout.agents.parent, checkout.leaderboard, checkout.scenario_runner)
    paths = [*map(str, packages), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "CARLA_ROOT": str(carla_root),
        "CRAFT_LEADERBOARD_PARENT": str(os.getpid()),
        leaderboard_agent.REFEREE_VARIABLE: str(referee_file(output)),
        "SCENARIO_RUNNER_ROOT": str(checkout.scenario_runner),
        "LEADERBOARD_ROOT": str(checkout.leaderboard),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"),
    }
