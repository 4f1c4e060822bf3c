"""Sets the stage of an episode: the ego with its collision sensor, background traffic, weather."""

import difflib
import math
import warnings
from collections.abc import Mapping
from typing import Any

import carla
import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_VEHICLE
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.frames import pose_to_carla
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.traffic_manager import fill_with_traffic_manager
from craft_lightning.simulation.view import WorldView

SUMO_TRAFFIC = "controller.traffic.sumo"
SUMO, TRAFFIC_MANAGER = "sumo", "traffic_manager"
TRAFFIC_SOURCES = (SUMO, TRAFFIC_MANAGER)
DEFAULT_EGO = "vehicle.lincoln.mkz_2020"
_JAM = 40.0  # metres from the ego within which a jam holds it up
_SEED_LIMIT = 2**31 - 1  # attributes of blueprints are 32-bit integers


def ego_blueprint(session: Session, wanted: str) -> str:
    """Return the id or pattern of the ego's blueprint on a server.

    Raises:
        CraftError: the server has no such blueprint, and it is not the default one, for which its first car stands in.

    """
    if session.has_blueprint(wanted):
        return wanted
    if wanted == DEFAULT_EGO:
        return "vehicle.*"
    cars = sorted(car.id for car in session.blueprints.filter("vehicle.*"))
    close = difflib.get_close_matches(wanted, cars, 1, 0.0)
    raise CraftError(f"data.episode.ego is '{wanted}', which the server has not; did you mean {close[0]}?")


def spawn_ego(session: Session, blueprint: str, x: float, y: float, z: float, yaw: float) -> Any:
    """Spawn the ego a little above the road, so that an Unreal server lets it drop onto its wheels.

    Args:
        session: the session.
        blueprint: wanted id; a server that lacks the default one gives its first car.
        x: world frame, metres; ``y`` and ``z`` likewise.
        y: metres.
        z: height of the road, metres.
        yaw: radians.

    Raises:
        CraftError: the server has no such blueprint.
        WorldError: the place is taken.

    """
    name = ego_blueprint(session, blueprint)
    chosen = session.blueprint(name, role_name="hero")
    if name != blueprint:
        warnings.warn(f"the server has no '{blueprint}'; the ego drives a '{chosen.id}'", stacklevel=2)
    cx, cy, degrees = pose_to_carla(x, y, yaw)
    place = carla.Transform(carla.Location(cx, cy, z + 0.2), carla.Rotation(yaw=degrees))
    ego = session.try_spawn(chosen, place)
    if ego is None:
        raise WorldError(
            f"the start of the route at ({x:.1f}, {y:.1f}) is taken, the ego could not be spawned; "
            "clear the town of other clients' actors or choose another route"
        )
    return ego


def spawn_traffic(session: Session, seed: int, vehicles: int, walkers: int, source: str = SUMO) -> bool:
    """Start the background traffic; return False where the server has none of the wanted kind (an Unreal one's SUMO).

    Call it after the ego and the scenario's actors are there: traffic keeps clear of them.

    Args:
        session: the session.
        seed: fixes the traffic.
        vehicles: number of vehicles kept up.
        walkers: number of pedestrians kept up.
        source: who drives the vehicles, one of ``TRAFFIC_SOURCES``; pedestrians are the server's own either way.

    """
    if source == TRAFFIC_MANAGER and vehicles > 0:
        if walkers <= 0 or not session.has_blueprint(SUMO_TRAFFIC):
            # The server's own traffic sets the lights by its seed; without it they begin anew.
            session.world.reset_all_traffic_lights()
        else:
            spawn_traffic(session, seed, 0, walkers)
        fill_with_traffic_manager(session, seed, vehicles)
        return True
    if vehicles <= 0 and walkers <= 0:
        return True
    if not session.has_blueprint(SUMO_TRAFFIC):
        warnings.warn(
            f"the server at {session.host}:{session.port} has no blueprint '{SUMO_TRAFFIC}'; "
            "the episode runs with the actors of its scenario alone",
            stacklevel=2,
        )
        return False
    blueprint = session.blueprint(SUMO_TRAFFIC, seed=seed % _SEED_LIMIT, vehicles=vehicles, walkers=walkers)
    session.spawn(blueprint, carla.Transform())
    return True


def set_weather(session: Session, weather: Mapping[str, Any]) -> None:
    """Set the weather of a route; names that CARLA does not know are left out."""
    if not weather:
        return
    parameters = session.world.get_weather()
    for name, value in weather.items():
        if hasattr(parameters, name):
            setattr(parameters, name, float(value))
    session.world.set_weather(parameters)


def wheelbase_of(ego: Any, length: float) -> float:
    """Return metres between the axles from the physics control, or 0.6 of the length where it makes no sense."""
    wheels = ego.get_physics_control().wheels
    if len(wheels) >= 4:
        front, rear = wheels[0].position, wheels[2].position
        distance = math.dist((front.x, front.y), (rear.x, rear.y)) / 100.0  # wheel positions are in centimetres
        if 0.4 * length < distance < 0.9 * length:
            return distance
    return 0.6 * length


def background_vehicles(view: WorldView, played: set[int]) -> list[int]:
    """Return the ids of the vehicles and cycles that are neither the ego nor a scenario's.

    Args:
        view: a full view.
        played: ids of the scenarios' actors.

    """
    vehicles = np.isin(view.kind, (AGENT_VEHICLE, AGENT_CYCLIST))
    vehicles[view.ego] = False
    return [int(actor) for actor in view.ids[vehicles] if int(actor) not in played]


def blocking_vehicles(view: WorldView, played: set[int], reach: float = 12.0) -> list[int]:
    """Return the ids of the background vehicles that stand in front of the ego, or of who holds the ego up.

    A vehicle of a scenario that stands within ``_JAM`` of the ego may itself be held up by the background.

    Args:
        view: a full view.
        played: ids of the scenarios' actors.
        reach: metres from a centre to the centre of what stands before it.

    """
    held = np.isin(view.ids, sorted(played)) & (np.hypot(view.x - view.x[view.ego], view.y - view.y[view.ego]) < _JAM)
    held &= np.isin(view.kind, (AGENT_VEHICLE, AGENT_CYCLIST)) & (abs(view.speed) < 0.1)
    held[view.ego] = True
    rows = np.flatnonzero(held)[:, None]
    cos, sin = np.cos(view.yaw[rows]), np.sin(view.yaw[rows])
    dx, dy = view.x - view.x[rows], view.y - view.y[rows]
    ahead, beside = dx * cos + dy * sin, dy * cos - dx * sin
    before = (ahead > 0.0) & (ahead < reach) & (abs(beside) < 2.0)
    near = before.any(0) & (abs(view.speed) < 0.1)
    return [actor for actor in background_vehicles(view, played) if near[int(np.searchsorted(view.ids, actor))]]
