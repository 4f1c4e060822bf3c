"""Progress of driving on the terminal: what a person wants to know while worlds run."""

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from tqdm.auto import tqdm

from craft_lightning.conventions import EVENTS
from craft_lightning.metrics.records import RouteRecord


class DrivingProgress:
    """A bar over decisions or routes with episodes, driving score, events and decisions/s.

    Args:
        title: what is going on.
        total: number of decisions or routes.
        unit: "decision" or "route".
        enabled: False draws nothing (ranks other than 0, quiet runs).
        check: called at every decision; raises to stop driving (Lightning looks at SIGTERM only between batches).
        done: how many of the total are there already.

    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        enabled: bool = True,
        check: Callable[[], None] = lambda: None,
        done: int = 0,
    ) -> None:
        self.check = check
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit=unit,
            disable=not enabled,
            leave=False,
            dynamic_ncols=True,
            mininterval=0.5,
        )
        self.events: Counter[str] = Counter()
        self.scores: list[float] = []
        self.started = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def decision(self, events: np.ndarray, done: int) -> None:
        """Count one executed decision; ``done`` is the number kept so far (a repeated rollout moves the bar back)."""
        self.check()
        for name in np.flatnonzero(events > 0):
            self.events[EVENTS[name]] += 1
        self.bar.n = done
        self._show()

    def record(self, record: dict[str, Any], advance: bool) -> None:
        """Take the record of a finished episode."""
        found = RouteRecord.from_dict(record)
        self.scores.append(found.driving_score)
        if advance:
            self.bar.n += 1
            # Routes of an evaluation come as records alone; decisions of a collection have told their events.
            self.events["collision"] += found.collisions_vehicle + found.collisions_pedestrian + found.collisions_layout
        self._show()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def _show(self) -> None:
        score = f"{np.mean(self.scores):.1f}" if self.scores else "-"
        crashes = self.events["collision"]
        self.bar.set_postfix_str(f"episodes {len(self.scores)}, DS {score}, collisions {crashes}", refresh=False)
        self.bar.update(0)
