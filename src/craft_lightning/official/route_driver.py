"""Drives one route in anybody's CARLA world by a policy, with the very pieces that our own episodes are made of."""

from collections.abc import Callable
from typing import Any

import carla
import numpy as np

from craft_lightning.control import Tracker
from craft_lightning.conventions import TICK_SECONDS, TICKS_PER_DECISION, TRACKER_SECONDS
from craft_lightning.errors import CraftError
from craft_lightning.frames import steer_to_carla
from craft_lightning.roads.towns import town_of_map
from craft_lightning.rollouts.drivers import PolicyDriver
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.observation import observe
from craft_lightning.simulation.places import Place
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.view import ViewReader

_SLACK = 0.25 * TICK_SECONDS
Sight = Callable[[tuple[float, float]], dict[str, Any]]
"""Offset of the centre of the ego's box from its origin -> further fields of an observation."""


class RouteDriver:
    """Answers every tick of a world with the ego's control.

    A decision is made every half second from the observation that our own worlds give, and tracked in steps of
    0.1 s. What the policy sees (the bird's-eye raster of all actors and lights) is the simulator's ground truth,
    read from the client's snapshot.

    Args:
        driver: decides.
        world: the ``carla.World``.
        ego: the ego's ``carla.Actor``.
        plan: [N, 3] the route: x, y, yaw of points in order, world frame (right-handed).
        see: asked at every decision for what else an observation holds (``EvaluatorRig.see``).

    Raises:
        CraftError: the world does not tick at 20 Hz, or the plan does not lie on the town's lanes.

    """

    def __init__(self, driver: PolicyDriver, world: Any, ego: Any, plan: np.ndarray, see: Sight | None = None) -> None:
        delta = world.get_settings().fixed_delta_seconds
        if delta is None or abs(delta - TICK_SECONDS) > 1e-6:
            raise CraftError(
                f"the world's ticks last {delta} s and policies are made for {TICK_SECONDS} s; set "
                f"fixed_delta_seconds={TICK_SECONDS}"
            )
        self._driver, self._ego, self._see = driver, ego, see
        carla_map = world.get_map()
        town = town_of_map(carla_map.name, carla_map.to_opendrive())
        self.place = Place.read(town, 0, carla_map)
        self.route = self.place.planner.plan(plan[0], plan[1:])
        self.lines = route_lines(town.network, self.route)
        self.progress = RouteProgress(self.route)
        self.reader = ViewReader(world, ego)
        self.reader.watch_signals = set()
        self.decisions = 0
        self._tracker = Tracker()
        self._steer = 0.0
        self._decide_at = self._control_at = -1.0
        self._held: Any = carla.VehicleControl(brake=1.0)

    def control(self) -> Any:
        """Return the ``carla.VehicleControl`` for the next tick, from the newest snapshot."""
        view = self.reader.read_light()
        self.progress.update(*view.ego_pose[:2])
        if self._decide_at < 0.0:
            self._decide_at = self._control_at = view.time
        if view.time > self._decide_at - _SLACK:
            view = self.reader.read()
            seen: dict[str, Any] = observe(self.place.bird, view, self.progress, self.lines, self._steer)
            if self._see is not None:
                facts = self.reader.facts[self.reader.ego_id]
                seen |= self._see((facts.offset_x, facts.offset_y))
            self._tracker.plan(self._driver.decide_alone(seen, step=self.decisions), view.ego_pose)
            self.decisions += 1
            self._decide_at += TICKS_PER_DECISION * TICK_SECONDS
        if view.time > self._control_at - _SLACK:
            throttle, self._steer, brake = self._tracker.control(view.ego_pose, view.ego_speed)
            self._held = carla.VehicleControl(throttle=throttle, steer=steer_to_carla(self._steer), brake=brake)
            self._control_at += TRACKER_SECONDS
        return self._held
