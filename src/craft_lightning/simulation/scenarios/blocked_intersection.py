"""BlockedIntersection: somebody stands just behind a junction and blocks the way out of it for a while."""

import math

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.drive_off import DriveOff
from craft_lightning.simulation.scenarios.fleet import CARS, models
from craft_lightning.simulation.scenarios.junction_ahead import JunctionAhead
from craft_lightning.simulation.scenarios.pilot import Pilot
from craft_lightning.simulation.scenarios.stage import Stage

_NEAR = 22.0  # metres between ego and blocker from which on the blocker's patience counts
_LONGEST = 45.0  # seconds that it stands after the trigger at the latest


class BlockedIntersection(Scenario):
    """A vehicle stands in the ego's lane where the route leaves the junction; it drives on a while after the ego came.

    Drawn from the seed: 5 to 9 m behind the junction, 3.5 to 6.5 s of standing after the ego has come within 22 m.
    """

    life = 90.0

    def prepare(self) -> None:
        """Place the blocker."""
        stage, rng = self.stage, self.stage.rng
        ahead = JunctionAhead.of(stage, self.config)
        self.hold = float(rng.uniform(3.5, 6.5))
        place = ahead.exit + float(rng.uniform(5.0, 9.0))
        found = models(stage.session, CARS)
        blueprint = stage.session.blueprint(found[int(rng.integers(len(found)))])
        self.pilot: Pilot | None = None
        for further in (0.0, 2.0, 4.0):
            vehicle = stage.spawn(blueprint, min(place + further, stage.end - 6.0))
            if vehicle is not None:
                self.pilot = Pilot(stage, vehicle, min(place + further, stage.end - 6.0))
                self.pilot.brake(4.0)
                break

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger - 1.0

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: stand, drive off."""
        stage = self.stage
        return py_trees.composites.Sequence(
            "blocker", memory=True, children=[_Stand(stage, self), DriveOff(stage, self)]
        )

    def intentions(self) -> dict[int, Intention]:
        """Return that the blocker will drive on along the route, so that whoever knows waits for it."""
        pilot, stage = self.pilot, self.stage
        if pilot is None or self.finished:
            return {}
        line = np.column_stack([stage.xy, np.cos(stage.heading), np.sin(stage.heading)])
        pace = np.array([stage.speed_limit(float(s)) for s in stage.s])
        return {int(pilot.vehicle.id): Intention(line, pace, pilot.s)}


class _Stand(Action):
    """Stands until the ego has waited long enough."""

    def __init__(self, stage: Stage, scenario: BlockedIntersection) -> None:
        super().__init__("stand", stage)
        self._scenario = scenario
        self._since = math.inf

    def update(self) -> Status:
        """Stand one step."""
        stage, pilot = self.stage, self._scenario.pilot
        if pilot is None or not pilot.see():
            return Status.FAILURE
        pilot.brake(4.0)
        if pilot.s - stage.ego_s < _NEAR:
            self._since = min(self._since, stage.view.time)
        waited = stage.view.time - self._since if np.isfinite(self._since) else 0.0
        return Status.SUCCESS if waited >= self._scenario.hold or self.elapsed > _LONGEST else Status.RUNNING


TYPES: dict[str, type[Scenario]] = {"BlockedIntersection": BlockedIntersection}
