"""What SUMO moves, its vehicles and its pedestrians, as rows of the actor table, all at once.

SUMO's steps are longer than the world's ticks (``traffic``): a step is read when it is made, and its ticks show places
between where everybody was and where everybody will be at its end.
"""

from collections.abc import Container
from typing import TYPE_CHECKING

import libsumo
import numpy as np
from libsumo import constants

from craft_lightning.simulation.embedded.state import AX, AY, VEHICLE, VX, VY, WZ, YAW, Actor, X, Y, Z

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.world import World

_PLACE, _ANGLE, _SPEED, _PULL = (
    constants.VAR_POSITION,
    constants.VAR_ANGLE,
    constants.VAR_SPEED,
    constants.VAR_ACCELERATION,
)
_OF_VEHICLES, _OF_WALKERS = (_PLACE, _ANGLE, _SPEED, _PULL), (_PLACE, _ANGLE, _SPEED)
# Accelerations that full throttle and full brake stand for in the snapshot's control [m/s2].
_THROTTLE_SCALE, _BRAKE_SCALE = 4.0, 8.0
# SUMO lets a pedestrian jump where pavements of a converted town do not meet; such a one leaves the world instead [m].
LONGEST_STEP = 1.5
_MIRRORED = np.array([1.0, -1.0])
# Columns of the table: what stays (metres from the place that SUMO gives back to the centre, half length, half width,
# height of the origin), motion at the end of SUMO's step and at the tick before, what else a row tells.
_BACK, _LENGTH, _WIDTH, _UP = range(4)
_END, _BETWEEN = slice(4, 19), slice(19, 34)
_RATE, _CURVATURE = 34, 35
_SHOWN = slice(36, 39)  # a vehicle's throttle, steering and brake; a walker's direction
_THROTTLE, _BRAKE, _DIRECTION = 36, 38, slice(36, 38)
_END_X, _COLUMNS = 4, 39

_OF_SHAPE = np.array([_END_X + X, _END_X + Y, _END_X + YAW, _LENGTH, _WIDTH, _RATE, _CURVATURE])


def follow_walker(name: str) -> None:
    """Have SUMO say where a pedestrian is from its next step on."""
    libsumo.person.subscribe(name, _OF_WALKERS)


class MovedRows:
    """The bodies that SUMO moves: vehicles first, then walkers, each in order of their actors.

    Attributes:
        names: SUMO's names.
        vehicles: how many of them are vehicles.

    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.vehicles = 0
        self._actors: list[Actor] = []
        self._version = -1
        self._index = np.zeros(0, np.int64)
        self._table = np.zeros((0, _COLUMNS))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def walkers(self) -> int:
        """How many walkers there are."""
        return len(self.names) - self.vehicles

    def actor_ids(self) -> set[int]:
        """Return the ids of the actors."""
        return {actor.id for actor in self._actors}

    def actor_of(self, name: str) -> int:
        """Return the id of the actor that SUMO calls ``name``."""
        return self._actors[self.names.index(name)].id

    def xy(self) -> np.ndarray:
        """Return [N, 2] centres of the vehicles at the end of SUMO's step, CARLA's frame [m]."""
        return self._table[: self.vehicles, _END][:, :2]

    def clear(self) -> None:
        """Forget everybody."""
        self.__init__()  # type: ignore[misc]

    def forget_places(self) -> None:
        """Take everybody for just put in, since steps went by unread."""
        self._table[:, _END_X] = np.nan

    def add(self, name: str, actor: Actor) -> None:
        """Follow a vehicle or walker that has just been put on its way."""
        length, width, height = actor.extent
        entry = np.zeros(_COLUMNS)
        entry[_LENGTH], entry[_WIDTH], entry[_END_X] = length, width, np.nan
        if actor.kind == VEHICLE:
            libsumo.vehicle.subscribe(name, _OF_VEHICLES)
            row, entry[_BACK] = self.vehicles, length
            self.vehicles += 1
        else:
            # A walker's origin is the middle of its body, a vehicle's lies on the ground.
            row, entry[_UP] = len(self.names), height
        self.names.insert(row, name)
        self._actors.insert(row, actor)
        self._table = np.insert(self._table, row, entry, 0)
        self._version = -1

    def remove(self, actor_id: int) -> str | None:
        """Take a body out of SUMO and of this table; returns its name, None if it is not here."""
        row = next((row for row, actor in enumerate(self._actors) if actor.id == actor_id), None)
        if row is None:
            return None
        name = self.names.pop(row)
        del self._actors[row]
        self._table = np.delete(self._table, row, 0)
        self._version = -1
        # A subscription to one that is gone makes the next step fail.
        if row >= self.vehicles:
            if name in libsumo.person.getIDList():
                libsumo.person.unsubscribe(name)
                libsumo.person.removeStages(name)
            return name
        self.vehicles -= 1
        if name in libsumo.vehicle.getIDList():
            libsumo.vehicle.unsubscribe(name)
            libsumo.vehicle.remove(name)
        return name

    def read(self, world: "World", delta: float, ticks: int) -> set[int]:
        """Read the step that SUMO has just made; returns the actors that left the network, or jumped.

        Args:
            world: the world.
            delta: seconds of a tick.
            ticks: ticks of the step, 1 or 2.

        """
        if not self.names:
            return set()
        vehicles, walkers = libsumo.vehicle.getAllSubscriptionResults(), libsumo.person.getAllSubscriptionResults()
        gone = self._part_with_arrived(vehicles, walkers)
        if not self.names:
            return gone
        count, step, table = self.vehicles, delta * ticks, self._table
        told = [
            (*one[_PLACE], one[_ANGLE], one[_SPEED], one[_PULL])
            for one in map(vehicles.__getitem__, self.names[:count])
        ]
        told += [(*one[_PLACE], one[_ANGLE], one[_SPEED], 0.0) for one in map(walkers.__getitem__, self.names[count:])]
        found = np.array(told)
        yaw = (found[:, 2] + 90.0) % 360.0 - 180.0
        radians = np.radians(yaw)
        ahead = np.empty((len(found), 2))
        np.cos(radians, out=ahead[:, 0])
        np.sin(radians, out=ahead[:, 1])
        speed, pull = found[:, 3], found[:, 4]
        before, end = table[:, _END].copy(), table[:, _END]
        fresh = np.isnan(before[:, X])
        turned = (yaw - before[:, YAW] + 180.0) % 360.0 - 180.0
        turned[fresh] = 0.0
        end[:, X:Z] = found[:, :2] * _MIRRORED - table[:, _BACK, None] * ahead
        end[:, Z] = table[:, _UP]
        if not world.town.flat:
            end[:, Z] += world.town.ground_many(end[:, :2])
        end[:, YAW] = yaw
        end[:, VX : VY + 1] = found[:, 3, None] * ahead
        end[:, WZ] = turned / step
        end[:, AX : AY + 1] = found[:, 4, None] * ahead
        if ticks > 1:
            between = 0.5 * (before + end)
            if fresh.any():
                between[fresh] = end[fresh]
                between[fresh, X:Z] -= delta * end[fresh, VX : VY + 1]
            between[:, YAW] = (yaw - 0.5 * turned + 180.0) % 360.0 - 180.0
            between[:, WZ:] = end[:, WZ:]
            table[:, _BETWEEN] = between
        table[:, _RATE] = speed
        table[:, _CURVATURE] = np.radians(turned) / np.maximum(speed * step, 0.05)
        table[:count, _THROTTLE] = np.minimum(np.maximum(pull[:count] / _THROTTLE_SCALE, 0.0), 1.0)
        table[:count, _BRAKE] = np.minimum(np.maximum(pull[:count] / -_BRAKE_SCALE, 0.0), 1.0)
        if count == len(found):
            return gone
        table[count:, _DIRECTION] = ahead[count:]
        far = np.abs(end[count:, :2] - before[count:, :2]).sum(1) > LONGEST_STEP
        if far.any():
            gone |= {self._actors[count + row].id for row in far.nonzero()[0].tolist()}
        return gone

    def _part_with_arrived(self, vehicles: Container[str], walkers: Container[str]) -> set[int]:
        """Remove those whom SUMO no longer tells of, since they reached the end of their way; returns their actors."""
        found = [name in vehicles for name in self.names[: self.vehicles]]
        found += [name in walkers for name in self.names[self.vehicles :]]
        if all(found):
            return set()
        gone = {actor.id for there, actor in zip(found, self._actors, strict=True) if not there}
        for actor_id in sorted(gone):
            self.remove(actor_id)
        return gone

    def show(self, world: "World", end: bool) -> None:
        """Copy places and speeds into the actor table: those of the end of SUMO's step, or of the tick before."""
        if not self.names:
            return
        actors, count = world.state.actors, self.vehicles
        if self._version != actors.version:
            self._index = np.array([actors.index[actor.id] for actor in self._actors], np.int64)
            self._version = actors.version
        rows, table = actors.rows, self._table
        rows["motion"][self._index] = table[:, _END if end else _BETWEEN]
        rows["control"][self._index[:count]] = table[:count, _SHOWN]
        if count < len(self.names):
            rows["direction"][self._index[count:]] = table[count:, _SHOWN]
            rows["walk_speed"][self._index[count:]] = table[count:, _RATE]

    def shapes(self, rows: np.ndarray) -> np.ndarray:
        """Return [n, 7] of the vehicles in ``rows``: x, y, yaw [rad], half length, half width, speed, curvature."""
        shapes = self._table[rows[:, None], _OF_SHAPE]
        shapes[:, 2] = np.radians(shapes[:, 2])
        return shapes
