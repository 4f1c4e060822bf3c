"""Background traffic driven by CARLA's own Traffic Manager, the one inside the client's wheel.

For evaluation that is faithful to CARLA. Its threads race each other: equal seeds do not give equal traffic.
"""

import socket
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.simulation.launcher import PORTS_PER_BLOCK
from craft_lightning.simulation.session import Session

_CLEAR = 20.0  # metres between a new vehicle and everybody who is already there
_BASE_TYPES = ("car", "van", "truck")
_SEED_LIMIT = 2**31 - 1


def start_traffic_manager(session: Session, seed: int) -> Any:
    """Return the session's Traffic Manager in synchronous mode without hybrid physics, started where there is none.

    Args:
        session: the session; it ends the Traffic Manager when it closes.
        seed: of the Traffic Manager's random numbers.

    """
    if session.traffic_manager is None:
        session.traffic_manager = session.client.get_trafficmanager(_free_port(session.port + PORTS_PER_BLOCK - 1))
    manager = session.traffic_manager
    manager.set_synchronous_mode(True)
    manager.set_hybrid_physics_mode(False)
    manager.set_random_device_seed(seed % _SEED_LIMIT)
    manager.set_global_distance_to_leading_vehicle(2.5)
    return manager


def fill_with_traffic_manager(session: Session, seed: int, vehicles: int) -> int:
    """Spawn vehicles that the Traffic Manager drives and return how many there was room for.

    They begin at standstill at the map's spawn points, clear of whoever is there, and are not replaced: the Traffic
    Manager takes vehicles away that stood for 90 s.

    Args:
        session: the session.
        seed: draws places and kinds of vehicles.
        vehicles: how many.

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
        if len(taken) and np.hypot(*(taken - place).T).min() < _CLEAR:
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
