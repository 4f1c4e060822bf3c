"""One tick of the world as numpy arrays, read from the client's snapshot; nobody else asks carla actors one by one."""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_NONE, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.errors import WorldError

# The integer values of carla.TrafficLightState.
LIGHT_RED, LIGHT_YELLOW, LIGHT_GREEN, LIGHT_OFF, LIGHT_UNKNOWN = range(5)

# Pedal cycles of CARLA's library, for servers whose blueprints carry no base_type.
_BICYCLES = ("crossbike", "gazelle", "diamondback", "bicycle")


# The float columns of a view, in the order in which _assemble fills them.
_COLUMNS = ("x", "y", "z", "yaw", "speed", "vx", "vy", "acceleration", "yaw_rate", "length", "width")
_X, _Y, _YAW, _SPEED, _LENGTH, _WIDTH = map(_COLUMNS.index, ("x", "y", "yaw", "speed", "length", "width"))
# What a reader's view makes of its rows when it is asked for.
_MADE = frozenset({*_COLUMNS, "ids", "kind"})


@dataclasses.dataclass(frozen=True)
class WorldView:
    """The moving and standing objects of one tick, in the world frame (right-handed, metres, radians, seconds).

    Rows are actors, in ascending order of actor id; positions are centres of bounding boxes. A view that a reader made
    turns its rows into columns when somebody asks for the first of them: most ticks look at the ego alone.

    Attributes:
        frame: number of the tick.
        time: seconds since the episode of the server began.
        ego: row of the ego, -1 if there is none.
        ids: [N] int64 actor ids.
        kind: [N] int64 AGENT_* of ``conventions``.
        x: [N] float64 metres; ``y`` and ``z`` likewise.
        yaw: [N] radians, wrapped to (-pi, pi].
        speed: [N] signed longitudinal speed, m/s.
        vx: [N] velocity along the world's x, m/s; ``vy`` likewise.
        acceleration: [N] signed longitudinal acceleration, m/s2.
        yaw_rate: [N] rad/s, counter-clockwise positive.
        length: [N] metres of the bounding box; ``width`` likewise.
        lights: actor id of a traffic light -> LIGHT_* state.
        signals: OpenDRIVE id of a traffic light -> LIGHT_* state.

    """

    frame: int
    time: float
    ego: int
    ids: np.ndarray
    kind: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    yaw: np.ndarray
    speed: np.ndarray
    vx: np.ndarray
    vy: np.ndarray
    acceleration: np.ndarray
    yaw_rate: np.ndarray
    length: np.ndarray
    width: np.ndarray
    lights: dict[int, int] = dataclasses.field(default_factory=dict)
    signals: dict[str, int] = dataclasses.field(default_factory=dict)

    if not TYPE_CHECKING:  # a checker shall go on to know which attributes there are

        def __getattr__(self, name: str) -> Any:
            rows = self.__dict__.get("rows")
            if rows is None or name not in _MADE:
                raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
            table = np.array(rows, np.float64).reshape(-1, len(_COLUMNS))
            self.__dict__.update(zip(_COLUMNS, table.T, strict=True))
            self.__dict__["ids"] = np.array(self.__dict__["_ids"], np.int64)
            self.__dict__["kind"] = np.array(self.__dict__["_kinds"], np.int64)
            return self.__dict__[name]

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def rows(self) -> list[tuple[float, ...]]:
        """The float columns of each actor, x to width in the order of the attributes above."""
        return list(zip(*(getattr(self, name).tolist() for name in _COLUMNS), strict=True))

    @functools.cached_property
    def ego_pose(self) -> tuple[float, float, float]:
        """World pose (x, y, yaw) of the ego."""
        row = self.rows[self.ego]
        return row[_X], row[_Y], row[_YAW]

    @property
    def ego_speed(self) -> float:
        """Longitudinal speed of the ego, m/s."""
        return self.rows[self.ego][_SPEED]

    @property
    def ego_box(self) -> tuple[float, float]:
        """Length and width of the ego, metres."""
        row = self.rows[self.ego]
        return row[_LENGTH], row[_WIDTH]

    @functools.cached_property
    def others(self) -> np.ndarray:
        """[N - 1] rows of all actors but the ego."""
        rows = np.arange(len(self.ids))
        return rows[rows != self.ego]

    @functools.cached_property
    def gaps(self) -> np.ndarray:
        """[N - 1] metres from the ego's centre to those of the ``others``."""
        rows = self.others
        return np.hypot(self.x[rows] - self.x[self.ego], self.y[rows] - self.y[self.ego])

    @functools.cached_property
    def nearest(self) -> np.ndarray:
        """[N - 1] the ``others``, nearest to the ego first."""
        return self.others[self.gaps.argsort(kind="stable")]

    @functools.cached_property
    def around(self) -> np.ndarray:
        """[3, N - 1] x and y in the ego's frame and yaw relative to the ego's, (-pi, pi], of the ``nearest``."""
        ego, rows = self.ego, self.nearest
        x, y, yaw = self.ego_pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        gap_x, gap_y, turn = self.x[rows] - x, self.y[rows] - y, self.yaw[rows] - self.yaw[ego]
        around: np.ndarray = np.array(
            (gap_x * cos + gap_y * sin, gap_y * cos - gap_x * sin, np.arctan2(np.sin(turn), np.cos(turn)))
        )
        return around

    def row(self, actor_id: int) -> int:
        """Return the row of an actor, -1 if it is not in this view."""
        found = int(np.searchsorted(self.ids, actor_id))
        return found if found < len(self.ids) and self.ids[found] == actor_id else -1

    def corners(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return [n, 4, 2] box corners in the world frame: front left, front right, rear right, rear left."""
        return box_corners(self.x[rows], self.y[rows], self.yaw[rows], self.length[rows], self.width[rows])


def box_corners(x: np.ndarray, y: np.ndarray, yaw: np.ndarray, length: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the corners [N, 4, 2] of oriented boxes: front left, front right, rear right, rear left.

    Args:
        x: [N] centres, metres; ``y`` likewise.
        y: [N].
        yaw: [N] radians counter-clockwise.
        length: [N] along the heading, metres; ``width`` across it.
        width: [N].

    """
    # Column by column: for a handful of boxes every array that is made costs more than its arithmetic.
    cos, sin = np.cos(yaw), np.sin(yaw)
    half_length, half_width = 0.5 * length, 0.5 * width
    corners = np.empty((len(cos), 4, 2))
    for column, (centre, forward, left) in enumerate(
        ((x, cos * half_length, -sin * half_width), (y, sin * half_length, cos * half_width))
    ):
        front, rear = centre + forward, centre - forward
        np.add(front, left, out=corners[:, 0, column])
        np.subtract(front, left, out=corners[:, 1, column])
        np.subtract(rear, left, out=corners[:, 2, column])
        np.add(rear, left, out=corners[:, 3, column])
    return corners


def agent_kind(type_id: str, attributes: dict[str, str]) -> int:
    """Return the AGENT_* kind of an actor from its blueprint; AGENT_NONE for what is no body on the road."""
    if type_id.startswith("vehicle."):
        base = attributes.get("base_type", "").lower()
        cycle = base == "bicycle" or (not base and any(name in type_id for name in _BICYCLES))
        return AGENT_CYCLIST if cycle else AGENT_VEHICLE
    if type_id.startswith("walker."):
        return AGENT_WALKER
    if type_id.startswith("static.prop"):
        return AGENT_STATIC
    return AGENT_NONE


@dataclasses.dataclass(frozen=True)
class ActorFacts:
    """What never changes about an actor: kind AGENT_*, box [m] and the box's offset from the actor's origin [m]."""

    kind: int
    type_id: str
    length: float
    width: float
    offset_x: float  # along the actor's heading
    offset_y: float  # to its left


class ViewReader:
    """Reads :class:`WorldView` objects from a ``carla.World``.

    ``read`` is the whole picture (once a decision); ``read_light`` holds the ego, the actors in ``watch`` and the
    signals in ``watch_signals`` alone (every tick). Neither calls the server, except for actors seen first.

    Args:
        world: the ``carla.World``.
        ego: the ego's ``carla.Actor``, or None.

    Attributes:
        watch: ids of further actors that light reads include (those of a scenario).
        watch_signals: OpenDRIVE ids of the lights that light reads include (those ahead on the route).

    """

    def __init__(self, world: Any, ego: Any | None = None) -> None:
        self.world = world
        self.ego_id = -1 if ego is None else int(ego.id)
        self.watch: set[int] = set()
        self.watch_signals: set[str] = set()
        self.facts: dict[int, ActorFacts] = {}
        self.lights: dict[str, Any] = {}  # OpenDRIVE id -> carla.TrafficLight
        self._light_ids: dict[str, int] = {}
        self._boxes: dict[str, Any] = {}  # boxes of vehicles and walkers by type: asking is a remote call
        self._known: set[int] = set()
        self._bodies: set[int] = set()
        self._shown: dict[str, int] = {}  # what each light was seen to show last

    def read(self, snapshot: Any = None) -> WorldView:
        """Read everything of a ``carla.WorldSnapshot``, of the newest tick where none is given."""
        snapshot = snapshot or self.world.get_snapshot()
        present = {actor.id for actor in snapshot}
        fresh = present - self._known
        if fresh:
            self._learn(fresh)
        return self._assemble(snapshot, sorted(present & self._bodies), self.lights)

    def read_light(self, snapshot: Any = None) -> WorldView:
        """Read the ego and the watched actors and signals of a snapshot, of the newest tick where none is given."""
        snapshot = snapshot or self.world.get_snapshot()
        wanted = {self.ego_id, *self.watch} - {-1}
        fresh = wanted - self._known
        if fresh:
            self._learn({actor for actor in fresh if snapshot.has_actor(actor)})
        return self._assemble(snapshot, sorted(wanted & self._bodies), self.watch_signals & self.lights.keys())

    def forget(self) -> None:
        """Drop what is known of all actors, for after a town was loaded anew."""
        for table in (self.facts, self.lights, self._light_ids, self._shown):
            table.clear()
        self._known.clear()
        self._bodies.clear()

    def _learn(self, fresh: set[int]) -> None:
        """Ask the server for the static facts of new actors."""
        for actor in self.world.get_actors(list(fresh)):
            type_id = actor.type_id
            self._known.add(actor.id)
            if type_id.startswith("traffic.traffic_light"):
                signal = actor.get_opendrive_id() or f"light-{actor.id}"
                self.lights[signal] = actor
                self._light_ids[signal] = actor.id
                continue
            kind = agent_kind(type_id, actor.attributes)
            if kind == AGENT_NONE:
                continue
            box = self._boxes.get(type_id)
            if box is None:
                box = actor.bounding_box  # one remote call an access
                if kind != AGENT_STATIC:  # a prop's mesh may differ from that of the next one of its type
                    self._boxes[type_id] = box
            self.facts[actor.id] = ActorFacts(
                kind, type_id, 2.0 * box.extent.x, 2.0 * box.extent.y, box.location.x, -box.location.y
            )
            self._bodies.add(actor.id)

    def _states(self, snapshot: Any, signals: Any) -> dict[str, int]:
        """Return what lights showed in a snapshot, though a light itself only tells what it shows in the newest one."""
        states = {signal: int(self.lights[signal].state) for signal in signals}
        changed = [signal for signal, state in states.items() if self._shown.get(signal, state) != state]
        if changed:
            since = self.world.get_snapshot().timestamp.elapsed_seconds - snapshot.timestamp.elapsed_seconds
            # Half a tick of slack: a change in the very snapshot took place ``since`` ago.
            since -= 0.5 * snapshot.timestamp.delta_seconds
            for signal in changed:
                if self.lights[signal].get_elapsed_time() < since:
                    states[signal] = self._shown[signal]
        self._shown.update(states)
        return states

    def _assemble(self, snapshot: Any, ids: list[int], signals: Any) -> WorldView:
        """Return the view of the bodies ``ids``, in ascending order, that are in a snapshot."""
        rows: list[tuple[float, ...]] = []
        kinds: list[int] = []
        present: list[int] = []
        find, known, ego = snapshot.find, self.facts, -1
        for actor_id in ids:
            actor, facts = find(actor_id), known[actor_id]
            if actor is None:
                continue
            if actor_id == self.ego_id:
                ego = len(rows)
            pose = actor.get_transform()
            place, velocity, pull = pose.location, actor.get_velocity(), actor.get_acceleration()
            heading = -math.radians(pose.rotation.yaw)
            cos, sin = math.cos(heading), math.sin(heading)
            vx, vy = velocity.x, -velocity.y
            x, y = place.x, 0.0 - place.y
            offset_x, offset_y = facts.offset_x, facts.offset_y
            if offset_x or offset_y:
                x, y = x + cos * offset_x - sin * offset_y, y + sin * offset_x + cos * offset_y
            rows.append(
                (
                    *(x, y, place.z, math.atan2(sin, cos), vx * cos + vy * sin, vx, vy),
                    pull.x * cos - pull.y * sin,
                    -math.radians(actor.get_angular_velocity().z),
                    *(facts.length, facts.width),
                )
            )
            kinds.append(facts.kind)
            present.append(actor_id)
        if self.ego_id != -1 and ego == -1:
            raise WorldError(f"the ego vehicle (actor {self.ego_id}) is gone from the world; collect the episode again")
        states = self._states(snapshot, signals)
        view = object.__new__(WorldView)
        # The constructor of a frozen class sets one field after the other, at a third of the cost of a light read.
        view.__dict__.update(
            frame=int(snapshot.frame),
            time=float(snapshot.timestamp.elapsed_seconds),
            ego=ego,
            lights={self._light_ids[signal]: state for signal, state in states.items()},
            signals=states,
            rows=rows,
            _kinds=kinds,
            _ids=present,
        )
        return view
