"""What the client's weather means for a picture: where light comes from, how wet the road is, how far one sees."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from craft_lightning.simulation.embedded.rendering.light_vector import (
    AMBIENT,
    CLOUD_DRIFT,
    CLOUDS,
    FAR,
    FOG,
    FOG_STEPS,
    HORIZON,
    LAMP,
    LIGHT_NUMBERS,
    PUDDLES,
    STARS,
    SUN,
    SUNLIGHT,
    WETNESS,
    ZENITH,
)

# Columns of the client's WeatherParameters.
(
    CLOUDINESS,
    PRECIPITATION,
    DEPOSITS,
    WIND,
    SUN_AZIMUTH,
    SUN_ALTITUDE,
    FOG_DENSITY,
    FOG_DISTANCE,
    FOG_FALLOFF,
    WET,
) = range(10)

# What stands for CARLA's "map's own weather" (-1): a bright morning with a few clouds.
_DEFAULT = {CLOUDINESS: 20.0, WIND: 10.0, SUN_AZIMUTH: 40.0, SUN_ALTITUDE: 50.0, FOG_DENSITY: 0.0}
_HAZE = 0.0007  # 1/m of the clearest air
_THICKEST = 0.075  # 1/m at a fog density of 100
_LOWEST_SHADOW = 0.14  # sine of the sun's altitude that shadows are drawn with at least


@dataclasses.dataclass(frozen=True, eq=False)
class Light:
    """One weather as the kernels want it.

    Attributes:
        vector: [LIGHT_NUMBERS] float32.
        fog: float32 table: what is left of a colour after i / FOG_STEPS metres.
        sun: [3] direction to the sun, kept above the horizon for shadows.
        shadows: whether the sun throws any.
        rain: share of the heaviest rain, 0 to 1.
        night: 0 by day, 1 at night.

    """

    vector: np.ndarray
    fog: np.ndarray
    sun: np.ndarray
    shadows: bool
    rain: float
    night: float


def light_of(weather: Sequence[float], drift: float = 0.0) -> Light:
    """Return the light of a weather.

    Args:
        weather: the client's numbers, in the order of its WeatherParameters.
        drift: how far the clouds have moved, in tiles of the noise.

    """
    numbers = [float(number) for number in weather[:10]]
    if numbers[SUN_AZIMUTH] < 0.0 and numbers[SUN_ALTITUDE] == -1.0:
        for column, value in _DEFAULT.items():
            numbers[column] = value
    altitude = math.radians(min(max(numbers[SUN_ALTITUDE], -90.0), 90.0))
    azimuth = math.radians(numbers[SUN_AZIMUTH])
    rise = math.sin(altitude)
    day = _smooth(-0.17, 0.09, rise)
    low = 1.0 - _smooth(0.02, 0.45, rise)  # how much the sun reddens
    cloud = _share(numbers[CLOUDINESS])
    falling = _share(numbers[PRECIPITATION])
    overcast = max(_smooth(0.35, 0.95, cloud), 0.6 * falling)
    thick = _share(numbers[FOG_DENSITY])

    bare = np.array([1.0, 0.96, 0.90]) * (1.0 - low) + np.array([1.0, 0.62, 0.32]) * low
    sunlight = bare * 1.05 * day * _smooth(-0.02, 0.08, rise) * (1.0 - 0.93 * overcast) * (1.0 - 0.85 * thick)
    blue_zenith, blue_horizon = np.array([0.22, 0.42, 0.78]), np.array([0.70, 0.80, 0.92])
    dusk = low * day
    zenith = blue_zenith * (1.0 - 0.45 * dusk)
    horizon = blue_horizon * (1.0 - dusk) + np.array([0.98, 0.66, 0.42]) * dusk
    grey = np.array([0.62, 0.65, 0.69]) * (1.0 - 0.25 * falling)
    zenith = zenith * (1.0 - overcast) + 0.88 * grey * overcast
    horizon = horizon * (1.0 - overcast) + grey * overcast
    dark_zenith, dark_horizon = np.array([0.010, 0.014, 0.035]), np.array([0.045, 0.050, 0.075])
    zenith = zenith * day + dark_zenith * (1.0 - day)
    horizon = horizon * day + dark_horizon * (1.0 - day)
    # Street lamps keep a town from being black.
    ambient = (0.40 * zenith + 0.32 * horizon) * day * 1.12 + np.array([0.23, 0.21, 0.18]) * (1.0 - day)
    ambient += overcast * day * np.array([0.24, 0.24, 0.24])
    veil = horizon * (1.0 - 0.5 * thick) + 0.5 * thick * (np.array([0.74, 0.76, 0.78]) * day + 0.06 * (1.0 - day))

    vector = np.zeros(LIGHT_NUMBERS, np.float32)
    vector[SUN : SUN + 3] = math.cos(altitude) * math.cos(azimuth), math.cos(altitude) * math.sin(azimuth), rise
    for place, colour in ((AMBIENT, ambient), (SUNLIGHT, sunlight), (ZENITH, zenith), (HORIZON, horizon), (FOG, veil)):
        vector[place : place + 3] = colour
    vector[WETNESS] = max(_share(numbers[WET]), 0.85 * _share(numbers[DEPOSITS]), 0.5 * falling)
    vector[PUDDLES] = 0.55 * _share(numbers[DEPOSITS])
    vector[CLOUDS] = 0.75 * cloud if cloud > 0.02 else 0.0
    vector[CLOUD_DRIFT] = drift % 256.0
    vector[STARS] = 0.6 * max(1.0 - 2.0 * day, 0.0) * (1.0 - overcast)
    vector[LAMP] = 0.0
    shadow = np.array([vector[SUN], vector[SUN + 1], max(rise, _LOWEST_SHADOW)], np.float64)
    shadow /= np.linalg.norm(shadow)
    return Light(
        vector=vector,
        fog=_fog_table(thick, max(numbers[FOG_DISTANCE], 0.0), falling),
        sun=shadow,
        shadows=float(sunlight.max()) > 0.03,
        rain=falling,
        night=1.0 - day,
    )


def _fog_table(thick: float, start: float, falling: float) -> np.ndarray:
    distance = np.arange(int(FAR * FOG_STEPS) + 1) / FOG_STEPS
    density = _THICKEST * thick**1.5
    depth = density * np.maximum(distance - start, 0.0) + (_HAZE + 0.006 * falling) * distance
    return np.exp(-depth).astype(np.float32)


def _share(percent: float) -> float:
    return min(max(percent / 100.0, 0.0), 1.0)


def _smooth(low: float, high: float, value: float) -> float:
    """Return 0 below ``low``, 1 above ``high``, and a smooth step between."""
    part = min(max((value - low) / (high - low), 0.0), 1.0)
    return part * part * (3.0 - 2.0 * part)
