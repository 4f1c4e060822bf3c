"""What every sensor is: options read once at spawn, a measurement a tick."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from craft_lightning.simulation.embedded.sensors.attributes import read_attributes, refuse
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

Payload = bytes | memoryview
"""Part of a message."""

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor


class Instrument(ABC):
    """One spawned sensor; a subclass gives ``index``, the sensor's number on the wire, and ``measure``.

    Args:
        type_id: blueprint.
        attributes: as sent by the client.

    Raises:
        CraftError: attributes that make no sense.

    """

    index: ClassVar[int]

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        self.type_id = type_id
        self.options = read_attributes(type_id, attributes)
        self.tick = float(self.options["sensor_tick"])
        if self.tick < 0.0:
            raise refuse(type_id, "sensor_tick", self.options["sensor_tick"], "seconds of at least 0")
        for name, value in self.options.items():
            if "stddev" in name and not value >= 0.0:
                raise refuse(type_id, name, value, "a number of at least 0")

    def within(self, name: str, low: float, high: float) -> None:
        """Refuse an attribute outside ``low`` to ``high``.

        Raises:
            CraftError: it is.

        """
        value = self.options[name]
        if not low <= value <= high:
            raise refuse(self.type_id, name, value, f"{low:g} to {high:g}")

    def prepare(self, rack: "SensorRack") -> None:  # noqa: B027 - most have nothing to get ready
        """Get ready what measuring needs, in the call that spawns the sensor."""

    @abstractmethod
    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...] | None:
        """Return the payload of the present tick's message, in parts; None where there is nothing to tell."""
