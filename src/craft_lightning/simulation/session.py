"""One client of one CARLA server: version check, town, synchronous mode, spawned actors, clean-up."""

import contextlib
import hashlib
import queue
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import carla

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.simulation.clock import ticks_in_a_step
from craft_lightning.simulation.launcher import require_listener

if TYPE_CHECKING:
    from craft_lightning.roads.towns import Town

# Threads that read streams. One: every further one is woken for every snapshot, and a tick then costs the client half
# as much again. Listeners run in it with the interpreter's lock, one after the other however many there are.
_STREAM_THREADS = 1
_LOOK = 1.0  # seconds without a snapshot after which it is asked whether the server still listens


class Session:
    """A connected client in synchronous mode; closing it destroys what it spawned and restores the server's settings.

    ``tick`` and every other call can hang or abort the process when the server freezes or dies (no client-side timeout
    covers all cases), so a session lives in a supervised process where faults are expected.

    Args:
        host: host of the server.
        port: its RPC port.
        town: the town to be in; loaded where the server has another one.
        timeout: seconds the client waits for one answer.
        delta: seconds of one tick, of which a whole number fits into a step of tracker and scenarios.

    Attributes:
        client: the ``carla.Client``.
        world: the ``carla.World``.
        town: the town.
        delta: seconds of one tick.
        ticks_per_step: ticks between two looks of tracker and scenarios.
        traffic_manager: the client's Traffic Manager where one was started; it ends with the session.
        ticking_since: when the tick that runs was asked for (monotonic seconds), None between ticks.

    Raises:
        CraftError: nobody listens there, the version differs, or the town cannot be loaded; a tick that does not fit.

    """

    def __init__(self, host: str, port: int, town: "Town", timeout: float = 20.0, delta: float = TICK_SECONDS) -> None:
        self.ticks_per_step = ticks_in_a_step(delta)
        require_listener(host, port)
        self.host, self.port, self.town, self.delta, self._timeout = host, port, town, delta, timeout
        self._original: Any = None
        self._actors: dict[int, Any] = {}
        self._orders: dict[int, Any] = {}  # actor -> command that goes out with the next tick
        self._snapshots: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._listener: tuple[Any, int] | None = None  # world and number of what fills the queue
        self.traffic_manager: Any = None
        self.ticking_since: float | None = None
        self.client = carla.Client(host, port, _STREAM_THREADS)
        self.client.set_timeout(timeout)
        self._check_version()
        with self._answers("get_world"):
            self.world = self.client.get_world()
            self._load_town()
            self._original = self.world.get_settings()
            self._synchronise()
            self.blueprints = self.world.get_blueprint_library()

    def _check_version(self) -> None:
        """Compare versions before anything else is decoded: a mismatched pair aborts the process in get_world()."""
        try:
            server = self.client.get_server_version()
        except RuntimeError as error:
            raise CraftError(
                f"what listens at {self.host}:{self.port} does not answer like a CARLA server within "
                f"{self._timeout:.0f} s ({_one_line(error)}); correct host and port or start the server anew"
            ) from error
        client = self.client.get_client_version()
        if _release(server) != _release(client):
            raise CraftError(
                f"the CARLA server at {self.host}:{self.port} has version {server} but the installed client has "
                f"{client}; run a server of version {_release(client)} or install carla=={_release(server)}"
            )

    def _load_town(self) -> None:
        """Be in the wanted town without loading it twice: loading leaks memory on Unreal servers."""
        wanted = _digest(self.town.opendrive.text)
        present = self.world.get_map()
        if _digest(present.to_opendrive()) == wanted:
            return
        if _base(present.name) != self.town.name:
            available = {_base(name) for name in self.client.get_available_maps()}
            if self.town.name in available:
                self.world = self.client.load_world(self.town.name)
            else:
                self.world = self.client.generate_opendrive_world(self.town.opendrive.text)
            if _digest(self.world.get_map().to_opendrive()) == wanted:
                return
        if _base(self.world.get_map().name) != self.town.name:
            raise CraftError(
                f"the server at {self.host}:{self.port} is in town '{self.world.get_map().name}' and could not load "
                f"'{self.town.name}'; start it with that town"
            )
        warnings.warn(
            f"town '{self.town.name}' of the server at {self.host}:{self.port} has another OpenDRIVE text than ours; "
            "roads may differ",
            stacklevel=3,
        )

    def change_town(self, town: "Town") -> None:
        """Load another town; everything that was spawned must be destroyed before.

        All actors are new ones, so whoever remembers some must forget them.

        Raises:
            CraftError: the server cannot load the town.
            WorldError: the server failed.

        """
        self._actors.clear()  # what is left dies with the town
        self._orders.clear()
        self.town = town
        with self._answers("load_world"):
            self._load_town()
            # Loading resets the settings of an Unreal server.
            self._synchronise()
            self.blueprints = self.world.get_blueprint_library()

    def _synchronise(self) -> None:
        settings = self.world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = self.delta
        settings.deterministic_ragdolls = True
        self.world.apply_settings(settings)
        self._hear_ticks()

    def _hear_ticks(self) -> None:
        """Have the client put every snapshot into the queue; a world that was loaded anew has forgotten to."""
        self._deafen()
        self._listener = self.world, self.world.on_tick(self._snapshots.put)

    def _deafen(self) -> None:
        if self._listener is not None:
            world, number = self._listener
            self._listener = None
            world.remove_on_tick(number)

    @contextlib.contextmanager
    def _answers(self, call: str) -> Iterator[None]:
        """Turn the client's RuntimeError into one sentence."""
        try:
            yield
        except RuntimeError as error:
            raise WorldError(
                f"the CARLA server at {self.host}:{self.port} failed in {call} ({_one_line(error)}); "
                "it may have died; the episode can be collected again with a new server"
            ) from error

    def control(self, actor_id: int, control: "carla.VehicleControl") -> None:
        """Control a vehicle from the next tick on; a later call before it takes the place of an earlier one.

        Unlike the actor's own method this sends nothing of its own: it travels in the message that asks for the tick.
        """
        self._orders[actor_id] = carla.command.ApplyVehicleControl(actor_id, control)

    def _send_orders(self, tick: bool) -> None:
        orders = list(self._orders.values())
        self._orders.clear()
        if orders or tick:
            self.client.apply_batch(orders, tick)

    @property
    def at_once(self) -> int:
        """Ticks that ``ticks`` asks for before the first of them has happened."""
        return 1 if self.traffic_manager is not None else 2

    def tick(self) -> int:
        """Carry out the orders, advance the world by one tick and return its frame number; errors as of ``ticks``."""
        return int(self.ticks(1)[0].frame)

    def ticks(self, count: int) -> list[Any]:
        """Carry out the orders, advance the world by ``count`` ticks and return their ``carla.WorldSnapshot``s.

        Orders and tick are one message that the client does not wait for; what it waits for is the snapshot. That costs
        a good deal less than ``World.tick`` and one call a control, and two ticks at once cost a quarter less each, as
        both processes wake half as often. What actors themselves say (what lights show) is then of the last tick.

        A server that dies while this waits can abort the process, and one that freezes can outlast the timeout: a
        supervisor outside must watch.

        Args:
            count: 1 to ``at_once``.

        Raises:
            WorldError: the server answered with an error or not in time.

        """
        self.ticking_since = time.monotonic()
        try:
            while not self._snapshots.empty():
                self._snapshots.get()
            if self.traffic_manager is not None:  # only the client's own tick takes it along
                self._send_orders(False)
                self.world.tick(self._timeout)
                return [self.world.get_snapshot()]
            before = self.world.get_snapshot().frame
            for _ in range(count):
                self._send_orders(True)
            found: list[Any] = []
            while len(found) < count:
                snapshot = self._await_snapshot()
                if snapshot.frame > before:  # whoever subscribes is told of the present frame first
                    found.append(snapshot)
            return found
        except RuntimeError as error:
            raise WorldError(
                f"the CARLA server at {self.host}:{self.port} stopped ticking ({_one_line(error)}); "
                "the episode can be collected again with a new server"
            ) from error
        finally:
            self.ticking_since = None

    def _await_snapshot(self) -> Any:
        deadline = time.monotonic() + self._timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise RuntimeError(f"no snapshot within {self._timeout:.0f} s")
            try:
                return self._snapshots.get(timeout=min(left, _LOOK))
            except queue.Empty:
                try:
                    require_listener(self.host, self.port, 1.0)
                except CraftError as error:
                    raise RuntimeError(str(error)) from error

    def settle(self) -> None:
        """Wait until the server has done all that it was told: controls are sent without waiting for an answer.

        Raises:
            WorldError: the server failed.

        """
        with self._answers("version"):
            self._send_orders(False)
            self.client.get_server_version()

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Let the server take longer than usual for an answer."""
        self.client.set_timeout(max(seconds, self._timeout))
        try:
            yield
        finally:
            self.client.set_timeout(self._timeout)

    def blueprint(self, name: str, **attributes: object) -> Any:
        """Return a blueprint with attributes set; attributes that it does not have are left out.

        Args:
            name: exact id or wildcard pattern; of several matches the first in alphabetical order is taken.
            **attributes: attribute values.

        Raises:
            CraftError: the server has no such blueprint.

        """
        found = sorted(self.blueprints.filter(name), key=lambda blueprint: blueprint.id)
        if not found:
            raise CraftError(
                f"the server at {self.host}:{self.port} has no blueprint '{name}'; choose another one or another server"
            )
        exact = [blueprint for blueprint in found if blueprint.id == name]
        blueprint = (exact or found)[0]
        for attribute, value in attributes.items():
            if blueprint.has_attribute(attribute):
                blueprint.set_attribute(attribute, str(value))
        return blueprint

    def has_blueprint(self, name: str) -> bool:
        """Whether the server knows a blueprint of this id or pattern."""
        return len(self.blueprints.filter(name)) > 0

    def spawn(self, blueprint: Any, transform: "carla.Transform", attach_to: Any | None = None) -> Any:
        """Spawn an actor and remember it for the clean-up.

        Raises:
            WorldError: the place is taken, or the server refused.

        """
        with self._answers(f"spawn_actor of '{blueprint.id}'"):
            actor = self.world.spawn_actor(blueprint, transform, attach_to=attach_to)
        self._actors[actor.id] = actor
        return actor

    def try_spawn(self, blueprint: Any, transform: "carla.Transform", attach_to: Any | None = None) -> Any | None:
        """Spawn an actor and remember it; None where the place is taken."""
        with self._answers(f"try_spawn_actor of '{blueprint.id}'"):
            actor = self.world.try_spawn_actor(blueprint, transform, attach_to=attach_to)
        if actor is not None:
            self._actors[actor.id] = actor
        return actor

    def destroy(self, actors: Iterable[Any] | None = None, tick: bool = True) -> None:
        """Destroy actors (default: everything this session spawned) and let one tick carry it out.

        Sensors are stopped and destroyed before the others, since they hang on them.

        Args:
            actors: actors that this session spawned.
            tick: advance the world once afterwards.

        """
        chosen = list(self._actors.values() if actors is None else actors)
        chosen = [actor for actor in chosen if self._actors.pop(actor.id, None) is not None]
        for actor in chosen:
            self._orders.pop(actor.id, None)
        if not chosen:
            return
        sensors = [actor for actor in chosen if actor.type_id.startswith("sensor.")]
        bodies = [actor for actor in chosen if not actor.type_id.startswith("sensor.")]
        with self._answers("destroy"):
            for sensor in sensors:
                if sensor.is_listening():
                    sensor.stop()
            for group in (sensors, bodies):
                if group:
                    # do_tick stays False: True can deadlock once listeners hold all worker threads.
                    self.client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in group], False)
        if tick:
            self.tick()

    def remove_others(self, actors: Iterable[int]) -> None:
        """Destroy actors by id that this session did not spawn; the next tick carries it out."""
        commands = [carla.command.DestroyActor(actor) for actor in actors]
        if commands:
            with self._answers("destroy"):
                self.client.apply_batch_sync(commands, False)

    def close(self) -> None:
        """Destroy what was spawned and give the settings back; quiet where the server is already gone."""
        if self._original is None:
            return
        original, self._original = self._original, None
        try:
            require_listener(self.host, self.port, 1.0)
        except CraftError:
            return  # nothing is left to restore, and every call would wait its whole timeout
        self.client.set_timeout(min(self._timeout, 5.0))
        with contextlib.suppress(WorldError, RuntimeError):  # a dying server; what it held dies with it
            self._deafen()
            self.destroy(tick=False)
            if self.traffic_manager is not None:
                # One that waits for ticks would hang whoever uses the server next.
                self.traffic_manager.set_synchronous_mode(False)
                self.traffic_manager.shut_down()
                self.traffic_manager = None
            self.world.apply_settings(original)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _release(version: str) -> str:
    """Return the x.y.z at the front of a version, or the whole text where there is none."""
    match = re.search(r"\d+\.\d+\.\d+", version)
    return match.group(0) if match else version


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
