"""The lights of one junction, held for a scenario and let go afterwards."""

from collections.abc import Iterable

import carla

from craft_lightning.roads.junctions import BACK, Junctions, Movement
from craft_lightning.simulation.scenarios.stage import Stage


class JunctionLights:
    """Holds the lights of a junction.

    Freezing stops the clocks of all lights of a town in CARLA, so that it lasts no longer than the scenario.

    Args:
        stage: shared state.
        junctions: the town's junctions.
        movement: the ego's way through the junction.

    Attributes:
        green: OpenDRIVE ids of the lights that show green, all others of the junction show red.
        held: whether the lights are held now.

    """

    def __init__(self, stage: Stage, junctions: Junctions, movement: Movement) -> None:
        self.stage = stage
        movements = junctions.by_junction[movement.junction]
        approaches = {other.approach for other in movements}
        self.signals = {signal for lane in approaches for signal in junctions.signals.get(lane, ())}
        own = {other.approach for other in movements if movement.side(other) == BACK}
        self.own = {signal for lane in own for signal in junctions.signals.get(lane, ())}
        self.green: set[str] = set(self.own)
        self.held = False
        self._junctions = junctions
        self._actors: dict[str, int] = {}
        self._shown: set[str] | None = None

    def of(self, movements: Iterable[Movement]) -> set[str]:
        """Return the lights that rule movements."""
        return {signal for one in movements for signal in self._junctions.signals.get(one.approach, ())}

    def hold(self) -> None:
        """Show ``green`` and hold it; call it every step."""
        if not self.signals or self._shown == self.green:
            return
        world = self.stage.session.world
        if not self._actors:
            for light in world.get_actors().filter("traffic.traffic_light*"):
                signal = light.get_opendrive_id()
                if signal in self.signals:
                    self._actors[signal] = int(light.id)
        self._shown = set(self.green)
        states = {True: carla.TrafficLightState.Green, False: carla.TrafficLightState.Red}
        if not self.held:
            world.freeze_all_traffic_lights(True)
            self.held = True
        # By id, so that no actor object is kept: scenarios are copied when a world branches.
        for signal, actor in sorted(self._actors.items()):
            world.get_actor(actor).set_state(states[signal in self.green])

    def release(self) -> None:
        """Let the clocks run on."""
        if self.held:
            self.stage.session.world.freeze_all_traffic_lights(False)
            self.held = False
            self._shown = None
