"""All criteria of one episode: what each tick shows, what went wrong where, how the route ended."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.simulation.criteria_collision import CollisionCriterion, Contact, LeaderboardCollisions
from craft_lightning.simulation.criteria_lanes import LaneCriteria, LaneFlags
from craft_lightning.simulation.criteria_lights import LightCriteria, RouteLines
from craft_lightning.simulation.criteria_outside import LaneTable, OutsideRouteLanes
from craft_lightning.simulation.criteria_parameters import VERDICTS, CriteriaParameters
from craft_lightning.simulation.criteria_speed import MinimumSpeed
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.stop_signs import StopSignCriterion, StopZone
from craft_lightning.simulation.view import WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.grid import RoadGrid
    from craft_lightning.roads.routing import Route

__all__ = ["Criteria", "CriteriaParameters", "Incident"]

_COLUMN = {name: column for column, name in enumerate(EVENTS)}
_LASTING = LaneFlags._fields[:4]  # faults that go on for a while, all of them events


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
        table: the town's lanes, needed by ``parameters.leaderboard``.

    Attributes:
        progress: the ego's place on the route.
        lights: the light criterion (its ``near`` names the lights to read).
        counts: infractions by ``RouteRecord`` field.
        incidents: everything that went wrong, in order.
        status: how the route ended, "" while it goes on.
        timeout: seconds that the route is given now.
        wrong_way_permitted: whether a scenario leaves the ego no way but the oncoming lane now (the leaderboard then
            does not hold a wrong lane against it).

    """

    def __init__(
        self,
        grid: "RoadGrid",
        route: "Route",
        lines: RouteLines,
        zones: list[StopZone],
        parameters: CriteriaParameters | None = None,
        table: LaneTable | None = None,
    ) -> None:
        self.parameters = p = parameters or CriteriaParameters()
        self.progress = RouteProgress(
            *(route, p.deviation_distance, p.deviation_far, p.deviation_share),
            far_along_route=p.leaderboard,
            waypoints=p.waypoints_a_tick,
        )
        self.lanes = LaneCriteria(grid, route, offroad_margin=p.offroad_margin, offroute_distance=p.offroute_distance)
        self.lights = LightCriteria(lines, p.stop_zone, p.go_zone)
        self.stops = StopSignCriterion(zones)
        self.collisions: CollisionCriterion | LeaderboardCollisions
        self.outside: OutsideRouteLanes | None = None
        if p.leaderboard:
            self.collisions = LeaderboardCollisions(p.min_collision_speed, p.collision_memory, p.collision_distance)
            if table is None:
                raise CraftError("criteria by the leaderboard's letter need the town's lane table; give it")
            self.outside = OutsideRouteLanes(table, route)
        else:
            self.collisions = CollisionCriterion(p.min_collision_speed)
        self.wrong_way_permitted = False
        self.speeds = MinimumSpeed(route, p.min_speed_checkpoints, p.min_speed_always)
        self.counts: dict[str, int] = {}
        self.incidents: list[Incident] = []
        self.status = ""
        self.timeout = p.timeout_base
        if p.timeout_per_metre:
            self.timeout = float(math.floor(p.timeout_base + p.timeout_per_metre * float(route.length)))
        self._allowance: np.ndarray | None = None
        if p.leaderboard:
            self._allowance = _allowance(route, p.timeout_share) + self.timeout
        elif p.timeout_share > 0.0:
            self.timeout += float(route.length) / max(p.timeout_share * float(np.mean(route.speed_limit)), 0.1)
        self.time = 0.0
        self.ticks = 0
        self._began: float | None = None
        self._stood_since: float | None = None
        self._outside = 0.0
        self._speed = 0.0
        self._before: set[str] = set()

    def tick(
        self, view: WorldView, contacts: list[Contact], clear: bool, background: float | None = None
    ) -> np.ndarray:
        """Take one tick.

        Args:
            view: a light or full view of it.
            contacts: what the collision sensor reported.
            clear: whether nothing stands in the ego's path (for the go zone).
            background: mean speed of the background vehicles, m/s, where minimum speeds are compared.

        Returns:
            [len(EVENTS)] bool, what happened in this tick.

        """
        if self._began is None:
            self._began = view.time
        # The server adds up its clock: the same tick of two episodes differs in the last digits.
        self.time = now = round(view.time - self._began, 6)
        self.ticks += 1
        x, y, yaw = pose = view.ego_pose
        (length, width), speed = view.ego_box, view.ego_speed
        before = self.progress.travelled
        self.progress.update(x, y)
        moved = self.progress.travelled - before
        flags = np.zeros(len(EVENTS), bool)

        lanes = self.lanes.update(pose, length, width, self.progress.distance)
        lasting = [name for name, here in zip(_LASTING, lanes, strict=False) if here]
        for name in lasting:
            flags[_COLUMN[name]] = True
        if self.outside is not None:
            self.outside.update(x, y, yaw, self.wrong_way_permitted)
        elif lanes.outside:
            self._outside += moved
        self.speeds.update(x, y, speed, background)

        lights = self.lights.update(pose, length, speed, self.progress.s, view.signals, now, clear)
        if lights.stop_zone:
            flags[_COLUMN["stop_zone"]] = True
        if lights.go_zone:
            flags[_COLUMN["go_zone"]] = True
        if lights.red_light:
            flags[_COLUMN["red_light"]] = True
            self._count("red_light", x, y, lights.signal)
        if self.stops.update(x, y, yaw, speed):
            flags[_COLUMN["stop_sign"]] = True
            self._count("stop_sign", x, y)

        collided = False
        for collision in self.collisions.update(contacts, x, y, self._speed, now):
            flags[_COLUMN["collision"]] = collided = True
            self._count(f"collisions_{collision.category}", x, y, collision.contact.other_type)
        self._speed = speed
        if lasting or self._before:
            self._note_beginnings(set(lasting), x, y)
        self._end(now, speed, collided, x, y)
        return flags

    def _count(self, kind: str, x: float, y: float, actor: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.incidents.append(Incident(kind, self.time, x, y, actor))

    def _note_beginnings(self, lasting: set[str], x: float, y: float) -> None:
        """Note where a lasting fault begins, once."""
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
        if self._allowance is not None:
            self.timeout = float(self._allowance[self.progress.completed_index])
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
        elif p.tick_cap and self.ticks > p.tick_cap:
            self.status = "Failed - TickRuntime"

    @property
    def standing(self) -> float:
        """Seconds for which the ego has been standing."""
        return 0.0 if self._stood_since is None else self.time - self._stood_since

    def judge(self, verdict: str, x: float, y: float, scenario: str) -> None:
        """Take what a scenario says about the ego, where the protocol counts it.

        Args:
            verdict: one of ``VERDICTS``.
            x: world place of the ego, metres; ``y`` likewise.
            y: metres.
            scenario: the scenario's name.

        Raises:
            CraftError: a verdict that there is not.

        """
        if verdict not in VERDICTS:
            raise CraftError(f"scenario '{scenario}' gave the verdict '{verdict}'; known are {', '.join(VERDICTS)}")
        if getattr(self.parameters, verdict):
            self._count(verdict, x, y, scenario)

    @property
    def outside_percent(self) -> float:
        """Percent of the driven distance outside the route's lanes (leaderboard OutsideRouteLanes)."""
        if self.outside is not None:
            return self.outside.percent
        return 100.0 * self._outside / self.progress.travelled if self.progress.travelled > 0.0 else 0.0

    def record(self) -> dict[str, Any]:
        """Return the fields of a ``RouteRecord`` that the criteria know."""
        status = self.status or "Failed"
        speeds = self.speeds.close()
        spotless = not self.counts and math.isclose(self.outside_percent, 0.0) and not speeds
        return {
            "status": "Perfect" if status == "Completed" and spotless else status,
            "route_completion": float(self.progress.completion),
            "outside_percent": min(self.outside_percent, 100.0),
            **({"outside_m": self.outside.metres} if self.outside is not None else {}),
            "length_m": float(self.progress.along[-1]),
            "duration_s": float(self.time),
            **({"min_speed": list(speeds)} if speeds else {}),
            **self.counts,
        }


def _allowance(route: "Route", share: float) -> np.ndarray:
    """Return [N] seconds that driving up to each point of a route adds to its time-out."""
    along, limit = np.asarray(route.s, np.float64), np.asarray(route.speed_limit, np.float64)
    if share <= 0.0:
        return np.zeros(len(along))
    seconds = np.diff(along) / np.maximum(share * limit[1:], 0.1)
    return np.concatenate([[0.0], np.cumsum(seconds)])
