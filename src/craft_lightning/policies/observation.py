"""From raw observations to numbers near one: what every trunk does first."""

import torch
from torch import Tensor

from craft_lightning.conventions import BEV_CHANNELS, EGO_FEATURES, ROUTE_FEATURE_POINTS, ROUTE_FEATURE_SPACING
from craft_lightning.errors import CraftError
from craft_lightning.rig import Camera, Sensor
from craft_lightning.structures import Observation

# Divisors of the columns of EGO_FEATURES: m/s, m/s^2, rad/s, steer in [-1, 1], m/s.
_EGO_SCALE = (10.0, 5.0, 0.5, 0.5, 10.0)


def check_observation(observation: Observation, channels: int = len(BEV_CHANNELS)) -> None:
    """Refuse observations of a shape, or with numbers, that no trunk can read.

    Args:
        observation: B visited states.
        channels: layers of the raster that the policy was made for.

    Raises:
        CraftError: a field of a wrong shape or dtype, NaN or infinity in ``ego`` or ``route``.

    """
    bev = observation.bev
    if bev.ndim != 4 or bev.shape[1] != channels or bev.dtype != torch.uint8:
        raise CraftError(f"observation.bev is {bev.dtype} {tuple(bev.shape)}; give uint8 [B, {channels}, H, W]")
    check_vectors(observation)


def check_vectors(observation: Observation) -> None:
    """Refuse an ego or a route of a wrong shape, or with NaN or infinity.

    Raises:
        CraftError: one is.

    """
    for name, size in (("ego", (len(EGO_FEATURES),)), ("route", (ROUTE_FEATURE_POINTS, 2))):
        values = getattr(observation, name)
        if tuple(values.shape) != (len(observation), *size):
            raise CraftError(f"observation.{name} has shape {tuple(values.shape)}; give {(len(observation), *size)}")
        if not torch.isfinite(values).all():
            raise CraftError(f"observation.{name} holds NaN or infinity; look at the world that answered it")


def sensed(observation: Observation, sensor: Sensor) -> Tensor:
    """Return what a sensor measured, [B, ...] as ``rig`` describes it.

    Raises:
        CraftError: the observation lacks it, or has it in another shape.

    """
    (shape, kind) = sensor.shapes()[sensor.name]
    sensors = observation.sensors
    found = None if sensors is None else sensors.get(sensor.name, None)
    if found is None:
        names = "none" if sensors is None else ", ".join(map(str, sensors.keys())) or "none"
        raise CraftError(
            f"the observation has nothing of the {sensor} (its sensors: {names}); drive in worlds with the policy's rig"
        )
    if tuple(found.shape[1:]) != shape or found.dtype != getattr(torch, kind):
        raise CraftError(
            f"observation.sensors['{sensor.name}'] is {found.dtype} {tuple(found.shape)}; give {kind} [B, "
            f"{', '.join(map(str, shape))}]"
        )
    return found


def normalised_pictures(observation: Observation, camera: Camera) -> Tensor:
    """Return an RGB camera's pictures [B, 3, H, W] as float32 in [0, 1]."""
    return sensed(observation, camera).movedim(-1, 1).float().mul_(1.0 / 255.0)


def normalised_bev(observation: Observation) -> Tensor:
    """Return the raster [B, C, H, W] as float32 in [0, 1]."""
    return observation.bev.float().mul_(1.0 / 255.0)


def normalised_ego(observation: Observation) -> Tensor:
    """Return the ego's numbers [B, 5] divided by their usual size."""
    return observation.ego.float() / observation.ego.new_tensor(_EGO_SCALE, dtype=torch.float32)


def normalised_route(observation: Observation) -> Tensor:
    """Return the route's points [B, 20, 2] divided by the length of the whole piece."""
    return observation.route.float() / (ROUTE_FEATURE_POINTS * ROUTE_FEATURE_SPACING)
