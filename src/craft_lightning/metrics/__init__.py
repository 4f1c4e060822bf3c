"""Driving metrics: records of routes, torchmetrics classes, result files and paired intervals.

Records, scores and intervals are plain Python and numpy; the torchmetrics classes load on first use.
"""

from typing import TYPE_CHECKING, Any

from craft_lightning.metrics.paired import PairedInterval, paired_interval
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.scores import driving_score, infraction_score

if TYPE_CHECKING:
    from craft_lightning.metrics.driving import DrivingScore, InfractionScore, RouteCompletion, SuccessRate

__all__ = [
    "DrivingScore",
    "InfractionScore",
    "PairedInterval",
    "RouteCompletion",
    "RouteRecord",
    "SuccessRate",
    "driving_score",
    "infraction_score",
    "paired_interval",
]


def __getattr__(name: str) -> Any:
    """Load a torchmetrics class on first use, since importing torchmetrics takes seconds."""
    if name in ("DrivingScore", "InfractionScore", "RouteCompletion", "SuccessRate"):
        from craft_lightning.metrics import driving

        return getattr(driving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
