"""SUMO's ``netconvert`` as a function: found in the wheel, run without a shell, failures told in one sentence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from craft_lightning.errors import CraftError

TIME_LIMIT_SECONDS = 300.0


def find_netconvert() -> Path:
    """Return the path of the ``netconvert`` binary of the ``eclipse-sumo`` wheel (or of ``$SUMO_HOME``, or ``$PATH``).

    Raises:
        CraftError: there is none.

    """
    candidates: list[Path] = []
    try:
        import sumo
    except ImportError:
        pass  # the wheel is one of three places
    else:
        candidates.append(Path(sumo.SUMO_HOME) / "bin" / "netconvert")
    candidates.append(Path(sys.executable).parent / "netconvert")
    if os.environ.get("SUMO_HOME"):
        candidates.append(Path(os.environ["SUMO_HOME"]) / "bin" / "netconvert")
    found = shutil.which("netconvert")
    if found:
        candidates.append(Path(found))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CraftError("netconvert was not found; install it with `pip install eclipse-sumo` or set SUMO_HOME")


def run_netconvert(arguments: list[str], directory: Path, what: str) -> str:
    """Run netconvert with ``arguments`` in ``directory`` and return what it said.

    Args:
        arguments: command line after the program's name.
        directory: working directory.
        what: what is converted, for the error's sentence.

    Raises:
        CraftError: it failed, crashed or ran past the time limit.

    """
    try:
        done = subprocess.run(
            [str(find_netconvert()), *arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CraftError(
            f"netconvert did not finish {what} in {TIME_LIMIT_SECONDS:.0f} s; use a smaller map"
        ) from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()
        reason = errors[0].strip() if errors else f"exit status {done.returncode}"
        raise CraftError(f"netconvert cannot convert {what} to a SUMO net ({reason}); repair the OpenDRIVE file")
    return done.stdout + done.stderr
