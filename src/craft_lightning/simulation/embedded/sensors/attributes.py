"""Attributes of the sensors' blueprints, as CARLA's catalogue has them, and how they are read."""

import math
from typing import Any

from craft_lightning.errors import CraftError

# (name, kind, default); kinds are those of rpc::ActorAttributeType: 0 bool, 1 int, 2 float, 3 string, 4 color.
Row = tuple[str, type, str]

TICK: tuple[Row, ...] = (("sensor_tick", float, "0.0"),)
LENS: tuple[Row, ...] = (
    ("image_size_x", int, "800"),
    ("image_size_y", int, "600"),
    ("fov", float, "90.0"),
    *(
        (name, float, value)
        for name, value in (
            ("lens_circle_falloff", "5.0"),
            ("lens_circle_multiplier", "0.0"),
            ("lens_k", "-1.0"),
            ("lens_kcube", "0.0"),
            ("lens_x_size", "0.08"),
            ("lens_y_size", "0.08"),
        )
    ),
)
# Accepted so that rigs written for an Unreal server run; the picture does not depend on them.
PHOTOGRAPHY: tuple[Row, ...] = (
    ("enable_postprocess_effects", bool, "true"),
    ("exposure_mode", str, "histogram"),
    *(
        (name, float, value)
        for name, value in (
            ("bloom_intensity", "0.675"),
            ("fstop", "1.4"),
            ("iso", "100.0"),
            ("gamma", "2.2"),
            ("lens_flare_intensity", "0.1"),
            ("shutter_speed", "200.0"),
            ("exposure_compensation", "0.0"),
            ("exposure_min_bright", "10.0"),
            ("exposure_max_bright", "12.0"),
            ("exposure_speed_up", "3.0"),
            ("exposure_speed_down", "1.0"),
            ("calibration_constant", "16.0"),
            ("focal_distance", "1000.0"),
            ("blur_amount", "1.0"),
            ("blur_radius", "0.0"),
            ("motion_blur_intensity", "0.45"),
            ("motion_blur_max_distortion", "0.35"),
            ("motion_blur_min_object_screen_size", "0.1"),
            ("slope", "0.88"),
            ("toe", "0.55"),
            ("shoulder", "0.26"),
            ("black_clip", "0.0"),
            ("white_clip", "0.04"),
            ("temp", "6500.0"),
            ("tint", "0.0"),
            ("chromatic_aberration_intensity", "0.0"),
            ("chromatic_aberration_offset", "0.0"),
            ("min_fstop", "1.2"),
        )
    ),
    ("blade_count", int, "5"),
)
INERTIAL: tuple[Row, ...] = (
    *(
        (f"noise_{what}_{axis}", float, "0.0")
        for what in ("accel_stddev", "gyro_stddev", "gyro_bias")
        for axis in "xyz"
    ),
    ("noise_seed", int, "0"),
)
SATELLITE: tuple[Row, ...] = (
    *((f"noise_{what}_{kind}", float, "0.0") for what in ("alt", "lat", "lon") for kind in ("bias", "stddev")),
    ("noise_seed", int, "0"),
)
BEAMS: tuple[Row, ...] = (
    ("channels", int, "32"),
    ("range", float, "10.0"),
    ("points_per_second", int, "56000"),
    ("rotation_frequency", float, "10.0"),
    ("upper_fov", float, "10.0"),
    ("lower_fov", float, "-30.0"),
    ("horizontal_fov", float, "360.0"),
)
LOSSES: tuple[Row, ...] = (
    ("atmosphere_attenuation_rate", float, "0.004"),
    ("dropoff_general_rate", float, "0.45"),
    ("dropoff_intensity_limit", float, "0.8"),
    ("dropoff_zero_intensity", float, "0.4"),
    ("noise_stddev", float, "0.0"),
    ("noise_seed", int, "0"),
)
RADAR: tuple[Row, ...] = (
    ("horizontal_fov", float, "30.0"),
    ("vertical_fov", float, "30.0"),
    ("range", float, "100.0"),
    ("points_per_second", int, "1500"),
    ("noise_seed", int, "0"),
)
OBSTACLE: tuple[Row, ...] = (
    ("distance", float, "5.0"),
    ("hit_radius", float, "0.5"),
    ("only_dynamics", bool, "false"),
    ("debug_linetrace", bool, "false"),
)
SENSORS: dict[str, tuple[Row, ...]] = {
    "sensor.camera.rgb": TICK + LENS + PHOTOGRAPHY,
    "sensor.camera.depth": TICK + LENS,
    "sensor.camera.semantic_segmentation": TICK + LENS,
    "sensor.camera.instance_segmentation": TICK + LENS,
    "sensor.lidar.ray_cast": TICK + BEAMS + LOSSES,
    "sensor.lidar.ray_cast_semantic": TICK + BEAMS,
    "sensor.other.radar": TICK + RADAR,
    "sensor.other.obstacle": TICK + OBSTACLE,
    "sensor.other.imu": TICK + INERTIAL,
    "sensor.other.gnss": TICK + SATELLITE,
}


def read_attributes(type_id: str, sent: list[list[Any]]) -> dict[str, Any]:
    """Return the attributes of a spawned sensor as numbers, truths and texts; what was not sent has its default.

    Raises:
        CraftError: an attribute that should be a number is none, or not finite.

    """
    kinds = {name: kind for name, kind, _ in SENSORS[type_id]}
    texts = {name: default for name, _, default in SENSORS[type_id]}
    texts.update({str(name): str(text) for name, _, text in sent if name in kinds})
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if kinds[name] is bool:
            values[name] = text.strip().lower() in ("true", "1")
            continue
        try:
            values[name] = kinds[name](text)
        except ValueError as cause:
            raise CraftError(f"attribute '{name}' of {type_id} is '{text}'; give a number") from cause
        if kinds[name] is float and not math.isfinite(values[name]):
            raise refuse(type_id, name, values[name], "a finite number")
    return values


def refuse(type_id: str, name: str, value: object, remedy: str) -> CraftError:
    """Return the error for an attribute that makes no sense."""
    return CraftError(f"attribute '{name}' of {type_id} is {value}; give {remedy}")
