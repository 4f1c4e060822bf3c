"""What the behaviours of one scenario share: the world, the route, the newest view, their actors."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Protocol

import carla
import numpy as np

from craft_lightning.frames import pose_to_carla
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route


class Spawner(Protocol):
    """What a scenario needs of a ``Session``."""

    world: Any
    ticks_per_step: int

    def blueprint(self, name: str, **attributes: object) -> Any:
        """Return a blueprint by id or pattern."""

    def has_blueprint(self, name: str) -> bool:
        """Whether there is a blueprint of this id or pattern."""

    def try_spawn(self, blueprint: Any, transform: carla.Transform, attach_to: Any | None = None) -> Any | None:
        """Spawn an actor, None where the place is taken."""

    def control(self, actor_id: int, control: carla.VehicleControl) -> None:
        """Control a vehicle from the next tick of the world on."""

    def destroy(self, actors: Any = None, tick: bool = True) -> None:
        """Destroy actors that this session spawned."""


class Line:
    """Points one metre apart that something drives along.

    Attributes:
        route: the line as a route.
        xy: [N, 2] world frame, metres.
        s: [N] metres along them.
        heading: [N] radians, unwrapped.

    """

    route: "Route"
    xy: np.ndarray
    s: np.ndarray
    heading: np.ndarray

    @property
    def end(self) -> float:
        """Metres along the line at its end."""
        return float(self.s[-1])

    def pose(self, s: float, left: float = 0.0) -> tuple[float, float, float]:
        """Return the world pose (x, y, yaw) ``left`` metres beside the line at ``s`` metres; straight past ends."""
        heading = float(np.interp(s, self.s, self.heading))
        beyond = max(s - self.end, 0.0) + min(s - float(self.s[0]), 0.0)
        x = float(np.interp(s, self.s, self.xy[:, 0])) + beyond * math.cos(heading) - left * math.sin(heading)
        y = float(np.interp(s, self.s, self.xy[:, 1])) + beyond * math.sin(heading) + left * math.cos(heading)
        return x, y, heading

    def transform(self, s: float, left: float = 0.0, turn: float = 0.0, lift: float = 0.0) -> carla.Transform:
        """Return CARLA's transform of a place beside the line; arguments as in ``Stage.spawn``."""
        x, y, heading = self.pose(s, left)
        height = float(np.interp(s, self.s, np.asarray(self.route.z, dtype=np.float64)))
        cx, cy, degrees = pose_to_carla(x, y, heading + turn)
        return carla.Transform(carla.Location(cx, cy, height + lift), carla.Rotation(yaw=degrees))

    def _draw(self, route: "Route") -> None:
        self.xy = np.asarray(route.xy, dtype=np.float64)
        self.s = np.asarray(route.s, dtype=np.float64)
        self.heading = np.unwrap(np.asarray(route.heading, dtype=np.float64))


@dataclasses.dataclass
class Stage(Line):
    """State shared by the behaviours of one scenario.

    Attributes:
        session: spawns and destroys.
        route: the ego's route.
        network: the town, where it is known; scenario vehicles then stop at red lights.
        rng: the scenario's own random numbers.
        trigger: metres of route of the trigger point.
        progress: where the ego is on the route.
        view: the newest view.
        actors: living actors of the scenario.

    """

    session: Spawner
    route: "Route"
    network: "RoadNetwork | None"
    rng: np.random.Generator
    trigger: float
    progress: RouteProgress = dataclasses.field(init=False)
    view: WorldView = dataclasses.field(init=False)
    actors: list[Any] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = RouteProgress(self.route)
        self._draw(self.route)

    @property
    def ego_s(self) -> float:
        """Metres of route of the ego's centre."""
        return self.progress.s

    @property
    def ego_speed(self) -> float:
        """Speed of the ego, m/s, not negative."""
        return max(self.view.ego_speed, 0.0)

    def see(self, view: WorldView) -> None:
        """Take the newest view."""
        self.view = view
        self.progress.update(*view.ego_pose[:2])

    def speed_limit(self, s: float) -> float:
        """Return the speed limit at ``s`` metres of route, m/s."""
        return float(np.interp(s, self.s, np.asarray(self.route.speed_limit, dtype=np.float64)))

    def spawn(self, blueprint: Any, s: float, left: float = 0.0, turn: float = 0.0, lift: float = 0.3) -> Any | None:
        """Spawn an actor beside the route, None where the place is taken.

        Args:
            blueprint: of the actor.
            s: metres of route.
            left: metres to the left of the route.
            turn: radians counter-clockwise from the direction of the route.
            lift: metres above the road, so that an Unreal server lets it drop onto the ground.

        """
        actor = self.session.try_spawn(blueprint, self.transform(s, left, turn, lift))
        if actor is not None:
            self.actors.append(actor)
        return actor

    def dismiss(self, actor: Any) -> None:
        """Destroy one of the scenario's actors; the next tick of the world carries it out."""
        self.session.destroy([actor], tick=False)
        self.actors = [other for other in self.actors if other.id != actor.id]

    def remove(self) -> None:
        """Destroy the scenario's actors; the next tick of the world carries it out."""
        if self.actors:
            self.session.destroy(self.actors, tick=False)
            self.actors.clear()


class Track(Line):
    """A line other than the ego's route that a vehicle of the scenario drives along; a ``Pilot`` takes it for a stage.

    Args:
        stage: of the scenario.
        route: the line as a route; a town's network is not needed to make one.

    """

    def __init__(self, stage: Stage, route: "Route") -> None:
        self.stage, self.route = stage, route
        self._draw(route)

    @property
    def session(self) -> Spawner:
        """Spawns and destroys."""
        return self.stage.session

    @property
    def view(self) -> WorldView:
        """The newest view."""
        return self.stage.view

    @property
    def network(self) -> "RoadNetwork | None":
        """The town, where it is known."""
        return self.stage.network

    def spawn(self, blueprint: Any, s: float) -> Any | None:
        """Spawn an actor of the scenario on the track, None where the place is taken."""
        actor = self.stage.session.try_spawn(blueprint, self.transform(s, lift=0.3))
        if actor is not None:
            self.stage.actors.append(actor)
        return actor


def route_position(route: "Route", x: float, y: float, yaw: float | None = None) -> float:
    """Return the metres of route of the point nearest to (x, y), among those that lead along ``yaw`` where given.

    Args:
        route: the route.
        x: world frame, metres; ``y`` likewise.
        y: metres.
        yaw: radians; tells apart the two passes of a route that crosses itself.

    """
    gap = np.hypot(np.asarray(route.xy)[:, 0] - x, np.asarray(route.xy)[:, 1] - y)
    if yaw is not None:
        gap = gap + 5.0 * (1.0 - np.cos(np.asarray(route.heading) - yaw))
    return float(np.asarray(route.s)[int(gap.argmin())])
