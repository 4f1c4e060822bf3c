"""``python -m craft_lightning.roads.suites.build``: makes the suites over all built-in towns that ship with us.

``embedded-220`` judges (every scenario type five times), ``embedded-train`` is trained on; they share no way.
"""

import collections
import sys
from pathlib import Path

from craft_lightning.roads.routes import RouteConfig, leak_guard, read_routes, write_routes
from craft_lightning.roads.sites import finders
from craft_lightning.roads.suites import PACKAGE
from craft_lightning.roads.suites.assemble import Assembler, Ground
from craft_lightning.roads.towns import BUILT_IN, load_town, suite_path

EVALUATION, TRAINING = 5, 20  # routes of each type
SEED = 220


def build(
    folder: Path = PACKAGE, evaluation: int = EVALUATION, training: int = TRAINING
) -> dict[str, list[RouteConfig]]:
    """Write both suites and return them by name.

    Args:
        folder: where the files go.
        evaluation: evaluation routes of each type.
        training: training routes of each type.

    Raises:
        CraftError: a type has no room in the towns.

    """
    grounds = {name: Ground.of(load_town(name).network) for name in BUILT_IN}
    # The suites of single towns were there before.
    trained, judged = (_single_towns(purpose) for purpose in ("train", "eval"))
    judging, learning = Assembler(grounds, finders(), SEED).assemble(evaluation, training, trained, judged)
    leak_guard([*learning, *trained], [*judging, *judged])
    suites = {"embedded-220": judging, "embedded-train": learning}
    for name, routes in suites.items():
        write_routes(folder / f"{name}.xml", routes)
    return suites


def _single_towns(purpose: str) -> list[RouteConfig]:
    """Return the routes of the suites that towns bring along."""
    paths = [suite_path(f"{town}_{purpose}") for town in BUILT_IN]
    return [route for path in paths if path is not None for route in read_routes(path)]


def main() -> None:
    """Build the suites where the package lies and say what is in them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    for name, routes in build(folder).items():
        towns = collections.Counter(route.town for route in routes)
        kinds = collections.Counter(route.scenarios[0].type for route in routes)
        print(f"{name}: {len(routes)} routes, {len(kinds)} types x {min(kinds.values())} to {max(kinds.values())}")
        print("  " + ", ".join(f"{town} {count}" for town, count in sorted(towns.items())))


if __name__ == "__main__":
    main()
