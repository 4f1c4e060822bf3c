"""What a sensor remembers from tick to tick; part of the world's state."""

import dataclasses


@dataclasses.dataclass
class SensorMemory:
    """What of a sensor changes with time; part of the world's state.

    Attributes:
        mount: x, y, z [m], pitch, yaw, roll [deg] relative to the actor it sits on.
        due: simulated seconds from which it measures again.
        count: measurements so far.
        track: places of the last two ticks, the newest first.

    """

    mount: list[float]
    due: float = 0.0
    count: int = 0
    track: list[list[float]] = dataclasses.field(default_factory=list)
