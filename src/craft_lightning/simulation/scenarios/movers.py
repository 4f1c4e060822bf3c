"""Behaviours that move vehicles along tracks, and conditions for them; all of them can be copied with the tree."""

import math
from typing import Any

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.conventions import AGENT_WALKER, TRACKER_SECONDS
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action
from craft_lightning.simulation.scenarios.pilot import Pilot
from craft_lightning.simulation.scenarios.stage import Stage, Track

_EXPECTED = 1.0  # seconds within which a spawned vehicle must have appeared


class Driver(Pilot):
    """A pilot that can be told to look at nobody, as those do who take somebody's way.

    Args:
        stage: shared state, or the track that it follows.
        vehicle: the ``carla.Vehicle``.
        s: metres along the line where it was spawned.
        heed: mind whoever is ahead, and red lights.
        headway: seconds kept to whoever is ahead.
        braking: m/s2 spent on whoever is ahead.

    """

    def __init__(
        self,
        stage: Stage | Track,
        vehicle: Any,
        s: float,
        heed: bool = True,
        headway: float = 1.0,
        braking: float = 3.5,
    ) -> None:
        super().__init__(stage, vehicle, s)
        self.heed, self.headway, self.braking = heed, headway, braking

    @property
    def where(self) -> tuple[float, float, float]:
        """World pose (x, y, yaw) when it was last seen."""
        return self._pose

    def _allowed(self) -> float:
        if self.heed:
            return super()._allowed()
        bend = abs(self.stage.pose(self.s + 9.0)[2] - self.stage.pose(self.s + 3.0)[2]) / 6.0
        return math.sqrt(4.0 / max(bend, 1e-3))


class EgoPast:
    """Condition: the ego is so many metres along its route.

    Args:
        stage: shared state.
        s: metres of route.

    """

    def __init__(self, stage: Stage, s: float) -> None:
        self.stage, self.s = stage, s

    def __call__(self) -> bool:
        """Whether it holds."""
        return self.stage.ego_s >= self.s


class EgoArrives:
    """Condition: at its present speed the ego reaches a place within some seconds.

    Args:
        stage: shared state.
        s: metres of route.
        seconds: s.
        least: metres; nearer than this it holds whatever the speed.

    """

    def __init__(self, stage: Stage, s: float, seconds: float, least: float = 0.0) -> None:
        self.stage, self.s, self.seconds, self.least = stage, s, seconds, least

    def __call__(self) -> bool:
        """Whether it holds."""
        gap = self.s - self.stage.ego_s
        return gap <= self.least or gap <= self.seconds * self.stage.ego_speed


class Flow(Action):
    """Vehicles one behind the other along a track: at first up to a place on it, later from its beginning.

    It succeeds when no more come and the last is gone.

    Args:
        stage: shared state.
        track: the way.
        gap: least and greatest metres between two.
        speed: m/s.
        seconds: for how long new ones come.
        first: metres of track that the foremost may have at the beginning.
        part: whose part they play.
        heed: whether they mind whoever is ahead.

    """

    def __init__(
        self,
        stage: Stage,
        track: Track,
        gap: tuple[float, float],
        speed: float,
        seconds: float,
        first: float,
        part: str = "car",
        heed: bool = True,
    ) -> None:
        super().__init__("flow", stage)
        self.track, self.gap, self.speed, self.seconds, self.first = track, gap, speed, seconds, first
        self.part, self.heed = part, heed
        self.drivers: list[Driver] = []
        self.passed = 0  # how many have driven the whole track
        self._born: dict[int, float] = {}
        self._next = 0.0

    def initialise(self) -> None:
        """Put the first vehicles on the track, the foremost at ``first``."""
        super().initialise()
        place = self.first
        while place > 0.0:
            self._enter(place)
            self._next = self._draw_gap()
            place -= self._next

    def _draw_gap(self) -> float:
        return float(self.stage.rng.uniform(*self.gap))

    def _enter(self, place: float) -> None:
        x, y, _ = self.track.pose(place)
        view = self.stage.view
        ego = view.ego_pose
        reach = np.where(view.kind == AGENT_WALKER, 2.0, 8.0)
        if (np.hypot(view.x - x, view.y - y) < reach).any() or math.hypot(ego[0] - x, ego[1] - y) < 15.0:
            return
        vehicle = self.track.spawn(cast.draw(self.stage, self.part), place)
        if vehicle is None:
            return
        driver = Driver(self.track, vehicle, place, self.heed)
        driver.start_at(self.speed)
        self.drivers.append(driver)
        self._born[int(vehicle.id)] = self.stage.view.time

    def update(self) -> Status:
        """Drive all, let one more come where there is room, and take away those at the end."""
        now = self.stage.view.time
        for driver in list(self.drivers):
            seen = driver.see()
            if seen:
                driver.drive(self.speed)
            gone = not seen and now - self._born[int(driver.vehicle.id)] > _EXPECTED
            if gone or driver.s > self.track.end - 3.0:
                self.drivers.remove(driver)
                self.passed += 1
                self.stage.dismiss(driver.vehicle)
        if self.elapsed >= self.seconds:
            return Status.RUNNING if self.drivers else Status.SUCCESS
        last = min((driver.s for driver in self.drivers), default=math.inf)
        if last >= self._next:
            self._enter(0.0)
            self._next = self._draw_gap()
        return Status.RUNNING


class Follow(Action):
    """Drives one vehicle along its track at a speed until its end, where it is taken away.

    Args:
        name: name in the tree.
        stage: shared state.
        driver: the vehicle's driver, or None (then it fails).
        speed: m/s.
        until: metres of track at which it succeeds.
        keep: leave the vehicle to the next behaviour instead of taking it away.

    """

    def __init__(
        self, name: str, stage: Stage, driver: Driver | None, speed: float, until: float, keep: bool = False
    ) -> None:
        super().__init__(name, stage)
        self.driver, self.speed, self.until, self.keep = driver, speed, until, keep

    def update(self) -> Status:
        """Drive one step."""
        driver = self.driver
        if driver is None:
            return Status.FAILURE
        if not driver.see():
            return Status.RUNNING if self.elapsed < _EXPECTED else Status.FAILURE
        if driver.s >= self.until:
            if not self.keep:
                self.stage.dismiss(driver.vehicle)
            return Status.SUCCESS
        driver.drive(self.speed)
        return Status.RUNNING


class Idle(Action):
    """Lasts some simulated seconds."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        super().__init__("idle", stage)
        self.seconds = seconds

    def update(self) -> Status:
        """Succeed once they are over."""
        return Status.SUCCESS if self.elapsed >= self.seconds - 0.5 * TRACKER_SECONDS else Status.RUNNING


def until(
    name: str, over: py_trees.behaviour.Behaviour, *others: py_trees.behaviour.Behaviour
) -> py_trees.composites.Parallel:
    """Return a behaviour that ends when ``over`` does; the others play beside it, and may end before."""
    policy = py_trees.common.ParallelPolicy.SuccessOnSelected([over], synchronise=True)
    return py_trees.composites.Parallel(name, policy, [over, *others])


def together(name: str, *parts: py_trees.behaviour.Behaviour) -> py_trees.composites.Parallel:
    """Return a behaviour that ends when the first of its parts does."""
    return py_trees.composites.Parallel(name, py_trees.common.ParallelPolicy.SuccessOnOne(), list(parts))


def in_turn(name: str, *parts: py_trees.behaviour.Behaviour) -> py_trees.composites.Sequence:
    """Return a behaviour that plays its parts one after the other."""
    return py_trees.composites.Sequence(name, memory=True, children=list(parts))
