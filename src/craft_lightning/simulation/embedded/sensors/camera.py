"""Cameras: what they have in common, sensor.camera.rgb, and those that see depth, tags and instances."""

import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.sensors.attributes import refuse
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.rendering.renderer import Optics, Picture, Renderer
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor

MOST_PIXELS = 8192  # along one side
DEPTH_REACH = 1000.0  # m that CARLA's 24 bits span
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

        self._optics = Optics(8, 8, 90.0)
        self.pixels(rack.renderer, (0.0, 0.0, 1.0, 0.0, 0.0, 0.0), 0)
        self._optics = Optics(self.width, self.height, self.fov)

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return width, height, field of view and four bytes a pixel."""
        return self._head, self.pixels(rack.renderer, actor.pose, actor.parent).data.cast("B")

    @abstractmethod
    def pixels(self, renderer: "Renderer", pose: Sequence[float], viewer: int) -> np.ndarray:
        """Return [H, W, 4] uint8 blue, green, red, opacity: what is seen from a place, on an actor."""


class RgbCamera(Camera):
    """sensor.camera.rgb."""

    index = wire.SENSOR_RGB

    def pixels(self, renderer: "Renderer", pose: Sequence[float], viewer: int) -> np.ndarray:
        """Return the colours."""
        return renderer.coloured(pose, self._optics, viewer).colours


class LabelCamera(Camera):
    """A camera that writes labels; a subclass gives ``index`` and ``encode``."""

    def pixels(self, renderer: "Renderer", pose: Sequence[float], viewer: int) -> np.ndarray:
        """Return the labels, encoded."""
        picture = renderer.labelled(pose, self._optics, viewer)
        encoded = np.empty((*picture.depth.shape, 4), np.uint8)
        self.encode(picture, encoded)
        return encoded

    @abstractmethod
    def encode(self, picture: "Picture", encoded: np.ndarray) -> None:
        """Write a labelled picture into [H, W, 4] uint8 blue, green, red, opacity."""


class DepthCamera(LabelCamera):
    """sensor.camera.depth: metres along the camera's axis in 24 bits, red the lowest."""

    index = wire.SENSOR_DEPTH

    def encode(self, picture: "Picture", encoded: np.ndarray) -> None:
        """Write the depth."""
        from craft_lightning.simulation.embedded.rendering.labels import encode_depth

        encode_depth(picture.depth, DEPTH_REACH, encoded)


class SemanticCamera(LabelCamera):
    """sensor.camera.semantic_segmentation: the tag in the red channel."""

    index = wire.SENSOR_SEMANTIC
    instances = False

    def encode(self, picture: "Picture", encoded: np.ndarray) -> None:
        """Write the tags."""
        from craft_lightning.simulation.embedded.rendering.labels import encode_tags

        encode_tags(picture.tags, picture.owners, self.instances, encoded)


class InstanceCamera(SemanticCamera):
    """sensor.camera.instance_segmentation: tags, and the actor's number in green (low byte) and blue."""

    index = wire.SENSOR_INSTANCE
    instances = True
