"""The sensors of an episode: they ride on their actors, and speak once a tick to whoever listens."""

import functools
from typing import TYPE_CHECKING, Any

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.geometry import compose
from craft_lightning.simulation.embedded.sensors.base import Instrument
from craft_lightning.simulation.embedded.sensors.camera import DepthCamera, InstanceCamera, RgbCamera, SemanticCamera
from craft_lightning.simulation.embedded.sensors.inertial import Inertial
from craft_lightning.simulation.embedded.sensors.lidar import Lidar, SemanticLidar
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory
from craft_lightning.simulation.embedded.sensors.obstacle import ObstacleDetector
from craft_lightning.simulation.embedded.sensors.radar import Radar
from craft_lightning.simulation.embedded.sensors.satellite import Satellite

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.rendering.renderer import Renderer
    from craft_lightning.simulation.embedded.state import Actor
    from craft_lightning.simulation.embedded.world import World

INSTRUMENTS: dict[str, type[Instrument]] = {
    "sensor.camera.rgb": RgbCamera,
    "sensor.camera.depth": DepthCamera,
    "sensor.camera.semantic_segmentation": SemanticCamera,
    "sensor.camera.instance_segmentation": InstanceCamera,
    "sensor.lidar.ray_cast": Lidar,
    "sensor.lidar.ray_cast_semantic": SemanticLidar,
    "sensor.other.radar": Radar,
    "sensor.other.obstacle": ObstacleDetector,
    "sensor.other.imu": Inertial,
    "sensor.other.gnss": Satellite,
}
"""Sensors that measure; collisions are reported by the world, and the client finds lane invasions itself."""

_TICK_SLACK = 1e-6  # s


class SensorRack:
    """What measures in one episode.

    Args:
        world: the world; what changes with time lies in its state, here is what was made from attributes and map.

    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self._instruments: dict[int, Instrument] = {}

    @functools.cached_property
    def renderer(self) -> "Renderer":
        """The renderer, made when the first camera is spawned: nothing is painted or compiled without one."""
        from craft_lightning.simulation.embedded.rendering.renderer import Renderer

        return Renderer(self.world)

    @functools.cached_property
    def carla_map(self) -> Any:
        """The town as ``carla.Map``."""
        return self.world.town.opendrive.carla_map()

    def make(self, type_id: str, attributes: list[list[Any]]) -> Instrument | None:
        """Return the instrument of a sensor about to be spawned, None for sensors that do not measure.

        Raises:
            CraftError: attributes that make no sense.

        """
        kind = INSTRUMENTS.get(type_id)
        if kind is None:
            return None
        instrument = kind(type_id, attributes)
        instrument.prepare(self)
        return instrument

    def add(self, actor: "Actor", instrument: Instrument | None, mount: list[float]) -> None:
        """Take in a sensor that was spawned at ``mount`` relative to what it sits on."""
        self.world.state.sensor_memory[actor.id] = SensorMemory(mount)
        if instrument is not None:
            if not self._instruments:
                self.world.state.watched_since, self.world.state.watched_from = self.world.state.elapsed, actor.id
            self._instruments[actor.id] = instrument

    def remove(self, actor_id: int) -> None:
        """Forget a sensor; unknown ids are ignored."""
        self.world.state.sensor_memory.pop(actor_id, None)
        self._instruments.pop(actor_id, None)

    def carry(self) -> None:
        """Move attached sensors along with their actors."""
        actors = self.world.state.actors
        for actor_id, memory in self.world.state.sensor_memory.items():
            actor = actors.by_id[actor_id]
            if actor_id in self._instruments:
                memory.track = [actor.motion[:3], *memory.track[:1]]
            above = actors.get(actor.parent) if actor.parent else None
            if above is not None:
                actors.refresh(above)
                actor.motion[:6] = compose(above.motion, memory.mount)
                actors.write(actor)

    def speak(self) -> None:
        """Publish the measurements of this tick; sensors that nobody listens to cost nothing."""
        world = self.world
        state, hub = world.state, world.hub
        for actor_id, instrument in self._instruments.items():
            memory = state.sensor_memory[actor_id]
            if memory.count == 0:
                memory.due = state.elapsed
            if state.elapsed + _TICK_SLACK < memory.due:
                continue
            memory.due += instrument.tick
            if memory.due + _TICK_SLACK < state.elapsed:
                memory.due = state.elapsed  # nobody waits for ticks that were missed
            memory.count += 1
            stream = world.stream_of(actor_id)
            if not hub.listened(stream):
                continue
            actor = state.actors.by_id[actor_id]
            payload = instrument.measure(self, actor, memory)
            if payload is None:
                continue
            hub.publish(stream, wire.message(instrument.index, state.frame, state.elapsed, actor.pose, *payload))
