"""Cameras: what they have in common, and sensor.camera.rgb."""

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.sensors.attributes import refuse
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.rendering.renderer import Optics, Picture
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor

MOST_PIXELS = 8192  # along one side
_HEAD = struct.Struct("<IIf")


class Camera(Instrument):
    """A pinhole camera; a subclass gives ``index`` and ``pixels``, the picture as CARLA encodes it."""

    def __init__(self, type_id: str, attributes: list[list[Any]]) -> None:
        super().__init__(type_id, attributes)
        self.width, self.height = self.options["image_size_x"], self.options["image_size_y"]
        self.fov = self.options["fov"]
        for name, side in (("image_size_x", self.width), ("image_size_y", self.height)):
            if not 1 <= side <= MOST_PIXELS:
                raise refuse(type_id, name, side, f"1 to {MOST_PIXELS} pixels")
        if not 1.0 <= self.fov < 180.0:
            raise refuse(type_id, "fov", f"{self.fov:g}", "1 to less than 180 degrees")
        self._head = _HEAD.pack(self.width, self.height, self.fov)
        self._optics: Optics

    def prepare(self, rack: "SensorRack") -> None:
        """Paint the ground and load the machine code, once a town and process."""
        from craft_lightning.simulation.embedded.rendering.renderer import Optics

        self._optics = Optics(self.width, self.height, self.fov)
        rack.renderer.picture((0.0, 0.0, 1.0, 0.0, 0.0, 0.0), Optics(8, 8, 90.0))

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return width, height, field of view and four bytes a pixel."""
        picture = rack.renderer.picture(actor.pose, self._optics, actor.parent)
        return self._head, self.pixels(picture).data.cast("B")

    def pixels(self, picture: "Picture") -> np.ndarray:
        """Return [H, W, 4] uint8 blue, green, red, opacity."""
        raise NotImplementedError


class RgbCamera(Camera):
    """sensor.camera.rgb."""

    index = wire.SENSOR_RGB

    def pixels(self, picture: "Picture") -> np.ndarray:
        """Return the colours."""
        return picture.colours
