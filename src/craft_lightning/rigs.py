"""Layouts of sensors by name, and how a rig is read that somebody wrote down."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from craft_lightning.errors import CraftError
from craft_lightning.rig import CAMERA_KINDS, Camera, Lidar, Radar, Rig, Sensor, check_names

_BENCH2DRIVE = (
    ("CAM_FRONT", (0.80, 0.0, 1.60), 0.0, 70.0),
    ("CAM_FRONT_LEFT", (0.27, 0.55, 1.60), 55.0, 70.0),
    ("CAM_FRONT_RIGHT", (0.27, -0.55, 1.60), -55.0, 70.0),
    ("CAM_BACK", (-2.0, 0.0, 1.60), 180.0, 110.0),
    ("CAM_BACK_LEFT", (-0.32, 0.55, 1.60), 110.0, 70.0),
    ("CAM_BACK_RIGHT", (-0.32, -0.55, 1.60), -110.0, 70.0),
)
BENCH2DRIVE: Rig = tuple(
    Camera(name, place, yaw, width=1600, height=900, field_of_view=angle) for name, place, yaw, angle in _BENCH2DRIVE
)
"""The six cameras round the car that Bench2Drive's agents look through (Bench2DriveZoo, team_code)."""

# The evaluators' own lidar: whoever drives in them gets no other.
_ROOF = Lidar("lidar", (0.0, 0.0, 2.5))

RIGS: dict[str, Rig] = {
    "front_camera": (Camera("front", (0.80, 0.0, 1.60), field_of_view=90.0),),
    "bench2drive": BENCH2DRIVE,
    "bench2drive_front": BENCH2DRIVE[:3],
    # carla_garage, team_code/config.py; SimLingo looks from the same place, with twice the height.
    "transfuser": (Camera("rgb", (-1.5, 0.0, 2.0), width=1024, height=256, field_of_view=110.0), _ROOF),
    "simlingo": (Camera("rgb_0", (-1.5, 0.0, 2.0), width=1024, height=512, field_of_view=110.0),),
    # lead, common/config_base.py, three cameras; its two lidars together take one turn a tick.
    "tfv6": (
        Camera("rgb_1", (0.1, 0.35, 2.25), 54.5, width=384, height=384, field_of_view=60.0),
        Camera("rgb_2", (0.35, 0.0, 2.25), 0.0, width=384, height=384, field_of_view=60.0),
        Camera("rgb_3", (0.1, -0.35, 2.25), -54.5, width=384, height=384, field_of_view=60.0),
        _ROOF,
    ),
}
"""Layouts by name; ``NAME@WIDTHxHEIGHT`` is one with pictures of another size."""

_CLASSES: dict[str, type[Sensor]] = {**dict.fromkeys(CAMERA_KINDS, Camera), "lidar": Lidar, "radar": Radar}
RigChoice: TypeAlias = str | Sequence[str | Mapping[str, Any] | Sensor]
"""A rig as a user gives it: the name of a layout, or a list of such names and of sensors by their fields."""


def read_rig(given: RigChoice, field: str = "rig") -> Rig:
    """Return the sensors that somebody chose.

    Args:
        given: a layout's name (``front_camera``, ``bench2drive@256x144``), "" for none, or a list of names and of
            mappings with ``kind``, ``name`` and further fields of the kind's class.
        field: who asks, for messages.

    Raises:
        CraftError: an unknown layout, kind or field, attributes that no sensor can have, or a name that comes twice.

    """
    sensors: list[Sensor] = []
    for item in [given] if isinstance(given, str) and given else given:
        try:
            sensors += [item] if isinstance(item, Sensor) else _layout(item) if isinstance(item, str) else [_one(item)]
        except CraftError as error:
            raise CraftError(f"{field}: {error}") from error
    check_names(sensors, field)
    return tuple(sensors)


def _layout(name: str) -> list[Sensor]:
    base, mark, size = name.partition("@")
    if base not in RIGS:
        raise CraftError(f"there is no layout of sensors called '{base}'; choose {', '.join(RIGS)}")
    if not mark:
        return list(RIGS[base])
    pixels = re.fullmatch(r"(\d+)x(\d+)", size)
    if not pixels:
        raise CraftError(f"'{name}' asks for pictures of '{size}'; write {base}@WIDTHxHEIGHT, in pixels")
    width, height = int(pixels[1]), int(pixels[2])
    return [
        dataclasses.replace(sensor, width=width, height=height) if isinstance(sensor, Camera) else sensor
        for sensor in RIGS[base]
    ]


def _one(fields: Mapping[str, Any]) -> Sensor:
    values = dict(fields)
    kind = values.get("kind", "rgb")
    cls = _CLASSES.get(kind)
    if cls is None:
        raise CraftError(f"a sensor has the kind '{kind}'; choose {', '.join(_CLASSES)}")
    known = {field.name: field for field in dataclasses.fields(cls)}
    if cls is not Camera:
        values.pop("kind", None)
    unknown = sorted(values.keys() - known.keys())
    if unknown or "name" not in values:
        fault = f"the unknown field {unknown[0]}" if unknown else "no name"
        raise CraftError(f"a sensor of the kind {kind} has {fault}; its fields are {', '.join(known)}")
    for name, value in values.items():
        if known[name].type in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise CraftError(f"{name} of sensor '{values['name']}' is '{value}'; give a number")
    if values.get("place") is not None:
        place = values["place"]
        if isinstance(place, str) or not all(isinstance(metres, int | float) for metres in place):
            raise CraftError(f"place of sensor '{values['name']}' is {place}; give three numbers in metres")
        values["place"] = tuple(place)
    return cls(**values)
