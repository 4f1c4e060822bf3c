"""Stop signs of a map: the zones in which a driver has to come to a stop, and the criterion."""

import dataclasses
import math
from typing import Any

from craft_lightning.frames import pose_from_carla

_STOP_SIGN = "206"  # OpenDRIVE signal type of a stop sign, as CARLA's towns use it
# The leaderboard wants the car to stand within 4 m of the sign; with half a car's length that is 6 m for its centre.
_ZONE_METRES = 6.0
_WALK_METRES = 20.0  # how far into a junction a sign may stand
_STANDING = 0.1  # m/s


@dataclasses.dataclass(frozen=True)
class StopZone:
    """The stretch of one lane that ends at a stop sign's line; the centre of a car is looked at.

    Attributes:
        x: middle in the world frame, metres; ``y`` likewise.
        y: metres.
        heading: direction of travel, radians.
        half_length: metres along the lane to each side.
        half_width: metres across it.

    """

    x: float
    y: float
    heading: float
    half_length: float
    half_width: float

    def holds_origin(self) -> bool:
        """Whether the zone is at the origin of the map, where a file's forgotten signs stand."""
        return math.hypot(self.x, self.y) < _ZONE_METRES

    def holds(self, x: float, y: float, yaw: float) -> bool:
        """Whether a car at (x, y) that drives the lane's way is inside."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        along, across = (x - self.x) * cos + (y - self.y) * sin, (y - self.y) * cos - (x - self.x) * sin
        return (
            abs(along) <= self.half_length
            and abs(across) <= self.half_width
            and math.cos(yaw - self.heading) > 0.5  # crossing traffic is not meant
        )


def stop_zones(carla_map: Any) -> list[StopZone]:
    """Return the zones of all stop signs of a ``carla.Map``; signs on no drivable lane are left out.

    CARLA's towns put a sign on each connecting road inside the junction; the line is where the approach ends.
    """
    zones: dict[tuple[float, float, float], StopZone] = {}
    for landmark in carla_map.get_all_landmarks_of_type(_STOP_SIGN):
        for low, high in landmark.get_lane_validities():
            for lane_id in range(min(low, high), max(low, high) + 1):
                if lane_id == 0:
                    continue
                waypoint = carla_map.get_waypoint_xodr(landmark.road_id, lane_id, landmark.s)
                if waypoint is None or str(waypoint.lane_type) != "Driving":
                    continue
                zone = _zone(_approach(waypoint))
                # One sign may be listed once a connecting road.
                zones.setdefault((round(zone.x), round(zone.y), round(zone.heading, 1)), zone)
    return list(zones.values())


def _approach(waypoint: Any) -> Any:
    """Walk back from inside a junction to the last place before it."""
    start, walked = waypoint, 0.0
    while waypoint.is_junction and walked < _WALK_METRES:
        before = waypoint.previous(0.5)
        if not before:
            return start
        waypoint, walked = before[0], walked + 0.5
    return waypoint


def _zone(line: Any) -> StopZone:
    """Return the zone that ends at a waypoint."""
    place, rotation = line.transform.location, line.transform.rotation
    x, y, yaw = pose_from_carla(place.x, place.y, rotation.yaw)
    half = 0.5 * _ZONE_METRES
    return StopZone(x - half * math.cos(yaw), y - half * math.sin(yaw), yaw, half, 0.5 * line.lane_width)


class StopSignCriterion:
    """Reports a stop sign when the ego leaves its zone without having stood in it.

    Args:
        zones: zones of the map.

    """

    def __init__(self, zones: list[StopZone]) -> None:
        self.zones = zones
        self._inside: StopZone | None = None
        self._stood = False

    def update(self, x: float, y: float, yaw: float, speed: float) -> bool:
        """Take the ego's world pose [m, rad] and speed [m/s]; return whether a stop sign was run in this tick."""
        if self._inside is not None:
            if self._inside.holds(x, y, yaw):
                self._stood = self._stood or abs(speed) < _STANDING
                return False
            ran = not self._stood
            self._inside = None
            return ran
        for zone in self.zones:
            if abs(x - zone.x) < 8.0 and abs(y - zone.y) < 8.0 and zone.holds(x, y, yaw):
                self._inside, self._stood = zone, abs(speed) < _STANDING
                return False
        return False
