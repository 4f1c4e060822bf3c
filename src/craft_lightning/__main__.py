"""The doors: ``lightning``, ``craft-lightning`` and ``python -m craft_lightning`` all call ``main``.

Words are told apart by a static table, so that ``--help``, ``--version`` and a misspelt word answer without importing
torch.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from craft_lightning import __version__
from craft_lightning.errors import CraftError

DISTRIBUTION = "craft-lightning"
# Lightning's four commands and ours: word -> what it does.
TRAINING = {
    "fit": "train a policy with the losses of a recipe",
    "validate": "drive the evaluation routes and log the driving score",
    "test": "the same, as a test",
    "predict": "drive the evaluation routes and write their records",
}
TOOLS = {
    "routes": "generate a route file for a town",
    "benchmark": "run the benchmarks of a checkout and print one table",
    "merge": "merge the result files of a folder into one, each route once",
    "score": "print the scores of result files, anybody's",
    "pdms": "compose NAVSIM's and nuPlan's scores from tables of sub-scores",
    "clip": "play one scenario type and write a short moving picture",
    "gallery": "play all scenario types and write a page of moving pictures",
    "sensors": "drive a few seconds and draw what every sensor of the embedded world sees",
    "carla-root": "write a CARLA_ROOT for evaluators whose server is the embedded one",
    "official": "let an official evaluator (Bench2Drive, leaderboard 2.0) judge a policy on the embedded server",
    "audit": "execute candidates in branches of the world and hold the proxy against them",
    "audit-learning": "show whether a recipe's losses can teach its policy, in one table",
    "new-adapter": "write a new adapter with its recipe and its test",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: words after the program's name; None = those of this process.

    Returns:
        0 for success, 1 for an unknown word, 2 for what the user can mend (one line on standard error). With
        CRAFT_LIGHTNING_TRACEBACK=1 such an error is raised instead.

    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    word = words[0] if words else "--help"
    if word in ("-h", "--help", "help"):
        print(usage())
        return 0
    if word in ("-V", "--version"):
        print(f"{DISTRIBUTION} {__version__}")
        return 0
    if word not in TRAINING and word not in TOOLS:
        return _other(word)
    try:
        return _run(word, words)
    except CraftError as error:
        if os.environ.get("CRAFT_LIGHTNING_TRACEBACK") == "1":
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def usage() -> str:
    """Return the table of commands."""
    from craft_lightning.recipe_files import recipe_names

    program = _program()
    lines = [
        f"usage: {program} COMMAND [options]",
        "",
        *(f"  {word:<16}{text}" for word, text in {**TRAINING, **TOOLS}.items()),
        "",
        f"recipes: {', '.join(recipe_names())}",
        f"example: {program} fit --config craft_vocabulary --losses.residual.weight=0.3",
        f"all fields of a command: {program} fit --help, those of data: {program} fit --data.help=DrivingDataModule; "
        "--print_config shows what a command would run",
    ]
    return "\n".join(lines)


def _program() -> str:
    name = Path(sys.argv[0]).stem
    return name if name in ("lightning", DISTRIBUTION) else "python -m craft_lightning"


def _run(word: str, words: list[str]) -> int:
    if word in TOOLS:
        from craft_lightning import commands

        commands.main(words)
        return 0
    _require_recipes(words)
    try:
        _import_torchmetrics()
        from craft_lightning import cli
    except (ImportError, RuntimeError) as error:
        # torch and torchvision come in matching pairs; a mismatch takes lightning and timm down with it.
        if "torchvision" not in str(error):
            raise
        raise CraftError(
            f"torch and torchvision do not fit each other ({error}); install the pair together: "
            "pip install --upgrade --force-reinstall torch torchvision"
        ) from error
    cli.main(words)
    return 0


def _import_torchmetrics() -> None:
    """Import torchmetrics without the text metrics that would load all of transformers, one to two seconds a start.

    torchmetrics asks for the installed version while it is imported; here the answer is that there is none. Its text
    metrics then say so in this process; policies import transformers themselves when one that needs it is built.
    """
    from importlib.metadata import PackageNotFoundError, version
    from unittest import mock

    import lightning_utilities.core.imports as versions

    def hidden(name: str) -> str:
        if name == "transformers":
            raise PackageNotFoundError(name)
        return version(name)

    with mock.patch.object(versions, "_version", hidden):
        import torchmetrics  # noqa: F401


def _require_recipes(words: Sequence[str]) -> None:
    """Refuse a recipe that there is not before torch and lightning are imported, which takes seconds."""
    from craft_lightning.recipe_files import find_recipe

    for index, word in enumerate(words):
        name = word.removeprefix("--config=") if word.startswith("--config=") else ""
        if word in ("--config", "-c") and index + 1 < len(words):
            name = words[index + 1]
        if name and not name.lstrip().startswith("{"):
            find_recipe(name)


def _other(word: str) -> int:
    """Hand a word of ``lightning`` to the other distribution that owns the name, or say what there is."""
    others = other_owners()
    if others and _program() == "lightning":
        # The other program reads sys.argv itself, as it would if its own script had been started.
        return others[0].load()() or 0
    import difflib

    near = difflib.get_close_matches(word, [*TRAINING, *TOOLS], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    print(f"error: there is no command '{word}'{hint}\n\n{usage()}", file=sys.stderr)
    return 1


def other_owners() -> list[EntryPoint]:
    """Return the console scripts called ``lightning`` of other distributions, sorted by distribution."""
    found = entry_points(group="console_scripts", name="lightning")
    named = [(entry.dist.name, entry) for entry in found if entry.dist is not None]
    return [
        entry
        for name, entry in sorted(named, key=lambda pair: pair[0])
        if name.lower().replace("_", "-") != DISTRIBUTION
    ]


if __name__ == "__main__":
    sys.exit(main())
