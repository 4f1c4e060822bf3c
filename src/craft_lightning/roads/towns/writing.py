"""From a town plan to its files: OpenDRIVE by our own writer, the SUMO net by netconvert from the same plan."""

import gzip
import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from craft_lightning.roads.towns.lights import add_controllers, document_text, name_links
from craft_lightning.roads.towns.map_writer import MapWriter
from craft_lightning.roads.towns.net_writer import edge_name, plain_files
from craft_lightning.roads.towns.netconvert import run_netconvert
from craft_lightning.roads.towns.plan import SIGNAL, STOP, TownPlan

_ARGUMENTS = (
    "--node-files=town.nod.xml",
    "--edge-files=town.edg.xml",
    "--connection-files=town.con.xml",
    "--output-file=town.net.xml",
    "--offset.disable-normalization=true",
    "--no-turnarounds=true",
    "--walkingareas=true",
    # Curves that the plan drew stay as they are.
    "--geometry.min-radius.fix=false",
    "--tls.left-green.time=0",
    "--tls.green.time=13",
    "--tls.yellow.time=3",
    "--tls.allred.time=2",
)


def write_town(directory: Path, plan: TownPlan) -> tuple[Path, Path]:
    """Write ``NAME.xodr`` and ``NAME.net.xml.gz`` into ``directory``.

    Returns:
        Paths of the OpenDRIVE file and of the SUMO net.

    Raises:
        CraftError: netconvert failed; the sentence carries its last message.

    """
    writer = MapWriter(plan)
    root = writer.element()
    lights = sorted(junction.name for junction in plan.junctions if junction.kind == "traffic_light")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in plain_files(plan).items():
            (folder / name).write_text(text)
        # Neighbouring lights run out of step, or every light of a route would show the same colour.
        steps = [f"--tls.half-offset={','.join(lights[1::4])}", f"--tls.quarter-offset={','.join(lights[2::4])}"]
        run_netconvert([*_ARGUMENTS, *(steps if lights else [])], folder, what=f"the plan of {plan.name}")
        sumo = ElementTree.fromstring(stable((folder / "town.net.xml").read_text()))
    _stop_at_signs(plan, sumo)
    _agree_on_lights(plan, writer, root, sumo)
    xodr, net = directory / f"{plan.name}.xodr", directory / f"{plan.name}.net.xml.gz"
    xodr.write_text(document_text(root))
    # A gzip header holds name and time of day; mtime 0 and no name keep the bytes the same.
    net.write_bytes(gzip.compress(document_text(sumo).encode(), mtime=0))
    return xodr, net


def stable(text: str) -> str:
    """Drop what changes from run to run: the generator's comment and the header's date."""
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    return re.sub(r' date="[^"]*"', ' date="1970-01-01T00:00:00"', text)


def _stop_at_signs(plan: TownPlan, sumo: ElementTree.Element) -> None:
    """Make the traffic of arms with a stop sign come to a stop: netconvert knows such junctions, not such arms."""
    stopped = {edge_name(arm, True) for junction in plan.junctions for arm in junction.arms if arm.control == STOP}
    for connection in sumo.iter("connection"):
        if connection.get("from") in stopped and connection.get("state") in ("m", "s"):
            connection.set("state", "s")
        elif connection.get("state") == "s":
            connection.set("state", "m")


def _agree_on_lights(plan: TownPlan, writer: MapWriter, root: ElementTree.Element, sumo: ElementTree.Element) -> None:
    """Name every link's signal in the net and put the signals of one phase under one controller in the map."""
    links: dict[str, list[int]] = defaultdict(list)
    light_of_edge: dict[str, str] = {}
    for connection in sumo.iter("connection"):
        edge = connection.get("from", ":")
        if connection.get("tl") and not edge.startswith(":"):
            light_of_edge[edge] = connection.get("tl", "")
            links[edge].append(int(connection.get("linkIndex", "0")))
    signal_of_edge = {
        edge_name(arm, True): writer.signals[arm.road.name, arm.at_end]
        for junction in plan.junctions
        for arm in junction.arms
        if arm.control == SIGNAL
    }
    add_controllers(root, sumo, signal_of_edge, light_of_edge, links)
    name_links(sumo, signal_of_edge, light_of_edge, links)
