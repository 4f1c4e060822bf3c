"""What lies beside a place on the road: the lanes that run past it, to its left and to its right."""

import dataclasses
import math
import weakref
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.roads.kinds import DRIVING, SHOULDER

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

_ALONG = 1.2  # metres that a lane's point may lie before or behind the place
_PARALLEL = 0.8  # cosine above which a lane runs along


@dataclasses.dataclass(frozen=True)
class Strip:
    """One lane beside a place.

    Attributes:
        lane: index in the network.
        left: metres from the place to the lane's centre, positive to the left.
        width: metres.
        driving: whether it is a driving lane rather than a shoulder or a parking lane.
        same: whether its traffic goes the way one looks.
        s: metres along the lane.
        parking: whether it is there to park on.

    """

    lane: int
    left: float
    width: float
    driving: bool
    same: bool
    s: float
    parking: bool = False


class CrossSections:
    """Looks across the road at any place of a town.

    Args:
        network: the town.

    """

    def __init__(self, network: "RoadNetwork") -> None:
        # The network itself is not kept: it is the key of the table of instances.
        wanted = np.isin(network.lane_kind, (DRIVING, SHOULDER))
        lane = np.repeat(np.arange(len(network.lane_start) - 1), np.diff(network.lane_start))
        chosen = np.flatnonzero(wanted[lane])
        self._lane = lane[chosen]
        self._driving = network.lane_kind[self._lane] == DRIVING
        self._parking = network.lane_type[self._lane] == "parking"
        self._junction = np.asarray(network.lane_junction, bool)[self._lane]
        self._xy = np.stack([network.x[chosen], network.y[chosen]], -1)
        self._heading = np.asarray(network.heading, np.float64)[chosen]
        self._width = np.asarray(network.width, np.float64)[chosen]
        self._s = np.asarray(network.s, np.float64)[chosen]
        self._tree = cKDTree(self._xy)

    @classmethod
    def of(cls, network: "RoadNetwork") -> "CrossSections":
        """Return the one instance of a network."""
        found = _INSTANCES.get(id(network))
        if found is None:
            found = _INSTANCES[id(network)] = cls(network)
            weakref.finalize(network, _INSTANCES.pop, id(network), None)
        return found

    def at(self, x: float, y: float, yaw: float, reach: float = 12.0) -> list[Strip]:
        """Return the lanes that run past a place, from right to left; lanes of junctions count, too.

        Args:
            x: world frame, metres; ``y`` likewise.
            y: metres.
            yaw: radians, the way one looks.
            reach: metres to either side.

        """
        near = np.array(self._tree.query_ball_point((x, y), reach), np.int64)
        if not len(near):
            return []
        cos, sin = math.cos(yaw), math.sin(yaw)
        dx, dy = self._xy[near, 0] - x, self._xy[near, 1] - y
        along, left = dx * cos + dy * sin, dy * cos - dx * sin
        turn = np.cos(self._heading[near] - yaw)
        beside = (np.abs(along) < _ALONG) & (np.abs(turn) > _PARALLEL)
        best: dict[int, int] = {}
        for row in np.flatnonzero(beside).tolist():
            lane = int(self._lane[near[row]])
            if lane not in best or abs(along[row]) < abs(along[best[lane]]):
                best[lane] = row
        strips = []
        for lane, row in best.items():
            point = near[row]
            same = bool(turn[row] > 0.0)
            s = float(self._s[point]) - float(along[row]) * (1.0 if same else -1.0)
            kind = bool(self._driving[point]), same, s, bool(self._parking[point])
            strips.append(Strip(lane, float(left[row]), float(self._width[point]), *kind))
        return sorted(strips, key=lambda strip: (strip.left, strip.lane))


_INSTANCES: dict[int, CrossSections] = {}


def oncoming(strips: list[Strip]) -> Strip | None:
    """Return the nearest driving lane of the opposite direction to the left, None on a one-way road."""
    facing = [strip for strip in strips if strip.driving and not strip.same and strip.left > 1.5]
    return min(facing, key=lambda strip: strip.left, default=None)


def neighbour(strips: list[Strip], side: float, driving: bool = True) -> Strip | None:
    """Return the next lane of the own direction on one side (1 left, -1 right), None where there is none.

    Args:
        strips: a cross-section taken on a lane's centre.
        side: 1 for the left, -1 for the right.
        driving: a driving lane, or else a shoulder or parking lane (those have no direction of their own).

    """
    found = [strip for strip in strips if 1.5 < side * strip.left < 5.5 and strip.driving == driving]
    found = [strip for strip in found if strip.same or not driving]
    return min(found, key=lambda strip: abs(strip.left), default=None)
