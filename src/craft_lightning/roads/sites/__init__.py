"""Where in a town a scenario type has room: one finder a type, found by listing this folder.

A module takes part by having ``FINDERS: dict[str, Finder]``. A finder makes one random try: it draws a place, builds
the route that passes it and the scenario on it, or returns None where the draw does not fit.
"""

import functools
from pathlib import Path

from craft_lightning.listing import collect
from craft_lightning.roads.sites.base import Finder, Site

__all__ = ["Finder", "Site", "finders"]


@functools.cache
def finders() -> dict[str, Finder]:
    """Return every finder by the name of its scenario type."""
    return collect(__name__, Path(__file__).parent, "FINDERS")
