"""Route configurations, and the leak guard that keeps training and evaluation routes apart."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes_xml import read_elements, write_elements

# Two routes whose starts and whose ends lie this close together are the same task.
SAME_PLACE = 5.0


@dataclasses.dataclass(frozen=True)
class ScenarioConfig:
    """One scenario of a route.

    Args:
        name: unique within the route, e.g. "HardBreakRoute_1".
        type: the scenario class, e.g. "HardBreakRoute".
        trigger_point: x, y, z (m) and yaw (radians) in the world frame.
        parameters: name to number, text, {"from": a, "to": b}, or a place {"x": ..., "y": ..., "z": ..., "yaw": ...}
            in the world frame (yaw in radians).

    """

    name: str
    type: str
    trigger_point: tuple[float, float, float, float]
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class RouteConfig:
    """One route of a route file.

    Args:
        id: unique within its file.
        town: name of the town.
        waypoints: [N, 3] float64 in the world frame, metres.
        scenarios: the route's scenarios.
        weather: fields of ``carla.WeatherParameters`` at the start of the route; empty = leave the weather alone.
            (A file's change of weather along the route is not kept.)

    """

    id: str
    town: str
    waypoints: np.ndarray
    scenarios: tuple[ScenarioConfig, ...] = ()
    weather: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def length(self) -> float:
        """Metres along the straight lines between the waypoints."""
        return float(np.hypot(*np.diff(self.waypoints[:, :2], axis=0).T).sum())

    def fingerprint(self) -> str:
        """Return 16 hex digits of the town and the way, whatever the route's id, scenarios or weather.

        Two routes share it when their waypoints agree to the decimetre that route files keep.
        """
        tenths = np.rint(np.asarray(self.waypoints)[:, :2] * 10.0).astype(np.int64)
        text = self.town + ":" + ",".join(map(str, tenths.ravel().tolist()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_routes(path: Any, strict: bool = False) -> list[RouteConfig]:
    """Read a route file in the XML schema of the CARLA Leaderboard and of Bench2Drive.

    Args:
        path: the file.
        strict: also refuse a number with something behind it (``y="330.6 0"`` has been published), which is otherwise
            read as the number, with a warning that names the route.

    Raises:
        CraftError: no such file, malformed XML, a route without id, town or waypoints, a value that is not a number;
            the sentence names file, route and field.

    """
    return [
        RouteConfig(
            id=route.id,
            town=route.town,
            waypoints=route.waypoints,
            scenarios=tuple(
                ScenarioConfig(scenario.name, scenario.type, scenario.trigger_point, scenario.parameters)
                for scenario in route.scenarios
            ),
            weather=route.weather,
        )
        for route in read_elements(path, strict)
    ]


def write_routes(path: Any, routes: Sequence[RouteConfig]) -> None:
    """Write a route file (CARLA's frame in the file, numbers to the centimetre and the hundredth of a degree).

    Args:
        path: the file; an existing one is replaced as a whole.
        routes: the routes, ids unique.

    Raises:
        CraftError: two routes of one id.

    """
    seen: set[str] = set()
    for route in routes:
        if route.id in seen:
            raise CraftError(f"two routes have the id '{route.id}'; give every route of {path} its own")
        seen.add(route.id)
    write_elements(path, routes)


def leak_guard(train: Sequence[RouteConfig], evaluation: Sequence[RouteConfig]) -> None:
    """Refuse suites that share a route.

    Two routes are the same when their fingerprints agree, or when they lie in one town and both their starts and their
    ends are closer than ``SAME_PLACE``.

    Args:
        train: routes that are trained on.
        evaluation: routes that judge.

    Raises:
        CraftError: an evaluation route is among the training routes; the sentence names both.

    """
    prints = {route.fingerprint(): route for route in train}
    ends: dict[str, tuple[np.ndarray, list[RouteConfig]]] = {}
    for town in {route.town for route in train}:
        routes = [route for route in train if route.town == town]
        ends[town] = np.array([_ends(route) for route in routes]), routes
    for route in evaluation:
        same = prints.get(route.fingerprint())
        if same is None and route.town in ends:
            places, routes = ends[route.town]
            gap = np.abs(places - _ends(route))
            close = (np.hypot(gap[:, 0], gap[:, 1]) < SAME_PLACE) & (np.hypot(gap[:, 2], gap[:, 3]) < SAME_PLACE)
            same = routes[int(close.argmax())] if close.any() else None
        if same is not None:
            raise CraftError(
                f"evaluation route '{route.id}' of {route.town} is also training route '{same.id}' (same way); "
                "choose disjoint route files, or allow it explicitly and say so beside the results"
            )


def _ends(route: RouteConfig) -> np.ndarray:
    return np.concatenate([route.waypoints[0, :2], route.waypoints[-1, :2]])
