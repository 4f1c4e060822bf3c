"""ParkingExit: the ego begins parked between two cars and has to find its way into the traffic."""

import math
from typing import TYPE_CHECKING

import py_trees

from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Scenario, When
from craft_lightning.simulation.scenarios.movers import EgoPast, Flow, until
from craft_lightning.simulation.scenarios.parameters import KMH, interval, number, side
from craft_lightning.simulation.scenarios.stage import route_position
from craft_lightning.simulation.scenarios.tracks import own_lane, parked

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routes import ScenarioConfig
    from craft_lightning.roads.routing import Route

_BEHIND = 90.0  # metres behind the ego from which the traffic comes
_FIRST = 45.0  # metres behind the ego at which the first car appears


class ParkingExit(Scenario):
    """A car stands before the ego and one behind it; for a while traffic passes in the lane that it has to enter.

    Parameters, as in Bench2Drive's route files: ``front_vehicle_distance`` and ``behind_vehicle_distance`` metres
    between the centres (20, 10), ``direction`` side on which the ego is parked (right), ``flow_distance`` metres
    between two cars that pass (25), ``speed`` km/h at which they do (60, and no more than the limit).

    The ego begins beside the trigger point, which is the route's start. For 5 to 9 seconds cars come from behind with
    up to twice ``flow_distance`` between them. It ends when the ego is 15 metres past the car in front. Drawn from the
    seed: models, that time, gaps.
    """

    life = 60.0
    permits = frozenset({"shoulder", "offroad", "opposite_lane"})

    @classmethod
    def ego_place(
        cls, config: "ScenarioConfig", route: "Route", network: "RoadNetwork | None"
    ) -> tuple[float, float] | None:
        """Return the parking place."""
        s = _beginning(config, route)
        x, y, yaw = (float(value) for value in route.at(s))
        return s, parked(network, (x, y, yaw), side(config))

    def prepare(self) -> None:
        """Park the two others."""
        stage, config, rng = self.stage, self.config, self.stage.rng
        front = number(config, "front_vehicle_distance", 20.0)
        behind = number(config, "behind_vehicle_distance", 10.0)
        self.flow = interval(config, "flow_distance", (25.0, 25.0))
        self.speed = number(config, "speed", 60.0) * KMH
        self.lasting = float(rng.uniform(5.0, 9.0))
        self.side = side(config)
        self.begin = _beginning(config, stage.route)
        self.left = parked(stage.network, stage.pose(self.begin), self.side)
        self.place = self.begin + front
        cast.stand(stage, "car", self.place, self.left)
        cast.stand(stage, "car", self.begin - behind, self.left)

    def trigger_condition(self) -> bool:
        """Whether there is an ego: the scenario begins with the route."""
        return True

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: traffic until the ego is out and away."""
        stage = self.stage
        over = When("ego past", stage, EgoPast(stage, min(self.place + 15.0, stage.end - 5.0)))
        way = own_lane(stage, self.begin, _BEHIND, 150.0)
        if way.end < _BEHIND:
            return over
        low, high = self.flow
        speed = min(self.speed, stage.speed_limit(self.begin), 10.0)
        room = way.end - 150.0 - _FIRST
        return until("traffic", over, Flow(stage, way, (low, 2.0 * high), speed, self.lasting, max(room, 1.0)))


def _beginning(config: "ScenarioConfig", route: "Route") -> float:
    x, y, _, yaw = (float(value) for value in config.trigger_point)
    # Some metres in, where the route's start is nearer: the ego needs road behind it that the map knows.
    return max(math.floor(route_position(route, x, y, yaw)), 0.0)


TYPES: dict[str, type[Scenario]] = {"ParkingExit": ParkingExit}
