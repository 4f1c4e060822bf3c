"""SequentialLaneChange: the route changes lane several times, among cars that do not make room."""

import itertools
import math

import py_trees
from py_trees.common import Status

from craft_lightning.roads.cross_section import CrossSections, neighbour
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario, When
from craft_lightning.simulation.scenarios.movers import Driver, EgoPast, until
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.scenarios.tracks import own_lane

_MOST = 3  # cars


class SequentialLaneChange(Scenario):
    """Where the route changes lane, a car drives in the lane that it changes into.

    No parameters in route files. Bench2Drive leaves the other cars to the background traffic; ours make sure that
    there is one in each of the first three lanes changed into. A car appears when the ego is at the trigger point, or
    35 metres before the change, between 6 metres behind and 12 metres ahead of the ego, and drives 0.75 to 1.0 times as
    fast as the ego then does. It ends 30 metres behind the last change. Drawn from the seed: models, places, speeds.
    """

    life = 60.0

    def prepare(self) -> None:
        """Find the changes and draw the cars."""
        stage, rng = self.stage, self.stage.rng
        self.changes = [s for s in lane_changes(stage) if s > stage.trigger][:_MOST]
        self.cars = [(s, float(rng.uniform(-6.0, 12.0)), float(rng.uniform(0.75, 1.0))) for s in self.changes]

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: a car beside each change, until the ego is past the last."""
        stage = self.stage
        last = max(self.changes, default=stage.trigger)
        over = When("ego past", stage, EgoPast(stage, min(last + 30.0, stage.end - 5.0)))
        return until("cars beside", over, *(_Beside(stage, *car) for car in self.cars))


class _Beside(Action):
    """Appears in the lane that a change leads into, and drives along it until the scenario is over."""

    def __init__(self, stage: Stage, change: float, ahead: float, share: float) -> None:
        super().__init__("beside", stage)
        self._change, self._ahead, self._share = change, ahead, share
        self.driver: Driver | None = None
        self._speed = 0.0
        self._tried = False

    def update(self) -> Status:
        """Drive one step."""
        stage = self.stage
        if not self._tried and stage.ego_s >= self._change - 35.0:
            self._tried = True
            self._appear()
        if self.driver is not None and self.driver.see():
            if self.driver.s > self.driver.stage.end - 4.0:
                stage.dismiss(self.driver.vehicle)
                self.driver = None
                return Status.SUCCESS
            self.driver.drive(self._speed)
        return Status.RUNNING

    def _appear(self) -> None:
        stage = self.stage
        if stage.network is None:
            return
        # On which side: where the route is after the change, seen from its direction before it.
        x, y, heading = stage.pose(self._change - 14.0)
        ahead_x, ahead_y, _ = stage.pose(min(self._change + 14.0, stage.end))
        left = (ahead_y - y) * math.cos(heading) - (ahead_x - x) * math.sin(heading)
        here = stage.ego_s + self._ahead
        strip = neighbour(CrossSections.of(stage.network).at(*stage.pose(here)), 1.0 if left > 0.0 else -1.0)
        if strip is None:
            return
        way = own_lane(stage, here, 0.0, 220.0, strip)
        vehicle = way.spawn(cast.draw(stage, "car"), 0.0)
        if vehicle is None:
            return
        self.driver = Driver(way, vehicle, 0.0)
        self._speed = max(self._share * stage.ego_speed, 4.0)
        self.driver.start_at(self._speed)


def lane_changes(stage: Stage) -> list[float]:
    """Return the metres of route at which it is half-way from one lane into one beside it."""
    network = stage.network
    if network is None:
        return []
    lanes = stage.route.lane.tolist()
    found = []
    for index, (old, new) in enumerate(itertools.pairwise(lanes), 1):
        if old != new and new in (int(network.left_neighbour[old]), int(network.right_neighbour[old])):
            found.append(float(stage.s[index]))
    return found


TYPES: dict[str, type[Scenario]] = {"SequentialLaneChange": SequentialLaneChange}
