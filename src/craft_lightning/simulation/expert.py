"""The privileged expert: drives a route from the world's true state; teacher of imitation and an arm of every table."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.conventions import AGENT_NONE, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER, TRACKER_SECONDS
from craft_lightning.simulation import speed_profile
from craft_lightning.simulation.corridor import Corridor, Occupancy, occupancy
from craft_lightning.simulation.evasion import Evasion
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.merging import makes_room
from craft_lightning.simulation.prediction import LanePaths, Prediction, line_state, predict
from craft_lightning.simulation.reference_path import ReferencePath
from craft_lightning.simulation.speed_profile import Obstacle, SpeedParameters
from craft_lightning.simulation.stop_signs import StopZone
from craft_lightning.simulation.stopping import StopPlaces
from craft_lightning.simulation.view import LIGHT_RED, LIGHT_YELLOW, WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route

PLAN_POSES = 40
_STEPS = 60  # of TRACKER_SECONDS: six seconds are looked ahead, four are handed out
_RATIO = 2  # steps a predicted pose
_MAX_FOLLOWED = 4  # hypotheses in the corridor now that are followed; those behind them hold back less
_MAX_YIELDS = 6
_RESERVE = 0.4  # seconds kept to what stands
_STOPPING = 6.5  # m/s2 up to which a stop counts as possible


@dataclasses.dataclass(frozen=True)
class ExpertParameters:
    """How the expert drives.

    Args:
        speed: speeds and accelerations.
        look_ahead: metres of path that are looked at.
        radius: metres; agents farther away are ignored.
        vehicle_margin: metres kept beside vehicles.
        walker_margin: metres kept beside walkers.
        static_margin: metres kept beside what stands by the road.
        standstill_gap: metres between the corridor's first covered point and the front bumper behind someone.
        line_gap: metres between the front bumper and a stop line.
        yield_gap: metres between the front bumper and a stretch that is left to somebody.
        early: seconds by which others may arrive sooner than predicted.
        late: seconds by which they may leave later than predicted.
        yellow_braking: m/s2; a yellow line is respected if this braking suffices.
        red_braking: m/s2; a red line is respected if this braking suffices (else the front is practically over it).
        patience: seconds of standing after which narrower gaps in crossing traffic are accepted.

    """

    speed: SpeedParameters = dataclasses.field(default_factory=SpeedParameters)
    look_ahead: float = 80.0
    radius: float = 90.0
    vehicle_margin: float = 0.3
    walker_margin: float = 0.7
    static_margin: float = 0.1
    standstill_gap: float = 1.8
    line_gap: float = 1.2
    yield_gap: float = 1.0
    early: float = 0.8
    late: float = 0.4
    yellow_braking: float = 3.5
    red_braking: float = 7.0
    patience: float = 8.0


class Expert:
    """Plans along one route from complete views of the world.

    The path is the route's centre line, joined smoothly from where the ego is, and left where ``Evasion`` finds that
    something has to be passed. The speed along it keeps to the law, to
    curves, to red and yellow lights, follows what is in the way and yields to whoever is predicted to be in the ego's
    corridor at the same time; when a stop is no longer possible it takes the safer of passing and full braking.

    Args:
        network: the town.
        route: the route to drive.
        parameters: how to drive.
        zones: stop signs of the town.

    Attributes:
        reason: why the newest plan is slower than a free road allows: "free", "light", "sign", "follow <id>",
            "yield <id>", "wait" (for a chance to go round an obstacle) or "emergency <id>".

    """

    def __init__(
        self,
        network: "RoadNetwork",
        route: "Route",
        parameters: ExpertParameters | None = None,
        zones: Sequence[StopZone] = (),
    ) -> None:
        self.parameters = parameters or ExpertParameters()
        self.reason = "free"
        self._lanes = LanePaths.of(network)
        self._path = ReferencePath(network, route, self._lanes)
        self._evasion = Evasion(network, self._path)
        self._limits = self._speed_limits()
        self._signs = StopPlaces(zones, self._path.xy)
        self._standing_since: float | None = None

    def _speed_limits(self) -> list[float]:
        path = self._path
        return speed_profile.speed_limits(path.xy, path.s, path.speed_limit, self.parameters.speed).tolist()

    def plan(self, view: WorldView, intentions: Mapping[int, Intention] | None = None) -> np.ndarray:
        """Return the poses [40, 3] of the next four seconds, 0.1 s apart, in the ego frame (x, y, yaw).

        Args:
            view: a complete view with an ego.
            intentions: where others will go, by actor id; the rest is predicted.

        """
        x, y, yaw = view.ego_pose
        speed = max(view.ego_speed, 0.0)
        start = self._path.advance(x, y)
        if self._evasion.look(view, start, intentions or {}):
            self._limits = self._speed_limits()
        s, xy = self._path.joined(x, y, yaw, speed, self.parameters.look_ahead)
        direction = np.arctan2(np.gradient(xy[:, 1]), np.gradient(xy[:, 0]))
        corridor = Corridor(xy, s, np.cos(direction), np.sin(direction), 0.5 * view.ego_box[1])
        places = self._longitudinal(view, corridor, start, speed, intentions)

        place = places[1 : PLAN_POSES + 1]
        px, py = np.interp(place, s, xy[:, 0]) - x, np.interp(place, s, xy[:, 1]) - y
        heading = np.interp(place, s, np.unwrap(direction)) - yaw
        cos, sin = math.cos(yaw), math.sin(yaw)
        heading = np.arctan2(np.sin(heading), np.cos(heading))
        return np.stack([px * cos + py * sin, py * cos - px * sin, heading], -1)

    # -- speed -----------------------------------------------------------------------------------------------------

    def _longitudinal(
        self,
        view: WorldView,
        corridor: Corridor,
        start: float,
        speed: float,
        intentions: Mapping[int, Intention] | None,
    ) -> np.ndarray:
        """Return the metres of path [_STEPS + 1] of the ego's centre, 0.1 s apart, now included."""
        p = self.parameters
        front = 0.5 * view.ego_box[0]
        rows, prediction, met = self._others(view, corridor, intentions)
        obstacles = self._light_obstacles(view, start, front, speed)
        reasons = ["light"] * len(obstacles)
        for place in self._signs.ahead(view.ego_pose, start, front, speed):
            obstacles.append(self._line(place))
            reasons.append("sign")
        if self._evasion.wait_at < math.inf:
            barrier = [self._evasion.wait_at] * (_STEPS + 1)
            obstacles.append(Obstacle(barrier, [0.0] * (_STEPS + 1), [_RESERVE] * (_STEPS + 1)))
            reasons.append("wait")

        def drive() -> tuple[np.ndarray, int]:
            return speed_profile.drive(start, speed, front, _STEPS, self._limits, 0.0, obstacles, p.speed)

        ignored = np.zeros(len(rows), bool)
        present = np.flatnonzero(np.isfinite(met.low[:, 0]))
        ignored[present] = True
        for hypothesis in present[np.argsort(met.low[present, 0], kind="stable")][:_MAX_FOLLOWED]:
            obstacles.append(self._follow(prediction, met, int(hypothesis), 0))
            reasons.append(f"follow {view.ids[rows[hypothesis]]}")

        places, holding = drive()
        patience = 1.0 if self._waited(view, speed) < p.patience else 0.5
        danger = -1
        for _ in range(_MAX_YIELDS):
            polite = makes_room(places[::_RATIO], TRACKER_SECONDS * _RATIO, front, met, prediction.speed)
            hypothesis, step = self._conflict(places, front, met, ignored | polite, patience)
            if hypothesis < 0:
                break
            ignored[hypothesis] = True
            obstacle, label = self._give_way(prediction, met, hypothesis, step, places)
            room = min(obstacle.position) - start - front
            if speed * speed > 2.0 * _STOPPING * max(room, 0.05) and speed > 0.5:
                danger = hypothesis
                continue
            obstacles.append(obstacle)
            reasons.append(f"{label} {view.ids[rows[hypothesis]]}")
            places, holding = drive()
        self.reason = "free" if holding < 0 else reasons[holding]
        if danger >= 0:
            places, braking = self._last_resort(places, start, speed, front, met)
            if braking:
                self.reason = f"emergency {view.ids[rows[danger]]}"
        return places

    def _waited(self, view: WorldView, speed: float) -> float:
        """Return the seconds that the ego has stood still."""
        if speed > 0.5:
            self._standing_since = None
            return 0.0
        if self._standing_since is None:
            self._standing_since = view.time
        return view.time - self._standing_since

    def _light_obstacles(self, view: WorldView, start: float, front: float, speed: float) -> list[Obstacle]:
        p = self.parameters
        obstacles = []
        for place, signals in self._path.lines:
            gap = place - start - front
            state = line_state(view, signals)
            if state not in (LIGHT_RED, LIGHT_YELLOW) or not -0.2 < gap < p.look_ahead:
                continue
            braking = p.red_braking if state == LIGHT_RED else p.yellow_braking
            if speed * speed > 2.0 * braking * max(gap, 0.0) + 0.5:
                continue
            obstacles.append(self._line(place))
        return obstacles

    def _line(self, place: float) -> Obstacle:
        """Make the obstacle of a line across the path at which the ego stops."""
        barrier = place - self.parameters.line_gap
        return Obstacle([barrier] * (_STEPS + 1), [0.0] * (_STEPS + 1), [0.6] * (_STEPS + 1))

    # -- the others ------------------------------------------------------------------------------------------------

    def _others(
        self, view: WorldView, corridor: Corridor, intentions: Mapping[int, Intention] | None
    ) -> tuple[np.ndarray, Prediction, Occupancy]:
        """Return the row [H], the prediction and the occupancy of every hypothesis that matters."""
        p = self.parameters
        x, y, yaw = view.ego_pose
        ego = view.ego
        dx, dy = view.x - x, view.y - y
        ahead = dx * math.cos(yaw) + dy * math.sin(yaw)
        aside = dy * math.cos(yaw) - dx * math.sin(yaw)
        wanted = (np.hypot(dx, dy) < p.radius) & (view.kind != AGENT_NONE)
        wanted[ego] = False
        # Whoever comes from behind in the own lane sees the ego and has to keep away.
        wanted &= ~((ahead < 0.0) & (np.abs(aside) < 1.5) & (np.cos(view.yaw - yaw) > 0.5))
        # What is under or above the road does not count (parked actors of other scenarios, bridges).
        wanted &= np.abs(view.z - view.z[ego]) < 5.0
        prediction = predict(self._lanes, view, np.flatnonzero(wanted), intentions)
        rows = prediction.row
        kind = view.kind[rows]
        margin = np.full(len(rows), p.vehicle_margin)
        if corridor.s[0] < self._evasion.squeeze_until:
            margin[:] = p.static_margin
        margin[kind == AGENT_WALKER] = p.walker_margin
        margin[kind == AGENT_STATIC] = p.static_margin
        met = occupancy(corridor, prediction, view.length[rows], view.width[rows], margin)
        # A neighbour that overlaps beside or behind the own centre cannot be avoided by going slower.
        beside = (ahead[rows] < 0.0) & (kind == AGENT_VEHICLE) & np.isfinite(met.low[:, 0])
        met.low[beside], met.high[beside] = np.inf, -np.inf
        return rows, prediction, met

    def _follow(self, prediction: Prediction, met: Occupancy, hypothesis: int, step: int) -> Obstacle:
        """Make an obstacle that moves as predicted; before ``step`` it is where it will be then."""
        low = met.low[hypothesis].copy()
        low[:step] = low[step]
        along = np.maximum(met.along[hypothesis], 0.0)
        pace = np.where(np.isfinite(low), prediction.speed[hypothesis] * along, 0.0)
        times = np.arange(_STEPS + 1) / _RATIO
        index = np.minimum(times.astype(int), len(low) - 2)
        share = times - index
        with np.errstate(invalid="ignore"):
            position = low[index] + share * (low[index + 1] - low[index])
        # Between a covered and a free moment the covered one counts.
        position = np.where(np.isfinite(position), position, np.minimum(low[index], low[index + 1]))
        speeds = np.interp(times, np.arange(len(pace)), pace)
        # Behind something that stands, only a little reserve: the time gap would make the last metres endless.
        reaction = _RESERVE + (self.parameters.speed.headway - _RESERVE) * np.minimum(speeds / 4.0, 1.0)
        return Obstacle((position - self.parameters.standstill_gap).tolist(), speeds.tolist(), reaction.tolist())

    def _give_way(
        self, prediction: Prediction, met: Occupancy, hypothesis: int, step: int, places: np.ndarray
    ) -> tuple[Obstacle, str]:
        """Make the obstacle that keeps the ego out of a stretch while somebody is in it; ``step``: of the conflict."""
        low, along = met.low[hypothesis], met.along[hypothesis]
        window = np.flatnonzero(np.isfinite(low))
        window = window[window >= step - self._late_steps()]
        first = int(window[0]) if len(window) else step
        if np.isfinite(low[first]) and along[first] > 0.7 and low[first] > places[first * _RATIO]:
            return self._follow(prediction, met, hypothesis, first), "follow"
        barrier = float(np.min(low[window])) - self.parameters.yield_gap
        end = min(int((window[-1] + self._late_steps()) * _RATIO), _STEPS)
        position = np.full(_STEPS + 1, np.inf)
        position[: end + 1] = barrier
        return Obstacle(position.tolist(), [0.0] * (_STEPS + 1), [_RESERVE] * (_STEPS + 1)), "yield"

    def _late_steps(self) -> int:
        return math.ceil(self.parameters.late / (TRACKER_SECONDS * _RATIO))

    def _conflict(
        self, places: np.ndarray, front: float, met: Occupancy, ignored: np.ndarray, patience: float
    ) -> tuple[int, int]:
        """Return the hypothesis and the step of the earliest conflict with a plan, (-1, -1) if there is none."""
        if not len(ignored):
            return -1, -1
        p, seconds = self.parameters, TRACKER_SECONDS * _RATIO
        low, high = met.low, met.high
        early, late = math.ceil(patience * p.early / seconds), math.ceil(patience * p.late / seconds)
        low, high = low.copy(), high.copy()
        for shift in range(1, early + 1):  # they come sooner
            low[:, :-shift] = np.minimum(low[:, :-shift], met.low[:, shift:])
            high[:, :-shift] = np.maximum(high[:, :-shift], met.high[:, shift:])
        for shift in range(1, late + 1):  # they leave later
            low[:, shift:] = np.minimum(low[:, shift:], met.low[:, :-shift])
            high[:, shift:] = np.maximum(high[:, shift:], met.high[:, :-shift])
        ego = places[::_RATIO]
        hit = (ego + front > low) & (ego - front < high)
        hit[ignored] = False
        if not hit.any():
            return -1, -1
        step = np.where(hit.any(-1), hit.argmax(-1), hit.shape[1])
        found = int(step.argmin())
        return found, int(step[found])

    def _last_resort(
        self, places: np.ndarray, start: float, speed: float, front: float, met: Occupancy
    ) -> tuple[np.ndarray, bool]:
        """Return the safer of passing and full braking, and whether it is braking."""
        stop = speed_profile.brake(start, speed, _STEPS, self.parameters.speed.emergency_braking)

        def first_hit(plan: np.ndarray) -> float:
            ego = plan[::_RATIO]
            hit = ((ego + front > met.low) & (ego - front < met.high)).any(0)
            return float(hit.argmax()) if hit.any() else math.inf

        passing, braking = first_hit(places), first_hit(stop)
        if passing == math.inf:
            return places, False
        return (stop, True) if braking >= passing else (places, False)
