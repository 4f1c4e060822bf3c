"""A pencil for town plans: places, roads between them, and the junctions that follow."""

import math
from collections.abc import Sequence

from craft_lightning.roads.towns.crossings import crossing
from craft_lightning.roads.towns.curves import Curve, through
from craft_lightning.roads.towns.plan import YIELD, Arm, Junction, Profile, Road, Strip, TownPlan


class Layout:
    """Collects roads and the arms that they put out at named places.

    Args:
        name: name of the town.
        kind: OpenDRIVE type of the roads: town, rural or motorway.

    """

    def __init__(self, name: str, kind: str = "town") -> None:
        self.name, self.kind = name, kind
        self.places: dict[str, tuple[float, float]] = {}
        self.reach: dict[str, float] = {}
        self.arms: dict[str, list[Arm]] = {}
        self.roads: list[Road] = []
        self.junctions: list[Junction] = []

    def place(self, name: str, x: float, y: float, reach: float) -> None:
        """Mark the middle of a junction whose arms end ``reach`` metres from it."""
        self.places[name], self.reach[name], self.arms[name] = (x, y), reach, []

    def road(
        self,
        start: str,
        end: str,
        profile: Profile,
        via: Sequence[tuple[float, float]] = (),
        radius: float | Sequence[float] = 50.0,
        control: tuple[str | None, str | None] = (None, None),
    ) -> Road:
        """Draw a road between two places.

        Args:
            start: place where it begins.
            end: place where it ends.
            profile: its cross section.
            via: corners on the way, rounded with ``radius``.
            radius: metres, one for all corners or one each.
            control: how its traffic is held back at its start and at its end.

        """
        points = [self.places[start], *via, self.places[end]]
        points[0] = _towards(points[0], points[1], self.reach[start])
        points[-1] = _towards(points[-1], points[-2], self.reach[end])
        road = self.add(Road(f"{start}_{end}", through(points, radius), profile, self.kind))
        self.arms[start].append(Arm(road, False, control[0]))
        self.arms[end].append(Arm(road, True, control[1]))
        return road

    def add(self, road: Road) -> Road:
        """Keep a road that was drawn elsewhere."""
        self.roads.append(road)
        return road

    def roundabout(self, name: str, profile: Profile, radius: float = 24.0, half: float = 0.5) -> None:
        """Lay a ring round a place; its arms, drawn before, wait for the traffic on it.

        Args:
            name: the place.
            profile: cross section of the ring, one-way.
            radius: of the ring's left edge, metres.
            half: radians of the ring to each side of an arm that belong to the arm's junction.

        """
        x, y = self.places[name]
        arms = []
        for arm in self.arms.pop(name):
            ax, ay, _ = arm.road.curve.starts()[-1 if arm.at_end else 0]
            arms.append((math.atan2(ay - y, ax - x) % (2.0 * math.pi), Arm(arm.road, arm.at_end, YIELD)))
        arms.sort(key=lambda item: item[0])
        ring = []
        for number, (angle, _) in enumerate(arms):
            after = arms[(number + 1) % len(arms)][0]
            sweep = (after - angle) % (2.0 * math.pi) - 2.0 * half
            begin = angle + half
            start = (x + radius * math.cos(begin), y + radius * math.sin(begin), begin + 0.5 * math.pi)
            curve = Curve(start, ((radius * sweep, 1.0 / radius),))
            ring.append(self.add(Road(f"{name}_ring{number}", curve, profile, self.kind)))
        for number, (_, arm) in enumerate(arms):
            self.junctions.append(
                crossing(f"{name}{number}", (Arm(ring[number - 1], True), Arm(ring[number], False), arm))
            )

    def plan(self, crosswalks: bool = False) -> TownPlan:
        """Return the plan: a crossing at every place that has arms, and the junctions added by hand."""
        crossings = [crossing(name, arms, crosswalks) for name, arms in self.arms.items() if arms]
        return TownPlan(self.name, tuple(self.roads), (*crossings, *self.junctions))


def lanes(count: int, width: float = 3.5, edge: str = "solid") -> tuple[Strip, ...]:
    """Return driving lanes of one direction, broken lines between them."""
    return tuple(Strip("driving", width, "broken" if number < count - 1 else edge) for number in range(count))


def _towards(place: tuple[float, float], other: tuple[float, float], distance: float) -> tuple[float, float]:
    length = math.hypot(other[0] - place[0], other[1] - place[1])
    share = distance / length
    return place[0] + share * (other[0] - place[0]), place[1] + share * (other[1] - place[1])
