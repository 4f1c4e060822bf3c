"""Flows between two given places: EnterActorFlow, HighwayExit, the interurban flows, the mergers, crossing bicycles."""

import weakref

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.fleet import BICYCLES, CARS
from craft_lightning.simulation.scenarios.flow import SOURCE, Flow, FlowPattern
from craft_lightning.simulation.scenarios.flow_base import FlowScenario, first_meeting
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.parameters import direction, interval, needed_place

_DETOUR = 1.8  # times the straight line: a longer way means lanes that do not connect the two places
_LANE = 2.2  # metres from a lane's centre within which a place means that lane


class ActorFlow(FlowScenario):
    """A flow from ``start_actor_flow`` to ``end_actor_flow``.

    Parameters as in Bench2Drive: the two places, ``flow_speed`` m/s (10), ``source_dist_interval`` metres between two
    vehicles (20 to 50). The path follows the lanes; where those do not lead from one place to the other (bicycle
    lanes) it is a straight line. Drawn from the seed: the distances, platoons of two to four, openings, models.

    What the ego does to the flow is its route's business: it crosses it, joins it, or changes lanes through it.
    """

    fleet = CARS

    def make_flows(self) -> list[Flow]:
        """Return the one flow."""
        pattern = FlowPattern.of(self.config, 10.0, (20.0, 50.0))
        direction(self.config)
        start, end = (np.array(needed_place(self.config, name)) for name in ("start_actor_flow", "end_actor_flow"))
        path = FlowPath(path_between(self.stage.network, start, end), pattern.speed)
        if path.length < 12.0:
            raise CraftError(
                f"scenario '{self.config.name}' ({self.config.type}): 'start_actor_flow' and 'end_actor_flow' are "
                "closer than 12 m; move them apart in the route file"
            )
        return [Flow(self.stage, path, pattern, self.fleet)]


class CrossingBicycleFlow(ActorFlow):
    """A flow of bicycles beside the oncoming lane, which the ego crosses as it turns.

    Beyond Bench2Drive's parameters: ``spawn_range``, from and to in metres before the place where the ego crosses the
    flow, outside of which no bicycle appears (Bench2Drive*). Without it they appear on all their way.
    """

    fleet = BICYCLES

    def prepare(self) -> None:
        """Plan the flow, and where it may begin."""
        super().prepare()
        if "spawn_range" not in self.config.parameters:
            return
        near, far = interval(self.config, "spawn_range", (1.0, 1.0))
        for flow in self.flows:
            met = first_meeting(self.stage, flow.path)
            if met is not None:
                flow.source = max(SOURCE, met[1] - far)
                self.last_start = max(flow.source, met[1] - near)

    def farthest(self, flow: Flow) -> float:
        """Return the metres of path up to which bicycles may appear."""
        return min(super().farthest(flow), self.last_start)


def path_between(network: RoadNetwork | None, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return a path [N, 3] along the lanes of a town, or straight where no lanes connect the places.

    Args:
        network: the town, where it is known.
        start: [3] world frame, metres.
        end: likewise.

    """
    straight = np.stack([start, end])
    if network is None:
        return straight
    planner = _planner(network)
    if not all(_on_lane(planner, place) for place in (start, end)):
        return straight
    try:
        route = planner.plan(start[:2].tolist(), end[:2])
    except CraftError:  # no way between them: bicycle lanes beside the road, or the map is another one
        return straight
    if route.length > _DETOUR * float(np.hypot(*(end - start)[:2])) + 10.0:
        return straight
    return _beside(np.column_stack([route.xy, route.z]), np.asarray(route.heading), start, end)


def _beside(line: np.ndarray, heading: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Move a lane's centre line sideways so that it passes the given places: bicycles keep to the edge."""
    normal = np.stack([-np.sin(heading), np.cos(heading)], 1)
    first = float((start[:2] - line[0, :2]) @ normal[0])
    last = float((end[:2] - line[-1, :2]) @ normal[-1])
    moved = line.copy()
    moved[:, :2] += np.linspace(first, last, len(line))[:, None] * normal
    return moved


def _on_lane(planner: RoutePlanner, place: np.ndarray) -> bool:
    found = planner.matcher.matches(float(place[0]), float(place[1]), None, _LANE)
    return len(found) > 0


_PLANNERS: dict[int, RoutePlanner] = {}


def _planner(network: RoadNetwork) -> RoutePlanner:
    """Return the one planner of a network."""
    found = _PLANNERS.get(id(network))
    if found is None:
        found = _PLANNERS[id(network)] = RoutePlanner(network)
        weakref.finalize(network, _PLANNERS.pop, id(network), None)
    return found


TYPES: dict[str, type[Scenario]] = {
    "CrossingBicycleFlow": CrossingBicycleFlow,
    "EnterActorFlow": ActorFlow,
    "HighwayExit": ActorFlow,
    "InterurbanActorFlow": ActorFlow,
    "InterurbanAdvancedActorFlow": ActorFlow,
    "MergerIntoSlowTraffic": ActorFlow,
    "MergerIntoSlowTrafficV2": ActorFlow,
}
