"""Safe loading of OpenDRIVE files.

``carla.Map`` kills the interpreter on some malformed or very old files. Text is therefore checked as XML first and then
parsed once in a child process; a child that dies becomes one sentence. Texts that passed are remembered by digest.
"""

import dataclasses
import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.roads.cache import atomic_path, cache_directory

PARSE_LIMIT_SECONDS = 120.0

# Runs in the child: reads the text from standard input, touches every part of the map that the parent will use.
_CHILD = """
import sys, carla
text = sys.stdin.buffer.read().decode("utf-8")
road_map = carla.Map(sys.argv[1], text)
waypoints = road_map.generate_waypoints(5.0)
for waypoint in waypoints:
    waypoint.next(2.0); waypoint.lane_change; waypoint.left_lane_marking; waypoint.right_lane_marking
    waypoint.get_left_lane(); waypoint.get_right_lane()
road_map.get_topology()
road_map.get_all_landmarks()
print("waypoints", len(waypoints))
"""


@dataclasses.dataclass(frozen=True)
class OpenDrive:
    """One OpenDRIVE text: ``name`` of the town, ``text``, sha256 ``digest`` (hex) and the ``source`` it came from."""

    name: str
    text: str
    digest: str
    source: str

    def carla_map(self) -> Any:
        """Return a new ``carla.Map`` of the text (8 to 80 ms for a CARLA town)."""
        import carla

        return carla.Map(self.name, self.text)


def load_opendrive(path_or_text: str | Path, check: bool = True, name: str | None = None) -> OpenDrive:
    """Read an OpenDRIVE file and refuse what ``carla.Map`` could not survive.

    Args:
        path_or_text: path of an ``.xodr`` file, or the XML text itself (anything that begins with ``<``).
        check: parse it in a child process unless this text passed before.
        name: name of the town; by default the file's stem.

    Raises:
        CraftError: no such file, broken XML, not OpenDRIVE, no lane to drive on, or a text on which ``carla.Map``
            crashes.

    """
    raw = str(path_or_text)
    if raw.lstrip()[:1] == "<":
        text, source, stem = raw, "the given OpenDRIVE text", "town"
    else:
        path = Path(raw)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError as error:
            raise CraftError(f"{path} does not exist; give the path of an OpenDRIVE (.xodr) file") from error
        except UnicodeDecodeError as error:
            raise CraftError(f"{path} is not UTF-8 text; export the OpenDRIVE file again as UTF-8") from error
        except OSError as error:
            raise CraftError(f"{path} cannot be read ({error.strerror}); give a readable OpenDRIVE file") from error
        source, stem = str(path), path.stem
    _check_xml(text, source)
    digest = hashlib.sha256(text.encode()).hexdigest()
    opendrive = OpenDrive(name or stem, text, digest, source)
    if check:
        _check_in_child(opendrive)
    return opendrive


def _check_xml(text: str, source: str) -> None:
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise CraftError(f"{source} is not well-formed XML ({error}); repair it or export the map again") from error
    if root.tag != "OpenDRIVE":
        raise CraftError(f"{source} is not OpenDRIVE: its root element is <{root.tag}>; give an .xodr file")
    roads = root.findall("road")
    if not any(lane.get("type") == "driving" for road in roads for lane in road.iter("lane")):
        raise CraftError(f"{source} has no lane of type 'driving' (in {len(roads)} roads); give a map with roads")
    for road in roads:
        if road.find("planView/geometry") is None:
            raise CraftError(f"{source}: road '{road.get('id')}' has no planView geometry; export the map again")
        for geometry in road.iterfind("planView/geometry"):
            for field in ("s", "x", "y", "hdg", "length"):
                _check_number(geometry.get(field), field, road.get("id"), source)


def _check_number(value: str | None, field: str, road: str | None, source: str) -> None:
    try:
        finite = value is not None and abs(float(value)) < float("inf")
    except ValueError:
        finite = False
    if not finite:
        raise CraftError(f"{source}: geometry of road '{road}' has {field}={value!r}, not a number; repair the file")


def _check_in_child(opendrive: OpenDrive) -> None:
    marker = cache_directory("checked") / opendrive.digest
    if marker.exists():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, opendrive.name],
            input=opendrive.text.encode(),
            capture_output=True,
            timeout=PARSE_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CraftError(
            f"{opendrive.source}: carla.Map did not finish parsing in {PARSE_LIMIT_SECONDS:.0f} s; use a smaller map"
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f"it died of signal {-done.returncode}" if done.returncode < 0 else (said[-1] if said else "no reason")
        raise CraftError(
            f"{opendrive.source} cannot be parsed by carla.Map ({reason}); export it again as OpenDRIVE 1.4"
        )
    if done.stdout.split()[-1:] == [b"0"]:
        raise CraftError(f"{opendrive.source} gives carla.Map no lane to drive on; check its lanes and their links")
    with atomic_path(marker) as scratch:
        scratch.write_text(opendrive.source + "\n")
