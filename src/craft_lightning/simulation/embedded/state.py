"""Everything in the world that changes, in one place, so that a world can be copied, stored and put back whole."""

import dataclasses
from typing import Any

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.sensors.memory import SensorMemory

# What an actor is.
VEHICLE, WALKER, PROP, LIGHT, SENSOR, CONTROLLER, OTHER, SIGN = range(8)

# Columns of Actor.motion and of a row's "motion".
X, Y, Z, PITCH, YAW, ROLL, VX, VY, VZ, WX, WY, WZ, AX, AY, AZ = range(wire.MOTION_COLUMNS)


@dataclasses.dataclass(slots=True)
class VehicleControl:
    """CARLA's VehicleControl."""

    throttle: float = 0.0
    steer: float = 0.0
    brake: float = 0.0
    hand_brake: bool = False
    reverse: bool = False
    manual_gear: bool = False
    gear: int = 0


@dataclasses.dataclass(slots=True)
class WalkerControl:
    """CARLA's WalkerControl: unit direction, speed in m/s."""

    direction: tuple[float, float, float] = (1.0, 0.0, 0.0)
    speed: float = 0.0
    jump: bool = False


@dataclasses.dataclass(slots=True)
class Actor:
    """One actor. Poses in CARLA's frame: metres, degrees; the origin is on the ground under the centre of the box.

    Attributes:
        id: number in the protocol.
        uid: number of its blueprint.
        type_id: name of its blueprint.
        kind: VEHICLE, WALKER, ...
        attributes: [[name, type, value], ...] as spawned.
        parent: id of the actor it is attached to, 0 for none.
        token: where its stream is, empty for actors without one.
        extent: half sizes of the box [m].
        box_centre: centre of the box relative to the origin [m].
        mass: kilograms.
        wheelbase: metres.
        motion: the 15 columns of a row, double precision for those the server integrates.
        physics: whether the server moves it.
        speed: longitudinal speed of a client-controlled vehicle [m/s], negative backwards.
        steer_angle: road-wheel angle [rad], positive right.
        throttle: throttle after its lag; ``brake`` likewise.
        target_velocity: velocity set by the client for walkers, [m/s].
        constant_velocity: velocity in the vehicle's own frame that is held, if any.
        sumo: name in SUMO of an actor that SUMO drives, empty for all others.
        light_state: vehicle light bits.
        speed_limit: of the lane a client-controlled vehicle is on [m/s].
        near_light: id of the traffic light in whose trigger volume it is, 0 for none; ``looked_from`` where it was when
            that was last found out, and ``look_after`` how far it can drive until it must be found out again [m].

    """

    id: int
    uid: int
    type_id: str
    kind: int
    attributes: list[list[Any]]
    parent: int = 0
    token: bytes = wire.NO_TOKEN
    extent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    box_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mass: float = 0.0
    wheelbase: float = 0.0
    motion: list[float] = dataclasses.field(default_factory=lambda: [0.0] * wire.MOTION_COLUMNS)
    physics: bool = True
    gravity: bool = True
    collisions: bool = True
    speed: float = 0.0
    steer_angle: float = 0.0
    throttle: float = 0.0
    brake: float = 0.0
    control: VehicleControl = dataclasses.field(default_factory=VehicleControl)
    walk: WalkerControl = dataclasses.field(default_factory=WalkerControl)
    target_velocity: tuple[float, float, float] | None = None
    turn_rate: float = 0.0
    constant_velocity: tuple[float, float, float] | None = None
    sumo: str = ""
    light_state: int = 0
    speed_limit: float = 0.0
    near_light: int = 0
    looked_from: tuple[float, float] = (float("inf"), float("inf"))
    look_after: float = 0.0

    @property
    def driven(self) -> bool:
        """Whether the server's own dynamics move it: a vehicle or walker that SUMO does not drive."""
        return self.kind in (VEHICLE, WALKER) and not self.sumo

    @property
    def pose(self) -> list[float]:
        """X, y, z, pitch, yaw, roll."""
        return self.motion[:6]

    def wire(self) -> list[Any]:
        """Return the Actor of the protocol."""
        description = [self.uid, self.type_id, self.attributes]
        return [self.id, self.parent, description, wire.box(self.box_centre, self.extent), b"", self.token]


@dataclasses.dataclass
class Settings:
    """CARLA's EpisodeSettings; ``delta`` is fixed_delta_seconds, None when the client left it open."""

    synchronous: bool = False
    no_rendering: bool = True
    delta: float | None = None
    substepping: bool = True
    max_substep_delta: float = 0.01
    max_substeps: int = 10
    max_culling_distance: float = 0.0
    deterministic_ragdolls: bool = True
    tile_stream_distance: float = 3000.0
    actor_active_distance: float = 2000.0
    spectator_as_ego: bool = True

    def wire(self) -> list[Any]:
        """Return the EpisodeSettings of the protocol."""
        sent: list[Any] = list(dataclasses.astuple(self))
        sent[2] = [False] if self.delta is None else [True, self.delta]
        return sent

    @classmethod
    def from_wire(cls, sent: list[Any]) -> "Settings":
        """Read the EpisodeSettings that a client sent (older clients send fewer fields)."""
        fields: list[Any] = list(sent)
        fields[2] = float(fields[2][1]) if fields[2] and fields[2][0] else None
        return cls(*fields[: len(dataclasses.fields(cls))])


class ActorTable:
    """Actors in ascending order of id, with the arrays that snapshots and collisions read.

    Row i of every array belongs to ``order[i]``. Ids only grow, so adding appends.

    Attributes:
        order: the actors.
        rows: [N] of dtype ``wire.ROW``, what goes into the snapshot.
        vehicles: the same memory as ``wire.VEHICLE_ROW``.
        extents: [N, 3] float32 half sizes.
        reach: [N] float32 half diagonal in the plane.
        centre_z: [N] float32 height of the box's centre over the origin.
        solid: [N] bool, takes part in collisions.
        version: grows when actors come or go, for caches.

    """

    def __init__(self) -> None:
        self.by_id: dict[int, Actor] = {}
        self.order: list[Actor] = []
        self.index: dict[int, int] = {}
        self.rows = np.zeros(0, wire.ROW)
        self.vehicles = self.rows.view(wire.VEHICLE_ROW)
        self.reach = np.zeros(0, np.float32)
        self.extents = np.zeros((0, 3), np.float32)
        self.centre_z = np.zeros(0, np.float32)
        self.solid = np.zeros(0, bool)
        self.version = 0
        self._room = 0
        self._rows = self.rows
        self._extents = self.extents
        self._reach = self.reach
        self._centre_z = self.centre_z
        self._solid = self.solid

    def __len__(self) -> int:
        return len(self.order)

    def get(self, actor_id: int) -> Actor | None:
        """Return an actor by id, None if there is none."""
        return self.by_id.get(actor_id)

    def add(self, actor: Actor) -> None:
        """Append an actor, whose id must be the highest so far."""
        row = len(self.order)
        if row == self._room:
            self._grow()
        self.by_id[actor.id] = actor
        self.order.append(actor)
        self.index[actor.id] = row
        self._rows[row] = np.zeros((), wire.ROW)
        self._rows[row]["id"] = actor.id
        self._rows[row]["state"] = wire.STATE_ACTIVE
        self._rows[row]["motion"] = actor.motion
        self._extents[row] = actor.extent
        self._reach[row] = np.hypot(*self._extents[row, :2])
        self._centre_z[row] = actor.box_centre[2]
        self._solid[row] = actor.kind in (VEHICLE, WALKER, PROP) and actor.collisions
        self._trim(row + 1)

    def remove(self, actor_ids: set[int]) -> None:
        """Take actors away; unknown ids are ignored."""
        keep = np.array([actor.id not in actor_ids for actor in self.order], bool)
        count = int(keep.sum())
        if count == len(self.order):
            return
        for store in (self._rows, self._extents, self._reach, self._centre_z, self._solid):
            store[:count] = store[: len(self.order)][keep]
        self.order = [actor for actor in self.order if actor.id not in actor_ids]
        self.by_id = {actor.id: actor for actor in self.order}
        self.index = {actor.id: row for row, actor in enumerate(self.order)}
        self._trim(count)

    def write(self, actor: Actor) -> None:
        """Copy an actor's motion into its row."""
        self.rows["motion"][self.index[actor.id]] = actor.motion

    def refresh(self, actor: Actor) -> None:
        """Copy the row of an actor that SUMO drives into its motion; everybody else's motion leads its row."""
        if actor.sumo:
            actor.motion = self.rows["motion"][self.index[actor.id]].tolist()

    def set_solid(self, actor: Actor, solid: bool) -> None:
        """Let an actor take part in collisions, or not."""
        actor.collisions = solid
        self._solid[self.index[actor.id]] = solid

    def _grow(self) -> None:
        self._room = max(64, 2 * self._room)
        for name in ("_rows", "_extents", "_reach", "_centre_z", "_solid"):
            old = getattr(self, name)
            new = np.zeros((self._room, *old.shape[1:]), old.dtype)
            new[: len(self.order)] = old[: len(self.order)]
            setattr(self, name, new)

    def _trim(self, count: int) -> None:
        self.rows, self.extents = self._rows[:count], self._extents[:count]
        self.vehicles = self.rows.view(wire.VEHICLE_ROW)
        self.centre_z, self.solid = self._centre_z[:count], self._solid[:count]
        self.reach = self._reach[:count]
        self.version += 1


DEFAULT_WEATHER = [-1.0, 0.0, 0.0, -1.0, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.03, 0.0]


@dataclasses.dataclass
class WorldState:
    """All that changes while the server runs, but for SUMO's inside and open connections.

    Attributes:
        episode: number of the loaded map, grows with every load.
        frame: number of the last tick, never goes back.
        elapsed: simulated seconds since the episode began.
        next_id: id of the next actor.
        settings: the client's settings.
        weather: the client's 14 numbers; cameras see them, nobody slips.
        actors: all actors.
        spectator: id of the spectator.
        driven: ids of the actors that the server's own dynamics move.
        props: ids of the static props.
        sensors: sensors by the actor they sit on.
        sensor_memory: what changes about each sensor.
        watched_since: ``elapsed`` when the first of the present sensors was spawned; clouds, rain and blinkers keep its
            time, so that a picture does not depend on what the server did before.
        watched_from: its id; clothes are drawn by the distance of an actor's id from it, likewise.

    """

    episode: int = 1
    frame: int = 1
    elapsed: float = 0.0
    next_id: int = 1
    settings: Settings = dataclasses.field(default_factory=Settings)
    weather: list[float] = dataclasses.field(default_factory=lambda: list(DEFAULT_WEATHER))
    actors: ActorTable = dataclasses.field(default_factory=ActorTable)
    spectator: int = 0
    driven: list[int] = dataclasses.field(default_factory=list)
    props: list[int] = dataclasses.field(default_factory=list)
    sensors: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    sensor_memory: dict[int, SensorMemory] = dataclasses.field(default_factory=dict)
    watched_since: float = 0.0
    watched_from: int = 0

    @property
    def watched(self) -> float:
        """Simulated seconds since ``watched_since``, free of what rounding adds up to."""
        return round(self.elapsed - self.watched_since, 4)

    def new_id(self) -> int:
        """Return a number no actor of this episode had before."""
        number = self.next_id
        self.next_id += 1
        return number
