"""Driving metrics: records of routes, torchmetrics classes, result files and paired intervals.

Records, scores, files and intervals are plain Python and numpy; the torchmetrics classes load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from craft_lightning.metrics.paired import PairedInterval, paired_interval
from craft_lightning.metrics.protocols import PROTOCOLS, Rules, protocol_rules
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.scores import driving_score, infraction_score

if TYPE_CHECKING:
    from craft_lightning.metrics.behaviour import (
        DrivingEfficiency,
        DrivingSmoothness,
        InfractionsPerKm,
        MultiAbility,
    )
    from craft_lightning.metrics.driving import DrivingScore, InfractionScore, RouteCompletion, SuccessRate
    from craft_lightning.metrics.planner import NuPlanClosedLoopScore, PDMScore, TwoStagePDMScore

__all__ = [
    "PROTOCOLS",
    "DrivingEfficiency",
    "DrivingScore",
    "DrivingSmoothness",
    "InfractionScore",
    "InfractionsPerKm",
    "MultiAbility",
    "NuPlanClosedLoopScore",
    "PDMScore",
    "PairedInterval",
    "RouteCompletion",
    "RouteRecord",
    "Rules",
    "SuccessRate",
    "TwoStagePDMScore",
    "driving_score",
    "infraction_score",
    "paired_interval",
    "protocol_rules",
]
_DRIVING = ("DrivingScore", "InfractionScore", "RouteCompletion", "SuccessRate")
_BEHAVIOUR = ("DrivingEfficiency", "DrivingSmoothness", "InfractionsPerKm", "MultiAbility")
_PLANNER = ("NuPlanClosedLoopScore", "PDMScore", "TwoStagePDMScore")


def __getattr__(name: str) -> Any:
    """Load a torchmetrics class on first use, since importing torchmetrics takes seconds."""
    for module, names in (("driving", _DRIVING), ("behaviour", _BEHAVIOUR), ("planner", _PLANNER)):
        if name in names:
            return getattr(importlib.import_module(f"craft_lightning.metrics.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
