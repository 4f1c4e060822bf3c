"""A folder that evaluators take for a CARLA installation: its start script runs the embedded server."""

import os
import shlex
import stat
import sys
from pathlib import Path

from craft_lightning.errors import CraftError

_SCRIPT = """\
#!/bin/sh
# Written by craft-lightning carla-root: stands in for CARLA's start script and runs the embedded server instead.
# The server ends with the process that CRAFT_LEADERBOARD_PARENT names, if it is set.
# Of CARLA's options -carla-rpc-port (or -carla-port, -carla-world-port) counts; streams take the port after it.
port=2000
for word in "$@"; do
    case "$word" in
        -carla-rpc-port=*|-carla-port=*|-carla-world-port=*) port="${{word#*=}}" ;;
    esac
done
exec {python} -m craft_lightning.simulation.embedded --port "$port" --town {town}{maps} \
    --parent-pid "${{CRAFT_LEADERBOARD_PARENT:-0}}"
"""


def write_carla_root(folder: Path, town: str = "craftville", maps: str = "", agents: Path | None = None) -> Path:
    """Write the folder; a file of ours that is already there is written anew, nothing else is touched.

    Args:
        folder: where; made if it is not there.
        town: town that the server begins with, built in or an OpenDRIVE file. Built-in towns can be loaded by name.
        maps: folder of further towns, TOWN.xodr; "" = none.
        agents: CARLA's navigation package, to be found below ``PythonAPI/carla`` as in a real installation.

    Returns:
        The folder, absolute.

    Raises:
        CraftError: the folder holds a start script that is not ours, or cannot be written.

    """
    folder = folder.expanduser().resolve()
    script = folder / "CarlaUE4.sh"
    if script.is_file() and "craft-lightning carla-root" not in script.read_text(encoding="utf-8", errors="replace"):
        raise CraftError(f"{script} belongs to a CARLA installation; choose another folder")
    if maps and not Path(maps).is_dir():
        raise CraftError(f"--maps {maps} is no folder; give a folder of OpenDRIVE files, TOWN.xodr")
    source = str(Path(town).resolve()) if town.endswith(".xodr") else town
    text = _SCRIPT.format(
        python=shlex.quote(sys.executable),
        town=shlex.quote(source),
        maps=f" --maps {shlex.quote(str(Path(maps).resolve()))}" if maps else "",
    )
    api = folder / "PythonAPI" / "carla"
    try:
        api.mkdir(parents=True, exist_ok=True)
        script.write_text(text, encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        if agents is not None:
            link = api / "agents"
            if link.is_symlink():
                link.unlink()
            if not link.exists():
                os.symlink(agents, link, target_is_directory=True)
    except OSError as error:
        raise CraftError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error
    return folder
