"""SUMO's vehicles as rows of the actor table, all at once."""

from typing import TYPE_CHECKING

import libsumo
import numpy as np
from libsumo import constants

from craft_lightning.simulation.embedded.state import AX, AY, VX, VY, WZ, YAW, Actor, X, Y, Z

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.world import World

_PLACE, _ANGLE, _SPEED, _PULL = (
    constants.VAR_POSITION,
    constants.VAR_ANGLE,
    constants.VAR_SPEED,
    constants.VAR_ACCELERATION,
)
_WANTED = (_PLACE, _ANGLE, _SPEED, _PULL)
# Accelerations that full throttle and full brake stand for in the snapshot's control [m/s2].
_THROTTLE_SCALE, _BRAKE_SCALE = 4.0, 8.0


class VehicleRows:
    """The vehicles that SUMO drives, in order of their actors.

    Attributes:
        names: SUMO's names.

    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._actors: list[Actor] = []
        self._version = -1
        self._index = np.zeros(0, np.int64)
        self._half = np.zeros((0, 2))
        self._yaw = np.zeros(0)
        self._xy = np.zeros((0, 2))
        self._speed = np.zeros(0)
        self._curvature = np.zeros(0)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def actor_ids(self) -> list[int]:
        """Return the ids of the actors."""
        return [actor.id for actor in self._actors]

    def actor_of(self, name: str) -> int:
        """Return the id of the actor that SUMO calls ``name``."""
        return self._actors[self.names.index(name)].id

    def xy(self) -> np.ndarray:
        """Return [N, 2] centres in CARLA's frame [m]."""
        return self._xy

    def clear(self) -> None:
        """Forget all vehicles."""
        self.__init__()  # type: ignore[misc]

    def add(self, name: str, actor: Actor) -> None:
        """Follow a vehicle that has just been put on the road."""
        libsumo.vehicle.subscribe(name, _WANTED)
        self.names.append(name)
        self._actors.append(actor)
        self._half = np.vstack([self._half, actor.extent[:2]])
        self._yaw = np.append(self._yaw, np.nan)
        self._xy = np.vstack([self._xy, np.zeros((1, 2))])
        self._speed, self._curvature = np.append(self._speed, 0.0), np.append(self._curvature, 0.0)
        self._version = -1

    def remove(self, actor_id: int) -> str | None:
        """Take a vehicle out of SUMO and of this table; returns its name, None if it is not here."""
        row = next((row for row, actor in enumerate(self._actors) if actor.id == actor_id), None)
        if row is None:
            return None
        name = self.names.pop(row)
        del self._actors[row]
        for field in ("_half", "_yaw", "_xy", "_speed", "_curvature"):
            setattr(self, field, np.delete(getattr(self, field), row, axis=0))
        self._version = -1
        if name in libsumo.vehicle.getIDList():
            # A subscription to a vehicle that is gone makes the next step fail.
            libsumo.vehicle.unsubscribe(name)
            libsumo.vehicle.remove(name)
        return name

    def read(self, world: "World", delta: float) -> set[int]:
        """Copy places and speeds from SUMO into the actor table; returns actors whose vehicles left the network."""
        if not self.names:
            return set()
        actors = world.state.actors
        results = libsumo.vehicle.getAllSubscriptionResults()
        gone = (
            {actor.id for name, actor in zip(self.names, self._actors, strict=True) if name not in results}
            if len(results) < len(self.names)
            else set()
        )
        for actor_id in sorted(gone):
            self.remove(actor_id)
        if self._version != actors.version:
            self._index = np.array([actors.index[actor.id] for actor in self._actors], np.int64)
            self._version = actors.version
        table = np.array(
            [
                (*found[_PLACE], found[_ANGLE], found[_SPEED], found[_PULL])
                for found in map(results.__getitem__, self.names)
            ]
        ).reshape(-1, 5)
        place_x, place_y, angle, speed, pull = table.T
        yaw = angle - 90.0  # SUMO's angles lie in [0, 360)
        yaw[yaw > 180.0] -= 360.0
        radians = np.radians(yaw)
        cos, sin = np.cos(radians), np.sin(radians)
        turned = yaw - self._yaw
        turned[turned > 180.0] -= 360.0
        turned[turned < -180.0] += 360.0
        turned[np.isnan(turned)] = 0.0  # just put on the road
        half = self._half[:, 0]
        motion = np.zeros((len(table), 15))
        motion[:, X] = place_x - half * cos
        motion[:, Y] = -place_y - half * sin
        if not world.town.flat:
            motion[:, Z] = world.town.ground_many(motion[:, :2])
        motion[:, YAW] = yaw
        motion[:, VX], motion[:, VY] = speed * cos, speed * sin
        motion[:, WZ] = turned / delta
        motion[:, AX], motion[:, AY] = pull * cos, pull * sin
        actors.rows["motion"][self._index] = motion
        pedals = np.zeros((len(table), 3))
        pedals[:, 0] = np.minimum(np.maximum(pull / _THROTTLE_SCALE, 0.0), 1.0)
        pedals[:, 2] = np.minimum(np.maximum(-pull / _BRAKE_SCALE, 0.0), 1.0)
        actors.rows["control"][self._index] = pedals
        self._yaw, self._xy, self._speed = yaw, motion[:, :2], speed
        self._curvature = np.radians(turned) / np.maximum(speed * delta, 0.05)
        return gone

    def shapes(self, world: "World") -> np.ndarray:
        """Return [N, 7] x, y, yaw [rad], half length, half width, speed, curvature, as ``yielding`` wants them."""
        return np.column_stack([self._xy, np.radians(self._yaw), self._half, self._speed, self._curvature])
