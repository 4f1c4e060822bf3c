"""Attributes of the traffic controller."""

import dataclasses
import math
from typing import Any

from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True)
class TrafficOptions:
    """Attributes of ``controller.traffic.sumo``; drivers differ by what is drawn for each of them once, at spawn.

    Attributes:
        seed: of everything random in the traffic.
        vehicles: kept on the road.
        walkers: kept on the pavements.
        warmup: simulated seconds that traffic runs inside the spawn call.
        tau: mean time headway [s]; ``tau_spread`` its standard deviation.
        speed_factor: mean of the wanted speed over the limit; ``speed_factor_spread`` its standard deviation.
        min_gap: mean gap at standstill [m]; ``min_gap_spread`` its standard deviation.
        ignore_foe_share: share of drivers that push into junctions against slow foes.

    """

    seed: int = 0
    vehicles: int = 20
    walkers: int = 0
    warmup: float = 8.0
    tau: float = 1.2
    tau_spread: float = 0.3
    speed_factor: float = 1.0
    speed_factor_spread: float = 0.1
    min_gap: float = 2.5
    min_gap_spread: float = 0.5
    ignore_foe_share: float = 0.02

    @classmethod
    def from_attributes(cls, attributes: list[list[Any]]) -> "TrafficOptions":
        """Read the attributes of a spawned controller.

        Raises:
            CraftError: a value is no number, or negative.

        """
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, _, text in attributes:
            if name not in kinds:
                continue
            try:
                values[name] = int(text) if kinds[name] in (int, "int") else float(text)
            except ValueError as cause:
                raise CraftError(f"attribute '{name}' of controller.traffic.sumo is '{text}'; give a number") from cause
            if not math.isfinite(values[name]) or values[name] < 0:
                raise CraftError(
                    f"attribute '{name}' of controller.traffic.sumo is {text}; give a number of at least 0"
                )
        return cls(**values)
