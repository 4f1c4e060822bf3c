"""Which lanes lead to a place, and how far away they are."""

from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.roads.kinds import DRIVING

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

_REACH = 220.0  # metres upstream that are looked along


class Feeders:
    """Looks upstream along the lanes of a town.

    Args:
        network: the town.

    """

    def __init__(self, network: "RoadNetwork") -> None:
        self._length = np.asarray(network.s)[np.asarray(network.lane_start)[1:] - 1]
        self._driving = np.asarray(network.lane_kind) == DRIVING
        self._before: dict[int, list[int]] = {}
        for lane, onward in enumerate(network.successors):
            for after in onward:
                self._before.setdefault(int(after), []).append(lane)

    def to(self, lane: int, s: float) -> dict[int, float]:
        """Return the lanes that lead to a place, with the metres from the start of each to the place.

        Args:
            lane: index of the place's lane.
            s: metres along it.

        """
        found = {lane: s}
        queue = [lane]
        while queue:
            one = queue.pop(0)
            for before in self._before.get(one, []):
                reach = found[one] + float(self._length[before])
                if self._driving[before] and before not in found and found[one] < _REACH:
                    found[before] = reach
                    queue.append(before)
        return found
