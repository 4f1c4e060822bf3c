"""Which routes are trained on and which judge: a town's own suites, route files, suites over several towns."""

import collections
import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.errors import CraftError
from craft_lightning.roads.generate import generate_routes
from craft_lightning.roads.routes import RouteConfig, read_routes
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.suites import suite_file, suite_names
from craft_lightning.roads.towns import BUILT_IN, Town, load_town, suite_path
from craft_lightning.simulation.scenarios import SCENARIOS
from craft_lightning.simulation.scenarios.parameters import check as check_parameters

FARTHEST = 15.0  # metres that a waypoint may lie from the nearest lane centre


@dataclasses.dataclass(frozen=True)
class Suite:
    """Routes of one or several towns.

    Args:
        name: how results call it.
        routes: its routes.
        left_out: town -> number of routes that were left out since the town is not there.

    """

    name: str
    routes: list[RouteConfig]
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def towns(self) -> list[str]:
        """Names of its towns, sorted."""
        return sorted({route.town for route in self.routes})


class Atlas:
    """The towns that can be had: built-in ones by name, others as ``NAME.xodr`` in a folder.

    Args:
        maps: the folder (``data.maps``); "" = none.

    Raises:
        CraftError: no such folder.

    """

    def __init__(self, maps: str = "") -> None:
        self.maps = Path(maps).expanduser() if maps else None
        if self.maps is not None and not self.maps.is_dir():
            raise CraftError(f"data.maps: there is no folder {self.maps}; give one that holds TOWN.xodr files")

    def source(self, town: str) -> str | None:
        """Return what ``load_town`` takes for a town's name, None where it cannot be had."""
        if town in BUILT_IN:
            return town
        # A name from a route file never leads out of the folder.
        path = self.maps / f"{town}.xodr" if self.maps is not None and Path(town).name == town else None
        return str(path) if path is not None and path.is_file() else None

    def load(self, town: str) -> Town:
        """Load a town.

        Raises:
            CraftError: it cannot be had, or its file is broken.

        """
        source = self.source(town)
        if source is None:
            raise CraftError(f"town '{town}' is neither built in nor a file {town}.xodr in data.maps; give its file")
        try:
            return load_town(source)
        except CraftError as error:
            raise CraftError(f"data.maps: {error}") from error


def load_suites(
    town: Town, train: str, evaluation: str, train_count: int, evaluation_count: int, seed: int
) -> tuple[list[RouteConfig], list[RouteConfig]]:
    """Return the training and the evaluation routes of one town.

    Args:
        town: the loaded town.
        train: suite name, route file, or "" for the town's own training suite (generated where it ships none).
        evaluation: the same for evaluation.
        train_count: number of training routes where they are generated.
        evaluation_count: number of evaluation routes where they are generated.
        seed: seed of generated routes.

    Raises:
        CraftError: a suite that does not exist, or routes of another town.

    """
    generated: list[RouteConfig] = []
    if (not train and suite_path(f"{town.name}_train") is None) or (
        not evaluation and suite_path(f"{town.name}_eval") is None
    ):
        # One call for both, so that the generator keeps them apart.
        generated = generate_routes(town.network, train_count + evaluation_count, seed, town=town.name)
    training = _of_town("data.train_routes", town, train, "train", generated[evaluation_count:])
    judging = _of_town("data.eval_routes", town, evaluation, "eval", generated[:evaluation_count])
    return training, judging


def own_suite(town: str, given: str, purpose: str) -> str:
    """Return what results call a town's suite: its name or file, or that it was generated.

    Args:
        town: the town's name.
        given: the field, "" for the town's own suite.
        purpose: "train" or "eval".

    """
    own = f"{town}_{purpose}"
    return given or (own if suite_path(own) is not None else f"{own} (generated)")


def _of_town(field: str, town: Town, name: str, purpose: str, generated: list[RouteConfig]) -> list[RouteConfig]:
    own = f"{town.name}_{purpose}"
    if not name and suite_path(own) is None:
        return generated
    path = _file(field, name or own)
    routes = [route for route in _read(field, path) if route.town == town.name]
    if not routes:
        raise CraftError(
            f"{field}: {path} has no route of town '{town.name}'; choose another data.town or another route file "
            "(data.suite and data.training_suite take routes of several towns)"
        )
    check_scenarios(field, path, routes)
    check_places(field, path, routes, town)
    if suite_file(name or own) is None:  # what ships was planned by tests
        check_ways(field, path, routes, town)
    return routes


def load_suite(field: str, name: str, atlas: Atlas, leave_out: bool = False) -> Suite:
    """Read a suite whose routes may lie in several towns, and check everything that could fail later on.

    Args:
        field: the field that names it, for messages.
        name: a built-in suite, or a route file.
        atlas: the towns that can be had.
        leave_out: leave routes of other towns out instead of refusing the suite.

    Raises:
        CraftError: no such suite, a scenario type nobody has built, a town that cannot be had, a route off its map.

    """
    path = _file(field, name)
    routes = _read(field, path)
    there = {town: atlas.source(town) is not None for town in {route.town for route in routes}}
    missing = dict(
        sorted(collections.Counter(route.town for route in routes if not there[route.town]).items(), key=_by_count)
    )
    kept = [route for route in routes if there[route.town]]
    if missing and (not leave_out or not kept):
        some = ", ".join(f"{town} ({count})" for town, count in missing.items())
        where = f"in data.maps={atlas.maps}" if atlas.maps is not None else "a file (data.maps names no folder)"
        remedy = "" if not kept else f", or drive the other {len(kept)} routes with --data.leave_out_missing_towns=true"
        raise CraftError(
            f"{field}: {path} has routes of towns that are neither built in nor {where}: {some}; give a folder with "
            f"their .xodr files{remedy}"
        )
    check_scenarios(field, path, kept)
    for town in sorted({route.town for route in kept}):
        routes_there = [route for route in kept if route.town == town]
        check_places(field, path, routes_there, atlas.load(town))
        if suite_file(name) is None:
            check_ways(field, path, routes_there, atlas.load(town))
    return Suite(name if suite_file(name) else path.name, kept, missing)


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _file(field: str, name: str) -> Path:
    path = suite_file(name) or Path(name).expanduser()
    if not path.is_file():
        near = difflib.get_close_matches(name, suite_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"built in are {', '.join(suite_names())}"
        raise CraftError(
            f"{field} is '{name}': neither a built-in suite nor a file; {hint} (or give the path of a routes .xml)"
        )
    return path


def _read(field: str, path: Path) -> list[RouteConfig]:
    try:
        return read_routes(path)
    except CraftError as error:
        raise CraftError(f"{field}: {error}") from error


def check_scenarios(field: str, path: Path, routes: Sequence[RouteConfig]) -> None:
    """Refuse scenario types that nobody has built, and parameters that cannot be meant.

    Raises:
        CraftError: naming the route and the closest type, or the parameter.

    """
    for route in routes:
        for scenario in route.scenarios:
            if scenario.type not in SCENARIOS:
                near = difflib.get_close_matches(scenario.type, SCENARIOS, n=1, cutoff=0.0)[0]
                raise CraftError(
                    f"{field}: {path}: route {route.id} has the scenario type '{scenario.type}', which is not built; "
                    f"the closest is '{near}', known are {', '.join(SCENARIOS)}"
                )
            try:
                check_parameters(scenario)
            except CraftError as error:
                raise CraftError(f"{field}: {path}: route {route.id}: {error}") from error


def check_places(field: str, path: Path, routes: Sequence[RouteConfig], town: Town) -> None:
    """Refuse waypoints that are off the map of their town.

    Raises:
        CraftError: naming the route and the waypoint.

    """
    lanes = cKDTree(np.stack([town.network.x, town.network.y], 1))
    for route in routes:
        distance, _ = lanes.query(np.asarray(route.waypoints)[:, :2])
        if distance.max() > FARTHEST:
            number = int(distance.argmax())
            raise CraftError(
                f"{field}: {path}: waypoint {number} of route {route.id} is {distance.max():.0f} m from any lane of "
                f"'{town.name}'; correct it or choose the town it belongs to"
            )


def check_ways(field: str, path: Path, routes: Sequence[RouteConfig], town: Town) -> None:
    """Refuse routes whose waypoints no way along the lanes connects.

    Raises:
        CraftError: naming the route and the place.

    """
    planner = RoutePlanner(town.network)
    for route in routes:
        try:
            planner.plan_route(route)
        except CraftError as error:
            raise CraftError(f"{field}: {path}: {error}") from error
