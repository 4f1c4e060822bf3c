"""When the ego will be where, if nobody holds it up."""

import numpy as np

from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.speed_profile import SpeedParameters, speed_limits

_EGO_FRONT = 2.4  # metres from the ego's centre to its front, about
_GAIN = 1.5  # m/s that the ego is expected to be faster than now, on average


class Approach:
    """Estimates arrivals along the route from the ego's speed, the law and the curves.

    Args:
        stage: shared state.

    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        legal = np.asarray(stage.route.speed_limit, dtype=np.float64)
        self._limits = speed_limits(stage.xy, stage.s, legal, SpeedParameters())

    def seconds(self, place: float) -> float:
        """Return the seconds until the ego's front is at ``place`` metres of route."""
        stage = self._stage
        way = (stage.s >= stage.ego_s + _EGO_FRONT) & (stage.s < place)
        pace = np.minimum(np.maximum(self._limits[way], 2.0), max(stage.ego_speed, 3.0) + _GAIN)
        return float((1.0 / pace).sum())
