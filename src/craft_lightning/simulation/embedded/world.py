"""The world of one server: what a tick does, and how actors come and go."""

import asyncio
import time
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import dynamics, engine, wire
from craft_lightning.simulation.embedded.blueprints import BlueprintLibrary
from craft_lightning.simulation.embedded.contacts import occupied, resolve
from craft_lightning.simulation.embedded.engine import SumoEngine
from craft_lightning.simulation.embedded.geometry import compose
from craft_lightning.simulation.embedded.lights import Light, LightBoard
from craft_lightning.simulation.embedded.sensors.rack import SensorRack
from craft_lightning.simulation.embedded.state import (
    CONTROLLER,
    LIGHT,
    OTHER,
    PROP,
    SENSOR,
    SIGN,
    VEHICLE,
    WALKER,
    Actor,
    Settings,
    WorldState,
    X,
    Y,
)
from craft_lightning.simulation.embedded.streams import StreamHub
from craft_lightning.simulation.embedded.town import TownShelf
from craft_lightning.simulation.embedded.traffic import Traffic
from craft_lightning.simulation.embedded.traffic_options import TrafficOptions

LIGHT_LOOK_AFTER = 1.0  # m of travel between two looks for the light that a vehicle stands at
DEFAULT_DELTA = 0.05  # s of a tick where the client names none
TRAFFIC = "controller.traffic.sumo"
_KINDS = {"vehicle": VEHICLE, "walker": WALKER, "static": PROP, "sensor": SENSOR, "controller": CONTROLLER}


class World:
    """Everything a server simulates.

    Args:
        shelf: the towns that can be loaded; the first one is loaded at once.
        library: the blueprints.
        sumo: the process's SUMO.
        hub: where snapshots and sensor data go.
        stream_port: the port of the streams, for tokens.

    Attributes:
        state: all that changes, apart from SUMO's inside.
        board: the traffic lights; part of the state.
        traffic: SUMO's vehicles and walkers; part of the state.
        rack: the sensors that measure.
        asynchronous: set while the client leaves the clock to the server.

    """

    def __init__(
        self, shelf: TownShelf, library: BlueprintLibrary, sumo: SumoEngine, hub: StreamHub, stream_port: int
    ) -> None:
        self.shelf, self.library, self.sumo, self.hub = shelf, library, sumo, hub
        self.stream_port = stream_port
        self.snapshots = hub.open()
        self.snapshot_token = wire.stream_token(self.snapshots, stream_port)
        self._streams: dict[int, int] = {}  # sensor -> stream
        hub.greet = self._greet
        self.town = shelf.first
        self.state = WorldState()
        self.state.episode = 0
        self._unannounced = False
        self.asynchronous = asyncio.Event()
        self.asynchronous.set()
        self.board: LightBoard
        self.traffic: Traffic
        self.rack: SensorRack
        self.load(self.town.name)

    # ---- episodes ------------------------------------------------------------------------------------------------

    def load(self, name: str, reset_settings: bool = True, at_the_next_tick: bool = False) -> None:
        """Begin a new episode in a town: all actors go, the number of the episode grows, the clock starts at 0.

        Args:
            name: the town.
            reset_settings: forget the client's settings, but for its clock.
            at_the_next_tick: let clients learn of the new number with the next tick, as from an Unreal server that
                takes its time. A client answers ``load_new_episode`` by subscribing anew; were it to hear of the new
                episode on the old subscription meanwhile, its Traffic Manager would do so too, and both would fall
                over each other (a crash inside the client, 0.9.16).

        Raises:
            CraftError: there is no such town; the old episode then goes on.

        """
        town = self.shelf.load(name)
        old = self.state
        for stream in self._streams.values():
            self.hub.close(stream)
        self._streams.clear()
        self.town = town
        self.rack = SensorRack(self)
        self._unannounced = at_the_next_tick and old.episode > 0
        number = old.episode + (not self._unannounced)
        # Ids go on, as CARLA's do: what a client still destroys of the old episode must not hit the new one's actors.
        self.state = WorldState(episode=number, frame=old.frame + 1, next_id=old.next_id)
        if not reset_settings or old.episode == 0:
            self.state.settings = old.settings
        else:
            # CARLA keeps a synchronous client synchronous, so that nothing runs away between load and the next call.
            self.state.settings = Settings(synchronous=old.settings.synchronous, delta=old.settings.delta)
        self.sumo.load(town.net, self.delta, 0)
        self.state.spectator = self._place("spectator", OTHER, (0.0, 0.0, 30.0, -90.0, 0.0, 0.0)).id
        lights = []
        for place, own in zip(town.lights, self.sumo.links(town.lights), strict=True):
            actor = self._place("traffic.traffic_light", LIGHT, place.pose)
            actor.box_centre, actor.extent = place.trigger_centre, place.trigger_extent
            lights.append(Light(actor.id, place, own.links))
        for sign in town.signs:
            actor = self._place(sign.blueprint, SIGN, sign.pose)
            actor.box_centre, actor.extent = sign.trigger_centre, sign.trigger_extent
            self.state.actors.rows[self.state.actors.index[actor.id]]["sign"] = sign.signal.encode()[:31]
        self.traffic = Traffic(self)
        self.board = LightBoard(self.sumo.programs(), lights, engine.show)
        self._write_lights()
        if old.episode and not self._unannounced:
            self.publish()

    @property
    def delta(self) -> float:
        """Seconds of a tick."""
        return self.state.settings.delta or DEFAULT_DELTA

    def apply_settings(self, settings: Settings) -> int:
        """Take over the client's settings and return the frame from which they hold, whose snapshot is published.

        SUMO's step is the world's: another delta loads SUMO anew, and traffic with it from its seed.
        """
        before = self.delta
        self.state.settings = settings
        if settings.synchronous:
            self.asynchronous.clear()
        else:
            self.asynchronous.set()
        if self.delta != before:
            self.traffic.restart()
        self.publish()
        return self.state.frame

    # ---- the tick ------------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Advance everything by one delta, publish the snapshot and return the frame's number."""
        state, delta = self.state, self.delta
        if self._unannounced:
            state.episode += 1
            self._unannounced = False
        state.frame += 1
        state.elapsed += delta
        actors = state.actors
        for actor_id in state.driven:
            actor = actors.by_id[actor_id]
            if not actor.physics:
                continue
            if actor.kind == VEHICLE:
                dynamics.drive(actor, delta)
            else:
                dynamics.walk(actor, delta)
            ground = self.town.ground(actor.motion[X], actor.motion[Y])
            # A walker's origin is the middle of its body, a vehicle's lies on the ground.
            dynamics.settle(actor, ground + (actor.extent[2] if actor.kind == WALKER else 0.0), delta)
        for actor_id in state.driven:
            self._write_driven(actors.by_id[actor_id])
        self.board.advance(delta)
        self.traffic.step(delta)
        collisions = resolve(self) if state.driven else []
        self._write_lights()
        self.rack.carry()
        self.publish()
        self.rack.speak()
        for sensor, pose, payload in collisions:
            stream = self._streams.get(sensor)
            if stream is not None:
                message = wire.message(wire.SENSOR_COLLISION, state.frame, state.elapsed, pose, payload)
                self.hub.publish(stream, message)
        return state.frame

    def publish(self) -> None:
        """Send the current snapshot to all who listen."""
        if self.hub.listened(self.snapshots):
            self.hub.publish(self.snapshots, self._snapshot())

    def stream_of(self, sensor: int) -> int:
        """Return the stream of a sensor."""
        return self._streams[sensor]

    def expect_listener(self, stream: int) -> None:
        """Take note that a client is about to subscribe to a sensor's stream."""
        if stream in self._streams.values():
            self.hub.expect(stream)

    def _snapshot(self) -> bytes:
        state = self.state
        return wire.snapshot(state.episode, state.frame, state.elapsed, time.monotonic(), self.delta, state.actors.rows)

    def _greet(self, stream: int) -> bytes | None:
        return self._snapshot() if stream == self.snapshots else None

    def _write_driven(self, actor: Actor) -> None:
        actors = self.state.actors
        if actor.kind == VEHICLE:
            x, y = actor.motion[X], actor.motion[Y]
            if abs(x - actor.looked_from[0]) + abs(y - actor.looked_from[1]) > actor.look_after:
                (actor.near_light, free), actor.looked_from = self.board.light_at(actor), (x, y)
                actor.look_after = max(free - LIGHT_LOOK_AFTER, LIGHT_LOOK_AFTER)
            # Without a light CARLA's vehicles report green.
            shows = self.board.lights[actor.near_light].state if actor.near_light else wire.GREEN
            control = actor.control
            actors.vehicles[actors.index[actor.id]] = (
                *(actor.id, wire.STATE_ACTIVE, actor.motion, (control.throttle, control.steer, control.brake)),
                *(control.hand_brake, control.reverse, control.manual_gear),
                *(control.gear if control.manual_gear else _gear(actor), 3.6 * actor.speed_limit),
                *(shows, actor.near_light != 0, actor.near_light),
            )
        else:
            row = actors.rows[actors.index[actor.id]]
            row["motion"] = actor.motion
            row["direction"], row["walk_speed"] = actor.walk.direction, actor.walk.speed
            row["jump"] = actor.walk.jump

    def _write_lights(self) -> None:
        self.board.write(self.state.actors)

    # ---- actors --------------------------------------------------------------------------------------------------

    def spawn(
        self, type_id: str, attributes: list[list[Any]], pose: tuple[float, ...], parent: int = 0, check: bool = True
    ) -> Actor:
        """Bring an actor into the world.

        Args:
            type_id: name of the blueprint.
            attributes: [[name, type, value], ...].
            pose: x, y, z, pitch, yaw, roll in CARLA's frame, relative to the parent if there is one.
            parent: id of the actor it is attached to, 0 for none.
            check: refuse places where a body already is.

        Raises:
            CraftError: unknown blueprint, unknown parent, attributes that make no sense, or an occupied place.

        """
        kind, mount = _KINDS.get(type_id.split(".", 1)[0]), pose
        self.library.get(type_id)
        if kind is None:
            raise CraftError(f"'{type_id}' is placed by the server and cannot be spawned")
        if parent:
            above = self.state.actors.get(parent)
            if above is None:
                raise CraftError(f"cannot attach {type_id}: there is no actor {parent}; spawn the parent first")
            self.state.actors.refresh(above)
            pose = tuple(compose(above.pose, mount))
        options = TrafficOptions.from_attributes(attributes) if type_id == TRAFFIC else None
        if options is not None and self.traffic.controller:
            raise CraftError(
                f"'{TRAFFIC}' already runs as actor {self.traffic.controller}; destroy it before spawning another"
            )
        instrument = self.rack.make(type_id, attributes) if kind == SENSOR else None
        actor = self._place(type_id, kind, pose, attributes, parent, check)
        if kind == SENSOR:
            self.rack.add(actor, instrument, list(mount))
            stream = self.hub.open()
            self._streams[actor.id] = stream
            actor.token = wire.stream_token(stream, self.stream_port)
            if parent:
                self.state.sensors.setdefault(parent, []).append(actor.id)
        elif actor.driven:
            self.state.driven.append(actor.id)
            if kind == VEHICLE:
                *_, actor.speed_limit = self.town.lane_at(actor.motion[X], actor.motion[Y])
            self._write_driven(actor)
        elif kind == PROP:
            self.state.props.append(actor.id)
        if options is not None:
            self.traffic.begin(actor.id, options)
        return actor

    def _place(
        self,
        type_id: str,
        kind: int,
        pose: tuple[float, ...],
        attributes: list[list[Any]] | None = None,
        parent: int = 0,
        check: bool = False,
    ) -> Actor:
        blueprint = self.library.get(type_id)
        extent = blueprint.extent
        actor = Actor(
            id=self.state.next_id,
            uid=self.library.uid(type_id),
            type_id=type_id,
            kind=kind,
            attributes=attributes or [],
            parent=parent,
            extent=extent,
            box_centre=(0.0, 0.0, 0.0) if kind == WALKER else (0.0, 0.0, extent[2]),
            mass=blueprint.mass,
            wheelbase=blueprint.wheelbase,
        )
        actor.motion[:6] = [float(number) for number in pose]
        if check and kind in (VEHICLE, WALKER, PROP) and occupied(self.state.actors, actor):
            raise CraftError("Spawn failed because of collision at spawn position")
        self.state.new_id()
        self.state.actors.add(actor)
        return actor

    def adopt(self, type_id: str, kind: int, pose: tuple[float, ...], attributes: list[list[Any]], sumo: str) -> Actor:
        """Bring an actor into the world that SUMO drives under the name ``sumo``."""
        actor = self._place(type_id, kind, pose, attributes)
        actor.sumo = sumo
        return actor

    def destroy(self, actor_ids: list[int]) -> list[bool]:
        """Take actors out of the world and say for each whether it was there.

        Sensors go with the actor they sit on, traffic goes with its controller; lights, signs and the spectator stay.
        """
        actors = self.state.actors
        found, going = [], []
        for actor_id in actor_ids:
            actor = actors.get(actor_id)
            there = actor is not None and actor.kind not in (LIGHT, SIGN) and actor_id != self.state.spectator
            found.append(there)
            if there:
                going.append(actor_id)
        if not going:
            return found
        gone = set(going)
        gone.update(sensor for actor_id in going for sensor in self.state.sensors.get(actor_id, ()))
        if self.traffic.controller in gone:
            gone.update(self.traffic.end())
        self.destroy_quietly(gone)
        return found

    def destroy_quietly(self, gone: set[int]) -> None:
        """Take actors out of the world, and out of SUMO; unknown ids are ignored."""
        if not gone:
            return
        self.traffic.forget(gone)
        for actor_id in sorted(gone):
            stream = self._streams.pop(actor_id, None)
            if stream is not None:
                self.hub.close(stream)
            self.state.sensors.pop(actor_id, None)
            self.rack.remove(actor_id)
        for sensors in self.state.sensors.values():
            sensors[:] = [sensor for sensor in sensors if sensor not in gone]
        self.state.actors.remove(gone)
        self.state.driven = [actor_id for actor_id in self.state.driven if actor_id not in gone]
        self.state.props = [actor_id for actor_id in self.state.props if actor_id not in gone]

    def props(self) -> list[Actor]:
        """Return the static props."""
        return [self.state.actors.by_id[actor_id] for actor_id in self.state.props]

    def move(self, actor: Actor, pose: tuple[float, ...]) -> None:
        """Put an actor somewhere else, keeping its velocity; one of SUMO's becomes the client's and stops.

        The pose of a sensor that sits on an actor is relative to that actor, as in CARLA.
        """
        memory = self.state.sensor_memory.get(actor.id)
        if memory is not None and actor.parent:
            memory.mount = list(pose)
            return
        if actor.sumo:
            # SUMO cannot be trusted to put a vehicle of its own anywhere (libsumo 1.28 crashes some steps later).
            self.traffic.forget({actor.id})
            actor.sumo = ""
            dynamics.stop(actor)
            self.state.driven.append(actor.id)
        actor.motion[:6] = list(pose)
        self.state.actors.write(actor)


def _gear(actor: Actor) -> int:
    """Return what an automatic gearbox would show: -1 backwards, 0 standing, 1 to 6."""
    if actor.control.reverse:
        return -1
    return 0 if actor.speed < 0.1 else min(6, 1 + int(actor.speed / 7.0))
