"""Which routes are trained on and which judge: a town's own suites, route files, or generated ones."""

import difflib
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.errors import CraftError
from craft_lightning.roads.generate import generate_routes
from craft_lightning.roads.routes import RouteConfig, read_routes
from craft_lightning.roads.towns import Town, suite_path
from craft_lightning.simulation.scenarios import SCENARIOS

FARTHEST = 15.0  # metres that a waypoint may lie from the nearest lane centre


def load_suites(
    town: Town, train: str, evaluation: str, train_count: int, evaluation_count: int, seed: int
) -> tuple[list[RouteConfig], list[RouteConfig]]:
    """Return the training and the evaluation routes.

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
    training = _named(town, train or f"{town.name}_train", generated[evaluation_count:], given=bool(train))
    judging = _named(town, evaluation or f"{town.name}_eval", generated[:evaluation_count], given=bool(evaluation))
    return training, judging


def _named(town: Town, name: str, generated: list[RouteConfig], given: bool) -> list[RouteConfig]:
    path = suite_path(name) or Path(name)
    if not given and suite_path(name) is None:
        return generated
    if not path.exists():
        raise CraftError(f"route suite '{name}' is neither a built-in suite nor a file; give a path to a routes .xml")
    routes = [route for route in read_routes(path) if route.town == town.name]
    if not routes:
        raise CraftError(f"{path} has no route of town '{town.name}'; choose another data.town or another route file")
    _check(town, path, routes)
    return routes


def _check(town: Town, path: Path, routes: list[RouteConfig]) -> None:
    """Refuse what would fail in the middle of a run: scenarios nobody has built, waypoints off the map."""
    for route in routes:
        for scenario in route.scenarios:
            if scenario.type not in SCENARIOS:
                near = difflib.get_close_matches(scenario.type, SCENARIOS, n=1, cutoff=0.0)[0]
                raise CraftError(
                    f"{path}: route {route.id} has the scenario type '{scenario.type}', which is not built; "
                    f"the closest is '{near}', known are {', '.join(SCENARIOS)}"
                )
    lanes = cKDTree(np.stack([town.network.x, town.network.y], 1))
    for route in routes:
        distance, _ = lanes.query(np.asarray(route.waypoints)[:, :2])
        if distance.max() > FARTHEST:
            number = int(distance.argmax())
            raise CraftError(
                f"{path}: waypoint {number} of route {route.id} is {distance.max():.0f} m from any lane of "
                f"'{town.name}'; correct it or choose the town it belongs to"
            )
