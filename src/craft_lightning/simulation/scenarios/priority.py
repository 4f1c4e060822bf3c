"""Others who take the right of way: OppositeVehicleTakingPriority and OppositeVehicleRunningRedLight."""

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.errors import CraftError
from craft_lightning.roads.junctions import LEFT, RIGHT, STRAIGHT, Movement
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios.approach import Approach
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.flow import SOURCE, Flow, FlowPattern
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.junction_ahead import JunctionAhead
from craft_lightning.simulation.scenarios.lights import JunctionLights
from craft_lightning.simulation.scenarios.parameters import direction
from craft_lightning.simulation.scenarios.stage import Stage

_SIDES = {"left": LEFT, "right": RIGHT, "opposite": STRAIGHT}
_BEFORE, _AFTER = 75.0, 40.0  # metres of the other's path before and behind the junction
_NEAREST = 15.0  # metres before the junction at which the other may appear at the latest
_COMMITTED = 2.6  # seconds before the meeting from which on the other does not adapt any more


class PriorityTaker(Scenario):
    """A vehicle comes from ``direction`` and crosses the ego's way although it would have to wait.

    Parameter as in Bench2Drive: ``direction`` left, right or opposite (right). It adapts its speed so as to arrive
    together with the ego, until 2.6 s before the meeting; then it drives on regardless. At a signalised junction the
    ego has green and everybody else red while the scenario runs. Where nobody can come from that side, another way that
    meets the ego's is taken.

    Drawn from the seed: speed 8 to 12 m/s, arrival up to 0.4 s early or late.
    """

    life = 60.0

    def prepare(self) -> None:
        """Find the other's way and the place of the meeting."""
        stage, config, rng = self.stage, self.config, self.stage.rng
        side = direction(config)
        ahead = JunctionAhead.of(stage, config)
        chosen = _choose(ahead, _SIDES[side])
        if chosen is None:
            raise CraftError(
                f"scenario '{config.name}' ({config.type}): nobody's way meets the ego's at the junction behind the "
                "trigger point; move the trigger point in the route file"
            )
        self.base = float(rng.uniform(8.0, 12.0))
        self.jitter = float(rng.uniform(-0.4, 0.4))
        points, self.other_entry = ahead.path(chosen, _BEFORE, _AFTER)
        path = FlowPath(points, self.base)
        inside = (stage.s >= ahead.entry) & (stage.s <= ahead.exit + 1.0)
        s, _, distance = path.nearest(stage.xy[inside, 0], stage.xy[inside, 1])
        near = np.flatnonzero(distance < 1.5)
        first = int(near[0]) if len(near) else int(distance.argmin())
        self.meeting, self.other_meeting = float(stage.s[inside][first]), float(s[first])
        self.exit = ahead.exit
        self._approach = Approach(stage)
        self.flow = Flow(stage, path, FlowPattern(self.base, 30.0, 30.0), total=1)
        self.lights: JunctionLights | None = None
        if ahead.junctions.signalised(ahead.movement):
            self.lights = JunctionLights(stage, ahead.junctions, ahead.movement)

    def arrival(self) -> float:
        """Return the seconds until the ego's front is at the meeting if nobody holds it up, the jitter included."""
        return self._approach.seconds(self.meeting) + self.jitter

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger - 1.0

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: come, adapt, cross, be gone."""
        return _Cross(self.stage, self)

    def intentions(self) -> dict[int, Intention]:
        """Return where the vehicle goes."""
        return self.flow.intentions()

    def clean_up(self) -> None:
        """End the scenario; the lights are let go."""
        if self.lights is not None:
            self.lights.release()
        super().clean_up()


class _Cross(Action):
    """Lets the vehicle appear in time for the meeting and drives it across."""

    def __init__(self, stage: Stage, scenario: PriorityTaker) -> None:
        super().__init__("cross", stage)
        self._scenario = scenario
        self._committed = False

    def update(self) -> Status:
        """Run one step."""
        scenario, stage, flow = self._scenario, self.stage, self._scenario.flow
        if scenario.lights is not None:
            scenario.lights.hold()
        arrival = scenario.arrival()
        missed = stage.ego_s > scenario.meeting
        if not flow.ids:
            if flow.born or missed:
                over = stage.ego_s > scenario.exit + 4.0 or self.elapsed > 45.0
                return Status.SUCCESS if over else Status.RUNNING
            # It appears where it has to be now to arrive together with the ego.
            place = scenario.other_meeting - arrival * scenario.base
            flow.source = float(np.clip(place, SOURCE, max(scenario.other_entry - _NEAREST, SOURCE)))
            flow.step(emit=place > SOURCE)
            return Status.RUNNING
        if float(flow.s[0]) > scenario.other_meeting + 15.0 and stage.ego_s > scenario.exit + 4.0:
            return Status.SUCCESS
        left = scenario.other_meeting - float(flow.s[0]) - 0.5 * float(flow.length[0])
        if not self._committed:
            wanted = left / max(arrival, 0.5)
            flow.scale = float(np.clip(wanted / scenario.base, 0.7, 1.25))
            self._committed = left / max(float(flow.speed[0]), 1.0) < _COMMITTED
        flow.step(emit=False)
        return Status.RUNNING


def _choose(ahead: JunctionAhead, side: str) -> Movement | None:
    """Return the way of the vehicle: straight on from that side, else turning from it, else any that meets the ego."""
    others = [other for other in ahead.junctions.others(ahead.movement) if ahead.meets(other)]
    for strict in (True, False):
        for other in others:
            if ahead.movement.side(other) == side and (other.manoeuvre == STRAIGHT or not strict):
                return other
    straight = [other for other in others if other.manoeuvre == STRAIGHT]
    return next(iter(straight or others), None)


TYPES: dict[str, type[Scenario]] = {
    "OppositeVehicleRunningRedLight": PriorityTaker,
    "OppositeVehicleTakingPriority": PriorityTaker,
}
