"""The end of a scenario's vehicle: it drives on along the route, away from the ego."""

from typing import Protocol

from py_trees.common import Status

from craft_lightning.simulation.scenarios.base import Action
from craft_lightning.simulation.scenarios.pilot import Pilot
from craft_lightning.simulation.scenarios.stage import Stage

_FAR_AHEAD = 45.0  # metres between ego and vehicle at which it is out of the story


class HasPilot(Protocol):
    """Whoever spawned the vehicle."""

    pilot: Pilot | None


class DriveOff(Action):
    """Drives on along the route until it is far ahead or the route ends.

    Args:
        stage: shared state.
        owner: who has the vehicle's pilot once it is there.

    """

    def __init__(self, stage: Stage, owner: HasPilot) -> None:
        super().__init__("drive off", stage)
        self._owner = owner

    def update(self) -> Status:
        """Drive one step."""
        stage, pilot = self.stage, self._owner.pilot
        if pilot is None or not pilot.see():
            return Status.FAILURE
        if pilot.s - stage.ego_s > _FAR_AHEAD or pilot.s > stage.end - 3.0:
            return Status.SUCCESS
        pilot.drive(stage.speed_limit(pilot.s))
        return Status.RUNNING
