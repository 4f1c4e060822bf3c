"""A town plan as SUMO's plain node, edge and connection files, in the same frame and with the same lanes as the map."""

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

import numpy as np

from craft_lightning.roads.towns.plan import CROSSWALK, Arm, Junction, Movement, Road, Strip, TownPlan

# Right of way: drivers of a lower number wait.
_MAJOR, _MINOR = 10, 5
# What SUMO knows of a cross section; nothing drives or walks on shoulders and medians.
_KNOWN = ("driving", "parking", "sidewalk")
_DISALLOWED = {"parking": 'disallow="all"', "sidewalk": 'allow="pedestrian"', "driving": 'disallow="pedestrian"'}


def edge_name(arm: Arm, arriving: bool) -> str:
    """Return SUMO's name of the edge that arrives at, or leaves, a junction by an arm."""
    return arm.road.name if arm.at_end == arriving else f"-{arm.road.name}"


def plain_files(plan: TownPlan) -> dict[str, str]:
    """Return the texts of ``town.nod.xml``, ``town.edg.xml`` and ``town.con.xml``."""
    nodes = [_node(junction) for junction in plan.junctions]
    starts = {(arm.road.name, arm.at_end): (junction, arm) for junction in plan.junctions for arm in junction.arms}
    edges = []
    for road in plan.roads:
        (first, first_arm), (last, last_arm) = starts[road.name, False], starts[road.name, True]
        if road.profile.right:
            edges.append(_edge(road, True, first, last, last_arm))
        if road.profile.left:
            edges.append(_edge(road, False, last, first, first_arm))
    ways = [line for junction in plan.junctions for way in junction.movements for line in _connections(way)]
    ways += [line for junction in plan.junctions if junction.crosswalks for line in _crossings(junction)]
    return {
        "town.nod.xml": _document("nodes", nodes),
        "town.edg.xml": _document("edges", edges),
        "town.con.xml": _document("connections", ways),
    }


def _document(tag: str, lines: Iterable[str]) -> str:
    return f"<{tag}>\n" + "".join(f"  {line}\n" for line in lines) + f"</{tag}>\n"


def _node(junction: Junction) -> str:
    x, y = junction.place
    return (
        f'<node id={quoteattr(junction.name)} x="{x:.3f}" y="{y:.3f}" type="{junction.kind}" '
        'rightOfWay="edgePriority"/>'
    )


def _edge(road: Road, forward: bool, first: Junction, last: Junction, end: Arm) -> str:
    """Return one direction of a road; ``end`` is the arm by which it arrives at ``last``."""
    strips = road.profile.side(forward)
    inner = 0.0
    for strip in strips:
        if strip.type in _KNOWN:
            break
        inner += strip.width
    line = (road.curve if forward else road.curve.backwards()).parallel(-inner)
    known = [strip for strip in strips if strip.type in _KNOWN]
    lanes = "".join(
        f'<lane index="{index}" width="{strip.width}" {_DISALLOWED[strip.type]}/>'
        for index, strip in enumerate(known[::-1])
    )
    name = edge_name(end, True)
    return (
        f'<edge id={quoteattr(name)} from={quoteattr(first.name)} to={quoteattr(last.name)} numLanes="{len(known)}" '
        f'speed="{road.profile.speed / 3.6:.4f}" priority="{_MINOR if end.control in ("stop", "yield") else _MAJOR}" '
        f'spreadType="right" shape="{_shape(line.points())}">{lanes}</edge>'
    )


def _connections(way: Movement) -> list[str]:
    before, after = way.source.strips(True), way.target.strips(False)
    curve = way.curve()
    lines, left = [], 0.0
    for one, other in zip(way.lanes_in, way.lanes_out, strict=True):
        width = 0.5 * (before[one].width + after[other].width)
        if before[one].driving:
            points = curve.parallel(-left - 0.5 * width).points(1.0)
            lines.append(
                f"<connection from={quoteattr(edge_name(way.source, True))} "
                f'to={quoteattr(edge_name(way.target, False))} fromLane="{_index(before, one)}" '
                f'toLane="{_index(after, other)}" shape="{_shape(points)}"/>'
            )
        left += width
    return lines


def _crossings(junction: Junction) -> list[str]:
    width = CROSSWALK[1] - CROSSWALK[0]
    signals = "true" if junction.kind == "traffic_light" else "false"
    lines = []
    for arm in junction.arms:
        edges = [edge_name(arm, arriving) for arriving in (True, False) if arm.strips(arriving)]
        lines.append(
            f"<crossing node={quoteattr(junction.name)} edges={quoteattr(' '.join(edges))} "
            f'width="{width}" priority="{signals}"/>'
        )
    return lines


def _index(strips: tuple[Strip, ...], place: int) -> int:
    """Return SUMO's index of a strip: counted from the right, unknown ones left out."""
    return sum(strip.type in _KNOWN for strip in strips[place + 1 :])


def _shape(points: np.ndarray) -> str:
    return " ".join(f"{x:.3f},{y:.3f}" for x, y in points)
