"""Stop signs on a driver's way: where it has to come to a stand, and whether it has."""

import math
from collections.abc import Sequence

import numpy as np

from craft_lightning.simulation.stop_signs import StopZone

_BESIDE = 2.0  # metres from a zone's middle to the path at most
_STANDING = 0.08  # m/s, below what the criterion counts as standing
_BRAKING = 6.0  # m/s2; a sign that would take more was seen too late


class StopPlaces:
    """The stop signs of one path.

    Args:
        zones: zones of the town.
        xy: [N, 2] points of the path, one metre apart, world frame.

    """

    def __init__(self, zones: Sequence[StopZone], xy: np.ndarray) -> None:
        self._open: list[tuple[float, StopZone]] = []
        heading = np.arctan2(np.gradient(xy[:, 1]), np.gradient(xy[:, 0]))
        for zone in zones:
            gap = np.hypot(xy[:, 0] - zone.x, xy[:, 1] - zone.y)
            nearest = int(gap.argmin())
            if gap[nearest] < _BESIDE and math.cos(float(heading[nearest]) - zone.heading) > 0.7:
                self._open.append((float(nearest) + zone.half_length, zone))

    def ahead(self, pose: tuple[float, float, float], s: float, front: float, speed: float) -> list[float]:
        """Return the metres of path of the lines at which the driver still has to stop.

        Args:
            pose: x, y, yaw of the centre of the car.
            s: metres of path of that centre.
            front: metres from it to the front bumper.
            speed: m/s.

        """
        # Whoever stands within a sign's zone has stopped at it.
        self._open = [
            (place, zone)
            for place, zone in self._open
            if not (speed < _STANDING and zone.holds(*pose)) and place > s + front - 3.0
        ]
        return [place for place, _ in self._open if speed * speed < 2.0 * _BRAKING * max(place - s - front, 0.1)]
