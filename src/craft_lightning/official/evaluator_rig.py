"""A policy's rig as an official evaluator gives it: what the agent asks for, and what it is told every tick."""

import math
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.frames import points_from_carla
from craft_lightning.rig import COUNT, Camera, Lidar, Radar, Rig, Sensor, require_places
from craft_lightning.simulation.rig_decoding import decode

REACH = 3.0  # m from the vehicle's origin that evaluators allow
_FIXED = "an official evaluator fixes that; drive in our own worlds, or take the evaluator's value"


class EvaluatorRig:
    """Declares a rig in an evaluator's words and puts its measurements into observations.

    Evaluators let a lidar turn ten times a second, so a tick holds half a turn: the last two are joined, the older one
    moved along with the car.

    Args:
        rig: the policy's.

    Raises:
        CraftError: a sensor that evaluators do not have, or not with these attributes.

    """

    def __init__(self, rig: Rig) -> None:
        require_places(rig, "the policy")
        for sensor in rig:
            _require_official(sensor)
        self.rig = rig
        self._told: dict[str, np.ndarray] = {}
        self._pose = np.eye(4)
        self._earlier: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # lidar -> its last half turn, the car's pose

    def declared(self) -> list[dict[str, Any]]:
        """Return the sensors as ``AutonomousAgent.sensors`` does, in CARLA's left-handed frame."""
        return [_declared(sensor) for sensor in self.rig]

    def take(self, told: dict[str, tuple[int, np.ndarray]], pose: Any) -> None:
        """Take what the evaluator tells in a tick.

        Args:
            told: sensor -> (frame, data).
            pose: ``carla.Transform`` of the car.

        """
        for name in [sensor.name for sensor in self.rig if isinstance(sensor, Lidar)]:
            if name in self._told:
                self._earlier[name] = self._told[name], self._pose
        self._told = {sensor.name: told[sensor.name][1] for sensor in self.rig if sensor.name in told}
        self._pose = np.array(pose.get_matrix())

    def see(self, offset: tuple[float, float]) -> dict[str, dict[str, np.ndarray]]:
        """Return the field ``sensors`` of an observation of the newest tick, nothing without a rig.

        Args:
            offset: of the centre of the car's box from its origin: metres forward and left.

        Raises:
            CraftError: the evaluator told nothing of a sensor.

        """
        found: dict[str, np.ndarray] = {}
        for sensor in self.rig:
            if sensor.name not in self._told:
                raise CraftError(f"the evaluator told nothing of the {sensor}; see that it runs the agent's sensors()")
            sent = self._told[sensor.name]
            if isinstance(sensor, Radar):
                sent = sent[:, ::-1]  # evaluators turn the columns round
            now = decode(sensor, sent, offset)
            found |= self._whole_turn(sensor, now, offset) if isinstance(sensor, Lidar) else now
        return {"sensors": found} if self.rig else {}

    def _whole_turn(
        self, lidar: Lidar, now: dict[str, np.ndarray], offset: tuple[float, float]
    ) -> dict[str, np.ndarray]:
        if lidar.name not in self._earlier:
            return now
        sent, pose = self._earlier[lidar.name]
        before = decode(lidar, sent)
        points = before[lidar.name][: int(before[f"{lidar.name}{COUNT}"])]
        motion = np.linalg.inv(self._pose) @ pose
        moved = points_from_carla(points[:, :3]) @ motion[:3, :3].T + motion[:3, 3]
        whole, count = now[lidar.name], int(now[f"{lidar.name}{COUNT}"])
        room = min(len(whole) - count, len(points))
        whole[count : count + room, :3] = points_from_carla(moved[:room]) - np.array([*offset, 0.0])
        whole[count : count + room, 3] = points[:room, 3]
        return {lidar.name: whole, f"{lidar.name}{COUNT}": np.array(count + room, np.int64)}


def _declared(sensor: Sensor) -> dict[str, Any]:
    assert sensor.place is not None  # the constructor has looked
    x, y, z = sensor.place
    angles = {"roll": sensor.roll, "pitch": sensor.pitch, "yaw": -sensor.yaw}
    common = {"type": sensor.type_id, "id": sensor.name, "x": x, "y": -y, "z": z, **angles}
    if isinstance(sensor, Camera):
        return {**common, "width": sensor.width, "height": sensor.height, "fov": sensor.field_of_view}
    if isinstance(sensor, Radar):
        fields = sensor.horizontal_field_of_view, sensor.vertical_field_of_view
        return {**common, "horizontal_fov": fields[0], "vertical_fov": fields[1]}
    return common


def _require_official(sensor: Sensor) -> None:
    """Refuse what an evaluator's agent wrapper would not build."""
    assert sensor.place is not None  # require_places has looked
    if math.dist(sensor.place, (0.0, 0.0, 0.0)) > REACH:
        raise CraftError(f"the {sensor} sits more than {REACH:g} m from the car's origin; {_FIXED}")
    if isinstance(sensor, Camera) and sensor.kind != "rgb":
        raise CraftError(f"the {sensor} is of a kind that official evaluators do not have; drive in our own worlds")
    for field, value in _fixed(sensor).items():
        if getattr(sensor, field) != value:
            raise CraftError(
                f"the {sensor} has {field.replace('_', ' ')} {getattr(sensor, field):g} and not {value:g}; {_FIXED}"
            )


def _fixed(sensor: Sensor) -> dict[str, float]:
    if isinstance(sensor, Lidar):
        usual = Lidar(sensor.name)
        names = ("channels", "range", "beams", "upper_field_of_view", "lower_field_of_view")
        return {name: getattr(usual, name) for name in names}
    if isinstance(sensor, Radar):
        return {"range": Radar.range, "points_per_second": Radar.points_per_second}
    return {}
