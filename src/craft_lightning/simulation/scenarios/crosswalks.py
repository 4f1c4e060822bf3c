"""People and cyclists that cross where the ego enters a junction, or where it leaves one after a turn."""

import math
from typing import Any

import carla
import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.frames import points_to_carla
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario, When
from craft_lightning.simulation.scenarios.crossing import road_edge
from craft_lightning.simulation.scenarios.movers import Driver, EgoArrives, Follow, Idle, in_turn
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.scenarios.tracks import across

_STANDING = 1.0  # metres above the road of a pedestrian's origin
_SEARCH = 90.0  # metres behind the trigger point in which the junction begins
_FRONT = 2.4  # metres from the ego's centre to its front, about


class WalkAcross(Action):
    """Walks straight over the road at a place of the route until the other side, where the walker is taken away.

    Args:
        stage: shared state.
        walker: the ``carla.Walker``.
        s: metres of route.
        turn: radians from the direction of the route to that of walking.
        pace: m/s.
        length: metres of way.

    """

    def __init__(self, stage: Stage, walker: Any, s: float, turn: float, pace: float, length: float) -> None:
        super().__init__("walk across", stage)
        self.walker, self.s, self.turn, self.pace, self.length = walker, s, turn, pace, length
        self._start: tuple[float, float] | None = None

    def update(self) -> Status:
        """Walk one step."""
        stage = self.stage
        row = stage.view.row(int(self.walker.id))
        if row >= 0:
            x, y = float(stage.view.x[row]), float(stage.view.y[row])
            self._start = self._start or (x, y)
            if math.hypot(x - self._start[0], y - self._start[1]) >= self.length:
                stage.dismiss(self.walker)
                return Status.SUCCESS
        elif self.elapsed > 1.0:
            return Status.SUCCESS
        way = stage.pose(self.s)[2] + self.turn
        x, y = points_to_carla(np.array([math.cos(way), math.sin(way)])).tolist()
        self.walker.apply_control(carla.WalkerControl(carla.Vector3D(x, y, 0.0), self.pace))
        return Status.RUNNING


class PedestrianCrossing(Scenario):
    """Three pedestrians cross, one behind the other, just where the ego enters the next junction, whatever its light.

    No parameters in route files. They set off when the ego is 3.5 seconds or 12 metres away, each after an idle time.
    Drawn from the seed: paces 1.3 to 2.0 m/s, idle times up to 1.5 s, side.
    """

    life = 40.0

    def prepare(self) -> None:
        """Line the pedestrians up beside the road."""
        stage, rng = self.stage, self.stage.rng
        span = junction_ahead(stage)
        self.place = (stage.trigger + 30.0 if span is None else span[0]) - 0.5
        self.side = -1.0 if rng.random() < 0.7 else 1.0
        edge = road_edge(stage, self.place - 3.0, self.side)
        far = road_edge(stage, self.place - 3.0, -self.side)
        self.parts: list[tuple[Any, float, float, float]] = []  # walker, idle seconds, pace, metres of way
        blueprint = stage.session.blueprint("walker.pedestrian.*", is_invincible="false")
        for index, aside in enumerate((0.9, 1.7, 2.5)):
            idle, pace = float(rng.uniform(0.0, 1.5)), float(rng.uniform(1.3, 2.0))
            start = edge + aside
            walker = stage.spawn(
                blueprint, self.place - 0.7 * index, self.side * start, -self.side * 0.5 * math.pi, lift=_STANDING
            )
            if walker is not None:
                self.parts.append((walker, idle, pace, start + far + 1.0))

    def trigger_condition(self) -> bool:
        """Whether the ego is past the trigger point and near."""
        stage = self.stage
        return stage.ego_s >= stage.trigger and EgoArrives(stage, self.place - _FRONT, 3.5, 12.0)()

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: each idles, then crosses."""
        stage, turn = self.stage, -self.side * 0.5 * math.pi
        ways = [
            in_turn("pedestrian", Idle(stage, idle), WalkAcross(stage, walker, self.place, turn, pace, length))
            for walker, idle, pace, length in self.parts
        ]
        if not ways:
            return Idle(stage, 0.0)
        everybody = py_trees.common.ParallelPolicy.SuccessOnAll(synchronise=True)
        return py_trees.composites.Parallel("pedestrians", everybody, ways)


class CrossingAfterTurn(Scenario):
    """A cyclist, or a pedestrian, crosses the road that the ego turns into, just behind the junction.

    No parameters in route files. The crosser sets off so as to meet the ego, and early enough for a driver of 1.2 s
    reaction and 5 m/s2 to stop. Drawn from the seed: side, pace (cyclist 2.5 to 4 m/s, pedestrian 1.3 to 1.9 m/s),
    arrival up to 0.3 s early or late.
    """

    life = 35.0

    def prepare(self) -> None:
        """Place the crosser beside the exit."""
        stage, rng = self.stage, self.stage.rng
        self.cyclist = not self.config.type.endswith("Pedestrian")
        span = junction_ahead(stage)
        end = stage.trigger + 30.0 if span is None else span[1]
        self.place = min(end + float(rng.uniform(2.5, 4.5)), stage.end - 6.0)
        self.side = -1.0 if rng.random() < 0.6 else 1.0
        self.turn = -self.side * 0.5 * math.pi
        self.pace = float(rng.uniform(2.5, 4.0) if self.cyclist else rng.uniform(1.3, 1.9))
        self.jitter = float(rng.uniform(-0.3, 0.3))
        probe = min(self.place + 4.0, stage.end)
        self.start = road_edge(stage, probe, self.side) + (2.0 if self.cyclist else 1.0)
        self.length = self.start + road_edge(stage, probe, -self.side) + 2.0
        self.driver: Driver | None = None
        self.walker: Any = None
        if self.cyclist:
            way = across(stage, self.place, self.side * self.start, self.turn, self.length + 4.0)
            cyclist = way.spawn(cast.draw(stage, "bicycle"), 0.0)
            self.driver = None if cyclist is None else Driver(way, cyclist, 0.0, heed=False)
        else:
            blueprint = stage.session.blueprint("walker.pedestrian.*", is_invincible="false")
            self.walker = stage.spawn(blueprint, self.place, self.side * self.start, self.turn, lift=_STANDING)

    def trigger_condition(self) -> bool:
        """Whether the ego is past the trigger point and as far away in time as the crosser."""
        stage = self.stage
        if stage.ego_s < stage.trigger or stage.ego_speed < 0.5:
            return False
        # A cyclist needs most of a second to gather way.
        needed = self.start / self.pace + (0.8 if self.cyclist else 0.0) + self.jitter
        needed = max(needed, 1.2 + stage.ego_speed / 10.0)
        return EgoArrives(stage, self.place - _FRONT, needed)()

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: cross."""
        stage = self.stage
        if self.cyclist:
            return Follow("cross", stage, self.driver, self.pace, self.length)
        if self.walker is None:
            return When("nobody", stage, stage_over)
        return WalkAcross(stage, self.walker, self.place, self.turn, self.pace, self.length)


def stage_over() -> bool:
    """Whether a scenario without actors is over: at once."""
    return True


def junction_ahead(stage: Stage) -> tuple[float, float] | None:
    """Return where the next junction behind the trigger point begins and ends, metres of route, read from the map.

    Args:
        stage: shared state.

    """
    town = stage.session.world.get_map()
    begin: float | None = None
    for s in np.arange(stage.trigger, min(stage.trigger + _SEARCH, stage.end), 1.0).tolist():
        waypoint = town.get_waypoint(stage.transform(s).location)
        inside = bool(waypoint is not None and waypoint.is_junction)
        if inside and begin is None:
            begin = s
        elif begin is not None and not inside:
            return begin, s
    return None if begin is None else (begin, min(stage.trigger + _SEARCH, stage.end))


TYPES: dict[str, type[Scenario]] = {
    "PedestrianCrossing": PedestrianCrossing,
    "VehicleTurningRoute": CrossingAfterTurn,
    "VehicleTurningRoutePedestrian": CrossingAfterTurn,
}
