"""sensor.lidar.ray_cast and sensor.lidar.ray_cast_semantic: what turning laser beams hit, in the sensor's own frame."""

import struct
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.geometry import rotation
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.rendering.renderer import Hits
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor

MOST_CHANNELS, MOST_POINTS = 1024, 20_000_000  # points a second
_POINT = np.dtype([("place", "<f4", 3), ("cosine", "<f4"), ("owner", "<u4"), ("tag", "<u4")])


class RayCastLidar(Instrument):
    """What both lidars share; a subclass gives ``index`` and ``points``.

    As in CARLA a measurement holds what the beams sweep in one tick of the world: at 20 Hz and a rotation frequency
    of 10 it is half a turn, whatever ``sensor_tick`` says.
    """

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        super().__init__(type_id, attributes)
        self.within("channels", 1, MOST_CHANNELS)
        self.within("points_per_second", 1, MOST_POINTS)
        self.within("range", 0.01, 10_000.0)
        self.within("rotation_frequency", 0.001, 1000.0)
        self.within("horizontal_fov", 0.1, 360.0)
        self.within("lower_fov", -90.0, 90.0)
        self.within("upper_fov", self.options["lower_fov"], 90.0)
        self.channels: int = self.options["channels"]
        heights = np.radians(np.linspace(self.options["upper_fov"], self.options["lower_fov"], self.channels))
        self._up, self._level = np.sin(heights)[:, None], np.cos(heights)[:, None]

    def prepare(self, rack: "SensorRack") -> None:
        """Paint the ground and load the machine code, once a town and process."""
        rack.renderer.cast((0.0, 0.0, 1.0), np.array([[1.0, 0.0, 0.0]]), 1.0)

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return the angle reached [rad], the number of channels, points a channel, and the points by channel."""
        options = self.options
        count = int(options["points_per_second"] * rack.world.delta / self.channels + 0.5)
        sweep = options["rotation_frequency"] * options["horizontal_fov"] * rack.world.delta
        begin = (memory.count - 1) * sweep
        angles = np.radians((begin + sweep / max(count, 1) * np.arange(count)) % options["horizontal_fov"])
        angles -= np.radians(0.5 * options["horizontal_fov"])
        fan = np.empty((self.channels, count, 3))
        fan[:, :, 0] = self._level * np.cos(angles)
        fan[:, :, 1] = self._level * np.sin(angles)
        fan[:, :, 2] = self._up
        beams = fan.reshape(-1, 3)
        random = np.random.default_rng([abs(options.get("noise_seed", 0)), memory.count])
        channel = np.repeat(np.arange(self.channels), count)
        fired = self.fire(len(beams), random)
        if fired is not None:
            beams, channel = beams[fired], channel[fired]
        hits = rack.renderer.cast(actor.pose, beams @ rotation(*actor.pose[3:6]).T, options["range"])
        kept, points = self.points(beams, hits, random)
        counts = np.bincount(channel[kept], minlength=self.channels).astype("<u4")
        reached = np.radians((begin + sweep) % options["horizontal_fov"])
        return struct.pack("<fI", reached, self.channels) + counts.tobytes(), points.tobytes()

    def fire(self, count: int, random: np.random.Generator) -> np.ndarray | None:
        """Return [count] bool which beams are sent, None for all."""
        return None

    @abstractmethod
    def points(self, beams: np.ndarray, hits: "Hits", random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return which beams give a point, [N] bool, and the points as they are sent."""


class Lidar(RayCastLidar):
    """sensor.lidar.ray_cast: x, y, z and intensity of each point, with CARLA's model of attenuation and loss.

    Intensity is exp(-rate * distance). A share of beams is lost at random (``dropoff_general_rate``); of what comes
    back no stronger than ``dropoff_intensity_limit``, a share that grows linearly to ``dropoff_zero_intensity`` at
    intensity 0. Noise moves a point along its beam.
    """

    index = wire.SENSOR_LIDAR

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        super().__init__(type_id, attributes)
        for name in ("dropoff_general_rate", "dropoff_intensity_limit", "dropoff_zero_intensity"):
            self.within(name, 0.0, 1.0)
        self.within("atmosphere_attenuation_rate", 0.0, 1000.0)

    def fire(self, count: int, random: np.random.Generator) -> np.ndarray | None:
        """Return which beams are not lost from the start."""
        rate = self.options["dropoff_general_rate"]
        return random.random(count) >= rate if rate > 0.0 else None

    def points(self, beams: np.ndarray, hits: "Hits", random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return [N, 4] float32."""
        options = self.options
        limit, zero = options["dropoff_intensity_limit"], options["dropoff_zero_intensity"]
        kept = np.isfinite(hits.distance)
        intensity = np.exp(-options["atmosphere_attenuation_rate"] * np.where(kept, hits.distance, 0.0))
        if zero > 0.0 and limit > 0.0:
            weak = intensity <= limit
            kept &= ~weak | (random.random(len(kept)) < 1.0 - zero + zero / limit * intensity)
        distance = hits.distance[kept]
        if options["noise_stddev"] > 0.0:
            distance = distance + options["noise_stddev"] * random.standard_normal(len(distance))
        points = np.empty((len(distance), 4), "<f4")
        points[:, :3] = beams[kept] * distance[:, None]
        points[:, 3] = intensity[kept]
        return kept, points


class SemanticLidar(RayCastLidar):
    """sensor.lidar.ray_cast_semantic: x, y, z, cosine of the angle of incidence, actor and tag; nothing is lost."""

    index = wire.SENSOR_SEMANTIC_LIDAR

    def points(self, beams: np.ndarray, hits: "Hits", random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return [N] of 24 bytes."""
        kept = np.isfinite(hits.distance)
        points = np.empty(int(kept.sum()), _POINT)
        points["place"] = beams[kept] * hits.distance[kept, None]
        points["cosine"], points["owner"], points["tag"] = hits.cosine[kept], hits.owner[kept], hits.tag[kept]
        return kept, points
