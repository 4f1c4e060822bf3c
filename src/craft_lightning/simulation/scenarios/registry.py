"""Which scenario types there are, by the names that route files use; found by listing this folder.

A module takes part by having ``TYPES: dict[str, type[Scenario]]``; one class may serve several types.
"""

import difflib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.listing import collect
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.stage import Spawner

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routes import ScenarioConfig
    from craft_lightning.roads.routing import Route


SCENARIOS: dict[str, type[Scenario]] = collect(
    "craft_lightning.simulation.scenarios", Path(__file__).parent, "TYPES", leave_out=("registry",)
)


def ego_place(
    configs: "Sequence[ScenarioConfig]", route: "Route", network: "RoadNetwork | None" = None
) -> tuple[float, float, float, float]:
    """Return the world pose x, y, z, yaw where the ego of a route begins: at its start, or where a scenario wants it.

    Args:
        configs: the route's scenarios; unknown types are left to ``build``.
        route: the planned route.
        network: the town.

    """
    s, left = 0.0, 0.0
    for config in configs:
        kind = SCENARIOS.get(config.type)
        place = None if kind is None else kind.ego_place(config, route, network)
        if place is not None:
            s, left = place
    x, y, yaw = (float(value) for value in route.at(s))
    z = float(np.interp(s, route.s, route.z))
    return x - left * math.sin(yaw), y + left * math.cos(yaw), z, yaw


def build(
    config: "ScenarioConfig", session: Spawner, route: "Route", seed: int = 0, network: "RoadNetwork | None" = None
) -> Scenario:
    """Set up one scenario of a route; what it needs from the beginning is spawned now.

    Build scenarios after the ego and before the background traffic, so that traffic keeps clear of their actors.

    Args:
        config: of the route file.
        session: the session that spawns.
        route: the planned route.
        seed: the episode's seed; equal seeds give equal scenarios.
        network: the town; with it the scenario's vehicles stop at red lights.

    Raises:
        CraftError: a type that there is not, or a parameter that makes no sense.

    """
    kind = SCENARIOS.get(config.type)
    if kind is None:
        near = difflib.get_close_matches(config.type, SCENARIOS, 1, 0.0)
        raise CraftError(
            f"scenario '{config.name}' has the unknown type '{config.type}'; the closest known one is '{near[0]}' "
            f"(known: {', '.join(sorted(SCENARIOS))}); correct it in the route file or remove the scenario"
        )
    # Scenarios of one route draw from different streams.
    rng = np.random.default_rng([seed % 2**32, zlib.crc32(config.name.encode())])
    return kind(config, session, route, network, rng)
