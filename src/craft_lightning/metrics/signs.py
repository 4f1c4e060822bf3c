"""Where a route's first junction begins: from the town's map where there is one, else estimated from the route file."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.metrics.abilities import SIGNS, SignPass, abilities_of, estimate_sign_percent, passed_sign
from craft_lightning.metrics.abilities import sign_percent as percent_of_stations
from craft_lightning.metrics.leaderboard import route_key
from craft_lightning.metrics.records import RouteRecord

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routes import RouteConfig
    from craft_lightning.roads.routing import Route, RoutePlanner


@dataclasses.dataclass(frozen=True)
class SignReport:
    """Which routes passed their first sign, and how sure that is.

    Args:
        passed: for each record, in order, the answer.
        estimated: ids of routes whose junction's place is an estimate on which the answer hangs.
        missing_maps: towns of those routes without a map.

    """

    passed: list[SignPass]
    estimated: tuple[str, ...] = ()
    missing_maps: tuple[str, ...] = ()


def route_sign_percent(route: "Route", network: "RoadNetwork", waypoints: np.ndarray) -> float:
    """Return ``RouteRecord.sign_percent`` of a planned route, -1 where it has no junction.

    Args:
        route: the planned route.
        network: its town.
        waypoints: [N, 2 or 3] of the route file, world frame, metres.

    """
    inside = np.asarray(network.lane_junction)[np.asarray(route.lane)].astype(bool)
    if not inside.any():
        return -1.0
    stations, index = [], 0
    for x, y in np.asarray(waypoints, dtype=np.float64)[:, :2]:
        index, s, _ = route.project(float(x), float(y), index)
        stations.append(s)
    return percent_of_stations(stations, float(route.s[int(np.argmax(inside))]))


def judge_signs(
    records: Sequence[RouteRecord], routes: Iterable["RouteConfig"] = (), maps: str | Path | None = None
) -> SignReport:
    """Say for each record whether its first sign was passed.

    Almost every route is certain without a map: a finished route has passed its junction, a light or stop that was run
    spoils it. Only routes that ended on the way without either ask where the junction is. That is looked up in the
    town's map (a file of ``maps``, or a built-in town), else estimated from the route's waypoints, else taken from
    Bench2Drive's typical route.

    Args:
        records: the records.
        routes: routes of the suite.
        maps: folder of OpenDRIVE files named after their towns.

    Raises:
        CraftError: a route file or a map that is broken, or ``maps`` is no folder.

    """
    if maps is not None and not Path(maps).is_dir():
        raise CraftError(f"--maps {maps} is no folder; give the one with the towns' .xodr files")
    by_id = {route.id.replace("_", "-"): route for route in routes}
    planners: dict[str, RoutePlanner | None] = {}
    passed, estimated, missing = [], [], set()
    for record in records:
        answer = passed_sign(record)
        if not answer.certain and SIGNS in abilities_of(record.scenario):
            route = by_id.get(route_key(record.route_id)[0].replace("_", "-"))
            answer = _look_up(record, route, maps, planners)
            if not answer.certain:
                estimated.append(record.route_id)
                town = route.town if route is not None else record.town
                if not planners.get(town):
                    missing.add(town)
        passed.append(answer)
    return SignReport(passed, tuple(estimated), tuple(sorted(missing - {""})))


def _look_up(
    record: RouteRecord,
    route: "RouteConfig | None",
    maps: str | Path | None,
    planners: "dict[str, RoutePlanner | None]",
) -> SignPass:
    if route is None:
        return passed_sign(record)
    if route.town not in planners:
        planners[route.town] = _planner(route.town, maps)
    planner = planners[route.town]
    if planner is not None:
        threshold = route_sign_percent(planner.plan_route(route), planner.network, route.waypoints)
        if threshold >= 0.0:
            return passed_sign(record, threshold)
    scenario = route.scenarios[0] if route.scenarios else None
    trigger = None if scenario is None else (scenario.trigger_point[0], scenario.trigger_point[1])
    return passed_sign(record, estimate_sign_percent(route.waypoints, trigger), certain=False)


def _planner(town: str, maps: str | Path | None) -> "RoutePlanner | None":
    """Return a planner of the town, None where there is no map of it."""
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.opendrive import load_opendrive
    from craft_lightning.roads.routing import RoutePlanner
    from craft_lightning.roads.towns import BUILT_IN, load_town

    path = Path(maps) / f"{town}.xodr" if maps is not None else None
    if path is not None and path.is_file():
        return RoutePlanner(RoadNetwork.from_opendrive(load_opendrive(path)))
    return RoutePlanner(load_town(town).network) if town in BUILT_IN else None
