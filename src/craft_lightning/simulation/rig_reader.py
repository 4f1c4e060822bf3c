"""The ego's rig in a world: attached through the client, and read at decisions, frame by frame."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import carla
import numpy as np

from craft_lightning.errors import WorldError
from craft_lightning.rig import Camera, Rig, Sensor, check_names, require_places
from craft_lightning.simulation.rig_decoding import carla_attributes, decode
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.stage import SUMO_TRAFFIC
from craft_lightning.simulation.view import ActorFacts

_WAIT = 10.0  # wall-clock seconds for a measurement that the server owes
_FIRST = 180.0  # ... for a server's first sensor, which may compile and paint


class RigReader:
    """The sensors of one episode.

    A server whose sensors keep exact time (the embedded one) measures at decisions alone: the sensors are attached
    right before the tick of the first observation and tick with decisions from there. Any other server measures every
    tick, and only the newest measurement is kept. Either way a measurement counts for its own frame alone.

    Args:
        session: the session, which destroys the sensors.
        ego: the vehicle they sit on.
        rig: what is attached.
        ticks: ticks of a decision.

    Raises:
        CraftError: the server lacks a sensor.
        WorldError: it failed.

    """

    def __init__(self, session: Session, ego: Any, rig: Rig, ticks: int) -> None:
        self.rig = rig
        self._session, self._ego = session, ego
        self._exact = session.has_blueprint(SUMO_TRAFFIC)
        self._period = ticks * session.delta if self._exact else 0.0
        self._heard: dict[str, _Newest] = {}
        self._taken: tuple[int, dict[str, np.ndarray]] = (-1, {})

    def settle(self, left: int) -> None:
        """Attach the sensors when it is time.

        Args:
            left: ticks after the coming one that pass before the first observation.

        """
        if self._heard or (self._exact and left):
            return
        require_places(self.rig, "the world")
        for sensor in self.rig:
            self._heard[sensor.name] = _Newest()
            spawn_sensor(self._session, sensor, self._period, self._ego).listen(self._heard[sensor.name])

    def see(self, frame: int, facts: Mapping[int, ActorFacts]) -> dict[str, dict[str, np.ndarray]]:
        """Return what the rig measured in a frame as the field ``sensors`` of an observation, nothing without a rig.

        Args:
            frame: the newest tick.
            facts: what is known of the ego, by its id: where its box sits.

        Raises:
            WorldError: a sensor did not tell of that frame; the episode can be collected again.

        """
        if self.rig and self._taken[0] != frame:
            own = facts[int(self._ego.id)]
            self._taken = (frame, self._take(frame, (own.offset_x, own.offset_y)))
        return {"sensors": self._taken[1]} if self.rig else {}

    def _take(self, frame: int, offset: tuple[float, float]) -> dict[str, np.ndarray]:
        deadline = time.monotonic() + _WAIT
        found: dict[str, np.ndarray] = {}
        for sensor in self.rig:
            message = self._heard[sensor.name].at(frame, deadline)
            if message is None or int(message.frame) != frame:
                told = "nothing" if message is None else f"of frame {message.frame}"
                raise WorldError(
                    f"sensor '{sensor.name}' told {told} where frame {frame} was due (waited up to {_WAIT:.0f} s); "
                    "collect the episode again"
                )
            found |= decode(sensor, _raw(sensor, message), offset)
        return found


class _Newest:
    """Keeps the newest measurement of one sensor; called in a thread of the client."""

    def __init__(self) -> None:
        self.message: Any = None
        self._arrived = threading.Condition()

    def __call__(self, message: Any) -> None:
        with self._arrived:
            self.message = message
            self._arrived.notify_all()

    def at(self, frame: int, deadline: float) -> Any:
        """Return the newest measurement once it is not older than ``frame``, or whatever there is at the deadline."""
        with self._arrived:
            while self.message is None or self.message.frame < frame:
                left = deadline - time.monotonic()
                if left <= 0.0 or not self._arrived.wait(left):
                    break
            return self.message


def check_rig(session: Session, rig: Rig) -> None:
    """Refuse a rig that cannot be attached, and let the server get ready for its sensors, which may take a while.

    Raises:
        CraftError: a sensor without a place, or of a kind that the server does not have.

    """
    check_names(rig, "the rig")
    require_places(rig, "the world")
    first = {sensor.type_id: sensor for sensor in rig}
    for sensor in first.values():
        session.destroy([spawn_sensor(session, sensor, 0.0, None)], tick=False)


def spawn_sensor(session: Session, sensor: Sensor, period: float, ego: Any) -> Any:
    """Spawn a sensor where it belongs.

    Args:
        session: the session, which destroys it.
        sensor: its description.
        period: simulated seconds between measurements, 0 for every tick.
        ego: what it sits on.

    """
    assert sensor.place is not None  # check_rig has looked
    x, y, z = sensor.place
    mount = carla.Transform(
        carla.Location(x, -y, z), carla.Rotation(pitch=sensor.pitch, yaw=-sensor.yaw, roll=sensor.roll)
    )
    blueprint = session.blueprint(sensor.type_id, sensor_tick=period, **carla_attributes(sensor, session.delta))
    with session.patience(_FIRST):
        return session.spawn(blueprint, mount, attach_to=ego)


def _raw(sensor: Sensor, message: Any) -> np.ndarray:
    if isinstance(sensor, Camera):
        return np.frombuffer(message.raw_data, np.uint8).reshape(message.height, message.width, 4)
    return np.frombuffer(message.raw_data, np.float32).reshape(-1, 4)
