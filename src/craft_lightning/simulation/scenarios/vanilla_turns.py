"""Turns at junctions with nobody in particular in the way: lights, stop signs and T junctions."""

import math

import py_trees
from py_trees.common import Status

from craft_lightning.roads.junctions import LEFT, RIGHT, STRAIGHT
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios.base import Action, Scenario
from craft_lightning.simulation.scenarios.flow import Flow, FlowPattern
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.junction_ahead import JunctionAhead
from craft_lightning.simulation.scenarios.lights import JunctionLights
from craft_lightning.simulation.scenarios.stage import Stage

_LEFT_BEHIND = 8.0  # metres behind the junction at which the turn counts as made
_AT_LINE = 12.0  # metres before the junction from which on the red light's time counts


class JunctionTurn(Scenario):
    """A turn from the trigger point until the ego has left the junction behind it; nothing is done to anybody.

    VanillaNonSignalizedTurn, and VanillaNonSignalizedTurnEncounterStopsign, whose route comes to a stop sign.

    Attributes:
        ahead: the ego's way through the junction.
        lights: the junction's lights, None where none are held.

    """

    life = 90.0

    def prepare(self) -> None:
        """Find the junction."""
        self.ahead = JunctionAhead.of(self.stage, self.config)
        self.until = min(self.ahead.exit + _LEFT_BEHIND, self.stage.end - 5.0)
        self.lights: JunctionLights | None = None

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger - 1.0

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: until the ego has left the junction."""
        return _Turn(self.stage, self)

    def play(self) -> None:
        """Act for one step; called while the ego is on its way."""

    def clean_up(self) -> None:
        """End the scenario; the lights are let go."""
        if self.lights is not None:
            self.lights.release()
        super().clean_up()


class GreenLight(JunctionTurn):
    """VanillaSignalizedTurnEncounterGreenLight: the ego's light is green, all others of the junction are red."""

    def prepare(self) -> None:
        """Find the junction and its lights."""
        super().prepare()
        self.lights = JunctionLights(self.stage, self.ahead.junctions, self.ahead.movement)

    def play(self) -> None:
        """Hold the lights."""
        if self.lights is not None:
            self.lights.hold()


class RedLight(GreenLight):
    """VanillaSignalizedTurnEncounterRedLight: the ego's light is red until the ego has waited, then green.

    Drawn from the seed: 3 to 7 s of red once the ego is within 12 m of the junction. The light turns green 30 s after
    the trigger at the latest.
    """

    latest = 30.0

    def prepare(self) -> None:
        """Draw the wait."""
        super().prepare()
        self.wait = float(self.stage.rng.uniform(3.0, 7.0))
        self._near = math.inf
        self._begun = math.inf

    def play(self) -> None:
        """Hold red, later green."""
        stage, lights = self.stage, self.lights
        if lights is None:
            return
        now = stage.view.time
        self._begun = min(self._begun, now)
        if stage.ego_s > self.ahead.entry - _AT_LINE:
            self._near = min(self._near, now)
        released = now - self._near >= self.wait or now - self._begun >= self.latest
        lights.green = set(lights.own) if released else set()
        lights.hold()


class TJunction(JunctionTurn):
    """T_Junction: the ego meets the through road's traffic, at a signalised junction a red light as well.

    Drawn from the seed: two to four vehicles, 7 to 10 m/s, 18 to 30 m from each other; where there is a light, with
    even odds green on arrival (and no traffic against it) or red for 2 to 5 s.
    """

    def prepare(self) -> None:
        """Draw the traffic or the light."""
        super().prepare()
        stage, ahead, rng = self.stage, self.ahead, self.stage.rng
        self.flow: Flow | None = None
        self._near = math.inf
        self.wait = float(rng.uniform(2.0, 5.0)) if rng.random() < 0.5 else 0.0
        pattern = FlowPattern(float(rng.uniform(7.0, 10.0)), 18.0, 30.0, platoon=(9, 9))
        total, draw = int(rng.integers(2, 5)), float(rng.random())
        if ahead.junctions.signalised(ahead.movement):
            self.lights = JunctionLights(stage, ahead.junctions, ahead.movement)
            return
        found = ahead.find(((LEFT, STRAIGHT, False), (RIGHT, STRAIGHT, False), (LEFT, STRAIGHT, True)))
        if found:
            points, _ = ahead.path(found[int(draw * len(found))], 45.0, 35.0)
            self.flow = Flow(stage, FlowPath(points, pattern.speed), pattern, total=total)

    def play(self) -> None:
        """Hold the light or let the traffic pass."""
        stage, lights = self.stage, self.lights
        if lights is not None:
            if stage.ego_s > self.ahead.entry - _AT_LINE:
                self._near = min(self._near, stage.view.time)
            waited = self.wait <= 0.0 or stage.view.time - self._near >= self.wait
            lights.green = set(lights.own) if waited else set()
            lights.hold()
        if self.flow is not None:
            self.flow.step(emit=stage.ego_s < self.ahead.exit)

    def intentions(self) -> dict[int, Intention]:
        """Return where the traffic goes."""
        return self.flow.intentions() if self.flow is not None else {}


class _Turn(Action):
    """Plays on until the ego has left the junction."""

    def __init__(self, stage: Stage, scenario: JunctionTurn) -> None:
        super().__init__("turn", stage)
        self._scenario = scenario

    def update(self) -> Status:
        """Play one step."""
        self._scenario.play()
        return Status.SUCCESS if self.stage.ego_s >= self._scenario.until else Status.RUNNING


TYPES: dict[str, type[Scenario]] = {
    "T_Junction": TJunction,
    "VanillaNonSignalizedTurn": JunctionTurn,
    "VanillaNonSignalizedTurnEncounterStopsign": JunctionTurn,
    "VanillaSignalizedTurnEncounterGreenLight": GreenLight,
    "VanillaSignalizedTurnEncounterRedLight": RedLight,
}
