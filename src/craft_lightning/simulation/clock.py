"""Ticks of the world, and the steps in which tracker and scenarios act."""

from craft_lightning.conventions import TICK_SECONDS, TRACKER_SECONDS
from craft_lightning.errors import CraftError

_MOST = 10  # finer ticks than SUMO's and the sensors' arithmetic was tried with


def ticks_in_a_step(tick_seconds: float) -> int:
    """Return how many ticks pass between two looks of tracker and scenarios, which act ten times a second.

    Raises:
        CraftError: not a whole number of them, or more than ten.

    """
    # Not so small that the quotient is no number.
    ticks = round(TRACKER_SECONDS / tick_seconds) if tick_seconds > 1e-6 else 0
    if not 1 <= ticks <= _MOST or abs(ticks * tick_seconds - TRACKER_SECONDS) > 1e-9:
        raise CraftError(
            f"a tick (data.episode.tick_seconds) is {tick_seconds:g} s, of which no whole number up to {_MOST} fits "
            f"into {TRACKER_SECONDS:g} s, the step of tracker and scenarios; give 0.1, {TICK_SECONDS:g}, 0.025 or 0.02"
        )
    return ticks
