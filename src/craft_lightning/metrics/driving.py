"""Driving metrics of a set of routes as ``torchmetrics.Metric``: one value a route, each route counted once."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import VariantName
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.scores import driving_score, score_variant


class RouteMetric(Metric):
    """Mean of one number a route, in which a route counts once however often and wherever it was driven.

    The state is the list of (route index, attempts, values). Of several records of one route the one with most attempts
    counts, then the one that came last; so retries, padding by a distributed sampler and shards in any order give the
    same result. A route whose value is NaN has none and is left out.

    Args:
        denominator: "evaluated" divides by the routes seen; "routes" divides by ``num_routes``, so that a missing route
            counts 0, as Bench2Drive does.
        num_routes: size of the suite, needed by "routes".

    Raises:
        CraftError: "routes" without ``num_routes``, a record outside any suite, or more routes than ``num_routes``.

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    # What is kept of a route beside its index and attempts: one state each, since ranks without a route gather only
    # one-dimensional ones.
    columns: tuple[str, ...] = ("values",)
    index: list[Tensor]
    attempts: list[Tensor]

    def __init__(
        self, denominator: Literal["evaluated", "routes"] = "evaluated", num_routes: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if denominator not in ("evaluated", "routes"):
            raise CraftError(f"denominator is '{denominator}'; use 'evaluated' or 'routes'")
        if denominator == "routes" and (num_routes is None or num_routes < 1):
            raise CraftError(f"denominator='routes' needs num_routes, the size of the suite; it is {num_routes}")
        self.denominator, self.num_routes = denominator, num_routes
        for name in ("index", "attempts", *self.columns):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def value(self, record: RouteRecord) -> float:
        """Return the number of one route."""
        raise NotImplementedError(f"{type(self).__name__} must say what the value of a route is")

    def row(self, record: RouteRecord) -> Sequence[float]:
        """Return what is kept of one route, one number for each of ``columns``."""
        return (self.value(record),)

    def update(self, records: Sequence[RouteRecord | Mapping[str, Any]]) -> None:
        """Take the records (or their dictionaries) of some routes."""
        parsed = self._parsed(records)
        self._take(parsed, [self.row(record) for record in parsed])

    def _parsed(self, records: Sequence[RouteRecord | Mapping[str, Any]]) -> list[RouteRecord]:
        parsed = [item if isinstance(item, RouteRecord) else RouteRecord.from_dict(item) for item in records]
        for record in parsed:
            if record.index < 0:
                raise CraftError(
                    f"route '{record.route_id}': field index is {record.index}; give its place in the suite"
                )
            if self.num_routes is not None and record.index >= self.num_routes:
                raise CraftError(
                    f"route '{record.route_id}': field index is {record.index} but num_routes is {self.num_routes}; "
                    "give the size of the whole suite"
                )
        return parsed

    def _take(self, records: Sequence[RouteRecord], rows: Sequence[Sequence[float]]) -> None:
        numbers = {
            "index": [record.index for record in records],
            "attempts": [record.attempts for record in records],
            **{name: [row[place] for row in rows] for place, name in enumerate(self.columns)},
        }
        for name, column in numbers.items():
            # All float32 (exact for indices below 2**24): torchmetrics gathers an empty rank as float32, and ranks must
            # agree on the type.
            getattr(self, name).append(torch.tensor(column, dtype=torch.float32, device=self.device))

    def counting(self) -> tuple[Tensor, Tensor]:
        """Return route indices [R] int64 in ascending order and their rows [R, columns] float64, on the CPU."""
        if not len(self.index):
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, len(self.columns), dtype=torch.float64)
        index = dim_zero_cat(self.index).cpu().long()
        attempts = dim_zero_cat(self.attempts).cpu()
        rows = torch.stack([dim_zero_cat(getattr(self, name)).cpu().double() for name in self.columns], dim=1)
        # Stable sorts by the lesser key first: within a route the record that counts comes last.
        order = torch.sort(attempts, stable=True).indices
        order = order[torch.sort(index[order], stable=True).indices]
        index, rows = index[order], rows[order]
        last = torch.ones(len(index), dtype=torch.bool)
        last[:-1] = index[1:] != index[:-1]
        return index[last], rows[last]

    def evaluated(self) -> tuple[Tensor, Tensor]:
        """Return the indices [R] int64 of the routes that have a value, and their values [R] float64, on the CPU."""
        index, rows = self.counting()
        present = ~rows[:, 0].isnan()
        return index[present], rows[present, 0]

    def compute(self) -> Any:
        """Return the mean over routes, float32; NaN where nothing was evaluated and nothing is known to be missing."""
        _, values = self.evaluated()
        count = self.num_routes if self.denominator == "routes" else len(values)
        total = values.sum()
        mean = total / count if count else torch.tensor(torch.nan)
        return mean.to(device=self.device, dtype=torch.float32)


class RouteCompletion(RouteMetric):
    """Mean route completion in percent, 0 to 100."""

    def value(self, record: RouteRecord) -> float:
        """Return the route completion, percent."""
        return record.route_completion


class InfractionScore(RouteMetric):
    """Mean infraction score, 0 to 1.

    Args:
        coefficients: coefficients that differ from the variant's, e.g. ``{"stop_sign": 1.0}`` as in Longest6.
        variant: formula and coefficients of one leaderboard: "b2d" (Bench2Drive), "lb1.0", "lb2.0" or "lb2.1".
        kwargs: arguments of ``RouteMetric``.

    """

    def __init__(
        self, coefficients: Mapping[str, float] | None = None, variant: VariantName = "b2d", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.variant = score_variant(variant, coefficients)
        # A plain dictionary, so that the metric's settings can be read.
        self.coefficients = dict(self.variant.coefficients)

    def value(self, record: RouteRecord) -> float:
        """Return the infraction score."""
        return record.variant_score(self.variant)


class DrivingScore(InfractionScore):
    """Mean driving score, 0 to 100: route completion times infraction score, route by route.

    Example:
        >>> metric = DrivingScore()
        >>> metric.update([RouteRecord(route_id="1", index=0, status="Completed", route_completion=100.0, red_light=1)])
        >>> round(float(metric.compute()), 3)
        70.0

    """

    def value(self, record: RouteRecord) -> float:
        """Return the driving score."""
        return driving_score(record.route_completion, super().value(record))


class SuccessRate(RouteMetric):
    """Share of routes completed without any infraction, in percent, 0 to 100."""

    def value(self, record: RouteRecord) -> float:
        """Return 100 for success, 0 otherwise."""
        return 100.0 if record.success else 0.0
