"""Towns by name or by file: OpenDRIVE, arrays and SUMO net of one place."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from craft_lightning.errors import CraftError
from craft_lightning.roads.cache import atomic_path, cache_directory
from craft_lightning.roads.opendrive import OpenDrive, load_opendrive
from craft_lightning.roads.towns.netconvert import run_netconvert

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

PACKAGE = Path(__file__).parent
BUILT_IN = ("craftville", "craftway", "craftfield", "craftside")

# Raise when the arguments below change, so that nets of older versions are not reused.
_NET_VERSION = 1
_IMPORT_ARGUMENTS = (
    # World frame = OpenDRIVE frame = SUMO frame, no shift.
    "--offset.disable-normalization=true",
    "--no-turnarounds=true",
    "--opendrive.signal-groups=true",
    # Pedestrians need a place to walk; old towns' files carry none that SUMO understands.
    "--sidewalks.guess=true",
    "--sidewalks.guess.max-speed=20",
    "--default.sidewalk-width=2",
    "--crossings.guess=true",
    "--walkingareas=true",
    # No arrow phases, and a cycle short enough for routes of 200 m.
    "--tls.left-green.time=0",
    "--tls.cycle.time=40",
    "--tls.allred.time=2",
)


@dataclasses.dataclass(frozen=True)
class Town:
    """One place: its OpenDRIVE text, its arrays (built on first use, cached on disk) and its SUMO net.

    The SUMO net's frame is the world frame (netOffset 0, 0). Its traffic-light programs carry
    ``<param key="linkSignalID:INDEX" value="SIGNAL ...">``: which OpenDRIVE signals a link index obeys.
    """

    name: str
    opendrive: OpenDrive
    sumo_net_path: Path

    @functools.cached_property
    def network(self) -> "RoadNetwork":
        """The road network's arrays."""
        from craft_lightning.roads.network import RoadNetwork

        return RoadNetwork.from_opendrive(self.opendrive)


def load_town(name_or_path: str | Path) -> Town:
    """Return a built-in town by name or any town by the path of its ``.xodr`` file.

    A file's SUMO net is made by ``netconvert`` on first use and kept by content hash. Asking again for the same
    unchanged file gives the same object.

    Raises:
        CraftError: neither a built-in town nor a readable OpenDRIVE file, or netconvert cannot convert it.

    """
    name = str(name_or_path)
    path = PACKAGE / f"{name}.xodr" if name in BUILT_IN else Path(name)
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _load(name, stamp)


@functools.lru_cache(maxsize=8)
def _load(name: str, stamp: int) -> Town:
    """Load a town; ``stamp`` changes with the file, so that an edited one is read again."""
    if name in BUILT_IN:
        # The package's own files need no child process; their tests parse them.
        return Town(name, load_opendrive(PACKAGE / f"{name}.xodr", check=False), PACKAGE / f"{name}.net.xml.gz")
    if not name.endswith(".xodr") and not Path(name).is_file():
        raise CraftError(
            f"town '{name}' is neither built in ({', '.join(BUILT_IN)}) nor a file; give the path of an .xodr file"
        )
    opendrive = load_opendrive(name)
    return Town(opendrive.name, opendrive, sumo_net(opendrive))


def town_of_map(name: str, text: str) -> Town:
    """Return the town of a map that a server told a client: a built-in one where its text is that, else its own.

    Args:
        name: name of the map; of a path such as ``Carla/Maps/Town01`` the last part counts.
        text: its OpenDRIVE text, which the client has parsed already.

    Raises:
        CraftError: the text is no OpenDRIVE.

    """
    stem = name.rsplit("/", 1)[-1]
    if stem in BUILT_IN and load_town(stem).opendrive.text.strip() == text.strip():
        return load_town(stem)
    # Nobody drives SUMO's traffic from here, so that no net is made.
    return Town(stem, load_opendrive(text, check=False, name=stem), Path())


def sumo_net(opendrive: OpenDrive) -> Path:
    """Return the SUMO net of an OpenDRIVE text, converting it where no earlier call did.

    Raises:
        CraftError: netconvert cannot convert it.

    """
    path = cache_directory("nets") / f"{opendrive.digest}-{_NET_VERSION}.net.xml"
    if not path.exists():
        with atomic_path(path) as scratch:
            source = scratch.with_suffix(".xodr")
            source.write_text(opendrive.text)
            try:
                arguments = [f"--opendrive-files={source}", f"--output-file={scratch}", *_IMPORT_ARGUMENTS]
                run_netconvert(arguments, scratch.parent, what=opendrive.source)
            finally:
                source.unlink(missing_ok=True)
    return path


def suite_path(name: str) -> Path | None:
    """Return the file of a built-in route suite such as ``craftville_train``, or None where there is no such suite."""
    path = PACKAGE / f"{name}.xml"
    return path if path.parent == PACKAGE and path.is_file() else None
