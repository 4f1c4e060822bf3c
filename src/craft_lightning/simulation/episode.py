"""One route driven in one world, a decision at a time; nothing here knows which policy decides."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import carla
import numpy as np

from craft_lightning.control import Tracker, TrackerParameters
from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.frames import steer_to_carla
from craft_lightning.rig import Rig
from craft_lightning.simulation.criteria import Criteria
from craft_lightning.simulation.criteria_collision import CollisionSensor
from craft_lightning.simulation.criteria_lights import path_clear, route_lines
from craft_lightning.simulation.criteria_speed import BackgroundSpeed
from craft_lightning.simulation.episode_options import EpisodeOptions
from craft_lightning.simulation.episode_spec import EpisodeSpec, StepResult
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.lookout import Lookout, touching
from craft_lightning.simulation.observation import observe
from craft_lightning.simulation.places import Place, Places
from craft_lightning.simulation.recorder import MotionRecorder
from craft_lightning.simulation.rig_reader import RigReader
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.registry import build, ego_place
from craft_lightning.simulation.scene import SceneReader
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.stage import (
    background_vehicles,
    blocking_vehicles,
    ego_blueprint,
    set_weather,
    spawn_ego,
    spawn_traffic,
    wheelbase_of,
)
from craft_lightning.simulation.stop_signs import StopZone
from craft_lightning.simulation.view import ViewReader, WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.grid import RoadGrid
    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routing import Route
    from craft_lightning.roads.towns import Town

Watcher = Callable[[WorldView, np.ndarray, Any], None]
"""Sees every tick of a decision: its view, [len(EVENTS)] bool what happened in it, and its ``carla.WorldSnapshot``."""

_CONTACT_WAIT = 0.02  # seconds that a touching ego waits for its sensor's message


class RouteEpisode:
    """Drives episodes in one session, one after the other.

    Args:
        session: the connected session.
        town: its town.
        options: what all episodes share.
        tracker: parameters of the tracker.
        atlas: towns between which routes may change: name in route files -> built-in name or path of an OpenDRIVE file;
            their order is that of the road grids that scenes index. Empty = all routes are in ``town``.
        rig: sensors that the ego carries.

    Attributes:
        places: where the session is, and where it can be.
        view: the newest full view.
        route: the planned route of the running episode.
        criteria: its criteria.

    """

    def __init__(
        self,
        session: Session,
        town: "Town",
        options: EpisodeOptions | None = None,
        tracker: TrackerParameters | None = None,
        atlas: Mapping[str, str] | None = None,
        rig: Rig = (),
    ) -> None:
        self.session, self.rig = session, rig
        self.options = options or EpisodeOptions(tick_seconds=session.delta)
        if self.options.tick_seconds != session.delta:
            raise CraftError(
                f"episodes of ticks of {self.options.tick_seconds:g} s do not fit a session whose ticks last "
                f"{session.delta:g} s; give both the same"
            )
        ego_blueprint(session, self.options.ego)  # said before a route is begun
        self.places = Places(session, town, atlas or {})
        self._zones: list[StopZone] = []
        self._tracker = Tracker(tracker)
        self.reader = ViewReader(session.world)
        self.spec: EpisodeSpec | None = None
        self.view: WorldView
        self.route: Route
        self.criteria: Criteria
        self._ego: Any = None
        self._sensor: CollisionSensor
        self._scene: SceneReader
        self._expert: Expert | None = None
        self._plan: np.ndarray | None = None
        self._scenarios: list[Scenario] = []
        self._heard: dict[int, int] = {}  # verdicts taken of each scenario
        self._lookout = Lookout()
        self._background: BackgroundSpeed | None = None
        self._recorder: MotionRecorder | None = None
        self._steer, self._clear, self._done = 0.0, True, True

    @property
    def place(self) -> Place:
        """The town that the session is in, with its arrays."""
        return self.places.here

    @property
    def town(self) -> "Town":
        """The town that the session is in."""
        return self.place.town

    @property
    def network(self) -> "RoadNetwork":
        """Its road network."""
        return self.place.town.network

    @property
    def grid(self) -> "RoadGrid":
        """Its road grid."""
        return self.place.grid

    @property
    def scenarios(self) -> list[Scenario]:
        """The scenarios of the running episode."""
        return list(self._scenarios)

    # -- begin and end ---------------------------------------------------------------------------------------------

    def reset(self, spec: EpisodeSpec) -> StepResult:
        """End the running episode and begin another.

        Raises:
            CraftError: the route does not fit the town.
            WorldError: the server failed.

        """
        self.clear()
        self.spec = spec
        session = self.session
        if self.places.enter(spec.route.town):
            self.reader = ViewReader(session.world)
        place = self.place
        self.route = route = place.planner.plan_route(spec.route)
        self._ego = spawn_ego(session, self.options.ego, *ego_place(spec.route.scenarios, route, self.network))
        self._sensor = CollisionSensor.attach(session, self._ego)
        set_weather(session, spec.route.weather)
        # Before the traffic, which keeps clear of whoever is there.
        self._scenarios = [build(config, session, route, spec.seed, self.network) for config in spec.route.scenarios]
        spawn_traffic(session, spec.seed, spec.vehicles, spec.walkers, spec.traffic)
        if spec.vehicles <= 0 and spec.walkers <= 0:
            # Traffic sets the lights by its seed; without it they would go on where the last episode left them.
            session.world.reset_all_traffic_lights()
        self.reader.ego_id = int(self._ego.id)
        self.reader.watch.clear()
        self.reader.watch_signals.clear()

        lines = route_lines(self.network, route)
        parameters = self.options.criteria(spec)
        self._zones = [zone for zone in place.zones if not (spec.ignore_stop_sign_at_origin and zone.holds_origin())]
        table = place.lanes if parameters.leaderboard else None
        self.criteria = Criteria(place.grid, route, lines, self._zones, parameters, table)
        self._background = BackgroundSpeed() if parameters.min_speed_checkpoints else None
        self._recorder = MotionRecorder(int(self._ego.id)) if spec.record_motion else None
        self._tracker.reset()
        self._steer, self._done, self._plan = 0.0, False, None
        self._eyes = RigReader(session, self._ego, self.rig, self.options.ticks_per_decision)
        for left in reversed(range(self.options.settle_ticks)):
            session.control(self._ego.id, carla.VehicleControl(brake=1.0))
            self._eyes.settle(left)
            frame = session.tick()
        self.view = self.reader.read()
        self._sensor.take(frame)
        wheelbase = wheelbase_of(self._ego, self.view.ego_box[0])
        probe = self.criteria.lanes.probe
        self._scene = SceneReader(place.index, probe, route, lines, self._zones, wheelbase)
        self._expert = None  # made when it is first asked
        self._look()
        self.criteria.progress.update(*self.view.ego_pose[:2])
        return self._result(np.zeros(len(EVENTS), bool), 0)

    def clear(self) -> None:
        """Destroy everything of the running episode."""
        for scenario in self._scenarios:
            scenario.clean_up()
        self._scenarios = []
        self._heard.clear()
        self.reader.ego_id = -1
        self._ego = None
        self._done = True
        self.session.destroy()

    # -- drive -----------------------------------------------------------------------------------------------------

    def step(self, trajectory: np.ndarray) -> StepResult:
        """Execute one decision: track the plan for ``ticks_per_decision`` ticks or until the episode ends.

        Args:
            trajectory: [T, 3] poses every 0.1 s in the ego frame of the state reached last.

        Raises:
            CraftError: the trajectory is misshapen or not finite, or no episode runs.
            WorldError: the server failed.

        """
        self._require_running()
        noted = len(self.criteria.incidents)
        return self._result(self.execute(trajectory), noted)

    def execute(self, trajectory: np.ndarray | None, watch: Watcher | None = None) -> np.ndarray:
        """Execute one decision without observing the state that it leads to; branches of the world live on it.

        Args:
            trajectory: as in ``step``; None goes on tracking the plan of the decision before.
            watch: sees every tick.

        Returns:
            [len(EVENTS)] bool, what happened.

        Raises:
            CraftError: as ``step``; WorldError: likewise.

        """
        self._require_running()
        if trajectory is not None:
            self._tracker.plan(trajectory, self.view.ego_pose)
        flags = np.zeros(len(EVENTS), bool)
        view, ticks, tick = self.view, self.options.ticks_per_decision, 0
        while tick < ticks and not self.criteria.status:
            if tick % self.session.ticks_per_step == 0:
                throttle, self._steer, brake = self._tracker.control(view.ego_pose, view.ego_speed)
                self._control(throttle, self._steer, brake)
            for snapshot in self.session.ticks(self._ticks_at_once(tick, ticks)):
                tick += 1
                if tick == ticks:
                    view = self.reader.read(snapshot)
                else:
                    self.reader.watch = self._lookout.watched(tick * self.session.delta, self._scenarios)
                    view = self.reader.read_light(snapshot)
                happened = self._take(view, snapshot)
                flags |= happened
                if watch is not None:
                    watch(view, happened, snapshot)
                if self.criteria.status:
                    view = self.reader.read(snapshot)
                    self._conclude()
                    break
        self.view = view
        self._look()
        self._clear_the_way()
        self._done = bool(self.criteria.status)
        self._plan = None
        return flags

    def _ticks_at_once(self, tick: int, ticks: int) -> int:
        """Return how many ticks pass, from ``tick`` of a decision on, before the ego or a scenario acts again."""
        if any(scenario.due for scenario in self._scenarios):
            return 1
        step = self.session.ticks_per_step
        return min(step - tick % step, ticks - tick, self.session.at_once)

    def _take(self, view: WorldView, snapshot: Any) -> np.ndarray:
        """Let scenarios and criteria see a tick; returns what happened in it, as ``execute``."""
        self._play(view)
        contacts = self._sensor.take(view.frame, _CONTACT_WAIT if touching(view) else 0.0)
        background = self._background.mean(snapshot) if self._background is not None else None
        self.criteria.wrong_way_permitted = self._wrong_way_permitted()
        happened = self.criteria.tick(view, contacts, self._clear, background)
        if self._recorder is not None:
            self._recorder.tick(snapshot)
        return happened

    def _require_running(self) -> None:
        if self._done or self.spec is None:
            raise CraftError("the episode has ended; call reset before step")

    def observe(self) -> StepResult:
        """Return the state reached last, with nothing noted of the way there."""
        return self._result(np.zeros(len(EVENTS), bool), len(self.criteria.incidents))

    def forget_before(self, frame: int) -> None:
        """Ignore what sensors still say about frames before ``frame``, which belong to a branch that was left."""
        self._sensor.since = frame

    @property
    def done(self) -> bool:
        """Whether no episode runs."""
        return self._done

    def _control(self, throttle: float, steer: float, brake: float) -> None:
        """Send the ego's control, as far as the scenarios let it through."""
        for scenario in self._scenarios:
            if scenario.triggered and not scenario.finished:
                throttle, steer, brake = scenario.disturb(throttle, steer, brake)
        control = carla.VehicleControl(throttle=throttle, steer=steer_to_carla(steer), brake=brake)
        self.session.control(self._ego.id, control)

    def _play(self, view: WorldView) -> None:
        """Tick the scenarios that are not over and watch their actors."""
        for scenario in self._scenarios:
            if not scenario.finished:
                acts = scenario.due
                scenario.tick(view)
                if acts:
                    self._lookout.play(scenario.actor_ids)
                    self._hear(scenario)

    def _clear_the_way(self) -> None:
        """Remove background vehicles that block a standing ego, where the protocol does."""
        patience = self.spec.clear_blocking_after if self.spec is not None else 0.0
        if not patience or self.criteria.status or self.criteria.standing < patience:
            return
        played: set[int] = set().union(*(scenario.actor_ids for scenario in self._scenarios))
        self.session.remove_others(blocking_vehicles(self.view, played))

    def _wrong_way_permitted(self) -> bool:
        """Whether a scenario that plays leaves the ego no way but the oncoming lane."""
        for scenario in self._scenarios:
            if scenario.triggered and not scenario.finished and "opposite_lane" in scenario.permits:
                return True
        return False

    def _conclude(self) -> None:
        """End the scenarios that still play: some judge the ego only then."""
        for scenario in self._scenarios:
            if scenario.triggered and not scenario.finished:
                scenario.clean_up()
                self._hear(scenario)

    def _hear(self, scenario: Scenario) -> None:
        """Hand what a scenario says about the ego to the criteria, once."""
        x, y, _ = self.view.ego_pose
        heard = self._heard.get(id(scenario), 0)
        for verdict in scenario.verdicts[heard:]:
            self.criteria.judge(verdict, x, y, scenario.config.name)
        self._heard[id(scenario)] = len(scenario.verdicts)

    def expert_step(self) -> StepResult:
        """Let the expert drive one decision with its plan from the state reached last."""
        return self.step(self.expert_plan())

    def expert_plan(self) -> np.ndarray:
        """Return the expert's plan [40, 3] from the state reached last, ego frame."""
        if self._plan is None:
            self._plan = self._expert_plan()
        return self._plan

    def _expert_plan(self) -> np.ndarray:
        if self.spec is None:
            raise CraftError("the episode has not begun; call reset before expert_step")
        if self._expert is None:
            self._expert = Expert(self.network, self.route, zones=self._zones)
        return self._expert.plan(self.view, self.intentions()).astype(np.float32)

    def intentions(self) -> dict[int, Intention]:
        """Return where the vehicles of the scenarios will go, by actor id."""
        return {actor: one for scenario in self._scenarios for actor, one in scenario.intentions().items()}

    def _look(self) -> None:
        """Prepare the light reads until the next full one."""
        played: set[int] = set().union(*(scenario.actor_ids for scenario in self._scenarios))
        self._lookout.look(self.view, played)
        if self._background is not None:
            self._background.watch(background_vehicles(self.view, played))
        self.reader.watch_signals = self.criteria.lights.near(self.criteria.progress.s)
        self._clear = path_clear(self.view, self.criteria.progress)

    def _result(self, flags: np.ndarray, noted: int) -> StepResult:
        criteria, progress = self.criteria, self.criteria.progress
        if self.spec is not None and self.spec.expert and not self._done:
            self._plan = self._expert_plan()
        seen = observe(self.place.bird, self.view, progress, self._scene.lines, self._steer)
        return StepResult(
            observation=seen if self._done else seen | self._eyes.see(self.view.frame, self.reader.facts),
            scene=self._scene.read(self.view, progress, self._steer),
            events=flags.astype(np.float32),
            done=self._done,
            record=self._record() if self._done else None,
            expert_plan=self._plan,
            incidents=criteria.incidents[noted:],
            motion=self._recorder.table() if self._done and self._recorder is not None else None,
        )

    def _record(self) -> dict[str, Any]:
        """Return the fields of this episode's ``RouteRecord``."""
        spec = self.spec
        if spec is None:
            raise CraftError("no episode has begun; call reset first")
        route = spec.route
        return {
            "route_id": str(route.id),
            "town": route.town,
            "scenario": route.scenarios[0].type if route.scenarios else "",
            "number": spec.number,
            "seed": spec.seed,
            **self.criteria.record(),
        }
