"""All criteria of one episode: what each tick shows, what went wrong where, how the route ended."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.conventions import EVENTS
from craft_lightning.simulation.criteria_collision import CollisionCriterion, Contact
from craft_lightning.simulation.criteria_lanes import LaneCriteria
from craft_lightning.simulation.criteria_lights import LightCriteria, RouteLines
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.stop_signs import StopSignCriterion, StopZone
from craft_lightning.simulation.view import WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.grid import RoadGrid
    from craft_lightning.roads.routing import Route

_COLUMN = {name: column for column, name in enumerate(EVENTS)}


@dataclasses.dataclass(frozen=True)
class CriteriaParameters:
    """Limits of the criteria.

    Args:
        end_on_collision: the first collision ends the episode (training, Bench2Drive*).
        blocked_seconds: standing (under 0.1 m/s) this long ends the episode; 60 in Bench2Drive, 180 in leaderboard 2.
        timeout_base: seconds every route is given; 300 in the leaderboards.
        timeout_share: further time, the route's length at this share of its mean speed limit; 0.1 in the leaderboards.
        min_collision_speed: contacts slower than this are ignored, m/s.
        offroad_margin: metres a corner may lie outside the drivable area.
        offroute_distance: metres of the centre from the route above which a decision counts as off its route.
        stop_zone: metres before a red light's line in which the ego must stand.
        go_zone: metres before a green light's line in which the ego must drive.

    """

    end_on_collision: bool = True
    blocked_seconds: float = 60.0
    timeout_base: float = 60.0
    timeout_share: float = 0.25
    min_collision_speed: float = 0.1
    offroad_margin: float = 0.2
    offroute_distance: float = 4.0
    stop_zone: float = 1.0
    go_zone: float = 15.0


@dataclasses.dataclass(frozen=True)
class Incident:
    """One thing that went wrong (or ended the route).

    Attributes:
        kind: a count of ``RouteRecord`` (collisions_vehicle, red_light, ...) or offroad, offroute, ... where it began.
        time: seconds since the episode began.
        x: place of the ego in the world frame, metres; ``y`` likewise.
        y: metres.
        actor: what was involved: blueprint id or light, "" for nothing.

    """

    kind: str
    time: float
    x: float
    y: float
    actor: str = ""


class Criteria:
    """Watches one episode, a tick at a time; reads arrays only.

    Args:
        grid: the town's grid.
        route: the route.
        lines: its stop lines.
        zones: stop signs of the town.
        parameters: limits.

    Attributes:
        progress: the ego's place on the route.
        lights: the light criterion (its ``near`` names the lights to read).
        counts: infractions by ``RouteRecord`` field.
        incidents: everything that went wrong, in order.
        status: how the route ended, "" while it goes on.

    """

    def __init__(
        self,
        grid: "RoadGrid",
        route: "Route",
        lines: RouteLines,
        zones: list[StopZone],
        parameters: CriteriaParameters | None = None,
    ) -> None:
        self.parameters = p = parameters or CriteriaParameters()
        self.progress = RouteProgress(route)
        self.lanes = LaneCriteria(grid, route, offroad_margin=p.offroad_margin, offroute_distance=p.offroute_distance)
        self.lights = LightCriteria(lines, p.stop_zone, p.go_zone)
        self.stops = StopSignCriterion(zones)
        self.collisions = CollisionCriterion(p.min_collision_speed)
        self.counts: dict[str, int] = {}
        self.incidents: list[Incident] = []
        self.status = ""
        self.timeout = p.timeout_base + float(route.length) / max(
            p.timeout_share * float(np.mean(route.speed_limit)), 0.1
        )
        self.time = 0.0
        self._began: float | None = None
        self._stood_since: float | None = None
        self._outside = 0.0
        self._speed = 0.0
        self._before: set[str] = set()

    def tick(self, view: WorldView, contacts: list[Contact], clear: bool) -> np.ndarray:
        """Take one tick.

        Args:
            view: a light or full view of it.
            contacts: what the collision sensor reported.
            clear: whether nothing stands in the ego's path (for the go zone).

        Returns:
            [len(EVENTS)] bool, what happened in this tick.

        """
        if self._began is None:
            self._began = view.time
        # The server adds up its clock: the same tick of two episodes differs in the last digits.
        self.time = now = round(view.time - self._began, 6)
        row = view.ego
        x, y, yaw = pose = view.ego_pose
        length, width, speed = float(view.length[row]), float(view.width[row]), float(view.speed[row])
        before = self.progress.travelled
        self.progress.update(x, y)
        moved = self.progress.travelled - before
        flags = np.zeros(len(EVENTS), bool)

        lanes = self.lanes.update(pose, length, width, self.progress.distance)
        for name in ("offroad", "offroute", "emergency_lane", "opposite_lane"):
            flags[_COLUMN[name]] = getattr(lanes, name)
        if lanes.outside:
            self._outside += moved

        lights = self.lights.update(pose, length, speed, self.progress.s, view.signals, now, clear)
        flags[_COLUMN["red_light"]] = lights.red_light
        flags[_COLUMN["stop_zone"]] = lights.stop_zone
        flags[_COLUMN["go_zone"]] = lights.go_zone
        if lights.red_light:
            self._count("red_light", x, y, lights.signal)
        if self.stops.update(x, y, yaw, speed):
            flags[_COLUMN["stop_sign"]] = True
            self._count("stop_sign", x, y)

        for collision in self.collisions.update(contacts, x, y, self._speed, now):
            flags[_COLUMN["collision"]] = True
            self._count(f"collisions_{collision.category}", x, y, collision.contact.other_type)
        self._speed = speed
        self._note_beginnings(flags, x, y)
        self._end(now, speed, bool(flags[_COLUMN["collision"]]), x, y)
        return flags

    def _count(self, kind: str, x: float, y: float, actor: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.incidents.append(Incident(kind, self.time, x, y, actor))

    def _note_beginnings(self, flags: np.ndarray, x: float, y: float) -> None:
        """Note where a lasting fault begins, once."""
        names = ("offroad", "offroute", "emergency_lane", "opposite_lane")
        lasting = {name for name in names if flags[_COLUMN[name]]}
        self.incidents.extend(Incident(name, self.time, x, y) for name in sorted(lasting - self._before))
        self._before = lasting

    def _end(self, now: float, speed: float, collided: bool, x: float, y: float) -> None:
        if abs(speed) >= 0.1:
            self._stood_since = None
        elif self._stood_since is None:
            self._stood_since = now
        if self.status:
            return
        p = self.parameters
        if collided and p.end_on_collision:
            self.status = "Failed - Agent collided"
        elif self.progress.arrived:
            self.status = "Completed"
        elif self.progress.deviated:
            self.status = "Failed - Agent deviated from the route"
            self._count("route_deviation", x, y)
        elif self._stood_since is not None and now - self._stood_since >= p.blocked_seconds:
            self.status = "Failed - Agent got blocked"
            self._count("vehicle_blocked", x, y)
        elif now >= self.timeout:
            self.status = "Failed - Agent timed out"
            self._count("route_timeout", x, y)

    def add(self, kind: str, x: float, y: float, actor: str = "") -> None:
        """Count an infraction that another judge found (a scenario's time-out)."""
        self._count(kind, x, y, actor)

    @property
    def outside_percent(self) -> float:
        """Percent of the driven distance outside the route's lanes (leaderboard OutsideRouteLanes)."""
        return 100.0 * self._outside / self.progress.travelled if self.progress.travelled > 0.0 else 0.0

    def record(self) -> dict[str, Any]:
        """Return the fields of a ``RouteRecord`` that the criteria know."""
        status = self.status or "Failed"
        spotless = not self.counts and math.isclose(self.outside_percent, 0.0)
        return {
            "status": "Perfect" if status == "Completed" and spotless else status,
            "route_completion": float(self.progress.completion),
            "outside_percent": min(self.outside_percent, 100.0),
            "length_m": float(self.progress.along[-1]),
            "duration_s": float(self.time),
            **self.counts,
        }
