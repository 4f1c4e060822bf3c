"""Turns through flows: the ego turns left or right at a junction, signalised or not, across or into a flow."""

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.junctions import LEFT, RIGHT, STRAIGHT
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.flow import SOURCE, Flow, FlowPattern
from craft_lightning.simulation.scenarios.flow_base import FlowScenario
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.junction_ahead import JunctionAhead
from craft_lightning.simulation.scenarios.lights import JunctionLights

Wish = tuple[str, str, bool]

_SOURCE, _SINK = 45.0, 35.0  # metres of path before and behind the junction


class JunctionFlow(FlowScenario):
    """A flow through the junction after the trigger point.

    Parameters as in Bench2Drive: ``flow_speed`` m/s (10), ``source_dist_interval`` metres between two vehicles
    (20 to 30). The flow's way is the first of ``wishes`` that the junction has, else any that meets the ego's. At a
    signalised junction the ego and the flow have green and all others red while the scenario runs.
    """

    wishes: tuple[Wish, ...] = ()
    established = False

    def make_flows(self) -> list[Flow]:
        """Return the one flow."""
        stage, config = self.stage, self.config
        pattern = FlowPattern.of(config, 10.0, (20.0, 30.0))
        ahead = JunctionAhead.of(stage, config)
        found = ahead.find(self.wishes)
        if not found:
            raise CraftError(
                f"scenario '{config.name}' ({config.type}): nobody's way meets the ego's at the junction behind the "
                "trigger point; move the trigger point in the route file"
            )
        chosen = found[int(stage.rng.integers(len(found)))]
        points, self._entry = ahead.path(chosen, _SOURCE, _SINK)
        if ahead.junctions.signalised(ahead.movement):
            self.lights = JunctionLights(stage, ahead.junctions, ahead.movement)
            self.lights.green |= self.lights.of([chosen])
        path = FlowPath(points, pattern.speed)
        self.until_exit = ahead.exit
        return [Flow(stage, path, pattern)]

    def farthest(self, flow: Flow) -> float:
        """Return the metres of path up to which vehicles may appear: 12 m before the junction."""
        return max(self._entry - 12.0, SOURCE)

    def prepare(self) -> None:
        """Plan the flow; it ebbs once the ego is out of the junction, lights are held as long."""
        super().prepare()
        self.until = float(np.clip(self.until, self.until_exit + 2.0, self.until_exit + 12.0))


class LeftTurn(JunctionFlow):
    """The ego turns left across oncoming vehicles, which have the right of way."""

    wishes = ((STRAIGHT, STRAIGHT, False), (RIGHT, STRAIGHT, False), (LEFT, STRAIGHT, False))


class RightTurn(JunctionFlow):
    """The ego turns right into the way of vehicles that come from the left."""

    wishes = ((LEFT, STRAIGHT, True), (STRAIGHT, LEFT, True), (LEFT, STRAIGHT, False))


class LeftTurnEnterFlow(JunctionFlow):
    """The ego turns left into a road that vehicles from the right follow straight on."""

    wishes = ((RIGHT, STRAIGHT, True), (STRAIGHT, RIGHT, True), (RIGHT, STRAIGHT, False), (STRAIGHT, STRAIGHT, False))


class SignalisedLeftTurnEnterFlow(JunctionFlow):
    """The ego turns left on green into a road that oncoming vehicles, green as well, enter by turning right."""

    wishes = ((STRAIGHT, RIGHT, True), (STRAIGHT, STRAIGHT, False), (RIGHT, STRAIGHT, True))


TYPES: dict[str, type[Scenario]] = {
    "NonSignalizedJunctionLeftTurn": LeftTurn,
    "NonSignalizedJunctionLeftTurnEnterFlow": LeftTurnEnterFlow,
    "NonSignalizedJunctionRightTurn": RightTurn,
    "SignalizedJunctionLeftTurn": LeftTurn,
    "SignalizedJunctionLeftTurnEnterFlow": SignalisedLeftTurnEnterFlow,
    "SignalizedJunctionRightTurn": RightTurn,
}
