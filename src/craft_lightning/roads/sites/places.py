"""Places on ordinary road that finders draw from: which lanes have room, and what lies beside them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from craft_lightning.roads.cross_section import CrossSections, Strip
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.roads.sites.base import Finder, Site, route_through, trigger_pose

LENGTH = (200.0, 250.0)
"""Shortest and longest route of a site, m."""
_STRAIGHT = 0.12  # radians that a lane may turn where something stands


@dataclasses.dataclass(frozen=True)
class Room:
    """What a scenario needs of the road.

    Args:
        before: metres of the same lane before the place.
        after: metres of the same lane behind it.
        distance: least and greatest metres from the trigger point to the place.
        run_up: metres of route before the trigger point.
        beside: further condition on the lanes that run past the place, from right to left.
        straight: the lane does not turn there.
        top_speed: m/s; faster roads are left out.

    """

    before: float
    after: float
    distance: tuple[float, float]
    run_up: float = 50.0
    beside: "Callable[[list[Strip]], bool] | None" = None
    straight: bool = True
    top_speed: float = 99.0


Parameters = Callable[[np.random.Generator, float], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class PlaceFinder:
    """A finder for what happens at one place of a lane, clear of junctions.

    Args:
        kind: the scenario type.
        room: what it needs.
        parameters: makes the scenario's parameters from random numbers and the distance in metres.

    """

    kind: str
    room: Room
    parameters: Parameters

    def __call__(self, network: RoadNetwork, rng: np.random.Generator) -> Site | None:
        """Make one random try."""
        found = draw_place(network, rng, self.room)
        if found is None:
            return None
        lane, at = found
        # Whole metres, so that the route file says exactly what was drawn.
        low, high = self.room.distance
        distance = float(rng.integers(round(low), round(high) + 1))
        before = distance + self.room.run_up
        total = float(rng.uniform(*LENGTH))
        passed = route_through(network, rng, lane, at, before, total - before)
        if passed is None:
            return None
        route, place = passed
        return site(self.kind, route, place - distance, self.parameters(rng, distance))


def draw_place(network: RoadNetwork, rng: np.random.Generator, room: Room) -> tuple[int, float] | None:
    """Return a lane and the metres along it where there is room, or None where the draw does not fit."""
    length = network.lane_length
    fitting = (network.lane_kind == DRIVING) & ~network.lane_junction & (network.lane_speed <= room.top_speed)
    free = np.where(fitting, np.maximum(length - room.before - room.after, 0.0), 0.0)
    if free.sum() <= 0.0:
        return None
    lane = int(rng.choice(len(free), p=free / free.sum()))
    at = room.before + float(rng.uniform(0.0, free[lane]))
    if room.straight:
        here = network.lane_at(lane, np.linspace(at - min(room.before, 15.0), at + min(room.after, 35.0), 11))[:, 3]
        if np.ptp(here) > _STRAIGHT:
            return None
    if room.beside is not None:
        x, y, _, yaw, _ = network.lane_at(lane, at).tolist()
        if not room.beside(CrossSections.of(network).at(x, y, yaw)):
            return None
    return lane, at


def site(kind: str, route: Route, trigger: float, parameters: Mapping[str, Any]) -> Site | None:
    """Return the site of one scenario, None where its trigger point is not on the route or the route is too short."""
    if not 1.0 <= trigger < route.length or not LENGTH[0] - 10.0 <= route.length <= LENGTH[1] + 10.0:
        return None
    return Site(route, ScenarioConfig(f"{kind}_1", kind, trigger_pose(route, trigger), dict(parameters)))


def finder_table(*finders: PlaceFinder) -> dict[str, Finder]:
    """Return finders by their types."""
    return {finder.kind: finder for finder in finders}


# -- what lies beside -------------------------------------------------------------------------------------------------


def has_left(strips: list[Strip]) -> bool:
    """Whether there is a lane of the same direction to the left."""
    return any(one.driving and one.same and 2.0 < one.left < 5.0 for one in strips)


def has_right(strips: list[Strip]) -> bool:
    """Whether there is a lane of the same direction to the right."""
    return any(one.driving and one.same and -5.0 < one.left < -2.0 for one in strips)


def is_outer(strips: list[Strip]) -> bool:
    """Whether the lane is the rightmost of its direction."""
    return not has_right(strips)


def has_either(strips: list[Strip]) -> bool:
    """Whether there is a lane of the same direction on one side."""
    return has_left(strips) or has_right(strips)


def two_way(strips: list[Strip]) -> bool:
    """Whether there is one lane a direction, side by side."""
    return not has_either(strips) and any(one.driving and not one.same and 2.0 < one.left < 5.5 for one in strips)


def has_parking(strips: list[Strip]) -> bool:
    """Whether a parking lane runs along to the right, with nothing in between."""
    return is_outer(strips) and any(one.parking and one.width > 1.8 and -4.5 < one.left < -2.0 for one in strips)
