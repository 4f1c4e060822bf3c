"""What a car looks through: plain descriptions of cameras, lidars and radars (layouts by name: ``rigs``).

One description serves everybody: the cards of released policies, the adapters that need a rig, the worlds that attach
it to the ego and the agent that asks an official evaluator for it.

Places are metres forward, left and up from the origin of CARLA's vehicle (below the middle of the car, on the ground);
angles are degrees: yaw counter-clockwise (to the left), pitch upwards, roll clockwise as seen from behind.
"""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.errors import CraftError

CameraKind = Literal["rgb", "depth", "semantic"]
CAMERA_KINDS = ("rgb", "depth", "semantic")
MOST_PIXELS = 8192  # along a side
PLACE_TOLERANCE, ANGLE_TOLERANCE = 0.05, 1.0  # metres and degrees within which two sensors are the same
COUNT = ".count"
"""What is appended to a sensor's name where its number of points stands."""


@dataclasses.dataclass(frozen=True)
class Sensor(ABC):
    """What all sensors share.

    Args:
        name: its name, unique in a rig; letters, digits and underscores.
        place: x, y, z in metres from the vehicle's origin; None where a data set's own calibration is used, which no
            world can attach.
        yaw: degrees counter-clockwise from ahead.
        pitch: degrees upwards.
        roll: degrees clockwise, seen from behind.

    Raises:
        CraftError: an attribute that no sensor can have.

    """

    name: str
    place: tuple[float, float, float] | None = None
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name):
            raise CraftError(
                f"a sensor is called '{self.name}'; give a name of letters, digits and underscores, a letter first"
            )
        if self.place is not None:
            if len(self.place) != 3 or any(abs(metres) > 100.0 for metres in self.place):
                raise self.refuse("place", self.place, "x, y, z in metres within 100 m of the vehicle")
            object.__setattr__(self, "place", tuple(float(metres) for metres in self.place))
        for angle in ("yaw", "pitch", "roll"):
            self.within(angle, -360.0, 360.0)

    @property
    @abstractmethod
    def what(self) -> str:
        """Its kind in a word."""

    @property
    @abstractmethod
    def type_id(self) -> str:
        """CARLA's blueprint."""

    def within(self, field: str, low: float, high: float) -> None:
        """Refuse a field outside ``low`` to ``high``.

        Raises:
            CraftError: it is.

        """
        value = getattr(self, field)
        if not low <= value <= high:
            raise self.refuse(field, value, f"{low:g} to {high:g}")

    def refuse(self, field: str, value: object, remedy: str) -> CraftError:
        """Return the error for a field that makes no sense."""
        return CraftError(f"{field} of sensor '{self.name}' is {value}; give {remedy}")

    @abstractmethod
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return what one measurement is: name -> (shape, name of the number type)."""

    def differs(self, other: "Sensor") -> str:
        """Return in what another sensor of this name is not this one, "" where it is the same within tolerances."""
        if self.type_id != other.type_id:
            return f"is of the kind {other.what} and not {self.what}"
        if self.place is not None and other.place is not None:
            gap = max(abs(one - two) for one, two in zip(self.place, other.place, strict=True))
            if gap > PLACE_TOLERANCE:
                return f"sits at {_listed(other.place)} m and not at {_listed(self.place)} m"
        for angle in ("yaw", "pitch", "roll"):
            mine, theirs = getattr(self, angle), getattr(other, angle)
            if abs((theirs - mine + 180.0) % 360.0 - 180.0) > ANGLE_TOLERANCE:
                return f"has a {angle} of {theirs:g} and not {mine:g} degrees"
        return ""

    def __str__(self) -> str:
        return f"{self.what} '{self.name}'"


@dataclasses.dataclass(frozen=True)
class Camera(Sensor):
    """A pinhole camera.

    Args:
        width: pixels of a picture.
        height: pixels.
        field_of_view: horizontal, degrees; None where a data set's own calibration is used.
        kind: "rgb" ([H, W, 3] uint8, red first), "depth" ([H, W] float32, metres along the axis) or "semantic"
            ([H, W] uint8, CARLA's tags).

    """

    width: int = 256
    height: int = 144
    field_of_view: float | None = None
    kind: CameraKind = "rgb"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in CAMERA_KINDS:
            raise self.refuse("kind", f"'{self.kind}'", f"one of {', '.join(CAMERA_KINDS)}")
        for side in ("width", "height"):
            self.within(side, 1, MOST_PIXELS)
        if self.field_of_view is not None:
            self.within("field_of_view", 1.0, 179.0)

    @property
    def what(self) -> str:
        """What a pixel holds."""
        return self.kind

    @property
    def type_id(self) -> str:
        """CARLA's blueprint."""
        return f"sensor.camera.{'semantic_segmentation' if self.kind == 'semantic' else self.kind}"

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the picture's shape."""
        last = {"rgb": (3,)}.get(self.kind, ())
        return {self.name: ((self.height, self.width, *last), "float32" if self.kind == "depth" else "uint8")}

    def differs(self, other: Sensor) -> str:
        """Compare sizes and fields of view, too."""
        fault = super().differs(other)
        if fault or not isinstance(other, Camera):
            return fault
        if (self.width, self.height) != (other.width, other.height):
            return f"has {other.width} x {other.height} pixels and not {self.width} x {self.height}"
        mine, theirs = self.field_of_view, other.field_of_view
        if mine is not None and theirs is not None and abs(mine - theirs) > ANGLE_TOLERANCE:
            return f"has a field of view of {theirs:g} and not {mine:g} degrees"
        return ""

    def __str__(self) -> str:
        return f"{self.kind} camera '{self.name}' ({self.width} x {self.height})"


@dataclasses.dataclass(frozen=True)
class Lidar(Sensor):
    """A turning lidar; one measurement is a whole turn, however many ticks of CARLA it is taken in.

    [N, 4] float32: x, y, z and intensity; x, y from the centre of the ego's box, z from the ground below it, forward,
    left and up. Rows past ``NAME.count`` are zeros.

    Args:
        channels: beams above each other.
        range: metres.
        points_per_second: beams a second at ``rotation_frequency``.
        rotation_frequency: turns a second, which fixes the beams of a turn.
        upper_field_of_view: degrees of the highest beam.
        lower_field_of_view: degrees of the lowest.

    """

    channels: int = 64
    range: float = 85.0
    points_per_second: int = 600_000
    rotation_frequency: float = 10.0
    upper_field_of_view: float = 10.0
    lower_field_of_view: float = -30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.within("channels", 1, 1024)
        self.within("range", 0.1, 1000.0)
        self.within("points_per_second", 1, 20_000_000)
        self.within("rotation_frequency", 0.1, 1000.0)
        self.within("lower_field_of_view", -90.0, 90.0)
        self.within("upper_field_of_view", self.lower_field_of_view, 90.0)
        if not 1 <= self.beams <= 1_000_000:
            raise self.refuse("points_per_second / rotation_frequency", self.beams, "1 to 1000000 beams a turn")

    @property
    def what(self) -> str:
        """Always lidar."""
        return "lidar"

    @property
    def type_id(self) -> str:
        """CARLA's blueprint."""
        return "sensor.lidar.ray_cast"

    @property
    def beams(self) -> int:
        """Beams of one turn, a multiple of the channels."""
        return self.channels * int(self.points_per_second / self.rotation_frequency / self.channels + 0.5)

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the padded points and their number."""
        return {self.name: ((self.beams, 4), "float32"), f"{self.name}{COUNT}": ((), "int64")}

    def differs(self, other: Sensor) -> str:
        """Compare beams and reach, too."""
        fault = super().differs(other)
        if fault or not isinstance(other, Lidar):
            return fault
        for field in ("channels", "range", "beams", "upper_field_of_view", "lower_field_of_view"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                return f"has {field.replace('_', ' ')} {theirs:g} and not {mine:g}"
        return ""


@dataclasses.dataclass(frozen=True)
class Radar(Sensor):
    """A radar: [N, 4] float32 x, y, z as a lidar's and the speed along the ray in m/s, negative when nearing.

    Args:
        horizontal_field_of_view: degrees.
        vertical_field_of_view: degrees.
        range: metres.
        points_per_second: rays a second; a measurement holds those of one tick.

    """

    horizontal_field_of_view: float = 30.0
    vertical_field_of_view: float = 30.0
    range: float = 100.0
    points_per_second: int = 1500

    def __post_init__(self) -> None:
        super().__post_init__()
        self.within("horizontal_field_of_view", 0.1, 179.0)
        self.within("vertical_field_of_view", 0.1, 179.0)
        self.within("range", 0.1, 1000.0)
        self.within("points_per_second", round(1.0 / TICK_SECONDS), 5_000_000)

    @property
    def what(self) -> str:
        """Always radar."""
        return "radar"

    @property
    def type_id(self) -> str:
        """CARLA's blueprint."""
        return "sensor.other.radar"

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the padded points and their number."""
        rays = int(self.points_per_second * TICK_SECONDS + 1e-6)
        return {self.name: ((rays, 4), "float32"), f"{self.name}{COUNT}": ((), "int64")}

    def differs(self, other: Sensor) -> str:
        """Compare cone, rays and reach, too."""
        fault = super().differs(other)
        if fault or not isinstance(other, Radar):
            return fault
        for field in ("horizontal_field_of_view", "vertical_field_of_view", "range", "points_per_second"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                return f"has {field.replace('_', ' ')} {theirs:g} and not {mine:g}"
        return ""


Rig: TypeAlias = tuple[Sensor, ...]
"""Sensors with different names."""


def check_names(sensors: Sequence[Sensor], field: str) -> None:
    """Refuse rigs in which a name comes twice.

    Raises:
        CraftError: one does.

    """
    names = [sensor.name for sensor in sensors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CraftError(f"{field} has several sensors called {', '.join(twice)}; give each a name of its own")


def require_rig(wanted: Sequence[Sensor], offered: Sequence[Sensor], who: str, field: str = "data.rig") -> None:
    """Refuse a rig that lacks a sensor that somebody needs, or has another one of its name.

    Args:
        wanted: what is needed.
        offered: what there is; it may have more.
        who: who needs it, for the message.
        field: where the offer comes from.

    Raises:
        CraftError: one sentence with the sensor, what is wanted, what is offered and the remedy.

    """
    known = {sensor.name: sensor for sensor in offered}
    for sensor in wanted:
        other = known.get(sensor.name)
        if other is None:
            names = ", ".join(known) or "no sensor"
            fault = f"needs the {sensor}, and {field} has {names}"
        else:
            differs = sensor.differs(other)
            if not differs:
                continue
            fault = f"needs the {sensor}, and that of {field} {differs}"
        raise CraftError(f"{who} {fault}; leave {field} empty to take {who}'s own rig, or correct that sensor")


def require_places(rig: Sequence[Sensor], who: str) -> None:
    """Refuse sensors of which nobody knows where they sit or what they see.

    Raises:
        CraftError: one is calibrated by a data set.

    """
    for sensor in rig:
        if sensor.place is None or (isinstance(sensor, Camera) and sensor.field_of_view is None):
            raise CraftError(
                f"{who} needs the {sensor}, which a data set's own calibration places, so no world can attach it; "
                "give its place and field_of_view"
            )


def _listed(place: tuple[float, float, float]) -> str:
    return ", ".join(f"{metres:g}" for metres in place)
