"""sensor.other.obstacle: tells of the first body within a capsule ahead."""

import math
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.geometry import rotation
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory
from craft_lightning.simulation.embedded.state import VEHICLE, WALKER

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor

_RINGS = (0.5, 1.0)  # shares of the radius
_SPOKES = 8


class ObstacleDetector(Instrument):
    """The obstacle detector: a ball is swept ahead, and its way to the first body is told, if there is one.

    The ball is a bundle of 17 rays that start on its front half; it passes through the ground and its own vehicle.
    """

    index = wire.SENSOR_OBSTACLE

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        super().__init__(type_id, attributes)
        self.within("distance", 0.01, 10_000.0)
        self.within("hit_radius", 0.0, 100.0)
        radius = self.options["hit_radius"]
        turns = [2.0 * math.pi * index / _SPOKES for index in range(_SPOKES)]
        disc = [(0.0, 0.0)] + [(share * math.cos(turn), share * math.sin(turn)) for share in _RINGS for turn in turns]
        self._starts = [
            (radius * math.sqrt(max(1.0 - right * right - up * up, 0.0)), radius * right, radius * up)
            for right, up in (disc if radius > 0.0 else disc[:1])
        ]
        self._dynamic: bool = self.options["only_dynamics"]

    def prepare(self, rack: "SensorRack") -> None:
        """Paint the ground and load the machine code, once a town and process."""
        rack.renderer.cast((0.0, 0.0, 1.0), np.array([[1.0, 0.0, 0.0]]), 1.0)

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...] | None:
        """Return sensor, obstacle and distance [m]; None where nothing is in the way."""
        actors = rack.world.state.actors
        axes, reach = rotation(*actor.pose[3:6]), self.options["distance"]

        def counts(owner: int) -> bool:
            other = actors.get(owner)
            return (
                other is not None and owner != actor.parent and (other.kind in (VEHICLE, WALKER) or not self._dynamic)
            )

        nearest, met = math.inf, 0
        for start in self._starts:
            place = np.array(actor.pose[:3]) + axes @ np.array(start)
            hits = rack.renderer.cast(place.tolist(), axes[:, :1].T, reach, counts)
            if hits.distance[0] < nearest:
                nearest, met = float(hits.distance[0]), int(hits.owner[0])
        if not met:
            return None
        payload: bytes = msgpack.packb([actor.wire(), actors.by_id[met].wire(), nearest])
        return (payload,)
