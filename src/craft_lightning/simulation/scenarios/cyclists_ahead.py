"""HazardAtSideLane: slow cyclists ride at the side of the ego's lane; with oncoming traffic, too."""

from typing import Any

import py_trees
from py_trees.common import Status

from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario, When
from craft_lightning.simulation.scenarios.movers import Driver, Flow, until
from craft_lightning.simulation.scenarios.parameters import KMH, interval, number
from craft_lightning.simulation.scenarios.tracks import against, along, beside

_BEHIND = 6.0  # metres between two cyclists
_PASSED = 14.0


class HazardAtSideLane(Scenario):
    """Two cyclists ride slowly at the right side of the ego's lane; the ego has to overtake them.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to the nearer cyclist,
    ``bicycle_speed`` km/h, ``bicycle_drive_distance`` metres that they ride before they stop and wait, ``speed`` km/h
    that traffic drives (kept to by oncoming traffic), ``frequency`` metres between two oncoming vehicles (two ways).

    It ends when the ego is past both. Oncoming traffic lasts for 8 to 14 seconds. Drawn from the seed: that time,
    gaps, how far from the edge they ride.
    """

    life = 90.0
    permits = frozenset({"opposite_lane", "shoulder"})

    def prepare(self) -> None:
        """Put the cyclists on the road; they ride from the trigger on."""
        stage, config, rng = self.stage, self.config, self.stage.rng
        distance = number(config, "distance", 45.0)
        self.pace = number(config, "bicycle_speed", 10.0) * KMH
        ride = number(config, "bicycle_drive_distance", 60.0)
        self.speed = number(config, "speed", 60.0) * KMH
        self.gap = interval(config, "frequency", (60.0, 120.0))
        self.two_ways = config.type.endswith("TwoWays")
        self.lasting = float(rng.uniform(8.0, 14.0))
        self.place = min(stage.trigger + distance, stage.end - 25.0)
        self.until = min(self.place + ride, stage.end - 12.0)
        self.drivers: list[Driver] = []
        for number_ in range(2):
            left = float(rng.uniform(-1.25, -0.95))
            begin = self.place + _BEHIND * number_
            way = beside(stage, (begin, max(self.until + _BEHIND * number_ + 8.0, begin + 8.0)), (left, left))
            cyclist: Any = way.spawn(cast.draw(stage, "bicycle"), 0.0)
            if cyclist is not None:
                self.drivers.append(Driver(way, cyclist, 0.0, heed=False))
        self.ride = self.until - self.place

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def past(self) -> bool:
        """Whether the ego is past both cyclists, or at the end of its route."""
        front = max((self.place + _BEHIND * n + driver.s for n, driver in enumerate(self.drivers)), default=self.place)
        return self.stage.ego_s >= min(front + _PASSED, self.stage.end - 6.0)

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: ride until the ego is past."""
        stage = self.stage
        parts: list[py_trees.behaviour.Behaviour] = [_Ride(stage, self)]
        way = against(stage, self.place, 160.0, 70.0) if self.two_ways else None
        if way is not None:
            first = along(way, *stage.pose(stage.trigger + 62.0)[:2])
            speed = min(float(way.route.speed_limit[0]), self.speed, 10.0)
            parts.append(Flow(stage, way, self.gap, speed, self.lasting, first))
        return until("ride until the ego is past", When("ego past", stage, self.past), *parts)


class _Ride(Action):
    """Keeps all cyclists going for their distance, then holds them."""

    def __init__(self, stage: Any, scenario: HazardAtSideLane) -> None:
        super().__init__("ride", stage)
        self._scenario = scenario

    def update(self) -> Status:
        """Ride one step."""
        scenario = self._scenario
        for driver in scenario.drivers:
            if not driver.see():
                continue
            if driver.s >= scenario.ride:
                driver.brake(3.0)
            else:
                driver.drive(scenario.pace)
        return Status.RUNNING


TYPES: dict[str, type[Scenario]] = {
    "HazardAtSideLane": HazardAtSideLane,
    "HazardAtSideLaneTwoWays": HazardAtSideLane,
}
