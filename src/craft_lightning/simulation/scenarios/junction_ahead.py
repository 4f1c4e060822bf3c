"""The junction that a scenario is about, and the ways of others through it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.junctions import Junctions, Movement, lane_line, lead_in, lead_out
from craft_lightning.simulation.scenarios.stage import Stage

if TYPE_CHECKING:
    from craft_lightning.roads.routes import ScenarioConfig

_FARTHEST = 150.0  # metres from the trigger point to its junction at most
_MEETING = 2.0  # metres between two ways that count as meeting


@dataclasses.dataclass(frozen=True)
class JunctionAhead:
    """The ego's way through the junction after the trigger point.

    Args:
        junctions: the town's.
        movement: the ego's.
        entry: metres of route where the junction begins.
        exit: metres of route where it ends.

    """

    junctions: Junctions
    movement: Movement
    entry: float
    exit: float

    @classmethod
    def of(cls, stage: Stage, config: "ScenarioConfig") -> "JunctionAhead":
        """Find it.

        Raises:
            CraftError: the town is not known, or there is no junction within 150 m of the trigger point.

        """
        where = f"scenario '{config.name}' ({config.type})"
        if stage.network is None:
            raise CraftError(f"{where} needs the town's road network; build it with one")
        junctions = Junctions.of(stage.network)
        found = junctions.on_route(stage.route, stage.trigger)
        if found is None or found[1] > stage.trigger + _FARTHEST:
            raise CraftError(
                f"{where} has no junction on the route within {_FARTHEST:.0f} m behind its trigger point; move the "
                "trigger point in the route file"
            )
        return cls(junctions, *found)

    def find(self, wishes: Sequence[tuple[str, str, bool]]) -> list[Movement]:
        """Return the ways of others that the first wish to be granted asks for, else all that meet the ego's way.

        Args:
            wishes: (where they come from, what they do, whether they leave by the ego's exit lane).

        """
        others = [other for other in self.junctions.others(self.movement) if self.meets(other)]
        for side, manoeuvre, same_exit in wishes:
            found = [
                other
                for other in others
                if self.movement.side(other) == side
                and other.manoeuvre == manoeuvre
                and (other.exit == self.movement.exit) == same_exit
            ]
            if found:
                return found
        return others

    def meets(self, other: Movement) -> bool:
        """Whether another way comes close to the ego's inside the junction."""
        network = self.junctions.network
        own = lane_line(network, self.movement.inside)
        theirs = lane_line(network, other.inside)
        gap = np.hypot(own[:, None, 0] - theirs[:, 0], own[:, None, 1] - theirs[:, 1])
        return bool(gap.min() < _MEETING)

    def path(self, other: Movement, before: float, after: float) -> tuple[np.ndarray, float]:
        """Return another's way [N, 3] from ``before`` metres before the junction to ``after`` metres behind it.

        The second answer is the metres of it at which the junction begins.
        """
        network = self.junctions.network
        length = network.lane_length
        first = [*lead_in(network, other.approach, before - float(length[other.approach])), other.approach]
        last = [other.exit, *lead_out(network, other.exit, after - float(length[other.exit]))]
        inside = lane_line(network, other.inside)
        approach, leaving = lane_line(network, first), lane_line(network, last)
        head = approach[-int(before) - 1 :]
        return np.concatenate([head, inside, leaving[: int(after) + 1]]), float(len(head))
