"""Turn netconvert's OpenDRIVE into one that a CARLA client reads like a CARLA town.

netconvert writes one signal an arrow (types 1000011 and 1000012), no controllers, no road names and no geographic
reference. CARLA knows one light an approach (type 1000001) that holds for all of its lanes, and cycles the controllers
of a junction one after the other. Both files keep telling the same story: a light is the SUMO links of one edge.
"""

import xml.etree.ElementTree as ElementTree
from collections import defaultdict

# ASAM OpenDRIVE, country code OpenDRIVE: a three-light signal.
TRAFFIC_LIGHT_TYPE = "1000001"
GEO_REFERENCE = "+proj=tmerc +lat_0=49.0 +lon_0=8.4 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
_FIRST_SIGNAL_ID = 1000


def rewrite_town(xodr: str, net: str) -> tuple[str, str]:
    """Return both texts, agreeing on lights.

    The OpenDRIVE text gets one light an approach, controllers by phase, road names (SUMO's edge ids) and a geographic
    reference; the net gets ``linkSignalID`` parameters, as netconvert itself writes them when it imports OpenDRIVE.

    Args:
        xodr: OpenDRIVE text as netconvert wrote it.
        net: SUMO net of the same netconvert run.

    """
    root = ElementTree.fromstring(xodr)
    sumo = ElementTree.fromstring(net)
    header = root.find("header")
    assert header is not None, "netconvert always writes a header"
    reference = header.find("geoReference")
    if reference is None:
        reference = ElementTree.SubElement(header, "geoReference")
    reference.text = GEO_REFERENCE

    junction_name = {junction.get("id"): junction.get("name") for junction in root.iter("junction")}
    edge_of_nodes = {
        (edge.get("from"), edge.get("to")): edge.get("id", "") for edge in sumo.iter("edge") if edge.get("from")
    }
    links: dict[str, list[int]] = defaultdict(list)
    light_of_edge: dict[str, str] = {}
    for connection in sumo.iter("connection"):
        if connection.get("tl") and not connection.get("from", ":").startswith(":"):
            edge = connection.get("from", "")
            light_of_edge[edge] = connection.get("tl", "")
            links[edge].append(int(connection.get("linkIndex", "0")))

    signal_of_edge: dict[str, str] = {}
    for road in root.iter("road"):
        if road.get("junction") != "-1":
            continue
        ends = []
        for side in ("predecessor", "successor"):
            element = road.find(f"link/{side}")
            ends.append(junction_name.get(element.get("elementId")) if element is not None else None)
        edge = edge_of_nodes.get((ends[0], ends[1]), "")
        road.set("name", edge)
        signals = road.find("signals")
        if signals is None or edge not in light_of_edge:
            continue
        signal_of_edge[edge] = str(_FIRST_SIGNAL_ID + len(signal_of_edge))
        _one_signal(road, signals, signal_of_edge[edge], light_of_edge[edge])
    add_controllers(root, sumo, signal_of_edge, light_of_edge, links)
    name_links(sumo, signal_of_edge, light_of_edge, links)
    return document_text(root), document_text(sumo)


def name_links(
    sumo: ElementTree.Element,
    signal_of_edge: dict[str, str],
    light_of_edge: dict[str, str],
    links: dict[str, list[int]],
) -> None:
    """Write into every SUMO program which OpenDRIVE signal each of its links obeys.

    Args:
        sumo: the net.
        signal_of_edge: OpenDRIVE id of the light at the end of an edge.
        light_of_edge: SUMO program that rules the end of an edge.
        links: link indices of an edge in that program.

    """
    for logic in sumo.iter("tlLogic"):
        for edge, signal in signal_of_edge.items():
            if light_of_edge[edge] == logic.get("id"):
                for index in sorted(links[edge]):
                    ElementTree.SubElement(logic, "param", {"key": f"linkSignalID:{index}", "value": signal})


def document_text(root: ElementTree.Element) -> str:
    """Return an XML document as indented text."""
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _one_signal(road: ElementTree.Element, signals: ElementTree.Element, name: str, light: str) -> None:
    """Replace the signals of one approach by one beside its right-most driving lane."""
    driving = [lane for lane in road.iterfind("lanes/laneSection/right/lane") if lane.get("type") == "driving"]
    lane_ids = sorted(int(lane.get("id", "0")) for lane in driving)
    width = sum(float(element.get("a", "0")) for lane in driving for element in lane.findall("width")[:1])
    for signal in list(signals):
        signals.remove(signal)
    signal = ElementTree.SubElement(
        signals,
        "signal",
        {
            "name": light,
            "id": name,
            "s": f"{float(road.get('length', '0')) - 0.05:.8f}",
            "t": f"{-width - 0.5:.8f}",
            "orientation": "+",
            "dynamic": "yes",
            "zOffset": "5",
            "country": "OpenDRIVE",
            "type": TRAFFIC_LIGHT_TYPE,
            "subtype": "-1",
            "value": "-1",
            "height": "0.78",
            "width": "0.26",
        },
    )
    ElementTree.SubElement(signal, "validity", {"fromLane": str(lane_ids[0]), "toLane": str(lane_ids[-1])})


def add_controllers(
    root: ElementTree.Element,
    sumo: ElementTree.Element,
    signal_of_edge: dict[str, str],
    light_of_edge: dict[str, str],
    links: dict[str, list[int]],
) -> None:
    """Add one controller a green phase, holding the lights that are green together, to the map and its junction."""
    for parent in (root, *root.iter("junction")):  # those of netconvert name the signals that were replaced
        for controller in parent.findall("controller"):
            parent.remove(controller)
    junctions = {junction.get("name"): junction for junction in root.iter("junction")}
    number = 0
    for logic in sumo.iter("tlLogic"):
        light = logic.get("id", "")
        groups: list[tuple[str, ...]] = []
        for phase in logic.iter("phase"):
            state = phase.get("state", "")
            group = tuple(
                signal
                for edge, signal in signal_of_edge.items()
                if light_of_edge[edge] == light and all(state[index] in "Gg" for index in links[edge])
            )
            if group and group not in groups:
                groups.append(group)
        for sequence, group in enumerate(groups):
            controller = ElementTree.Element("controller", {"name": f"{light}_{sequence}", "id": str(number)})
            for signal in group:
                ElementTree.SubElement(controller, "control", {"signalId": signal, "type": ""})
            # OpenDRIVE keeps controllers between roads and junctions.
            root.insert(list(root).index(next(root.iter("junction"))), controller)
            ElementTree.SubElement(
                junctions[light], "controller", {"id": str(number), "type": "", "sequence": str(sequence)}
            )
            number += 1
