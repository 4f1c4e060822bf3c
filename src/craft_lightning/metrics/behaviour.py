"""Bench2Drive's other figures as ``torchmetrics.Metric``: efficiency, smoothness, abilities, infractions a km."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.metrics.abilities import ABILITIES, abilities_of, ability_scores, check_formula, passed_sign
from craft_lightning.metrics.comfort import smoothness
from craft_lightning.metrics.driving import RouteMetric
from craft_lightning.metrics.messages import COUNT_LISTS, LISTS
from craft_lightning.metrics.motion import Motion
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.summary import driving_efficiency, kilometres, outside_metres


class DrivingEfficiency(RouteMetric):
    """Mean over routes of the ego's speed in percent of the surrounding traffic's.

    A route counts with the mean of its min-speed events up to 1000 %; one without such an event is left out, whatever
    the denominator, as Bench2Drive does.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "denominator": "evaluated"})

    def value(self, record: RouteRecord) -> float:
        """Return the route's efficiency in percent, NaN without an event."""
        value = driving_efficiency(record)
        return math.nan if value is None else value


class DrivingSmoothness(RouteMetric):
    """Mean over routes of the share of comfortable pieces, 0 to 1.

    Args:
        strict: reproduce Bench2Drive's tool, quirks included; False puts units and derivatives right.
        delta: seconds between two samples where not ``strict``.
        kwargs: arguments of ``RouteMetric``.

    """

    def __init__(self, strict: bool = True, delta: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not delta > 0.0:
            raise CraftError(f"delta is {delta}; give the seconds between two samples")
        self.strict, self.delta = strict, delta

    # Smoothness needs the motion, which no record holds.
    def update(  # type: ignore[override]
        self, records: Sequence[RouteRecord | Mapping[str, Any]], motions: Sequence[Motion | None]
    ) -> None:
        """Take the records of some routes and their motions (None or fewer than three samples: left out)."""
        parsed = self._parsed(records)
        if len(parsed) != len(motions):
            raise CraftError(f"{len(parsed)} records came with {len(motions)} motions; give one a record")
        rows = [
            (smoothness(motion, self.strict, self.delta) if motion is not None and len(motion) > 2 else math.nan,)
            for motion in motions
        ]
        self._take(parsed, rows)


class MultiAbility(RouteMetric):
    """Bench2Drive's five abilities and their mean, each 0 to 1.

    Whether a route that ended on its way had passed its first junction is taken from ``RouteRecord.sign_percent``,
    where it is unknown from Bench2Drive's typical route (``abilities.passed_sign``).

    Args:
        formula: "0.0.3", under which everything up to 2026 was published, or "0.0.4".
        kwargs: arguments of ``RouteMetric``; the denominator is that of the formula, the routes evaluated.

    """

    columns = ("abilities", "success", "passed")

    def __init__(self, formula: Literal["0.0.3", "0.0.4"] = "0.0.3", **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "denominator": "evaluated"})
        self.formula = check_formula(formula)

    def row(self, record: RouteRecord) -> Sequence[float]:
        """Return the route's abilities as bits, whether it succeeded, whether it passed its sign."""
        own = abilities_of(record.scenario)
        bits = sum(1 << place for place, name in enumerate(ABILITIES) if name in own)
        return float(bits), float(record.success), float(passed_sign(record).passed)

    def compute(self) -> dict[str, Tensor]:
        """Return ability (and "mean") to value, NaN for an ability without a route."""
        _, rows = self.counting()
        names = list(ABILITIES)
        routes = [
            ({name for place, name in enumerate(names) if int(bits) >> place & 1}, bool(success), bool(passed))
            for bits, success, passed in rows.tolist()
        ]
        return {
            name: torch.tensor(value, dtype=torch.float32, device=self.device)
            for name, value in ability_scores(routes, self.formula).items()
        }


class InfractionsPerKm(RouteMetric):
    """The leaderboard's infractions a kilometre driven, by the names of its lists.

    ``outside_route_lanes`` is the kilometres driven outside, which the leaderboard does not divide.
    """

    columns = (*(f"count_{name}" for name in LISTS.values()), "kilometres")
    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "denominator": "evaluated"})

    def row(self, record: RouteRecord) -> Sequence[float]:
        """Return the route's events by list (metres for driving outside) and its kilometres."""
        counts = [
            float(getattr(record, field))
            if field in COUNT_LISTS
            else (float(len(record.min_speed)) if field == "min_speed" else outside_metres(record))
            for field in LISTS
        ]
        return (*counts, kilometres(record))

    def compute(self) -> dict[str, Tensor]:
        """Return list name to events a kilometre, of at least a metre driven."""
        _, rows = self.counting()
        totals = rows.sum(dim=0).tolist()
        driven = max(totals[-1], 0.001)
        return {
            name: torch.tensor(
                total / (1000.0 if name == "outside_route_lanes" else driven), dtype=torch.float32, device=self.device
            )
            for name, total in zip(LISTS.values(), totals[:-1], strict=True)
        }
