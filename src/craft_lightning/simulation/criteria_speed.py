"""The leaderboard's MinimumSpeed: how fast the ego drives beside the background traffic, stretch by stretch."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from craft_lightning.roads.routing import Route

_WINDOW = 2  # points of the route looked ahead
_LAST_SHARE = 0.95  # a route that ends behind this share of its length has its last stretch compared


class MinimumSpeed:
    """Compares mean speeds at checkpoints along the route.

    At each checkpoint the ego's mean speed since the one before is divided by the mean speed of all background
    vehicles (100 % where there are none). Rules after scenario_runner's MinimumSpeedRouteTest; Bench2Drive has 20
    checkpoints and keeps every value, leaderboard 2.x has 4 and keeps those below 100 %. A stretch begins where the
    one before was compared, a little beyond its end, so that a route may have a stretch or two fewer.

    Args:
        route: the route.
        checkpoints: parts of the route.
        always: keep values of 100 % and more, too.

    Attributes:
        values: the kept percentages in order, two decimals.

    """

    def __init__(self, route: "Route", checkpoints: int, always: bool) -> None:
        self._points = np.asarray(route.xy).tolist()
        self._headings = np.asarray(route.heading).tolist()
        self._along = np.asarray(route.s, np.float64).tolist()
        self._step = self._along[-1] / max(checkpoints, 1)
        self.checkpoints, self.always = checkpoints, always
        self.values: list[float] = []
        self._index = 0
        self._from = 0.0  # metres along the route where the present stretch begins
        self._ego = self._others = 0.0
        self._samples = 0
        self._closed = False

    def update(self, x: float, y: float, speed: float, background: float | None) -> None:
        """Take one tick.

        Args:
            x: world place of the ego, metres; ``y`` likewise.
            y: metres.
            speed: of the ego, m/s.
            background: mean speed of the background vehicles, m/s; None where there are none.

        """
        if not self.checkpoints:
            return
        for index in range(self._index + 1, min(self._index + _WINDOW, len(self._points) - 1) + 1):
            px, py = self._points[index]
            heading = self._headings[index]
            if (x - px) * math.cos(heading) + (y - py) * math.sin(heading) > 0.0:
                self._index = index
        if self._along[self._index] - self._from > self._step:
            self._compare()
            self._from = self._along[self._index]
        if background is not None:
            self._ego += abs(speed)
            self._others += background
            self._samples += 1

    def close(self) -> list[float]:
        """Return all values at the end of the route, the last stretch's too where nearly all of it was driven."""
        if self.checkpoints and not self._closed and self._along[self._index] > _LAST_SHARE * self._along[-1]:
            self._compare()
        self._closed = True
        return self.values

    def _compare(self) -> None:
        value = 100.0
        if self._samples and self._others > 0.0:
            value = round(100.0 * self._ego / self._others, 2)
        if self.always or value < 100.0:
            self.values.append(value)
        self._ego = self._others = 0.0
        self._samples = 0


class BackgroundSpeed:
    """Mean speed of the background vehicles of a tick, read from the client's snapshot.

    Attributes:
        vehicles: ids of the vehicles that are neither the ego nor a scenario's.

    """

    def __init__(self) -> None:
        self.vehicles: list[int] = []

    def watch(self, vehicles: Iterable[int]) -> None:
        """Take the vehicles that there are now; call it whenever the whole world was read."""
        self.vehicles = sorted(int(actor) for actor in vehicles)

    def mean(self, snapshot: Any) -> float | None:
        """Return the mean speed in a ``carla.WorldSnapshot``, m/s; None without any vehicle."""
        total, count = 0.0, 0
        for actor_id in self.vehicles:
            actor = snapshot.find(actor_id)
            if actor is not None:
                velocity = actor.get_velocity()
                total += math.hypot(velocity.x, velocity.y)
                count += 1
        return total / count if count else None
