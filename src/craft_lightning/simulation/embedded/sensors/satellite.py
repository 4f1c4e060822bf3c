"""sensor.other.gnss: latitude, longitude and altitude through the map's georeference."""

from typing import TYPE_CHECKING

import msgpack
import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor


class Satellite(Instrument):
    """The GNSS receiver; ``carla.Map`` itself converts, so that a client that converts a place gets the same."""

    index = wire.SENSOR_GNSS

    def prepare(self, rack: "SensorRack") -> None:
        """Parse the map."""
        _ = rack.carla_map

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return latitude [deg], longitude [deg] and altitude [m]."""
        import carla

        place = rack.carla_map.transform_to_geolocation(carla.Location(*actor.pose[:3]))
        true = np.array([place.latitude, place.longitude, place.altitude])
        options = self.options
        random = np.random.default_rng([abs(options["noise_seed"]), memory.count])
        for row, kind in enumerate(("lat", "lon", "alt")):
            true[row] += options[f"noise_{kind}_bias"] + options[f"noise_{kind}_stddev"] * random.standard_normal()
        payload: bytes = msgpack.packb(true.tolist())
        return (payload,)
