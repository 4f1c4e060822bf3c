"""Background traffic driven by CARLA's own Traffic Manager, the one inside the client's wheel.

For evaluation that is faithful to CARLA. Its threads race: equal seeds do not give equal traffic, and now and
then a tick waits for ever (carla issue 9172), which a thread of ours notices and mends.
"""

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import msgpack
import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.simulation.launcher import PORTS_PER_BLOCK
from craft_lightning.simulation.session import Session

_BASE_TYPES = ("car", "van", "truck")
_SEED_LIMIT = 2**31 - 1
_PATIENCE = 3.0  # seconds that a tick may last before the Traffic Manager is woken
_REQUEST = 0  # of MessagePack-RPC
_LOOK = 0.5  # seconds between two looks at the running tick


def start_traffic_manager(session: Session, seed: int) -> Any:
    """Return the session's Traffic Manager in synchronous mode without hybrid physics, started where there is none.

    Args:
        session: the session; it ends the Traffic Manager when it closes.
        seed: of the Traffic Manager's random numbers.

    """
    if session.traffic_manager is None:
        port = _free_port(session.port + PORTS_PER_BLOCK - 1)
        session.traffic_manager = session.client.get_trafficmanager(port)
        threading.Thread(target=watch_traffic_manager, args=(weakref.ref(session), port), daemon=True).start()
    manager = session.traffic_manager
    manager.set_synchronous_mode(True)
    manager.set_hybrid_physics_mode(False)
    manager.set_random_device_seed(seed % _SEED_LIMIT)
    manager.set_global_distance_to_leading_vehicle(2.5)
    return manager


class Ticking(Protocol):
    """Whoever ticks a world under a Traffic Manager.

    Attributes:
        traffic_manager: what ends the watch where it is None.
        ticking_since: when the tick that runs was asked for (monotonic seconds), None between ticks.

    """

    traffic_manager: Any
    ticking_since: float | None


def watch_traffic_manager(reference: Callable[[], Ticking | None], port: int) -> None:
    """Wake a Traffic Manager whenever a tick hangs, for as long as there is one; runs in a thread of its own.

    Args:
        reference: returns who ticks, None where it is gone (a weak reference).
        port: of the Traffic Manager.

    The thread that ticks and the one that drives signal each other without holding the lock they wait with, so that a
    signal can be lost and both wait. Leaving the synchronous mode signals once more; the step that this sets off ends
    the wait, and the mode is taken up again. The client's own methods wait for the hanging tick, its port does not.

    """
    while True:
        time.sleep(_LOOK)
        session = reference()
        if session is None or session.traffic_manager is None:
            return
        since = session.ticking_since
        del session  # else this thread would keep it alive
        if since is not None and time.monotonic() - since > _PATIENCE:
            with contextlib.suppress(OSError):  # it ends just now
                _signal(port)


def _signal(port: int) -> None:
    """Leave the synchronous mode and take it up again, by the Traffic Manager's own MessagePack-RPC."""
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
        for number, synchronous in enumerate((False, True)):
            connection.sendall(msgpack.packb([_REQUEST, number, "set_synchronous_mode", [synchronous]]))
            connection.recv(4096)


def fill_with_traffic_manager(session: Session, seed: int, vehicles: int, clear: float = 20.0) -> int:
    """Spawn vehicles that the Traffic Manager drives and return how many there was room for.

    They begin at standstill at the map's spawn points, clear of whoever is there, and are not replaced: the Traffic
    Manager takes vehicles away that stood for 90 s.

    Args:
        session: the session.
        seed: draws places and kinds of vehicles.
        vehicles: how many.
        clear: metres between a new vehicle and everybody who is already there.

    Raises:
        CraftError: the server offers no vehicle or no spawn point.

    """
    rng = np.random.default_rng([seed % 2**32, 0x7A11])
    kinds = sorted(
        (kind for kind in session.blueprints.filter("vehicle.*") if _suitable(kind)), key=lambda kind: kind.id
    )
    points = session.world.get_map().get_spawn_points()
    if not kinds or not points:
        raise CraftError(
            f"the server at {session.host}:{session.port} offers {len(kinds)} kinds of cars and {len(points)} spawn "
            "points; traffic=traffic_manager needs both, choose traffic=sumo"
        )
    manager = start_traffic_manager(session, seed)
    taken = np.array([_xy(actor.get_location()) for actor in session.world.get_actors() if _body(actor)]).reshape(-1, 2)
    spawned = 0
    for index in rng.permutation(len(points)).tolist():
        if spawned >= vehicles:
            break
        point = points[index]
        place = np.array([_xy(point.location)])
        if len(taken) and np.hypot(*(taken - place).T).min() < clear:
            continue
        kind = kinds[int(rng.integers(len(kinds)))]
        kind.set_attribute("role_name", "background")
        actor = session.try_spawn(kind, point)
        if actor is None:
            continue
        actor.set_autopilot(True, manager.get_port())
        taken = np.concatenate([taken, place])
        spawned += 1
    return spawned


def _free_port(wanted: int) -> int:
    """Return ``wanted``, which the launcher keeps free for this, or any other port where somebody else has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CraftError("no port is free for the Traffic Manager; end other programs")


def _suitable(kind: Any) -> bool:
    if kind.has_attribute("special_type") and str(kind.get_attribute("special_type")) == "emergency":
        return False
    base = kind.get_attribute("base_type").as_str() if kind.has_attribute("base_type") else "car"
    return base in _BASE_TYPES


def _body(actor: Any) -> bool:
    return bool(actor.type_id.startswith(("vehicle.", "walker.", "static.prop")))


def _xy(location: Any) -> tuple[float, float]:
    return float(location.x), float(location.y)
