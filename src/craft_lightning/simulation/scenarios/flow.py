"""A flow: vehicles that appear at a source, drive along one path and go at its end; all of them driven at once."""

import dataclasses
import math
from typing import Any

import carla
import numpy as np

from craft_lightning.conventions import AGENT_NONE, TRACKER_SECONDS
from craft_lightning.frames import pose_to_carla
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios import parameters
from craft_lightning.simulation.scenarios.fleet import CARS, models
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.stage import Stage

SOURCE = 3.0  # metres of path at which vehicles appear
_SINK = 3.0  # metres before the path's end at which they go
_FOLLOW_BRAKING, _LATE_BRAKING = 3.5, 6.0  # m/s2 spent behind the flow's own and on others in the way
_STANDSTILL = 2.0  # metres kept behind whoever stands
_TAKEN = 1.6  # metres from the path to a mover's middle from which on it has taken the lane
_ROOM = 0.95  # metres from the path to a vehicle's side


@dataclasses.dataclass(frozen=True)
class FlowPattern:
    """How dense a flow is.

    Between the vehicles of a platoon lie the distances of Bench2Drive's ``source_dist_interval``; between two platoons
    lies an opening, so that whoever waits gets his turn.

    Args:
        speed: m/s.
        nearest: metres between the centres of two vehicles at least.
        farthest: metres at most.
        platoon: least and greatest number of vehicles of a platoon.
        opening: least and greatest seconds of flow of an opening, beyond the usual distance.

    """

    speed: float
    nearest: float
    farthest: float
    platoon: tuple[int, int] = (2, 4)
    opening: tuple[float, float] = (5.0, 7.0)

    @classmethod
    def of(cls, config: ScenarioConfig, speed: float, interval: tuple[float, float], **rest: Any) -> "FlowPattern":
        """Read ``flow_speed`` and ``source_dist_interval`` (from, to) of a scenario.

        Args:
            config: the scenario.
            speed: default, m/s.
            interval: default, metres.
            **rest: further fields.

        Raises:
            CraftError: a value that makes no sense.

        """
        nearest, farthest = parameters.interval(config, "source_dist_interval", interval)
        return cls(parameters.number(config, "flow_speed", speed), nearest, farthest, **rest)


class Flow:
    """The vehicles of one flow, first come first.

    They keep their distance to each other, do not stop at lights and brake late for whoever is in their way already.

    Args:
        stage: shared state; the rhythm is drawn from its random numbers.
        path: what they follow.
        pattern: how dense they are.
        fleet: which vehicles.
        total: number of vehicles at most; 0 for no limit.

    Attributes:
        scale: share of the path's pace that is driven.
        source: metres of path at which vehicles appear.
        ids: actor ids, the first in front.
        s: [V] metres of path of the centres.
        speed: [V] m/s.
        born: number of vehicles so far.

    """

    def __init__(self, stage: Stage, path: FlowPath, pattern: FlowPattern, fleet: str = CARS, total: int = 0) -> None:
        self.stage, self.path, self.pattern, self.total = stage, path, pattern, total
        self.scale, self.source = 1.0, SOURCE
        self.ids: list[int] = []
        self.s = self.left = self.speed = self.length = self.steer = np.zeros(0)
        self.born = 0
        self._fleet = fleet
        self._models: list[str] = []
        self._max_steer: dict[str, float] = {}
        self._poses = np.zeros((0, 3))
        self._due = 0.0  # metres that the flow moves on until the next vehicle appears
        self._new_platoon()

    # -- a step ----------------------------------------------------------------------------------------------------

    def step(self, emit: bool) -> None:
        """See, take away those at the end, let one appear if it is time and ``emit``, and drive all."""
        self._see()
        self._retire()
        bodies = self._bodies()
        if emit and (not self.total or self.born < self.total):
            self._appear(bodies)
        self._drive(bodies)

    def intentions(self) -> dict[int, Intention]:
        """Return what each vehicle intends."""
        rows = zip(self.ids, self.s.tolist(), self.left.tolist(), strict=True)
        return {actor: self.path.intention(s, left, self.scale) for actor, s, left in rows}

    def _see(self) -> None:
        """Find the vehicles in the newest view; one that is not there yet is taken to have driven on."""
        if not self.ids:
            return
        view = self.stage.view
        rows = np.minimum(np.searchsorted(view.ids, self.ids), len(view) - 1)
        there = view.ids[rows] == self.ids
        self.speed = np.where(there, np.maximum(view.speed[rows], 0.0), self.speed)
        self.length = np.where(there, view.length[rows], self.length)
        fresh = np.stack([view.x[rows], view.y[rows], view.yaw[rows]], 1)
        self._poses = np.where(there[:, None], fresh, self._poses)
        s, left = self.path.follow(self._poses[:, 0], self._poses[:, 1], self.s)
        self.s = np.where(there, s, self.s + self.speed * TRACKER_SECONDS)
        self.left = np.where(there, left, self.left)

    def _retire(self) -> None:
        """Destroy whoever has reached the path's end."""
        while self.ids and self.s[0] > self.path.length - _SINK:
            self._destroy(self.ids[0])
            self._keep(slice(1, None))

    def _destroy(self, actor_id: int) -> None:
        leaving = [actor for actor in self.stage.actors if int(actor.id) == actor_id]
        self.stage.session.destroy(leaving, tick=False)
        self.stage.actors = [actor for actor in self.stage.actors if int(actor.id) != actor_id]

    def _keep(self, part: slice) -> None:
        self.ids = self.ids[part]
        for name in ("s", "left", "speed", "length", "steer", "_poses"):
            setattr(self, name, getattr(self, name)[part])

    # -- others ----------------------------------------------------------------------------------------------------

    def _bodies(self) -> np.ndarray:
        """Return [B, 2] metres of path where bodies that are not of the flow begin, and their speeds along it, m/s."""
        view, path = self.stage.view, self.path
        others = (view.kind != AGENT_NONE) & ~np.isin(view.ids, self.ids)
        low, high = path.xyz.min(0), path.xyz.max(0)
        others &= (view.x > low[0] - 6.0) & (view.x < high[0] + 6.0)
        others &= (view.y > low[1] - 6.0) & (view.y < high[1] + 6.0)
        rows = np.flatnonzero(others)
        if not len(rows):
            return np.zeros((0, 2))
        corners = view.corners(rows)
        s, left, distance = path.nearest(corners[..., 0], corners[..., 1])
        level = np.abs(view.z[rows] - path.xyz[np.clip(s[:, 0].astype(int), 0, len(path.xyz) - 1), 2]) < 5.0
        inside = (left.min(1) < _ROOM) & (left.max(1) > -_ROOM) & (distance.min(1) < 6.0) & level
        # Others are expected to give way: a mover counts once most of it is in the lane, not when its nose is.
        inside &= (np.abs(left.mean(1)) < _TAKEN) | (np.abs(view.speed[rows]) < 0.5)
        rows, first = rows[inside], s[inside].min(1)
        along = path.at(s[inside].mean(1))
        speed = view.vx[rows] * along[:, 2] + view.vy[rows] * along[:, 3]
        return np.stack([first, np.maximum(speed, 0.0)], 1)

    # -- coming ----------------------------------------------------------------------------------------------------

    def fill(self, anchor: float, ahead: bool, farthest: float = math.inf) -> None:
        """Begin with vehicles on the path already: one at ``anchor`` metres and others at the flow's distances.

        Args:
            anchor: metres of path of one of them.
            ahead: whether there are vehicles in front of it as well, up to the path's end.
            farthest: metres of path beyond which none begins.

        """
        bodies = self._bodies()
        places, last = [anchor], self.path.length - 2.0 * _SINK
        while ahead and places[0] < last:
            places.insert(0, places[0] + self._draw_gap())
        self._new_platoon()
        while places[-1] > self.source:
            places.append(places[-1] - self._draw_gap())
        for s in places:
            if self.source <= s <= min(last, farthest):
                self._appear(bodies, s)
        # Those that would stand before the source come later.
        coming = [self.source - s for s in places if s < self.source]
        self._due = coming[0] if coming else 0.0

    def _appear(self, bodies: np.ndarray, s: float | None = None) -> None:
        """Let a vehicle appear, at the source if it is due, or at ``s``; not where it has no room."""
        if s is None:
            self._due -= self.scale * self.pattern.speed * TRACKER_SECONDS
            if self._due > 0.0:
                return
        place = self.source if s is None else s
        stage, line = self.stage, self.path
        free = self.scale * float(line.pace[int(place)])
        pace = free
        near = bodies[(bodies[:, 0] > place - 9.0) & (bodies[:, 0] < place + 40.0)]
        if len(near):
            room = near[:, 0] - place - 2.5 - _STANDSTILL
            pace = min(pace, float(_safe(room, near[:, 1], _FOLLOW_BRAKING).min()) if room.min() > 0.0 else 0.0)
        if self.ids:
            room = np.array([self.s[-1] - place - 5.0 - _STANDSTILL])
            pace = min(pace, float(_safe(room, self.speed[-1:], _FOLLOW_BRAKING)[0]))
        if pace < 0.4 * free:
            return
        if not self._models:
            self._models = models(stage.session, self._fleet)
        model = self._models[int(stage.rng.integers(len(self._models)))]
        x, y, z, yaw = line.pose(place)
        cx, cy, degrees = pose_to_carla(x, y, yaw)
        spot = carla.Transform(carla.Location(cx, cy, z + 0.3), carla.Rotation(yaw=degrees))
        vehicle = stage.session.try_spawn(stage.session.blueprint(model), spot)
        if vehicle is None:
            return
        stage.actors.append(vehicle)
        vehicle.set_target_velocity(carla.Vector3D(pace * math.cos(yaw), -pace * math.sin(yaw), 0.0))
        self._admit(int(vehicle.id), pace, self._steering(model, vehicle), (x, y, yaw), place)
        self._due = self._draw_gap()

    def _steering(self, model: str, vehicle: Any) -> float:
        """Return the greatest steering angle of a model, radians."""
        if model not in self._max_steer:
            wheels = vehicle.get_physics_control().wheels
            angle = math.radians(wheels[0].max_steer_angle) if len(wheels) else 0.0
            self._max_steer[model] = angle if 0.2 < angle < 1.6 else 1.2
        return self._max_steer[model]

    def _admit(self, actor_id: int, pace: float, steer: float, pose: tuple[float, float, float], s: float) -> None:
        """Take a new vehicle in."""
        self.born += 1
        self.ids = [*self.ids, actor_id]
        for name, value in (("s", s), ("left", 0.0), ("speed", pace), ("length", 4.5), ("steer", steer)):
            setattr(self, name, np.append(getattr(self, name), value))
        self._poses = np.concatenate([self._poses, [pose]])

    def _new_platoon(self) -> None:
        low, high = self.pattern.platoon
        self._platoon = int(self.stage.rng.integers(low, high + 1))

    def _draw_gap(self) -> float:
        """Draw the metres between two vehicles; behind the last one of a platoon there is an opening."""
        pattern, rng = self.pattern, self.stage.rng
        gap = float(rng.uniform(pattern.nearest, pattern.farthest))
        self._platoon -= 1
        if self._platoon <= 0:
            self._new_platoon()
            gap += float(rng.uniform(*pattern.opening)) * pattern.speed
        return gap

    # -- driving ---------------------------------------------------------------------------------------------------

    def _drive(self, bodies: np.ndarray) -> None:
        """Drive all vehicles for one step."""
        if not self.ids:
            return
        front = self.s + 0.5 * self.length
        wanted = self.scale * self.path.pace_at(self.s + 0.3 * self.speed)
        if len(self.ids) > 1:
            gap = self.s[:-1] - 0.5 * self.length[:-1] - front[1:] - _STANDSTILL
            wanted[1:] = np.minimum(wanted[1:], _safe(gap, self.speed[:-1], _FOLLOW_BRAKING))
        if len(bodies):
            gap = bodies[None, :, 0] - front[:, None]
            safe = _safe(gap - _STANDSTILL, bodies[None, :, 1], _LATE_BRAKING)
            # What is beside or behind the front is not avoided by braking.
            wanted = np.minimum(wanted, np.where(gap > -1.0, safe, np.inf).min(1))
        excess = self.speed - wanted
        stopping = wanted < 0.1
        brake = np.where((excess > 0.4) | stopping, np.clip(0.4 * excess, 0.0, 1.0), 0.0)
        brake = np.where(stopping, np.maximum(brake, 0.3), brake)
        throttle = np.where(brake > 0.0, 0.0, np.clip(0.03 * wanted - 0.35 * excess, 0.0, 0.9))
        steer = self._aim()
        for actor, *pedals in zip(self.ids, throttle.tolist(), steer.tolist(), brake.tolist(), strict=True):
            self.stage.session.control(actor, carla.VehicleControl(*pedals))

    def _aim(self) -> np.ndarray:
        """Return steering [V] by pure pursuit, positive to the right as CARLA has it."""
        goal = self.path.at(self.s + np.clip(0.8 * self.speed, 4.0, 10.0))
        x, y, yaw = self._poses.T
        dx, dy = goal[:, 0] - x, goal[:, 1] - y
        left = dy * np.cos(yaw) - dx * np.sin(yaw)
        angle = np.arctan(0.6 * self.length * 2.0 * left / np.maximum(dx * dx + dy * dy, 1.0))
        return np.clip(-angle / self.steer, -1.0, 1.0)


def _safe(gap: np.ndarray, lead: np.ndarray, braking: float) -> np.ndarray:
    """Return the speeds from which a follower still stops behind its leader (Gipps 1981), 0.3 s of reaction.

    Args:
        gap: metres to the leader's rear, standstill distance taken off.
        lead: its speed, m/s.
        braking: m/s2 of both.

    """
    product = 0.3 * braking
    return np.where(
        gap > 0.0, np.sqrt(product * product + lead * lead + 2.0 * braking * np.maximum(gap, 0.0)) - product, 0.0
    )
