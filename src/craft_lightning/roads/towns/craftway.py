"""The plan of ``craftway``: a motorway of three lanes with interchanges, and an interurban dual carriageway round it.

The plan looks the same turned by 180 degrees, so one half is drawn and the other is turned.
"""

import math

from craft_lightning.roads.towns.crossings import added_lane, ending_lane, joining_lane, leaving_lane
from craft_lightning.roads.towns.curves import Curve, through
from craft_lightning.roads.towns.layout import Layout, lanes
from craft_lightning.roads.towns.plan import STOP, YIELD, Arm, Profile, Road, Strip, TownPlan, two_way

_SHOULDER = Strip("shoulder", 2.5)
_VERGE = Strip("shoulder", 1.5)
_INNER = Strip("median", 1.0, "solid")  # half of the interurban road's median
_LANE = 3.5
# The motorway's inner edges lie this far from the x axis, the interurban road's middle that far.
_CARRIAGEWAY = 5.0
_INTERURBAN = 150.0
_MINOR = 215.0
_REACH = 20.0
# Ends of the eastbound carriageway's parts, metres east; stretches of 45 m lie between them.
_EXIT_1, _MIDDLE_1, _WEAVING, _MIDDLE_2, _ENTRY_2 = (-395, -295), (-250, -150), (-105, 115), (160, 260), (305, 465)
_BEGIN, _END = -440.0, 510.0
_CROSS_1, _CROSS_2, _FAR = -200.0, 210.0, 480.0


def _motorway(count: int, speed: float = 90.0) -> Profile:
    return Profile((*lanes(count), _SHOULDER), speed=speed)


def craftway() -> TownPlan:
    """Return the plan."""
    town = Layout("craftway", kind="rural")
    for side, turned in (("S", False), ("N", True)):
        _places(town, side, turned)
    eastbound, westbound = (_carriageway(town, side, turned) for side, turned in (("S", False), ("N", True)))
    for name, (_, last), (first, _), turned in (
        ("S_loop", eastbound, westbound, False),
        ("N_loop", westbound, eastbound, True),
    ):
        loop = town.add(Road(name, _turn(_loop(), turned), _motorway(3, 60.0), "motorway"))
        town.junctions.append(ending_lane(f"{name}_in", last, loop))
        town.junctions.append(added_lane(f"{name}_out", loop, first))
    for side, turned in (("S", False), ("N", True)):
        _interurban(town, side, "N" if side == "S" else "S", turned)
    return town.plan()


def _turn(curve: Curve, turned: bool) -> Curve:
    x, y, heading = curve.start
    return Curve((-x, -y, heading + math.pi), curve.pieces) if turned else curve


def _places(town: Layout, side: str, turned: bool) -> None:
    sign = -1.0 if turned else 1.0
    for name, x in (("a", -_FAR), ("b", _CROSS_1), ("c", 0.0), ("d", _CROSS_2), ("e", _FAR)):
        town.place(f"{side}{name}", sign * x, -sign * _INTERURBAN, _REACH)
    for name, x in (("p", _CROSS_1), ("q", 0.0), ("r", _CROSS_2)):
        town.place(f"{side}{name}", sign * x, -sign * _MINOR, 14.0)


def _loop() -> Curve:
    """Return the way from the end of the eastbound carriageway round to the beginning of the westbound one."""
    radius = 75.0
    bend = math.acos((_CARRIAGEWAY + radius) / (2.0 * radius))
    pieces = (
        (20.0, 0.0),
        (radius * bend, -1.0 / radius),
        (radius * (math.pi + 2.0 * bend), 1.0 / radius),
        (radius * bend, -1.0 / radius),
        (20.0 + _END + _BEGIN, 0.0),
    )
    return Curve((_END, -_CARRIAGEWAY, 0.0), pieces)


def _carriageway(town: Layout, side: str, turned: bool) -> tuple[Road, Road]:
    """Draw one direction of the motorway with its ramps; return its first and its last road."""

    def stretch(name: str, ends: tuple[float, float], count: int) -> Road:
        curve = Curve((ends[0], -_CARRIAGEWAY, 0.0), ((ends[1] - ends[0], 0.0),))
        return town.add(Road(f"{side}_{name}", _turn(curve, turned), _motorway(count), "motorway"))

    exit_1 = stretch("exit1", _EXIT_1, 4)
    middle_1 = stretch("middle1", _MIDDLE_1, 3)
    weaving = stretch("weaving", _WEAVING, 4)
    middle_2 = stretch("middle2", _MIDDLE_2, 3)
    entry_2 = stretch("entry2", _ENTRY_2, 4)
    for number, cross, before, middle, after in (
        (1, _CROSS_1, exit_1, middle_1, weaving),
        (2, _CROSS_2, weaving, middle_2, entry_2),
    ):
        leaving, joining = _ramps(town, side, turned, number, cross)
        town.junctions.append(leaving_lane(f"{side}_leave{number}", before, middle, leaving))
        town.junctions.append(joining_lane(f"{side}_join{number}", middle, joining, after))
    return exit_1, entry_2


def _ramps(town: Layout, side: str, turned: bool, number: int, cross: float) -> tuple[Road, Road]:
    """Draw the exit and the entry of one interchange, which meet the interurban road at one crossroads."""
    profile = Profile((*lanes(1, 3.75), _SHOULDER), speed=60.0)
    # Left edge of the ramp's lane where it parts from the motorway, and its heading there.
    y = -_CARRIAGEWAY - 3 * _LANE - 3.0
    foot = -_INTERURBAN + _REACH
    gore = cross - 50.0, cross + 50.0
    down = through(
        [(gore[0], y), (gore[0] + 20.0, y - 2.0), (cross - 1.0, y - 30.0), (cross - 1.0, foot)], [80.0, 45.0]
    )
    up = through([(cross + 1.0, foot), (cross + 1.0, y - 30.0), (gore[1] - 20.0, y - 2.0), (gore[1], y)], [45.0, 80.0])
    leaving = town.add(Road(f"{side}_off{number}", _turn(down, turned), profile, "motorway"))
    joining = town.add(Road(f"{side}_on{number}", _turn(up, turned), profile, "motorway"))
    place = f"{side}{'b' if number == 1 else 'd'}"
    town.arms[place] += [Arm(leaving, True, STOP if number == 1 else YIELD), Arm(joining, False)]
    return leaving, joining


def _interurban(town: Layout, side: str, other: str, turned: bool) -> None:
    """Draw half of the interurban ring, from the far west of one side, and the minor roads beyond it."""
    sign = -1.0 if turned else 1.0
    main = two_way(_INNER, *lanes(2), _VERGE, centre="none", speed=80.0)
    minor = two_way(*lanes(1), _VERGE, speed=60.0)
    for start, end in ("ab", "bc", "cd", "de"):
        town.road(f"{side}{start}", f"{side}{end}", main)
    east = 790.0
    corners = [(sign * east, -sign * _INTERURBAN), (sign * east, sign * _INTERURBAN)]
    town.road(f"{side}e", f"{other}a", main, via=corners, radius=90.0)
    # Minor roads: T-junctions at a, c and e, the fourth arms of the interchanges' crossroads at b and d.
    for start, end in ("pq", "qr"):
        town.road(f"{side}{start}", f"{side}{end}", minor)
    for start, end, control in (("b", "p", STOP), ("c", "q", YIELD), ("d", "r", STOP)):
        ends = control, STOP if start == "c" else YIELD
        town.road(f"{side}{start}", f"{side}{end}", minor, control=ends)
    for start, end, control in (("a", "p", STOP), ("e", "r", YIELD)):
        x = town.places[f"{side}{start}"][0]
        town.road(
            f"{side}{start}",
            f"{side}{end}",
            minor,
            via=[(x, -sign * _MINOR)],
            radius=35.0,
            control=(control, None),
        )
