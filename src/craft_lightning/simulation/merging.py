"""Whoever is joined from behind slows down a little: which of the others will make room for the ego."""

import numpy as np

from craft_lightning.simulation.corridor import Occupancy

_SAME_WAY = 0.6  # cosine between the other's direction and the ego's path
_COMFORT = 2.0  # m/s2 that another is believed to spend on somebody who is clearly in front
_GAP, _HEADWAY = 3.0, 0.35  # metres, and seconds of the other's speed, between the bumpers when they meet


def makes_room(places: np.ndarray, seconds: float, front: float, met: Occupancy, pace: np.ndarray) -> np.ndarray:
    """Tell which hypotheses come up from behind on the ego's path so late that slight braking is enough for them.

    A driver who enters a lane well before somebody on it may count on being seen; who enters it just before him may
    not.

    Args:
        places: [T] metres of path of the ego's centre as planned, at the times of ``met``.
        seconds: between two times.
        front: metres from the ego's centre to either bumper.
        met: [H, T] occupancy of the ego's path.
        pace: [H, T] speeds of the hypotheses, m/s.

    Returns:
        [H] bool.

    """
    inside = np.isfinite(met.low)
    first = inside.argmax(1)
    rows = np.arange(len(first))
    own = np.gradient(places, seconds)[first]
    gap = places[first] - front - met.high[rows, first]
    closing = np.maximum(pace[rows, first] - own, 0.0)
    room = gap - _GAP - _HEADWAY * pace[rows, first]
    needed = np.where(room > 0.0, closing * closing / (2.0 * np.maximum(room, 0.1)), np.inf)
    return inside.any(1) & (first > 0) & (met.along[rows, first] > _SAME_WAY) & (needed < _COMFORT)
