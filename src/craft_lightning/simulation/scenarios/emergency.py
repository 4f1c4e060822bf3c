"""YieldToEmergencyVehicle: an ambulance, fire engine or police car comes up from behind and wants to pass."""

import math

import py_trees
from py_trees.common import Status

from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.movers import Driver
from craft_lightning.simulation.scenarios.parameters import number
from craft_lightning.simulation.scenarios.stage import Stage

_IN_THE_WAY = 25.0  # metres behind the ego within which the ego is what holds it up
_LANE = 1.9  # metres: the ego's centre is nearer than this to the line it drives on
_PATIENCE = 6.0  # seconds in which the ego has to make way
_RUN = 150.0  # metres of route that it drives with the ego in reach
_HASTE = 1.4
_VERDICT = "yield_emergency"


class YieldToEmergencyVehicle(Scenario):
    """An emergency vehicle appears behind the ego, in its lane, and drives 1.4 times as fast as the limit allows.

    Parameters, as in Bench2Drive's route files: ``distance`` metres behind the ego at which it appears (25).

    It never rams the ego. The ego fails (``verdicts`` gets "yield_emergency") if it holds the vehicle up for more than
    6 seconds in all and the vehicle is not ahead of it in the end, which is when it is 25 metres ahead of the ego, or
    after 150 metres of route, or with the route. Drawn from the seed: the model.
    """

    life = 40.0
    permits = frozenset({"shoulder"})

    def prepare(self) -> None:
        """Read the distance."""
        self.distance = number(self.config, "distance", 25.0)
        self.held_up = 0.0
        self.overtaken = False

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: appear, hurry."""
        return _Hurry(self.stage, self)

    def conclude(self) -> None:
        """Give the verdict, once."""
        if not self.overtaken and self.held_up > _PATIENCE and not self.verdicts:
            self.verdicts.append(_VERDICT)

    def clean_up(self) -> None:
        """Give the verdict, then end."""
        if self.triggered and not self.finished:
            self.conclude()
        super().clean_up()


class _Hurry(Action):
    """Drives along the ego's route, fast, behind the ego as long as it has to be."""

    def __init__(self, stage: Stage, scenario: YieldToEmergencyVehicle) -> None:
        super().__init__("hurry", stage)
        self._scenario = scenario
        self.driver: Driver | None = None
        self._tries = 0

    def _appear(self) -> None:
        stage = self.stage
        s = stage.ego_s - self._scenario.distance - 3.0 * self._tries
        self._tries += 1
        if s < 3.0:
            return
        vehicle = stage.spawn(cast.draw(stage, "emergency"), s)
        if vehicle is not None:
            cast.flash(vehicle)
            self.driver = Driver(stage, vehicle, s, headway=0.4, braking=5.0)
            self.driver.start_at(max(stage.ego_speed, 5.0))

    def update(self) -> Status:
        """Drive one step."""
        stage, scenario = self.stage, self._scenario
        if self.driver is None:
            if self._tries > 5:
                return Status.FAILURE
            self._appear()
            return Status.RUNNING
        driver = self.driver
        if not driver.see():
            return Status.RUNNING if self.elapsed < 3.0 else Status.FAILURE
        gap = stage.ego_s - driver.s
        scenario.overtaken = gap < 0.0
        x, y, _ = stage.view.ego_pose
        px, py, heading = stage.pose(stage.ego_s)
        aside = (y - py) * math.cos(heading) - (x - px) * math.sin(heading)
        # Whoever waits at a red light cannot make way.
        if 0.0 < gap < _IN_THE_WAY and abs(aside) < _LANE and stage.ego_speed > 1.0:
            scenario.held_up += TRACKER_SECONDS
        if gap < -25.0 or stage.ego_s > stage.trigger + _RUN or driver.s > stage.end - 5.0:
            return Status.SUCCESS
        driver.drive(_HASTE * stage.speed_limit(driver.s))
        return Status.RUNNING


TYPES: dict[str, type[Scenario]] = {"YieldToEmergencyVehicle": YieldToEmergencyVehicle}
