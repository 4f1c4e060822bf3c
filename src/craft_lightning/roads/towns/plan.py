"""The plan of a town before it is written: roads with a cross section, and the junctions that join them.

Two writers read it: ``map_writer`` makes OpenDRIVE of it and ``net_writer`` the SUMO files, so that both tell the same
story about lanes, signs and lights. Frame: world frame, metres, radians.
"""

import dataclasses
import math

from craft_lightning.roads.towns.curves import Curve, Pose, advance, connect

STOP, YIELD, SIGNAL = "stop", "yield", "signal"
"""How the drivers of a minor arm are told to wait, and arms with a light."""

CROSSWALK = 0.5, 3.5
"""Near and far edge of a crosswalk, metres beyond the end of its arm."""


@dataclasses.dataclass(frozen=True)
class Strip:
    """One lane of a cross section.

    Args:
        type: OpenDRIVE lane type.
        width: metres.
        mark: marking on its outer edge: solid, broken or none.

    """

    type: str
    width: float
    mark: str = "none"

    @property
    def driving(self) -> bool:
        """Whether traffic drives on it."""
        return self.type == "driving"


@dataclasses.dataclass(frozen=True)
class Profile:
    """A cross section: strips to both sides of the reference line, from there outwards.

    Args:
        right: strips in the direction of the reference line.
        left: strips against it; none on a one-way road.
        centre: marking on the reference line.
        speed: limit in km/h.

    """

    right: tuple[Strip, ...]
    left: tuple[Strip, ...] = ()
    centre: str = "solid"
    speed: float = 50.0

    def side(self, forward: bool) -> tuple[Strip, ...]:
        """Return the strips of one direction of travel."""
        return self.right if forward else self.left


def two_way(*strips: Strip, centre: str = "broken", speed: float = 50.0) -> Profile:
    """Return a profile with the same strips on both sides."""
    return Profile(strips, strips, centre, speed)


@dataclasses.dataclass(frozen=True)
class Road:
    """A stretch with one cross section along one reference line."""

    name: str
    curve: Curve
    profile: Profile
    kind: str = "town"  # OpenDRIVE road type: town, rural or motorway


@dataclasses.dataclass(frozen=True)
class Arm:
    """One end of a road at a junction.

    Args:
        road: the road.
        at_end: whether it is the road's end (or its start) that lies at the junction.
        control: None for a major arm, otherwise stop, yield or signal.

    """

    road: Road
    at_end: bool
    control: str | None = None

    def strips(self, arriving: bool) -> tuple[Strip, ...]:
        """Return the strips of traffic that arrives at the junction, or leaves it."""
        return self.road.profile.side(self.at_end == arriving)

    def lanes(self, arriving: bool) -> list[int]:
        """Return the places of the driving lanes among the strips, from the middle of the road outwards."""
        return [number for number, strip in enumerate(self.strips(arriving)) if strip.driving]

    def lane_id(self, number: int, arriving: bool) -> int:
        """Return the OpenDRIVE id of a strip."""
        return -(number + 1) if self.at_end == arriving else number + 1

    def pose(self, number: int, arriving: bool) -> Pose:
        """Return where the left edge of a strip meets the junction, heading the way its traffic goes."""
        x, y, heading = self.road.curve.starts()[-1 if self.at_end else 0]
        if self.at_end != arriving:
            heading += math.pi
        right = sum(strip.width for strip in self.strips(arriving)[:number])
        return x + right * math.sin(heading), y - right * math.cos(heading), heading


@dataclasses.dataclass(frozen=True)
class Movement:
    """A one-way connecting road.

    Args:
        source: arm that its traffic comes from.
        lanes_in: places of the strips it comes from, from the left to the right.
        target: arm that it goes to.
        lanes_out: places of the strips it goes to.
        straight: metres at both ends on which it does not turn yet, for crosswalks to lie on.

    """

    source: Arm
    lanes_in: tuple[int, ...]
    target: Arm
    lanes_out: tuple[int, ...]
    straight: float = 0.0

    def curve(self) -> Curve:
        """Return its left edge."""
        start, end = self.source.pose(self.lanes_in[0], True), self.target.pose(self.lanes_out[0], False)
        if not self.straight:
            return connect(start, end)
        inner = connect(advance(start, self.straight, 0.0), advance(end, -self.straight, 0.0))
        return Curve(start, ((self.straight, 0.0), *inner.pieces, (self.straight, 0.0)))

    @property
    def turn(self) -> float:
        """Radians by which it turns to the left."""
        change = self.target.pose(0, False)[2] - self.source.pose(0, True)[2]
        return (change + math.pi) % (2.0 * math.pi) - math.pi


@dataclasses.dataclass(frozen=True)
class Junction:
    """Where roads meet.

    Args:
        name: name, also SUMO's.
        arms: the ends that meet.
        movements: the ways across.
        kind: SUMO's node type.
        crosswalks: whether pedestrians cross the arms.

    """

    name: str
    arms: tuple[Arm, ...]
    movements: tuple[Movement, ...]
    kind: str = "priority"
    crosswalks: bool = False

    @property
    def place(self) -> tuple[float, float]:
        """Return the middle of the arms' ends."""
        ends = [arm.road.curve.starts()[-1 if arm.at_end else 0] for arm in self.arms]
        return sum(end[0] for end in ends) / len(ends), sum(end[1] for end in ends) / len(ends)


@dataclasses.dataclass(frozen=True)
class TownPlan:
    """A whole town."""

    name: str
    roads: tuple[Road, ...]
    junctions: tuple[Junction, ...]
