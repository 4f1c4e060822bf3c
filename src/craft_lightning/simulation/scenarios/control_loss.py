"""ControlLoss: debris on the road, and a car that does not quite do what it is told."""

import math

import py_trees

from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Scenario, When
from craft_lightning.simulation.scenarios.movers import EgoPast

_DEBRIS = ("static.prop.dirtdebris01", "static.prop.dirtdebris02")
_PLACES = (12.0, 40.0, 68.0)  # metres behind the trigger point
_PATCH = 12.0  # metres of road that a patch makes slippery
_ASIDE = 2.4  # metres from the lane's centre at which the debris lies, so that it is a sign and no obstacle
_MEMORY = math.exp(-TRACKER_SECONDS / 0.6)  # share of the noise that lasts to the next control


class ControlLoss(Scenario):
    """Between the trigger and 80 metres behind it the ego's control is disturbed; most on three patches.

    No parameters in route files. What the driver sends reaches the vehicle with noise added (``Scenario.disturb``, the
    same on every server, exact for a seed): an autoregressive process that forgets in 0.6 s, of
    stationary deviation 0.02 of full steer and 0.05 of full throttle; on each patch of 12 metres a pull of 0.03 to
    0.07 of full steer to a drawn side comes on top. Debris lies beside the lane and does not collide.
    """

    life = 40.0
    _STEER, _THROTTLE = 0.02, 0.05

    def prepare(self) -> None:
        """Lay the debris out and draw the pulls."""
        stage, rng = self.stage, self.stage.rng
        self._steer = self._throttle = 0.0
        self.patches: list[tuple[float, float]] = []  # metres of route, pull
        for index, behind in enumerate(_PLACES):
            place = stage.trigger + behind
            if place > stage.end - 10.0:
                break
            pull = float(rng.uniform(0.03, 0.07)) * (1.0 if rng.random() < 0.5 else -1.0)
            self.patches.append((place, pull))
            prop = cast.put(stage, _DEBRIS, place, _ASIDE * (1.0 if index % 2 else -1.0))
            if prop is not None:
                prop.set_collisions(False)

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def disturb(self, throttle: float, steer: float, brake: float) -> tuple[float, float, float]:
        """Add the noise to what the driver sends, one control every ``TRACKER_SECONDS``."""
        rng = self.stage.rng
        fresh = (1.0 - _MEMORY**2) ** 0.5
        self._steer = _MEMORY * self._steer + fresh * self._STEER * float(rng.standard_normal())
        self._throttle = _MEMORY * self._throttle + fresh * self._THROTTLE * float(rng.standard_normal())
        s = self.stage.ego_s
        pull = sum(pull for place, pull in self.patches if 0.0 <= s - place < _PATCH)
        steer = min(max(steer + self._steer + pull, -1.0), 1.0)
        if throttle > 0.0:
            throttle = min(max(throttle + self._throttle, 0.0), 1.0)
        return throttle, steer, brake

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: until the ego is past."""
        stage = self.stage
        return When("ego past", stage, EgoPast(stage, min(stage.trigger + 80.0, stage.end - 5.0)))


TYPES: dict[str, type[Scenario]] = {"ControlLoss": ControlLoss}
