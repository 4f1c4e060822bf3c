"""HardBreakRoute: the vehicle ahead of the ego brakes hard without a reason to be seen."""

import math

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.conventions import AGENT_WALKER, TRACKER_SECONDS
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.drive_off import DriveOff
from craft_lightning.simulation.scenarios.fleet import CARS, models
from craft_lightning.simulation.scenarios.pilot import Pilot
from craft_lightning.simulation.scenarios.stage import Stage


class HardBreakRoute(Scenario):
    """A lead vehicle appears ahead of the ego, keeps ahead of it, brakes hard at the trigger point, holds, drives off.

    Bench2Drive lets the background traffic brake; a lead vehicle of our own does the same on any server. Its gap is
    at least 1.2 s, so that a driver who answers within 0.7 s with full braking never hits it; one that does not look
    does, for it stands in the lane for seconds.

    Drawn from the seed: time gap 1.3 to 1.9 s, deceleration 5 to 8 m/s2, hold 2.5 to 4 s, metres before the trigger
    where the lead appears 25 to 35.
    """

    life = 30.0

    def prepare(self) -> None:
        """Draw the scenario's numbers."""
        rng = self.stage.rng
        self.time_gap = float(rng.uniform(1.3, 1.9))
        self.deceleration = float(rng.uniform(5.0, 8.0))
        self.hold = float(rng.uniform(2.5, 4.0))
        self.lead_in = float(rng.uniform(25.0, 35.0))

    def trigger_condition(self) -> bool:
        """Whether the ego is ``lead_in`` metres before the trigger point."""
        return self.stage.ego_s >= self.stage.trigger - self.lead_in

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: appear, keep ahead until the trigger point, brake, hold, drive off."""
        stage = self.stage
        self.lead = _Appear(stage, self.time_gap)
        return py_trees.composites.Sequence(
            "lead vehicle",
            memory=True,
            children=[
                self.lead,
                _KeepAhead(stage, self.lead, self.time_gap),
                _Brake(stage, self.lead, self.deceleration, self.hold),
                DriveOff(stage, self.lead),
            ],
        )


class _Appear(Action):
    """Spawns the lead vehicle where the lane ahead of the ego has room; fails when the ego passes the trigger first."""

    def __init__(self, stage: Stage, time_gap: float) -> None:
        super().__init__("appear", stage)
        self._time_gap = time_gap
        self.pilot: Pilot | None = None

    def update(self) -> Status:
        """Try one place a step."""
        stage = self.stage
        if stage.ego_s > stage.trigger:
            return Status.FAILURE
        speed = stage.ego_speed
        if self.pilot is None:
            s = stage.ego_s + _distance(speed, self._time_gap) + 4.0 * (round(self.elapsed / TRACKER_SECONDS) % 5)
            if s > stage.end - 10.0 or not self._free(s):
                return Status.RUNNING
            cars = models(stage.session, CARS)
            vehicle = stage.spawn(stage.session.blueprint(cars[int(stage.rng.integers(len(cars)))]), s)
            if vehicle is None:
                return Status.RUNNING
            self.pilot = Pilot(stage, vehicle, s)
            self.pilot.start_at(speed)
            return Status.RUNNING
        return Status.SUCCESS if self.pilot.see() else Status.RUNNING

    def _free(self, s: float) -> bool:
        """Whether nobody is within 9 m of a place on the route, walkers beside the road left out."""
        view = self.stage.view
        x, y, _ = self.stage.pose(s)
        reach = np.where(view.kind == AGENT_WALKER, 3.0, 9.0)
        close = np.hypot(view.x - x, view.y - y) < reach
        return not close.any()


class _KeepAhead(Action):
    """Drives about as fast as the ego, a time gap ahead of it, until the ego is at the trigger point."""

    def __init__(self, stage: Stage, lead: _Appear, time_gap: float) -> None:
        super().__init__("keep ahead", stage)
        self._lead, self._time_gap = lead, time_gap

    def update(self) -> Status:
        """Drive one step."""
        stage, pilot = self.stage, self._lead.pilot
        if pilot is None or not pilot.see():
            return Status.FAILURE
        if stage.ego_s >= stage.trigger and stage.ego_speed > 2.0:
            return Status.SUCCESS
        surplus = _distance(stage.ego_speed, self._time_gap) - (pilot.s - stage.ego_s)
        limit = stage.speed_limit(pilot.s)
        # Never quite still on its own account: a lead that waits for a waiting ego would block the road.
        pilot.drive(min(max(stage.ego_speed + 0.5 * surplus, 2.5), limit))
        return Status.RUNNING


class _Brake(Action):
    """Brakes to a standstill and holds."""

    def __init__(self, stage: Stage, lead: _Appear, deceleration: float, hold: float) -> None:
        super().__init__("brake and hold", stage)
        self._lead, self._deceleration, self._hold = lead, deceleration, hold
        self._stood = math.inf

    def update(self) -> Status:
        """Brake one step."""
        pilot = self._lead.pilot
        if pilot is None or not pilot.see():
            return Status.FAILURE
        pilot.brake(self._deceleration)
        if pilot.speed < 0.1:
            self._stood = min(self._stood, self.stage.view.time)
        return Status.SUCCESS if self.stage.view.time - self._stood >= self._hold else Status.RUNNING


def _distance(speed: float, time_gap: float) -> float:
    """Return the metres between the centres of ego and lead."""
    return 4.8 + 3.0 + time_gap * speed


TYPES: dict[str, type[Scenario]] = {"HardBreakRoute": HardBreakRoute}
