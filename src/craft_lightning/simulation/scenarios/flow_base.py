"""What all scenarios with flows share: they run from the trigger until the ego has passed, then they ebb away."""

import math
from abc import abstractmethod

import numpy as np
import py_trees
from py_trees.common import Status

from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios.approach import Approach
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.flow import SOURCE, Flow
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.lights import JunctionLights
from craft_lightning.simulation.scenarios.stage import Stage

_EBB = 3.0  # seconds that vehicles are left to drive on after the ego has passed
_MET = 3.0  # metres between route and path that count as meeting
_TOUCHING = 2.0  # metres between them at which ego and vehicle touch
_LATE = -0.1, 0.6  # seconds by which the vehicle that meets the ego comes after the ego's front
_MERGED = 30.0  # metres that the ego drives in a flow until it has joined it


class FlowScenario(Scenario):
    """One or more flows between the ego and where it wants to go.

    A subclass gives ``make_flows``; it may set ``lights``, which are held while the scenario runs.

    Attributes:
        flows: the flows.
        until: metres of route from which on the ego has passed them.
        lights: the lights of the junction, None where none are touched.

    """

    life = 90.0
    last_start = math.inf  # metres of path beyond which no vehicle begins
    established = True  # whether the flow has vehicles ahead of the one that meets the ego, too

    def prepare(self) -> None:
        """Plan the flows."""
        self.lights: JunctionLights | None = None
        self.flows = self.make_flows()
        self.until = min(max(passed(self.stage, flow.path) for flow in self.flows), self.stage.end - 12.0)
        self._approach = Approach(self.stage)

    @abstractmethod
    def make_flows(self) -> list[Flow]:
        """Return the flows."""

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger - 1.0

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: flow until the ego has passed, then ebb away."""
        return Streaming(self.stage, self)

    def begin(self) -> None:
        """Put the flows on the road so that one vehicle of each is where the ego would meet it unhindered."""
        for flow in self.flows:
            met = first_meeting(self.stage, flow.path)
            anchor = SOURCE
            if met is not None:
                place, s = met
                late = float(self.stage.rng.uniform(*_LATE))
                anchor = flow.path.earlier(s, self._approach.seconds(place) + late)
            flow.fill(min(anchor, self.farthest(flow)), self.established, self.last_start)

    def farthest(self, flow: Flow) -> float:
        """Return the metres of path up to which the vehicle that meets the ego may appear."""
        return max(flow.path.length - 30.0, SOURCE)

    def intentions(self) -> dict[int, Intention]:
        """Return where the vehicles of all flows go."""
        return {actor: one for flow in self.flows for actor, one in flow.intentions().items()}

    def clean_up(self) -> None:
        """End the scenario; the lights are let go."""
        if self.lights is not None:
            self.lights.release()
        super().clean_up()


class Streaming(Action):
    """Runs the flows of a scenario."""

    def __init__(self, stage: Stage, scenario: FlowScenario) -> None:
        super().__init__("flows", stage)
        self._scenario = scenario
        self._passed = math.inf
        self._begun = False

    def update(self) -> Status:
        """Run one step."""
        scenario, stage = self._scenario, self.stage
        if self._passed == math.inf and stage.ego_s >= scenario.until:
            self._passed = stage.view.time
        if scenario.lights is not None:
            scenario.lights.hold()
        if not self._begun:
            self._begun = True
            scenario.begin()
        for flow in scenario.flows:
            flow.step(emit=self._passed == math.inf)
        ebbed = not any(flow.ids for flow in scenario.flows) or stage.view.time - self._passed > _EBB
        return Status.SUCCESS if self._passed < math.inf and ebbed else Status.RUNNING


def first_meeting(stage: Stage, path: FlowPath) -> tuple[float, float] | None:
    """Return the metres of route and of path where the ego first comes within 2 m of a path, None if it never does."""
    ahead = np.flatnonzero(stage.s >= stage.trigger)
    if not len(ahead):
        return None
    s, _, distance = path.nearest(stage.xy[ahead, 0], stage.xy[ahead, 1])
    met = np.flatnonzero((distance < _TOUCHING) & (s > 0.0) & (s < path.length))
    return (float(stage.s[ahead[met[0]]]), float(s[met[0]])) if len(met) else None


def passed(stage: Stage, path: FlowPath) -> float:
    """Return the metres of route at which the ego has passed a path: crossed it, or driven 30 m along it.

    A path that the route does not meet is passed at the route's end.
    """
    ahead = stage.s >= stage.trigger
    xy = stage.xy[ahead]
    if not len(xy):
        return stage.end
    s, _, distance = path.nearest(xy[:, 0], xy[:, 1])
    met = (distance < _MET) & (s > 0.0) & (s < path.length)
    if not met.any():
        return stage.end
    places = stage.s[ahead][met]
    # The first stretch of the meeting; a path may come near again.
    breaks = np.flatnonzero(np.diff(places) > 5.0)
    last = float(places[breaks[0]] if len(breaks) else places[-1])
    return min(last + 8.0, float(places[0]) + _MERGED)
