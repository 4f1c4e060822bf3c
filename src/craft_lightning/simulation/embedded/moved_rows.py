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
# Rows of the table, a column a body: what stays (metres from the place that SUMO gives back to the centre, half length,
# height of the origin), motion at the end of SUMO's step and at the tick before, what else a row tells.
_BACK, _LENGTH, _WIDTH, _UP = range(4)
_END, _BETWEEN = slice(4, 19), slice(19, 34)
_RATE, _TURNED = 34, 35
_SHOWN = slice(36, 39)  # a vehicle's throttle, steering and brake; a walker's direction
_THROTTLE, _BRAKE, _DIRECTION_X, _DIRECTION_Y = 36, 38, 36, 37
_END_X, _ROWS = 4, 39
_PLACES = VY + 1  # rows of a motion up to the velocity

_OF_SHAPE = np.array([_END_X + X, _END_X + Y, _END_X + YAW, _LENGTH, _WIDTH, _RATE, _TURNED])


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
        self._step = 1.0  # seconds of the step that was read last
        self._index = np.zeros(0, np.int64)
        self._table = np.zeros((_ROWS, 0))

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
        return self._table[_END_X : _END_X + 2, : self.vehicles].T

    def clear(self) -> None:
        """Forget everybody."""
        self.__init__()  # type: ignore[misc]

    def forget_places(self) -> None:
        """Take everybody for just put in, since steps went by unread."""
        self._table[_END_X] = np.nan

    def add(self, name: str, actor: Actor) -> None:
        """Follow a vehicle or walker that has just been put on its way."""
        length, width, height = actor.extent
        entry = np.zeros(_ROWS)
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
        table = self._table
        self._table = np.concatenate([table[:, :row], entry[:, None], table[:, row:]], 1)
        self._version = -1

    def remove(self, actor_id: int) -> str | None:
        """Take a body out of SUMO and of this table; returns its name, None if it is not here."""
        row = next((row for row, actor in enumerate(self._actors) if actor.id == actor_id), None)
        if row is None:
            return None
        name = self.names.pop(row)
        del self._actors[row]
        self._table = np.concatenate([self._table[:, :row], self._table[:, row + 1 :]], 1)
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
        told: list[float] = []
        for one in map(vehicles.__getitem__, self.names[:count]):
            told += *one[_PLACE], one[_ANGLE], one[_SPEED], one[_PULL]
        for one in map(walkers.__getitem__, self.names[count:]):
            told += *one[_PLACE], one[_ANGLE], one[_SPEED], 0.0
        sumo_x, sumo_y, angle, speed, pull = np.array(told).reshape(-1, 5).T.copy()
        yaw = (angle + 90.0) % 360.0 - 180.0
        radians = np.radians(yaw)
        cos, sin = np.cos(radians), np.sin(radians)
        end, back = table[_END], table[_BACK]
        before = end[:_PLACES].copy()
        fresh = np.isnan(before[X])
        appeared = bool(fresh.any())
        turned = (yaw - before[YAW] + 180.0) % 360.0 - 180.0
        if appeared:
            turned[fresh] = 0.0
        end[X] = sumo_x - back * cos
        end[Y] = -sumo_y - back * sin
        end[Z] = table[_UP]
        if not world.town.flat:
            end[Z] += world.town.ground_many(end[:Z].T)
        end[YAW] = yaw
        np.multiply(speed, cos, out=end[VX])
        np.multiply(speed, sin, out=end[VY])
        np.divide(turned, step, out=end[WZ])
        np.multiply(pull, cos, out=end[AX])
        np.multiply(pull, sin, out=end[AY])
        if ticks > 1:
            between = table[_BETWEEN]
            np.multiply(before + end[:_PLACES], 0.5, out=between[:_PLACES])
            if appeared:
                between[:_PLACES, fresh] = end[:_PLACES, fresh]
                between[X:Z, fresh] -= delta * end[VX : VY + 1, fresh]
            between[YAW] = (yaw - 0.5 * turned + 180.0) % 360.0 - 180.0
            between[WZ:] = end[WZ:]
        table[_RATE], table[_TURNED], self._step = speed, turned, step
        pull = pull[:count]
        table[_THROTTLE, :count] = np.minimum(np.maximum(pull / _THROTTLE_SCALE, 0.0), 1.0)
        table[_BRAKE, :count] = np.minimum(np.maximum(pull / -_BRAKE_SCALE, 0.0), 1.0)
        if count == len(cos):
            return gone
        table[_DIRECTION_X, count:], table[_DIRECTION_Y, count:] = cos[count:], sin[count:]
        moved = np.abs(end[:Z, count:] - before[:Z, count:])
        far = moved[X] + moved[Y] > LONGEST_STEP
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
        rows["motion"][self._index] = table[_END if end else _BETWEEN].T
        rows["control"][self._index[:count]] = table[_SHOWN, :count].T
        if count < len(self.names):
            rows["direction"][self._index[count:]] = table[_SHOWN, count:].T
            rows["walk_speed"][self._index[count:]] = table[_RATE, count:]

    def shapes(self, rows: np.ndarray) -> np.ndarray:
        """Return [n, 7] of the vehicles in ``rows``: x, y, yaw [rad], half length, half width, speed, curvature."""
        shapes = self._table[_OF_SHAPE[:, None], rows].T.copy()
        shapes[:, 2] = np.radians(shapes[:, 2])
        shapes[:, 6] = np.radians(shapes[:, 6]) / np.maximum(shapes[:, 5] * self._step, 0.05)
        return shapes
