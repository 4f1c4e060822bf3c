"""A small driver for scenario vehicles: keeps to a route, holds a speed, minds whoever is ahead and red lights."""

import math
from typing import Any

import carla
import numpy as np

from craft_lightning.frames import steer_to_carla
from craft_lightning.simulation.prediction import line_state
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.reference_path import crossed_lines
from craft_lightning.simulation.scenarios.stage import Stage, Track
from craft_lightning.simulation.speed_profile import safe_speed
from craft_lightning.simulation.view import LIGHT_RED, LIGHT_YELLOW

FULL_BRAKING = 8.0  # m/s2 that a CARLA car reaches at brake 1, about
_BRAKING = 3.5  # m/s2 that the pilot spends on lights and others
_MEMORY = 0.6  # seconds that somebody ahead is remembered: light views show only what is near the ego


class Pilot:
    """Drives one vehicle of a scenario along the stage's route, or a track.

    Args:
        stage: shared state.
        vehicle: the ``carla.Vehicle``.
        s: metres of route where it was spawned.

    Attributes:
        s: metres of route of its centre.
        speed: m/s.

    """

    def __init__(self, stage: Stage | Track, vehicle: Any, s: float) -> None:
        self.stage, self.vehicle = stage, vehicle
        self.headway, self.braking = 1.0, _BRAKING  # s and m/s2, towards whoever is ahead
        self.s, self.speed = s, 0.0
        self.present = False
        self._progress = RouteProgress(stage.route)
        self._progress.index = int(np.searchsorted(stage.s, s))
        self._pose = stage.pose(s)
        self._length = 4.5
        wheels = vehicle.get_physics_control().wheels
        angle = math.radians(wheels[0].max_steer_angle) if len(wheels) else 0.0
        self._max_steer = angle if 0.2 < angle < 1.6 else 1.2
        self._lines = [] if stage.network is None else crossed_lines(stage.xy, stage.s, stage.network)
        self._ahead = (-math.inf, math.inf, 0.0)  # time seen, metres of route of its rear bumper, m/s

    def see(self) -> bool:
        """Find the vehicle in the newest view; return False while it is not there."""
        view = self.stage.view
        row = view.row(int(self.vehicle.id))
        self.present = row >= 0
        if not self.present:
            return False
        self._pose = float(view.x[row]), float(view.y[row]), float(view.yaw[row])
        self._length = float(view.length[row])
        self.speed = float(view.speed[row])
        self._progress.update(*self._pose[:2])
        self.s = self._progress.s
        self._look_ahead(row)
        return True

    def _look_ahead(self, row: int) -> None:
        """Remember the nearest body in the lane ahead."""
        view = self.stage.view
        x, y, yaw = self._pose
        dx, dy = view.x - x, view.y - y
        forward, left = dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw)
        blocking = (forward > 0.5 * self._length) & (forward < 40.0) & (np.abs(left) < 1.0 + 0.5 * view.width)
        blocking[row] = False
        if blocking.any():
            found = np.flatnonzero(blocking)
            nearest = int(found[forward[found].argmin()])
            pace = max(float(view.speed[nearest] * math.cos(view.yaw[nearest] - yaw)), 0.0)
            self._ahead = (view.time, self.s + float(forward[nearest] - 0.5 * view.length[nearest]), pace)
        elif view.time - self._ahead[0] > _MEMORY:
            self._ahead = (-math.inf, math.inf, 0.0)

    def _allowed(self) -> float:
        """Return the speed that those ahead, red lights and curves allow, m/s."""
        view, front = self.stage.view, self.s + 0.5 * self._length
        seen, place, pace = self._ahead
        allowed = math.inf
        if place < math.inf:
            gap = place + pace * (view.time - seen) - front - 3.0
            allowed = safe_speed(gap, pace, self.headway, self.braking) if gap > 0.0 else 0.0
        for place, signals in self._lines:
            if -1.0 < place - front < 40.0 and line_state(view, signals) in (LIGHT_RED, LIGHT_YELLOW):
                gap = place - front - 1.5
                if self.speed**2 < 2.0 * 6.0 * max(gap, 0.1):
                    allowed = min(allowed, safe_speed(gap, 0.0, 0.5, _BRAKING) if gap > 0.0 else 0.0)
        bend = abs(self.stage.pose(self.s + 9.0)[2] - self.stage.pose(self.s + 3.0)[2]) / 6.0
        return min(allowed, math.sqrt(2.5 / max(bend, 1e-3)))

    def drive(self, speed: float) -> None:
        """Steer along the route at ``speed`` m/s, slower where something ahead demands it."""
        wanted = min(speed, self._allowed())
        excess = self.speed - wanted
        throttle = float(np.clip(0.35 * -excess + 0.03 * wanted, 0.0, 0.9)) if wanted > 0.1 else 0.0
        brake = float(np.clip(0.4 * excess, 0.0, 1.0)) if excess > 0.4 or wanted <= 0.1 else 0.0
        if wanted <= 0.1:
            brake = max(brake, 0.3)
        self._apply(0.0 if brake > 0.0 else throttle, brake)

    def brake(self, deceleration: float) -> None:
        """Brake with about ``deceleration`` m/s2 and hold."""
        self._apply(0.0, min(deceleration / FULL_BRAKING, 1.0))

    def start_at(self, speed: float) -> None:
        """Give the vehicle its first speed, so that it appears driving; m/s along the route."""
        _, _, heading = self.stage.pose(self.s)
        self.speed = speed
        self.vehicle.set_target_velocity(carla.Vector3D(speed * math.cos(heading), -speed * math.sin(heading), 0.0))

    def _apply(self, throttle: float, brake: float) -> None:
        """Send pedals and a pure-pursuit steering angle."""
        x, y, yaw = self._pose
        reach = min(max(0.8 * self.speed, 4.0), 10.0)
        ax, ay, _ = self.stage.pose(self.s + reach)
        dx, dy = ax - x, ay - y
        left = dy * math.cos(yaw) - dx * math.sin(yaw)
        # Pure pursuit: curvature 2 left / distance^2, bicycle with 0.6 of the length between the axles.
        angle = math.atan(0.6 * self._length * 2.0 * left / max(dx * dx + dy * dy, 1.0))
        steer = float(np.clip(angle / self._max_steer, -1.0, 1.0))
        self.stage.session.control(self.vehicle.id, carla.VehicleControl(throttle, steer_to_carla(steer), brake))
