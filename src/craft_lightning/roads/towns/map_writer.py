"""A town plan as OpenDRIVE 1.4: one lane section a road, a one-way connecting road a movement, lines and arcs."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from craft_lightning.roads.towns.curves import Curve
from craft_lightning.roads.towns.lights import GEO_REFERENCE, TRAFFIC_LIGHT_TYPE
from craft_lightning.roads.towns.plan import (
    CROSSWALK,
    SIGNAL,
    STOP,
    YIELD,
    Arm,
    Junction,
    Movement,
    Road,
    Strip,
    TownPlan,
)

SIGN_TYPE = {STOP: "206", YIELD: "205", SIGNAL: TRAFFIC_LIGHT_TYPE}
_SIGN_NAME = {STOP: "Stop", YIELD: "Yield", SIGNAL: "Signal"}
# Metres before the end of its road at which a sign stands.
_BEFORE_END = 0.05

_Element = ElementTree.Element


class MapWriter:
    """Writes one plan.

    Args:
        plan: the town.

    Attributes:
        numbers: OpenDRIVE ids of the roads by name.
        signals: ids of signs and lights by (road, whether they stand at its end).

    """

    def __init__(self, plan: TownPlan) -> None:
        self.plan = plan
        self.numbers = {road.name: number for number, road in enumerate(plan.roads)}
        self._ends: dict[tuple[str, bool], Junction] = {
            (arm.road.name, arm.at_end): junction for junction in plan.junctions for arm in junction.arms
        }
        first = len(plan.roads)
        self._junctions = {junction.name: first + number for number, junction in enumerate(plan.junctions)}
        self._next_road = first + len(plan.junctions)
        controlled = [arm for junction in plan.junctions for arm in junction.arms if arm.control]
        self._controlled = {(arm.road.name, arm.at_end): arm for arm in controlled}
        self.signals = {key: str(1000 + number) for number, key in enumerate(self._controlled)}

    def element(self) -> _Element:
        """Return the whole document."""
        root = ElementTree.Element("OpenDRIVE")
        header = _add(
            root, "header", revMajor=1, revMinor=4, name=self.plan.name, version="1.00", date="1970-01-01T00:00:00"
        )
        points = [road.curve.points() for road in self.plan.roads]
        for side, column, choose in (("north", 1, max), ("south", 1, min), ("east", 0, max), ("west", 0, min)):
            header.set(side, _number(choose(float(choose(part[:, column])) for part in points)))
        _add(header, "geoReference").text = GEO_REFERENCE
        for road in self.plan.roads:
            self._road(root, road)
        for junction in self.plan.junctions:
            connecting = [(self._connecting_road(root, junction, way), way) for way in junction.movements]
            self._junction(root, junction, connecting)
        return root

    # ---- roads ---------------------------------------------------------------------------------------------------

    def _road(self, root: _Element, road: Road) -> None:
        number = self.numbers[road.name]
        element, sections = _road_element(root, road.name, number, -1, road.curve, road.kind, road.profile.speed)
        link = element.find("link")
        assert link is not None
        for side, at_end in (("predecessor", False), ("successor", True)):
            junction = self._ends[road.name, at_end]
            _add(link, side, elementType="junction", elementId=self._junctions[junction.name])
        section = _add(sections, "laneSection", s=0)
        if road.profile.left:
            _lanes(_add(section, "left"), road.profile.left, 1)
        mark = _add(_add(section, "center"), "lane", id=0, type="none", level="false")
        _mark(mark, road.profile.centre)
        if road.profile.right:
            _lanes(_add(section, "right"), road.profile.right, -1)
        self._crosswalks(element, road)
        signals = _add(element, "signals")
        for at_end in (False, True):
            arm = self._controlled.get((road.name, at_end))
            if arm is not None:
                self._sign(signals, arm)

    def _sign(self, signals: _Element, arm: Arm) -> None:
        """Write what an arm is controlled by, beside its right-most lane at its end."""
        assert arm.control is not None
        road, lanes = arm.road, arm.lanes(True)
        outside = sum(strip.width for strip in arm.strips(True)[: lanes[-1] + 1]) + 0.5
        ids = sorted(arm.lane_id(number, True) for number in lanes)
        light = arm.control == SIGNAL
        signal = _add(
            signals,
            "signal",
            name=self._ends[road.name, arm.at_end].name if light else f"{_SIGN_NAME[arm.control]}_{road.name}",
            id=self.signals[road.name, arm.at_end],
            s=_number(road.curve.length - _BEFORE_END if arm.at_end else _BEFORE_END),
            t=_number(-outside if arm.at_end else outside),
            orientation="+" if arm.at_end else "-",
            dynamic="yes" if light else "no",
            zOffset=5 if light else 2,
            country="OpenDRIVE",
            type=SIGN_TYPE[arm.control],
            subtype=-1,
            value=-1,
            height=0.78 if light else 0.6,
            width=0.26 if light else 0.6,
        )
        _add(signal, "validity", fromLane=ids[0], toLane=ids[-1])

    def _crosswalks(self, element: _Element, road: Road) -> None:
        objects = _add(element, "objects")
        for at_end in (False, True):
            junction = self._ends[road.name, at_end]
            if not junction.crosswalks:
                continue
            right = sum(strip.width for strip in road.profile.right if strip.type != "sidewalk")
            left = sum(strip.width for strip in road.profile.left if strip.type != "sidewalk")
            near, far = CROSSWALK if at_end else (-CROSSWALK[1], -CROSSWALK[0])
            walk = _add(
                objects,
                "object",
                id=f"walk_{road.name}_{'end' if at_end else 'start'}",
                type="crosswalk",
                s=_number(road.curve.length if at_end else 0.0),
                t=0,
                hdg=0,
                length=_number(far - near),
                width=_number(left + right),
            )
            outline = _add(walk, "outline", id=0, fillType="concrete", outer="true", closed="false", laneType="border")
            # CARLA's clients tell one crosswalk from the next by the first corner coming again.
            corners = ((far, -right), (far, left), (near, left), (near, -right), (far, -right))
            for corner, (u, v) in enumerate(corners):
                _add(outline, "cornerLocal", u=_number(u), v=_number(v), z=0, height=0, id=corner)

    # ---- junctions -----------------------------------------------------------------------------------------------

    def _connecting_road(self, root: _Element, junction: Junction, way: Movement) -> int:
        number = self._next_road
        self._next_road += 1
        source, target = way.source, way.target
        before = source.strips(True)
        after = target.strips(False)
        curve = way.curve()
        speed = min(source.road.profile.speed, target.road.profile.speed)
        element, sections = _road_element(
            root,
            f"{source.road.name} to {target.road.name}",
            number,
            self._junctions[junction.name],
            curve,
            source.road.kind,
            speed,
        )
        link = element.find("link")
        assert link is not None
        for side, arm in (("predecessor", source), ("successor", target)):
            point = "end" if arm.at_end else "start"
            _add(link, side, elementType="road", elementId=self.numbers[arm.road.name], contactPoint=point)
        section = _add(sections, "laneSection", s=0)
        _mark(_add(_add(section, "center"), "lane", id=0, type="none", level="false"), "none")
        right = _add(section, "right")
        for place, (one, other) in enumerate(zip(way.lanes_in, way.lanes_out, strict=True)):
            lane = _add(right, "lane", id=-(place + 1), type=before[one].type, level="false")
            ends = _add(lane, "link")
            _add(ends, "predecessor", id=source.lane_id(one, True))
            _add(ends, "successor", id=target.lane_id(other, False))
            _width(lane, before[one].width, after[other].width, curve.length)
            inner = before[one].driving and place + 1 < len(way.lanes_in) and before[way.lanes_in[place + 1]].driving
            _mark(lane, "broken" if inner else "none")
        return number

    def _junction(self, root: _Element, junction: Junction, connecting: Sequence[tuple[int, Movement]]) -> None:
        element = _add(root, "junction", id=self._junctions[junction.name], name=junction.name)
        for number, (road, way) in enumerate(connecting):
            connection = _add(
                element,
                "connection",
                id=number,
                incomingRoad=self.numbers[way.source.road.name],
                connectingRoad=road,
                contactPoint="start",
            )
            for place, one in enumerate(way.lanes_in):
                _add(connection, "laneLink", **{"from": way.source.lane_id(one, True), "to": -(place + 1)})


def _road_element(
    root: _Element, name: str, number: int, junction: int, curve: Curve, kind: str, speed: float
) -> tuple[_Element, _Element]:
    """Add a road up to its reference line; return it and its ``lanes``."""
    road = _add(root, "road", name=name, length=f"{curve.length:.8f}", id=number, junction=junction)
    _add(road, "link")
    _add(_add(road, "type", s=0, type=kind), "speed", max=f"{speed / 3.6:.4f}", unit="m/s")
    view = _add(road, "planView")
    s = 0.0
    for (length, curvature), (x, y, heading) in zip(curve.pieces, curve.starts(), strict=False):
        wrapped = (heading + math.pi) % (2.0 * math.pi) - math.pi
        place = {"s": s, "x": x, "y": y, "hdg": wrapped, "length": length}
        geometry = _add(view, "geometry", **{key: f"{value:.8f}" for key, value in place.items()})
        if curvature:
            _add(geometry, "arc", curvature=f"{curvature:.10f}")
        else:
            _add(geometry, "line")
        s += length
    _add(_add(road, "elevationProfile"), "elevation", s=0, a=0, b=0, c=0, d=0)
    return road, _add(road, "lanes")


def _lanes(side: _Element, strips: Sequence[Strip], sign: int) -> None:
    numbered = list(enumerate(strips, start=1))
    for place, strip in numbered[::-1] if sign > 0 else numbered:  # OpenDRIVE lists lanes from left to right
        lane = _add(side, "lane", id=sign * place, type=strip.type, level="false")
        _add(lane, "link")
        _width(lane, strip.width, strip.width, 1.0)
        _mark(lane, strip.mark)


def _width(lane: _Element, begin: float, end: float, length: float) -> None:
    slope = (end - begin) / length
    _add(lane, "width", sOffset=0, a=_number(begin), b=f"{slope:.8f}" if slope else 0, c=0, d=0)


def _mark(lane: _Element, mark: str) -> None:
    change = "both" if mark == "broken" else "none"
    width = 0 if mark == "none" else 0.13
    _add(lane, "roadMark", sOffset=0, type=mark, weight="standard", color="standard", width=width, laneChange=change)


def _add(parent: _Element, tag: str, **attributes: object) -> _Element:
    return ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})


def _number(value: float) -> str:
    return f"{value:.4f}"
