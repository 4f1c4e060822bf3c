"""Whom the ego has to look at between two decisions: reading an actor costs more than most criteria."""

import math
from collections.abc import Sequence

import numpy as np

from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.view import WorldView

_TOUCH_MARGIN = 0.5  # metres
_LONGEST = 12.0  # metres that any body reaches from its centre
# How fast a gap can close beyond the speeds that are seen: m/s, and m/s2 of both together.
_DRIFT, _SPEEDING_UP = 4.0, 30.0


class Lookout:
    """Says which actors light reads must hold until the next full view.

    That is whoever could touch the ego by then, the actors of the scenarios, which may jump, and where a scenario
    acts, whoever is nearby.
    """

    def __init__(self) -> None:
        self._played: set[int] = set()
        self._nearby: set[int] = set()
        self._until_touching: list[tuple[float, int]] = []

    def look(self, view: WorldView, played: set[int]) -> None:
        """Take a full view, and the ids of the scenarios' actors."""
        self._played = set(played)
        self._nearby, self._until_touching = nearby(view), until_touching(view)

    def play(self, actors: set[int]) -> None:
        """Take in the actors of a scenario that has just acted."""
        self._played |= actors

    def watched(self, seconds: float, scenarios: Sequence[Scenario]) -> set[int]:
        """Return the ids to look at ``seconds`` after the last full view."""
        watch = set(self._played)
        for soonest, actor in self._until_touching:
            if soonest > seconds:
                break
            watch.add(actor)
        if any(scenario.due for scenario in scenarios):
            watch |= self._nearby
        return watch


def touching(view: WorldView, margin: float = 0.15) -> bool:
    """Whether any actor of a view is within ``margin`` metres of the ego's box (never a miss, rarely a false alarm)."""
    if len(view) < 2:
        return False
    # Row by row: light views, which every tick asks about, hold a handful of actors.
    x, y, z, yaw, *_, length, width = view.rows[view.ego]
    cos, sin = math.cos(yaw), math.sin(yaw)
    reach_x, reach_y = 0.5 * length + margin, 0.5 * width + margin
    for row, (other_x, other_y, other_z, other_yaw, *_, other_length, other_width) in enumerate(view.rows):
        dx, dy = other_x - x, other_y - y
        forward, left = abs(dx * cos + dy * sin), abs(dy * cos - dx * sin)
        if forward >= reach_x + _LONGEST or left >= reach_y + _LONGEST or abs(other_z - z) >= 3.0 or row == view.ego:
            continue
        turn = other_yaw - yaw
        c, s = abs(math.cos(turn)), abs(math.sin(turn))
        half_x = 0.5 * (other_length * c + other_width * s)
        half_y = 0.5 * (other_length * s + other_width * c)
        if forward < reach_x + half_x and left < reach_y + half_y:
            return True
    return False


def nearby(view: WorldView, radius: float = 25.0) -> set[int]:
    """Return the ids of the actors within ``radius`` metres of the ego: those it may meet before the next decision."""
    rows = view.others
    gap = (view.x[rows] - view.x[view.ego]) ** 2 + (view.y[rows] - view.y[view.ego]) ** 2
    return {int(actor) for actor in view.ids[rows[gap < radius * radius]]}


def until_touching(view: WorldView) -> list[tuple[float, int]]:
    """Return (seconds, id) of every other actor: how long it cannot touch the ego yet, soonest first.

    A bound: both may speed up, and vehicles drift sideways while they change lanes.
    """
    ego, rows = view.ego, view.others
    if not len(rows):
        return []
    half = 0.5 * np.hypot(view.length, view.width)
    gap = view.gaps - half[rows] - half[ego] - _TOUCH_MARGIN
    speed = np.hypot(view.vx, view.vy)
    closing = speed[rows] + speed[ego] + _DRIFT
    seconds = (np.sqrt(closing**2 + 2.0 * _SPEEDING_UP * np.maximum(gap, 0.0)) - closing) / _SPEEDING_UP
    order = np.argsort(seconds, kind="stable")
    return list(zip(seconds[order].tolist(), view.ids[rows[order]].tolist(), strict=True))
