"""CARLA's VehiclePhysicsControl for a vehicle of this server, which has neither gears nor suspension."""

import math
from typing import Any

from craft_lightning.simulation.embedded import dynamics
from craft_lightning.simulation.embedded.state import Actor

WHEEL_RADIUS_CM = 35.0


def physics_control(actor: Actor) -> list[Any]:
    """Return the VehiclePhysicsControl of the protocol; what the bicycle model lacks holds plausible constants."""
    degrees = math.degrees(dynamics.MAX_STEER_ANGLE)
    half_base, half_track = 50.0 * actor.wheelbase, 80.0 * actor.extent[1]  # centimetres
    x, y, z = (100.0 * number for number in actor.motion[:3])
    cos, sin = math.cos(math.radians(actor.motion[4])), math.sin(math.radians(actor.motion[4]))
    wheels = []
    for forward, right, steer in (
        (half_base, -half_track, degrees),
        (half_base, half_track, degrees),
        (-half_base, -half_track, 0.0),
        (-half_base, half_track, 0.0),
    ):
        place = [x + cos * forward - sin * right, y + sin * forward + cos * right, z + WHEEL_RADIUS_CM]
        torque = dynamics.FULL_BRAKE * actor.mass * 0.01 * WHEEL_RADIUS_CM / 4.0
        hand = 0.0 if steer else dynamics.HAND_BRAKE * actor.mass * 0.01 * WHEEL_RADIUS_CM / 2.0
        wheels.append([3.5, 0.25, steer, WHEEL_RADIUS_CM, torque, hand, 2.0, 17.0, 1000.0, place])
    return [
        [[0.0, 400.0], [6000.0, 400.0]],  # torque curve
        6000.0,  # revolutions a minute at most
        1.0,  # moment of inertia
        0.15,  # damping, full throttle
        2.0,  # damping, clutch engaged
        0.35,  # damping, clutch disengaged
        True,
        0.0,
        10.0,
        4.0,  # final ratio
        [[3.0, 0.5, 0.65], [1.5, 0.5, 0.65], [1.0, 0.5, 0.65]],
        actor.mass,
        0.3,
        [0.0, 0.0, 0.0],
        [[0.0, 1.0], [120.0, 1.0]],  # steering curve: the same at all speeds
        wheels,
        False,
    ]
