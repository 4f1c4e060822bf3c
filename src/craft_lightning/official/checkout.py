"""Finds a checkout of an official evaluator and an interpreter that can run it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from craft_lightning.errors import CraftError

CHECKOUT_VARIABLE = "CRAFT_LEADERBOARD"
PYTHON_VARIABLE = "CRAFT_LEADERBOARD_PYTHON"

_EVALUATOR = Path("leaderboard", "leaderboard_evaluator.py")
# CARLA's navigation package lies in its source tree and in its releases, but in no wheel.
_AGENTS = Path("PythonAPI", "carla", "agents")
_NEWEST_AGENT = Path("navigation", "constant_velocity_agent.py")
# What the evaluators import beside ours and their own.
_MODULES = (
    "carla",
    "craft_lightning",
    "dictor",
    "ephem",
    "networkx",
    "pexpect",
    "pkg_resources",
    "py_trees",
    "requests",
    "shapely",
    "simple_watchdog_timer",
    "six",
    "tabulate",
    "xmlschema",
)
_ASK = """
import importlib, sys
missing = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        missing.append(name)
import importlib.metadata as metadata
print("missing", *missing)
print("trees", metadata.version("py_trees") if "py_trees" not in missing else "-")
"""


@dataclasses.dataclass(frozen=True)
class Checkout:
    """Where an evaluator lies.

    Attributes:
        root: the folder that was given; relative paths in the evaluator are meant from here.
        leaderboard: folder that holds the package ``leaderboard``.
        scenario_runner: folder that holds the package ``srunner``.
        agents: CARLA's navigation package ``agents``.
        starts_server: whether the evaluator starts ``CarlaUE4.sh`` itself, as Bench2Drive's does.

    """

    root: Path
    leaderboard: Path
    scenario_runner: Path
    agents: Path
    starts_server: bool

    @property
    def evaluator(self) -> Path:
        """The evaluator's program."""
        return self.leaderboard / _EVALUATOR


def find_checkout(folder: str | os.PathLike[str] | None = None) -> Checkout:
    """Return the checkout that the environment names.

    Args:
        folder: look here instead; a folder with ``leaderboard`` and ``scenario_runner`` side by side.

    Raises:
        CraftError: nothing is named, or it is no Leaderboard 2.x.

    """
    named = str(folder) if folder is not None else os.environ.get(CHECKOUT_VARIABLE, "")
    if not named:
        raise CraftError(
            f"{CHECKOUT_VARIABLE} is not set; point it at a checkout of Bench2Drive, or at a folder that holds "
            "checkouts of leaderboard and scenario_runner (branches leaderboard-2.0)"
        )
    root = Path(named).expanduser().resolve()
    leaderboard, runner = root / "leaderboard", root / "scenario_runner"
    for needed in (leaderboard / _EVALUATOR, runner / "srunner" / "scenariomanager" / "carla_data_provider.py"):
        if not needed.is_file():
            raise CraftError(
                f"{CHECKOUT_VARIABLE}={named} has no {needed.relative_to(root)}; give a folder with leaderboard and "
                "scenario_runner side by side, as Bench2Drive has them"
            )
    text = (leaderboard / _EVALUATOR).read_text(encoding="utf-8", errors="replace")
    if "RouteIndexer" not in text or "validate_sensor_configuration" not in text:
        raise CraftError(
            f"{leaderboard / _EVALUATOR} is of another version than Leaderboard 2.x; check out branch leaderboard-2.0 "
            "or Bench2Drive"
        )
    homes = [root, *([Path(os.environ["CARLA_ROOT"])] if os.environ.get("CARLA_ROOT") else [])]
    agents = next((home / _AGENTS for home in homes if (home / _AGENTS / _NEWEST_AGENT).is_file()), None)
    if agents is None:
        raise CraftError(
            f"{CHECKOUT_VARIABLE}={named} has no {_AGENTS}, which evaluators import; put that folder of CARLA 0.9.15 "
            f"there, or name a CARLA installation in CARLA_ROOT"
        )
    return Checkout(root, leaderboard, runner, agents, starts_server="CARLA_ROOT" in text)


def evaluator_python(python: str | os.PathLike[str] | None = None) -> Path:
    """Return the interpreter in which an evaluator runs, after asking it for what evaluators import.

    Args:
        python: the interpreter; None = the one that the environment names, else this process's own.

    Raises:
        CraftError: no such program, or it lacks something.

    """
    given = python if python is not None else os.environ.get(PYTHON_VARIABLE) or sys.executable
    path = Path(given).expanduser()
    try:
        done = subprocess.run(
            [str(path), "-c", _ASK, *_MODULES], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CraftError(f"{PYTHON_VARIABLE}={path} cannot be run ({error}); give a Python interpreter") from error
    answers = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    missing = done.stdout.split("\n", 1)[0].split()[1:]
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CraftError(f"{PYTHON_VARIABLE}={path} failed when asked for its packages ({said}); mend that environment")
    if missing:
        raise CraftError(
            f"the evaluator's Python {path} lacks {', '.join(missing)}; make an environment as docs/official_evaluator"
            f".md says and name its Python in {PYTHON_VARIABLE}"
        )
    if not answers.get("trees", "").startswith("0.8"):
        raise CraftError(
            f"the evaluator's Python {path} has py_trees {answers.get('trees')} and evaluators need 0.8.3; make an "
            f"environment as docs/official_evaluator.md says and name its Python in {PYTHON_VARIABLE}"
        )
    return path
