"""Traffic lights as actors: SUMO's programs run by the server's own clock, so that clients can freeze and override them.

The phases come from the SUMO net; the clock is kept here because SUMO drops a program for good once a state is set by
hand, and because all mutable state of a world should lie in one place. Whatever a light shows is what SUMO's vehicles
obey: each change is forwarded. A light that no SUMO program knows takes part in a program made up for its junction-less
self: all such lights take turns.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from craft_lightning.simulation.embedded import wire

# Turn of a light without a program in SUMO [s]
OWN_GREEN, OWN_YELLOW, OWN_RED = 10.0, 3.0, 2.0
EVER = math.inf

_LETTER = {wire.RED: "r", wire.YELLOW: "y", wire.GREEN: "G", wire.OFF: "O"}
_COLOUR = {"r": wire.RED, "u": wire.RED, "y": wire.YELLOW, "Y": wire.YELLOW, "g": wire.GREEN, "G": wire.GREEN, "s": wire.GREEN}


def colour(letters: Iterable[str]) -> int:
    """Return the light's colour for the states of the links it rules, the main movement first; off without links."""
    for letter in letters:
        return _COLOUR.get(letter, wire.OFF)
    return wire.OFF
