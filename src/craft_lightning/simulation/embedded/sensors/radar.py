"""sensor.other.radar: distance, direction and closing speed of what rays within a cone hit."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.geometry import rotation
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory
from craft_lightning.simulation.embedded.state import VX, VZ

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor, ActorTable

MOST_POINTS = 5_000_000  # a second


class Radar(Instrument):
    """The radar as CARLA's: rays drawn at random in an elliptic cone, new ones with every measurement."""

    index = wire.SENSOR_RADAR

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        super().__init__(type_id, attributes)
        self.within("horizontal_fov", 0.1, 179.0)
        self.within("vertical_fov", 0.1, 179.0)
        self.within("range", 0.01, 10_000.0)
        self.within("points_per_second", 1, MOST_POINTS)

    def prepare(self, rack: "SensorRack") -> None:
        """Paint the ground and load the machine code, once a town and process."""
        rack.renderer.cast((0.0, 0.0, 1.0), np.array([[1.0, 0.0, 0.0]]), 1.0)

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return [N, 4] float32: velocity [m/s, negative when nearing], azimuth, altitude [rad] and depth [m]."""
        options, delta = self.options, rack.world.delta
        random = np.random.default_rng([abs(options["noise_seed"]), memory.count])
        count = int(options["points_per_second"] * delta + 1e-6)
        radius, angle = random.random(count), 2.0 * math.pi * random.random(count)
        rays = np.ones((count, 3))
        rays[:, 1] = math.tan(math.radians(0.5 * options["horizontal_fov"])) * radius * np.cos(angle)
        rays[:, 2] = math.tan(math.radians(0.5 * options["vertical_fov"])) * radius * np.sin(angle)
        stretch = np.linalg.norm(rays, axis=1)
        rays /= stretch[:, None]
        ahead = rays @ rotation(*actor.pose[3:6]).T
        # The ends of CARLA's rays lie on a plane, at ``range`` along the axis.
        hits = rack.renderer.cast(actor.pose, ahead, options["range"] * float(stretch.max(initial=1.0)))
        seen = hits.distance <= options["range"] * stretch
        own = (np.array(actor.pose[:3]) - np.array(memory.track[0])) / delta
        relative = _velocities(rack.world.state.actors, hits.owner[seen]) - own
        found = np.empty((int(seen.sum()), 4), "<f4")
        found[:, 0] = (relative * ahead[seen]).sum(1)
        found[:, 1] = np.arctan2(rays[seen, 1], rays[seen, 0])
        found[:, 2] = np.arcsin(rays[seen, 2])
        found[:, 3] = hits.distance[seen]
        return (found.tobytes(),)


def _velocities(actors: "ActorTable", owners: np.ndarray) -> np.ndarray:
    """Return [N, 3] the velocities of actors [m/s]; the ground, 0, stands still."""
    who, place = np.unique(owners, return_inverse=True)
    table = np.zeros((len(who), 3))
    for row, owner in enumerate(who.tolist()):
        if owner in actors.index:
            table[row] = actors.rows["motion"][actors.index[owner], VX : VZ + 1]
    velocities: np.ndarray = table[place]
    return velocities
