"""Towns as an episode needs them: arrays read once a town, and the way from one town to another."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from craft_lightning.errors import CraftError
from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.raster import StaticRaster
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.criteria_outside import LaneTable, lane_table
from craft_lightning.simulation.observation import BirdsEye
from craft_lightning.simulation.stop_signs import StopZone, stop_zones

if TYPE_CHECKING:
    from craft_lightning.roads.towns import Town
    from craft_lightning.simulation.session import Session


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """One town with everything that episodes read of it.

    Attributes:
        town: the town.
        index: index of its road grid in scenes.
        carla_map: the client's map.
        grid: its road grid.
        bird: draws its bird's-eye rasters.
        planner: plans routes.
        zones: its stop signs.

    """

    town: "Town"
    index: int
    carla_map: Any
    grid: RoadGrid
    bird: BirdsEye
    planner: RoutePlanner
    zones: list[StopZone]

    @classmethod
    def read(cls, town: "Town", index: int, carla_map: Any) -> "Place":
        """Read (or build and cache on disk) the arrays of a town."""
        network = town.network
        return cls(
            town=town,
            index=index,
            carla_map=carla_map,
            grid=RoadGrid.from_network(network),
            bird=BirdsEye(StaticRaster.from_network(network)),
            planner=RoutePlanner(network),
            zones=stop_zones(carla_map),
        )

    @functools.cached_property
    def lanes(self) -> LaneTable:
        """The lane table, which only the leaderboard's criteria need."""
        return lane_table(self.town.network, self.grid, self.carla_map)


class Places:
    """The places that one session can be in, each read when it is first entered.

    Args:
        session: the session, which is in ``town``.
        town: the town to begin with.
        atlas: further towns: name in route files -> built-in name or path of an OpenDRIVE file. The place of a town in
            the atlas is its index in scenes.

    Attributes:
        here: the place that the session is in.

    """

    def __init__(self, session: "Session", town: "Town", atlas: Mapping[str, str]) -> None:
        self._session, self._atlas = session, dict(atlas)
        self._order = {name: number for number, name in enumerate(self._atlas)}
        self._known: dict[str, Place] = {}
        self.here = self._read(town, self._order.get(town.name, 0))

    def enter(self, name: str) -> bool:
        """Be in a town; return whether the world had to be changed.

        A name that the atlas does not hold means the present town, as in worlds of a single town.

        Raises:
            CraftError: the server cannot load the town.
            WorldError: the server failed.

        """
        if name == self.here.town.name or name not in self._atlas:
            if self._atlas and name not in self._atlas:
                raise CraftError(f"the town '{name}' is none of this world's: {', '.join(self._atlas)}")
            return False
        known = self._known.get(name)
        town = known.town if known else load_town(self._atlas[name])
        self._session.change_town(town)
        self.here = known or self._read(town, self._order[name])
        return True

    def _read(self, town: "Town", index: int) -> Place:
        self._known[town.name] = Place.read(town, index, self._session.world.get_map())
        return self._known[town.name]
