"""Route files as official evaluators take them: one scenario at least, and no waypoint that they could misread."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.frames import points_from_carla
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.towns import BUILT_IN, load_town

_FEWEST = 2  # waypoints of a route


def prepare_routes(source: Path, subset: str, target: Path) -> Path:
    """Write the routes of a file that a subset names for an evaluator, and return the written file.

    Evaluators snap every waypoint to the nearest lane and plan from one to the next. Inside a junction the lanes of
    all movements lie over each other, and a waypoint there may send the route once round the block; in built-in towns
    such waypoints are therefore left out. Of other towns all is written as it is.

    Args:
        source: a route file in the Leaderboard schema.
        subset: ids of routes, separated by commas; "" = all. Routes without a scenario are left out and named.
        target: the file to write.

    Raises:
        CraftError: the file is no route file, has no such route, or none with a scenario.

    """
    try:
        tree = ElementTree.parse(source)
    except (OSError, ElementTree.ParseError) as error:
        raise CraftError(f"--routes {source} cannot be read ({error}); give a route file") from error
    wanted = [word.strip() for word in subset.split(",") if word.strip()]
    if subset and not wanted:
        raise CraftError(f"--subset is '{subset}' and names no route; give ids with commas between, or leave it out")
    root = tree.getroot()
    routes = {route.get("id", ""): route for route in root.findall("route")}
    unknown = [name for name in wanted if name not in routes]
    if not routes:
        raise CraftError(f"--routes {source} holds no <route>; give a route file in the Leaderboard schema")
    if unknown:
        first = ", ".join(list(routes)[:10])
        raise CraftError(f"--routes {source} has no route {', '.join(unknown)}; its first ones are {first}")
    empty = [name for name, route in routes.items() if route.find("scenarios/scenario") is None]
    if set(wanted or routes) <= set(empty):
        raise CraftError(f"--routes {source}: no chosen route has a scenario, and evaluators take none without one")
    for name, route in routes.items():
        if name in empty or (wanted and name not in wanted):
            root.remove(route)
        elif route.get("town") in BUILT_IN:
            _leave_junctions(route, load_town(str(route.get("town"))).network)
    left_out = [name for name in empty if not wanted or name in wanted]
    if left_out:
        print(f"left out, since evaluators take no route without a scenario: {', '.join(left_out)}")
    tree.write(target)
    return target


def _leave_junctions(route: ElementTree.Element, network: RoadNetwork) -> None:
    """Remove the waypoints of a route that lie inside junctions."""
    points = route.find("waypoints")
    if points is None:
        return
    places = points.findall("position")
    try:
        xy = np.array([[float(place.get("x", "")), float(place.get("y", ""))] for place in places])
    except ValueError as error:
        raise CraftError(f"route '{route.get('id')}' has a waypoint without numbers ({error}); correct it") from error
    inside = _in_junction(points_from_carla(xy.reshape(-1, 2)), network)
    if (~inside).sum() < _FEWEST:
        return
    for place, drop in zip(places, inside.tolist(), strict=True):
        if drop:
            points.remove(place)


def _in_junction(xy: np.ndarray, network: RoadNetwork) -> np.ndarray:
    """Return [N] whether a junction's lane passes a place [N, 2] as near as any other (to half a metre)."""
    driving = np.flatnonzero(network.lane_kind[network.point_lane] == DRIVING)
    gap = np.hypot(network.x[driving][None] - xy[:, :1], network.y[driving][None] - xy[:, 1:])
    junction = network.lane_junction[network.point_lane[driving]]
    nearest = gap.min(1)
    within = np.where(junction[None], gap, np.inf).min(1, initial=np.inf)
    return within < nearest + 0.5
