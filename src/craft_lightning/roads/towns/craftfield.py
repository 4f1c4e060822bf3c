"""The plan of ``craftfield``: country roads, one lane a direction, bends, T-junctions, a crossroads, a roundabout."""

from craft_lightning.roads.towns.layout import Layout, lanes
from craft_lightning.roads.towns.plan import STOP, YIELD, Profile, Strip, TownPlan, two_way

_VERGE = Strip("shoulder", 1.5)
# Metres from the middle of a junction to the ends of its arms.
_REACH = 14.0
_ROUNDABOUT_REACH = 44.0


def craftfield() -> TownPlan:
    """Return the plan."""
    main = two_way(*lanes(1), _VERGE, speed=70.0)
    lane = two_way(*lanes(1), _VERGE, speed=60.0)
    winding = two_way(*lanes(1), _VERGE, centre="solid", speed=50.0)
    ring = Profile((*lanes(1, 4.0), Strip("shoulder", 1.0)), speed=30.0)
    town = Layout("craftfield", kind="rural")
    # Three roads from west to east at y = 190, 0, -190; letters by row, numbers from the west.
    for name, east, north in (
        ("A2", -150, 190), ("A3", 10, 190), ("A4", 170, 190),
        ("B1", -400, 0), ("B2", -150, 0), ("B3", 10, 0), ("B5", 290, 0), ("B6", 400, 0),
        ("C2", -150, -190), ("C4", 170, -190), ("C5", 290, -190),
    ):  # fmt: skip
        town.place(name, east, north, _REACH)
    town.place("B4", 170.0, 0.0, _ROUNDABOUT_REACH)

    # The outer road, round the corners of the map.
    town.road("B1", "A2", main, via=[(-400, 90), (-440, 145), (-400, 190)], radius=[60, 35, 60])
    town.road("A2", "A3", main)
    town.road("A3", "A4", main)
    town.road("A4", "B6", main, via=[(400, 190)], radius=70)
    town.road("B6", "C5", main, via=[(400, -190)], radius=40)
    town.road("C5", "C4", main)
    town.road("C4", "C2", main)
    town.road("C2", "B1", main, via=[(-400, -190)], radius=80)
    # The road through the middle.
    town.road("B1", "B2", lane, control=(STOP, None))
    town.road("B2", "B3", lane)
    town.road("B3", "B4", lane)
    town.road("B4", "B5", lane)
    town.road("B5", "B6", lane, control=(None, YIELD))
    town.road("A4", "B4", lane, control=(STOP, None))
    town.road("B4", "C4", lane, control=(None, YIELD))
    # Winding roads across: a bend to the side ``aside``, metres east, between two smaller ones.
    for start, end, aside, control in (
        ("A2", "B2", 22, (STOP, STOP)),
        ("B2", "C2", -22, (STOP, STOP)),
        ("A3", "B3", 22, (YIELD, STOP)),
        ("B5", "C5", 22, (STOP, STOP)),
    ):
        x, y = town.places[end]
        via = [(x, y + 136.0), (x + aside, y + 95.0), (x, y + 54.0)]
        town.road(start, end, winding, via=via, radius=[45, 36, 45], control=control)
    town.roundabout("B4", ring)
    return town.plan()
