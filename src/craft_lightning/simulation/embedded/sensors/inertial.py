"""sensor.other.imu: acceleration with gravity, turning rate and heading, in the sensor's own axes."""

import math
from typing import TYPE_CHECKING

import msgpack
import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.dynamics import GRAVITY
from craft_lightning.simulation.embedded.geometry import rotation
from craft_lightning.simulation.embedded.sensors.base import Instrument, Payload
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory
from craft_lightning.simulation.embedded.state import WX

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.sensors.rack import SensorRack
    from craft_lightning.simulation.embedded.state import Actor


class Inertial(Instrument):
    """The IMU as CARLA's: acceleration is the second difference of the sensor's place, so levers count.

    Until two ticks have passed, there is none and gravity alone is felt.
    """

    index = wire.SENSOR_IMU

    def measure(self, rack: "SensorRack", actor: "Actor", memory: SensorMemory) -> tuple[Payload, ...]:
        """Return acceleration [m/s2], turning rate [rad/s] and compass [rad, 0 = north, clockwise]."""
        pose = actor.pose
        axes = rotation(*pose[3:6])
        pull = np.array([0.0, 0.0, GRAVITY])
        if len(memory.track) == 2:
            here, (before, earlier) = np.array(pose[:3]), memory.track
            pull += (here - 2.0 * np.array(before) + np.array(earlier)) / rack.world.delta**2
        acceleration = axes.T @ pull
        # Of the body it sits on, in that body's axes, then in its own.
        actors = rack.world.state.actors
        turning = np.zeros(3)
        if actor.parent:
            parent = actors.rows["motion"][actors.index[actor.parent]].astype(float)
            body = rotation(*parent[3:6].tolist())
            turning = rotation(*memory.mount[3:6]).T @ body.T @ np.radians(parent[WX : WX + 3])
        options = self.options
        random = np.random.default_rng([abs(options["noise_seed"]), memory.count])
        acceleration += random.standard_normal(3) * [options[f"noise_accel_stddev_{axis}"] for axis in "xyz"]
        turning += random.standard_normal(3) * [options[f"noise_gyro_stddev_{axis}"] for axis in "xyz"]
        turning += [options[f"noise_gyro_bias_{axis}"] for axis in "xyz"]
        # North is the way of -y.
        compass = (math.atan2(axes[1, 0], axes[0, 0]) + 0.5 * math.pi) % (2.0 * math.pi)
        payload: bytes = msgpack.packb([acceleration.tolist(), turning.tolist(), compass])
        return (payload,)
