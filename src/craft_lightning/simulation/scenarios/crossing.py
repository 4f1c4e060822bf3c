"""DynamicObjectCrossing: a pedestrian steps out, perhaps from behind something, and crosses the ego's lane."""

import math
from typing import Any

import carla
import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.frames import points_to_carla
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario, parameter
from craft_lightning.simulation.scenarios.parameters import number, side
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.scenarios.tracks import roadside

_REACTION = 1.3  # seconds that an attentive driver is left before it has to brake
_BRAKING = 6.0  # m/s2 of that braking
_EGO_FRONT = 2.4  # metres from the ego's centre to its front, about
_STANDING = 1.0  # metres above the road of a pedestrian's origin, the middle of its body
_PROBE, _MEDIAN, _WIDEST = 0.25, 1.5, 30.0  # metres: step, widest gap, end of the search for the road's edge
_SUBSTITUTE = "static.prop.vendingmachine"  # for blocker models that a server lacks


class DynamicObjectCrossing(Scenario):
    """A pedestrian waits beside the road and crosses so as to meet the ego in the middle of its lane.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to the crossing (40),
    ``direction`` side from which the pedestrian comes (right), ``crossing_angle`` degrees off the perpendicular (0),
    ``blocker_model`` prop that half hides it ("" or "none": nothing).

    It starts walking when the ego, at its present speed, is as far away in time as the pedestrian from the middle of
    the ego's lane. Its pace is lowered where that would leave a driver of 1.3 s reaction and 6 m/s2 no way to stop.
    Drawn from the seed: pace 1.2 to 1.9 m/s, place up to 1.5 m from the given one, 0.9 to 1.5 m beside the road,
    arrival up to 0.25 s early or late.
    """

    life = 30.0

    def prepare(self) -> None:
        """Place the pedestrian and the blocker."""
        stage, rng = self.stage, self.stage.rng
        distance = number(self.config, "distance", 40.0)
        self.side = side(self.config)
        self.pace = float(rng.uniform(1.2, 1.9))
        self.jitter = float(rng.uniform(-0.25, 0.25))
        place = stage.trigger + distance + float(rng.uniform(-1.5, 1.5))
        self.place = min(place, stage.end - 8.0)
        beside = float(rng.uniform(0.9, 1.5))
        angle = math.radians(number(self.config, "crossing_angle", 0.0))
        # The direction of walking in the route's frame: across, turned by the crossing angle.
        self.turn = -self.side * (0.5 * math.pi + angle)
        self.start = road_edge(stage, self.place, self.side) + beside
        self.far = road_edge(stage, self.place, -self.side) + 1.0
        self.walker = self._spawn_walker()
        if self.walker is not None:
            self._hide()

    def _hide(self) -> None:
        """Put something between the ego and the pedestrian."""
        blocker = parameter(self.config, "blocker_model", "none")
        if blocker.lower() not in ("", "none"):
            self._spawn_blocker(blocker)

    def _spawn_walker(self) -> Any | None:
        blueprint = self.stage.session.blueprint("walker.pedestrian.*", is_invincible="false")
        for further in (0.0, 1.0, 2.0, 3.0):
            walker = self.stage.spawn(
                blueprint, self.place + further, self.side * self.start, self.turn, lift=_STANDING
            )
            if walker is not None:
                self.place += further
                return walker
        return None

    def _spawn_blocker(self, model: str) -> None:
        """Put a prop between the ego and the pedestrian, off the road; a server without such props has none."""
        session = self.stage.session
        if not session.has_blueprint(model):
            model = _SUBSTITUTE
        if not session.has_blueprint(model):
            return
        edge = self.start - 0.4
        blocker = self.stage.spawn(session.blueprint(model), self.place - 8.0, self.side * (edge + 3.0), lift=0.0)
        if blocker is None:
            return
        extent = blocker.bounding_box.extent
        before, aside = extent.x + 0.9, extent.y + 0.2
        # Long props stand along the road, their near side just off it.
        road = road_edge(self.stage, self.place - before, self.side)
        blocker.set_transform(self.stage.transform(self.place - before, self.side * (road + aside)))

    def trigger_condition(self) -> bool:
        """Whether the ego is past the trigger point and as far away in time as the pedestrian."""
        stage = self.stage
        if self.walker is None or stage.ego_s < stage.trigger or stage.ego_speed < 1.0:
            return False
        self.pace = min(self.pace, self.start / (_REACTION + stage.ego_speed / (2.0 * _BRAKING)))
        arrival = (self.place - stage.ego_s - _EGO_FRONT) / stage.ego_speed
        return arrival <= self.start / self.pace + self.jitter

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: walk across the whole road."""
        return _Walk(self.stage, self)


class ParkingCrossingPedestrian(DynamicObjectCrossing):
    """A pedestrian steps out from behind a parked van.

    Parameters as in ``DynamicObjectCrossing``, without ``blocker_model``: the van stands beside the lane, its front a
    little before the pedestrian.
    """

    def _hide(self) -> None:
        """Park the van."""
        place = self.place - 4.2
        cast.stand(self.stage, "large", place, roadside(self.stage, place, self.side))


class _Walk(Action):
    """Walks until the other side of the road."""

    def __init__(self, stage: Stage, scenario: DynamicObjectCrossing) -> None:
        super().__init__("walk", stage)
        self._scenario = scenario

    def update(self) -> Status:
        """Walk one step."""
        scenario, stage = self._scenario, self.stage
        walker = scenario.walker
        if walker is None:
            return Status.FAILURE
        _, _, heading = stage.pose(scenario.place)
        way = heading + scenario.turn
        row = stage.view.row(int(walker.id))
        if row >= 0:
            x, y, _ = stage.pose(scenario.place)
            left = (stage.view.y[row] - y) * math.cos(heading) - (stage.view.x[row] - x) * math.sin(heading)
            if -scenario.side * left > scenario.far:
                return Status.SUCCESS
        x, y = points_to_carla(np.array([math.cos(way), math.sin(way)])).tolist()
        walker.apply_control(carla.WalkerControl(carla.Vector3D(x, y, 0.0), scenario.pace))
        return Status.RUNNING


def road_edge(stage: Stage, s: float, side: float) -> float:
    """Return the metres from the route to the far edge of the driving lanes on one side, read from ``carla.Map``.

    The map is probed outwards, because not every map has both directions on one road; a median or a gap of up to
    1.5 m belongs to the road.

    Args:
        stage: shared state.
        s: metres of route.
        side: 1 for the left, -1 for the right.

    """
    town = stage.session.world.get_map()
    edge = 0.0
    for reach in np.arange(0.0, _WIDEST, _PROBE).tolist():
        place = stage.transform(s, side * reach).location
        if town.get_waypoint(place, project_to_road=False, lane_type=carla.LaneType.Driving) is not None:
            edge = reach
        elif reach > edge + _MEDIAN:
            break
    return max(edge + 0.5 * _PROBE, 1.5)


TYPES: dict[str, type[Scenario]] = {
    "DynamicObjectCrossing": DynamicObjectCrossing,
    "ParkingCrossingPedestrian": ParkingCrossingPedestrian,
}
