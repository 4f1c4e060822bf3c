"""Vehicles that cut into the ego's lane: from a parking place, out of a standing queue, or on a motorway."""

import math

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.simulation.prediction import LanePaths
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.movers import Driver, Follow, in_turn
from craft_lightning.simulation.scenarios.parameters import number, place, side
from craft_lightning.simulation.scenarios.stage import Stage, Track, route_position
from craft_lightning.simulation.scenarios.tracks import beside, chain, free_lane, roadside, track

_REACTION, _BRAKING = 1.5, 5.0  # s and m/s2 that an attentive driver is left
_SWING = 13.0  # metres of way in which a vehicle that starts from standstill changes lane
_LEAVING = 9.0  # m/s at which it drives on


class _PullOut(Scenario):
    """Somebody who stands beside the lane pulls out just before the ego; subclasses say where and among whom."""

    life = 45.0

    def _set(self, s: float, left: float) -> None:
        """Place the one who pulls out ``s`` metres along the route and ``left`` metres beside it."""
        stage = self.stage
        self.place, self.left = s, left
        self.late = float(stage.rng.uniform(-0.25, 0.25))
        end = stage.end
        way = beside(stage, (s, s + 1.0, min(s + _SWING, end - 2.0), end), (left, left, 0.0, 0.0))
        vehicle = way.spawn(cast.draw(stage, "car"), 0.0)
        self.driver = None if vehicle is None else Driver(way, vehicle, 0.0, heed=False)

    def trigger_condition(self) -> bool:
        """Whether the ego is so near that it has to brake now."""
        stage = self.stage
        if self.driver is None or stage.ego_s < stage.trigger or stage.ego_speed < 1.0:
            return False
        speed = stage.ego_speed
        # The one who pulls out needs about two seconds until its nose is in the lane; it will be slow then.
        room = speed * (_REACTION + self.late) + max(speed - 3.0, 0.0) ** 2 / (2.0 * _BRAKING)
        return self.place - 2.5 - (stage.ego_s + 2.5) <= max(room + 4.0, 10.0)

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: pull out, gather way, be gone."""
        stage, driver = self.stage, self.driver
        speed = min(stage.speed_limit(self.place), _LEAVING)
        swing = Follow("pull out", stage, driver, 6.0, _SWING + 2.0, keep=True)
        return in_turn("cut in", swing, _DriveOff(stage, driver, speed))


class _DriveOff(Action):
    """Drives on, minding others from now on, until it is far ahead of the ego or the route ends."""

    def __init__(self, stage: Stage, driver: Driver | None, speed: float) -> None:
        super().__init__("drive off", stage)
        self.driver, self.speed = driver, speed

    def update(self) -> Status:
        """Drive one step."""
        driver, stage = self.driver, self.stage
        if driver is None or not driver.see():
            return Status.FAILURE
        driver.heed = True
        x, y, _ = driver.where
        gap = route_position(stage.route, x, y) - stage.ego_s
        if gap > 40.0 or gap < -12.0 or driver.s > driver.stage.end - 3.0:
            return Status.SUCCESS
        driver.drive(self.speed)
        return Status.RUNNING


class ParkingCutIn(_PullOut):
    """A car parked beside the lane, half hidden behind another one, pulls out in front of the ego.

    Parameters, as in Bench2Drive's route files: ``direction`` side on which it is parked (right).

    The car stands 30 metres behind the trigger point, the one that hides it 8 metres before it. It begins when an
    attentive driver has a second and a half, and then to brake with 5 m/s2; a forecast that takes who stands to stay is
    wrong. Drawn from the seed: models, up to 3 metres of place, a quarter of a second.
    """

    def prepare(self) -> None:
        """Park both."""
        stage = self.stage
        self.side = side(self.config)
        s = min(stage.trigger + 30.0 + float(stage.rng.uniform(-3.0, 3.0)), stage.end - 25.0)
        left = roadside(stage, s, self.side)
        self.blocker = cast.stand(stage, "large", s - 8.0, roadside(stage, s - 8.0, self.side))
        self._set(s, left)


class StaticCutIn(_PullOut):
    """Cars stand in a row in the lane beside, or beside the road; one of them pulls out in front of the ego.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to it (40), ``direction``
    side of the row (right).

    Three stand before it and one behind it, 7.5 metres apart. When it begins is as in ``ParkingCutIn``.
    """

    _SPACING = 7.5

    def prepare(self) -> None:
        """Line them up."""
        stage = self.stage
        self.side = side(self.config)
        distance = number(self.config, "distance", 40.0)
        s = min(stage.trigger + distance, stage.end - 25.0)
        lane = free_lane(stage, s, self.side)
        for index in (-3, -2, -1, 1):
            there = s + index * self._SPACING - (0.0 if index < 0 else -4.0)
            row = free_lane(stage, there, self.side)
            if there > 5.0:
                cast.stand(stage, "car", there, roadside(stage, there, self.side) if row is None else row)
        self._set(s, roadside(stage, s, self.side) if lane is None else lane)


class HighwayCutIn(Scenario):
    """A car on the ramp or in the lane beside draws level with the ego, gets a little ahead and cuts in.

    Parameters, as in Bench2Drive's route files: ``other_actor_location`` where it begins, ``end_location`` (accepted;
    the car ends where it is far ahead).

    It keeps ahead of the ego by 6 to 9 metres between the bumpers until both are past the trigger point and it is
    beside the ego's lane, then changes lane within two and a half seconds at four fifths of the ego's speed: the gap
    closes, and a forecast that keeps everybody in its lane is wrong. Drawn from the seed: model, gap, lead-in.
    """

    life = 60.0
    _SHARE = 0.8

    def prepare(self) -> None:
        """Draw the scenario's numbers and find the way of the other car."""
        stage = self.stage
        self.begin = place(self.config, "other_actor_location")
        place(self.config, "end_location")
        self.gap = float(stage.rng.uniform(6.0, 9.0))
        self.lead_in = float(stage.rng.uniform(8.0, 20.0))

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: appear, keep a little ahead, cut in, drive off."""
        self.level = _KeepLevel(self.stage, self)
        return in_turn("highway cut in", self.level, _CutIn(self.stage, self))


class _KeepLevel(Action):
    """Appears at its place and drives so as to be a little ahead of the ego, beside the ego's lane."""

    def __init__(self, stage: Stage, scenario: HighwayCutIn) -> None:
        super().__init__("keep level", stage)
        self._scenario = scenario
        self.driver: Driver | None = None

    def initialise(self) -> None:
        """Appear."""
        super().initialise()
        stage, scenario = self.stage, self._scenario
        way = self._way()
        if way is None:
            return
        vehicle = way.spawn(cast.draw(stage, "car"), 0.0)
        if vehicle is not None:
            self.driver = Driver(way, vehicle, 0.0)
            self.driver.start_at(max(stage.ego_speed, 6.0))
        self._meet = stage.trigger + scenario.lead_in

    def _way(self) -> Track | None:
        """Return the way from where the other begins, along its lane."""
        stage, begin = self.stage, self._scenario.begin
        network = stage.network
        if begin is None or network is None:
            side = -1.0
            left = free_lane(stage, stage.ego_s + 15.0, side)
            if left is None:
                side, left = 1.0, free_lane(stage, stage.ego_s + 15.0, 1.0)
            if left is None:
                return None
            return beside(stage, (stage.ego_s + 12.0, stage.end), (left, left))
        s = route_position(stage.route, *begin)
        yaw = stage.pose(s)[2]
        lane, along, _ = LanePaths.of(network).locate(np.array([begin[0]]), np.array([begin[1]]), np.array([yaw]))
        if lane[0] < 0:
            return None
        return track(stage, chain(network, int(lane[0]), float(along[0]), 0.0, 250.0), stage.speed_limit(s))

    def update(self) -> Status:
        """Drive one step; succeed beside the ego's lane, level and past the place."""
        stage, driver = self.stage, self.driver
        if driver is None:
            return Status.FAILURE
        if not driver.see():
            return Status.RUNNING if self.elapsed < 1.0 else Status.FAILURE
        x, y, _ = driver.where
        s = route_position(stage.route, x, y)
        px, py, heading = stage.pose(s)
        left = (y - py) * math.cos(heading) - (x - px) * math.sin(heading)
        ahead = s - stage.ego_s - 4.8
        beside_lane = abs(left) < 5.0
        if beside_lane and stage.ego_s > self._meet and ahead < self._scenario.gap + 3.0 and ahead > 2.0:
            return Status.SUCCESS
        if s > stage.end - 40.0 or driver.s > driver.stage.end - 20.0:
            return Status.SUCCESS if beside_lane else Status.FAILURE
        surplus = self._scenario.gap - ahead
        driver.drive(min(max(stage.ego_speed + 0.6 * surplus, 3.0), 1.3 * stage.speed_limit(s)))
        return Status.RUNNING


class _CutIn(Action):
    """Changes into the ego's lane at a share of its speed, then drives off."""

    def __init__(self, stage: Stage, scenario: HighwayCutIn) -> None:
        super().__init__("cut in", stage)
        self._scenario = scenario
        self.driver: Driver | None = None
        self._speed = 0.0

    def initialise(self) -> None:
        """Take the wheel over on a way into the ego's lane."""
        super().initialise()
        old, stage = self._scenario.level.driver, self.stage
        if old is None:
            return
        x, y, _ = old.where
        s = route_position(stage.route, x, y)
        px, py, heading = stage.pose(s)
        left = (y - py) * math.cos(heading) - (x - px) * math.sin(heading)
        self._speed = max(self._scenario._SHARE * stage.ego_speed, 3.0)
        swing = max(2.5 * old.speed, 12.0)
        way = beside(stage, (s - 3.0, s, s + swing, max(stage.end, s + swing + 20.0)), (left, left, 0.0, 0.0))
        self.driver = Driver(way, old.vehicle, 3.0)

    def update(self) -> Status:
        """Drive one step."""
        driver, stage = self.driver, self.stage
        if driver is None or not driver.see():
            return Status.FAILURE
        x, y, _ = driver.where
        gap = route_position(stage.route, x, y) - stage.ego_s
        if gap > 40.0 or gap < -12.0 or driver.s > driver.stage.end - 5.0:
            return Status.SUCCESS
        driver.drive(self._speed if self.elapsed < 4.0 else stage.speed_limit(stage.ego_s))
        return Status.RUNNING


TYPES: dict[str, type[Scenario]] = {
    "ParkingCutIn": ParkingCutIn,
    "StaticCutIn": StaticCutIn,
    "HighwayCutIn": HighwayCutIn,
}
