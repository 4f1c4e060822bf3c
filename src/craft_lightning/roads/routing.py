"""Route planning: the lane graph (networkx), the best way between poses, and a way through given waypoints."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.matching import LaneMatcher, Match
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.route_points import Visit, build_route

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig

__all__ = ["Route", "RoutePlanner", "RoutingOptions"]

_START = -1
# Waypoints closer together than this (m) tell the heading between them and lead on nearby.
_DENSE = 15.0
# Routes that a planner remembers: training drives the same ones in every iteration.
_REMEMBERED = 128


@dataclasses.dataclass(frozen=True)
class RoutingOptions:
    """Costs of the lane graph, in metres of driving.

    Args:
        lane_change: a lane change.
        short_lane: added to a lane change, divided by the lane's length: changes belong on long lanes.
        solid_line: added where the markings forbid the change.
        shortest_change: lanes shorter than this (m) allow no change.
        snap: metres within which a waypoint must lie beside a lane.
        tolerance: lanes farther from a waypoint than its nearest lane by more than this (m) are not meant by it.
        waypoint_spacing: waypoints closer together than this (m) are thinned out.

    """

    lane_change: float = 15.0
    short_lane: float = 300.0
    solid_line: float = 200.0
    shortest_change: float = 10.0
    snap: float = 5.0
    tolerance: float = 2.0
    waypoint_spacing: float = 6.0


class RoutePlanner:
    """Plans routes over one network.

    Args:
        network: the road network.
        options: costs and tolerances.

    """

    def __init__(self, network: RoadNetwork, options: RoutingOptions | None = None) -> None:
        self.network = network
        self.options = options or RoutingOptions()
        self.matcher = LaneMatcher(network)
        self.graph = lane_graph(network, self.options)
        self._remembered = functools.lru_cache(_REMEMBERED)(self._plan_points)

    def plan(self, start: Sequence[float], goal: Sequence[float] | np.ndarray | Sequence[Sequence[float]]) -> Route:
        """Plan from a pose to a goal or through waypoints.

        Args:
            start: world x, y and, where known, yaw (radians).
            goal: x, y of the goal, or [N, 2 or 3] waypoints of which the last is the goal.

        Returns:
            The route; it begins at the start's and ends at the goal's place on their lanes.

        Raises:
            CraftError: a point farther than ``options.snap`` from every driving lane, or no way between two points.

        """
        goals = np.atleast_2d(np.asarray(goal, np.float64))[:, :2]
        points = np.concatenate([np.asarray(start, np.float64)[None, :2], goals])
        yaw = float(start[2]) if len(start) > 2 else None
        return self._through(points, yaw, what="the route")

    def plan_route(self, config: "RouteConfig") -> Route:
        """Plan the route of a route file.

        Raises:
            CraftError: as ``plan``; the sentence names the route.

        """
        points = np.asarray(config.waypoints, np.float64)[:, :2]
        return self._remembered(points.tobytes(), f"route '{config.id}' of {config.town}")

    def _plan_points(self, points: bytes, what: str) -> Route:
        return self._through(np.frombuffer(points).reshape(-1, 2), None, what)

    def _through(self, points: np.ndarray, yaw: float | None, what: str) -> Route:
        points = self._thin(points)
        if len(points) < 2:
            raise CraftError(f"{what} needs two waypoints at least 1 m apart")
        layers = self._candidates(points, yaw, what)
        # A waypoint means the lane it lies on; a lane beside it only where the meant ones lead nowhere. Dense waypoints
        # lead on nearby: there a lane beside is more likely than a way round the town.
        meant = [[match for match in found if match.cost <= found[0].cost + self.options.tolerance] for found in layers]
        route, failed = None, 0
        for candidates, nearby in ((meant, True), (layers, True), (meant, False), (layers, False)):
            route, failed = self._search(points, candidates, nearby)
            if route is not None:
                break
        if route is None:
            (x0, y0), (x1, y1) = points[failed - 1], points[failed]
            raise CraftError(
                f"{what}: no way along the lanes from ({x0:.1f}, {y0:.1f}) to ({x1:.1f}, {y1:.1f}) "
                "(world frame, y north); move a waypoint onto a lane that leads there"
            )
        return route

    def _search(self, points: np.ndarray, layers: list[list[Match]], nearby: bool) -> tuple[Route | None, int]:
        """Find the cheapest way through one candidate a layer: mismatch of the points plus distance (Viterbi).

        Args:
            points: [N, 2] the waypoints.
            layers: candidates of each waypoint.
            nearby: look for the way between dense waypoints in their neighbourhood only, which is also much faster.

        Returns:
            The route, or None and the index of the first point that cannot be reached.

        """
        costs = [_mismatch(match.cost) for match in layers[0]]
        trace: list[list[tuple[int, list[int]]]] = []
        for step in range(1, len(layers)):
            gap = float(np.hypot(*(points[step] - points[step - 1])))
            reach = 2.0 * gap + 100.0 if nearby and gap < _DENSE else None
            options = [self._legs(match, layers[step], reach) for match in layers[step - 1]]
            new_costs, row = [], []
            for column, match in enumerate(layers[step]):
                best: tuple[int, list[int]] = (-1, [])
                best_cost = math.inf
                for previous, legs in enumerate(options):
                    leg = legs[column]
                    if leg is not None:
                        distance, path = leg
                        total = costs[previous] + distance + _mismatch(match.cost)
                        if total < best_cost:
                            best, best_cost = (previous, path), total
                new_costs.append(best_cost)
                row.append(best)
            if not np.isfinite(new_costs).any():
                return None, step
            costs = new_costs
            trace.append(row)
        return build_route(self.network, self._visits(layers, trace, int(np.argmin(costs)))), len(layers)

    def _thin(self, points: np.ndarray) -> np.ndarray:
        """Keep the first and the last point and others at least ``waypoint_spacing`` apart."""
        kept = [points[0]]
        for point in points[1:-1]:
            far_enough = np.hypot(*(point - kept[-1])) >= self.options.waypoint_spacing
            if far_enough and np.hypot(*(point - points[-1])) >= self.options.waypoint_spacing:
                kept.append(point)
        if np.hypot(*(points[-1] - kept[-1])) >= 1.0 or len(kept) > 1:
            kept.append(points[-1])
        return np.array(kept)

    def _candidates(self, points: np.ndarray, yaw: float | None, what: str) -> list[list[Match]]:
        """Return the lanes each point may mean; dense points tell their heading, sparse ones do not."""
        layers = []
        for k, (x, y) in enumerate(points):
            heading = yaw if k == 0 else None
            if heading is None and len(points) > 2:
                before, after = points[max(k - 1, 0)], points[min(k + 1, len(points) - 1)]
                if max(np.hypot(*(points[k] - before)), np.hypot(*(after - points[k]))) < _DENSE:
                    heading = float(np.arctan2(after[1] - before[1], after[0] - before[0]))
            # A heading guessed from points that lie across a road is worse than none.
            found = self.matcher.matches(x, y, heading, self.options.snap)
            if not found and (k or yaw is None):
                found = self.matcher.matches(x, y, None, self.options.snap)
            if not found:
                raise CraftError(
                    f"{what}: waypoint ({x:.1f}, {y:.1f}) (world frame, y north) is farther than "
                    f"{self.options.snap:g} m from every driving lane; move it onto a road or choose the right town"
                )
            layers.append(found)
        return layers

    def _legs(self, start: Match, goals: list[Match], reach: float | None) -> list[tuple[float, list[int]] | None]:
        """Return distance and lanes from ``start`` to each goal, None where there is no way (within ``reach``)."""
        graph, length = self.graph, self.network.lane_length
        beside = self._beside(start)
        answers: list[tuple[float, list[int]] | None] = [None] * len(goals)
        rest: list[int] = []
        for column, goal in enumerate(goals):
            place = start.s / length[start.lane] * length[goal.lane]
            if goal.lane in beside and goal.s >= place - 0.5:
                cost, lanes = beside[goal.lane]
                answers[column] = (max(0.0, goal.s - place) + cost, lanes)
            else:
                rest.append(column)
        if not rest:
            return answers
        for lane, (cost, _) in beside.items():
            remaining = (1.0 - start.s / length[start.lane]) * length[lane]
            for after in self.network.successors[lane]:
                if graph.has_node(after):
                    weight = remaining + cost
                    if not graph.has_edge(_START, after) or graph[_START][after]["weight"] > weight:
                        graph.add_edge(_START, after, weight=weight, via=lane)
        try:
            if graph.has_node(_START):
                distances, paths = nx.single_source_dijkstra(graph, _START, cutoff=reach)
                for column in rest:
                    goal = goals[column]
                    if goal.lane in distances:
                        path = paths[goal.lane][1:]
                        begin = beside[graph[_START][path[0]]["via"]][1]
                        answers[column] = (distances[goal.lane] + goal.s, [*begin, *path])
        finally:
            if graph.has_node(_START):
                graph.remove_node(_START)
        return answers

    def _beside(self, start: Match) -> dict[int, tuple[float, list[int]]]:
        """Return the lanes reachable from ``start`` by lane changes alone: cost and the lanes passed."""
        found = {start.lane: (0.0, [start.lane])}
        open_lanes = [start.lane]
        room = self.network.lane_length[start.lane] - start.s
        while open_lanes and room >= self.options.shortest_change:
            lane = open_lanes.pop(0)
            for _, other, data in self.graph.out_edges(lane, data=True):
                if data["change"] and other not in found:
                    found[other] = (found[lane][0] + data["weight"], [*found[lane][1], other])
                    open_lanes.append(other)
        return found

    def _visits(self, layers: list[list[Match]], trace: list[list[tuple[int, list[int]]]], last: int) -> list[Visit]:
        """Walk the Viterbi trace back and turn it into lane visits in order."""
        chosen = [last]
        legs: list[list[int]] = []
        for row in reversed(trace):
            previous, path = row[chosen[-1]]
            legs.append(path)
            chosen.append(previous)
        chosen.reverse()
        legs.reverse()
        first = layers[0][chosen[0]]
        visits = [Visit(first.lane, first.s / self.network.lane_length[first.lane], None)]
        for step, path in enumerate(legs):
            for lane in path[1:]:
                visits.append(Visit(lane, None, None))
            goal = layers[step + 1][chosen[step + 1]]
            # A waypoint pins its lane at its place, so that a change happens between the right two waypoints.
            place = float(np.clip(goal.s / self.network.lane_length[goal.lane], 0.0, 1.0))
            visits[-1] = dataclasses.replace(visits[-1], last=place)
        return visits


def _mismatch(cost: float) -> float:
    """Return what a waypoint off a lane costs, in metres of driving.

    A waypoint one metre off is as good as one on the centre line; one on the next lane (3.5 m off) costs more than any
    lane change, solid lines included, for the file means the lane that it names.
    """
    return 3.0 * cost + 40.0 * max(0.0, cost - 1.0) ** 2


def lane_graph(network: RoadNetwork, options: RoutingOptions) -> nx.DiGraph:
    """Return the graph of driving lanes: edges to successors weigh the lane's length, edges to neighbours a change."""
    graph = nx.DiGraph()
    length = network.lane_length
    driving = network.lane_kind == DRIVING
    graph.add_nodes_from(np.flatnonzero(driving).tolist())
    for lane in np.flatnonzero(driving).tolist():
        for after in network.successors[lane]:
            if driving[after]:
                graph.add_edge(lane, after, weight=float(length[lane]), change=False)
        if network.lane_junction[lane] or length[lane] < options.shortest_change:
            continue
        for other, permitted in (
            (int(network.left_neighbour[lane]), network.lane_left_change[lane]),
            (int(network.right_neighbour[lane]), network.lane_right_change[lane]),
        ):
            if other >= 0 and not graph.has_edge(lane, other):
                weight = options.lane_change + options.short_lane / float(length[lane])
                graph.add_edge(lane, other, weight=weight + (0.0 if permitted else options.solid_line), change=True)
    return graph
