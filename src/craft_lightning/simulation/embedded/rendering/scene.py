"""The world of one moment as instances of meshes, for the kernels."""

import dataclasses
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.geometry import rotation, rotations
from craft_lightning.simulation.embedded.rendering import materials
from craft_lightning.simulation.embedded.rendering.solids import Mesh
from craft_lightning.simulation.embedded.rendering.street import light_mesh, prop_mesh, sign_mesh, walker_mesh
from craft_lightning.simulation.embedded.rendering.vehicles import vehicle_mesh
from craft_lightning.simulation.embedded.state import LIGHT, PROP, SIGN, VEHICLE, WALKER, Actor

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.blueprints import BlueprintLibrary
    from craft_lightning.simulation.embedded.world import World

_BRAKING = 0.1  # brake pedal that lights the lamps
# carla.VehicleLightState
_POSITION, _LOW_BEAM, _HIGH_BEAM, _BRAKE, _RIGHT, _LEFT = 1, 2, 4, 8, 16, 32
_SPECIAL = 256 | 512
_BEAM, _BRAKE_LAMP, _REAR_LAMP = (1.0, 0.98, 0.90, 1.0), (1.0, 0.09, 0.07, 1.0), (0.62, 0.05, 0.05, 0.6)
_BLINK, _BEACON = (1.0, 0.62, 0.12, 1.0), (0.25, 0.45, 1.0, 1.0)
_LAMPS = {
    wire.RED: (materials.LIT_RED, (1.0, 0.14, 0.10, 1.0)),
    wire.YELLOW: (materials.LIT_YELLOW, (1.0, 0.78, 0.10, 1.0)),
    wire.GREEN: (materials.LIT_GREEN, (0.15, 1.0, 0.45, 1.0)),
}
_UPPERS = (
    (0.72, 0.16, 0.14),
    (0.16, 0.30, 0.62),
    (0.85, 0.82, 0.74),
    (0.15, 0.45, 0.30),
    (0.92, 0.70, 0.20),
    (0.2, 0.2, 0.22),
)
_LOWERS = ((0.16, 0.18, 0.28), (0.12, 0.12, 0.13), (0.42, 0.36, 0.28), (0.30, 0.32, 0.36))
_SKINS = ((0.85, 0.66, 0.53), (0.62, 0.43, 0.31), (0.38, 0.26, 0.19))
_LIGHT = "traffic.traffic_light"


@dataclasses.dataclass
class Moment:
    """What can be drawn now; row i of every array is one instance.

    Attributes:
        meshes: [I] number of the mesh.
        poses: [I, 6] x, y, z [m], pitch, yaw, roll [deg], CARLA's frame.
        turns: [I, 3, 3] axes in the world as columns.
        paints: [I, PARTS, 4] float32.
        owners: [I] actor ids, 0 for what belongs to none.
        boxes: [I, 6] what throws shadows, in the instance's frame [m].
        throws: [I] bool, whether it throws one.
        radius: [I] farthest corner from the origin [m].

    """

    meshes: np.ndarray
    poses: np.ndarray
    turns: np.ndarray
    paints: np.ndarray
    owners: np.ndarray
    boxes: np.ndarray
    throws: np.ndarray
    radius: np.ndarray


class MeshStore:
    """All meshes in flat arrays, made when first asked for.

    Args:
        library: sizes and kinds of the blueprints.

    """

    def __init__(self, library: "BlueprintLibrary") -> None:
        self._library = library
        self._number: dict[str, int] = {}
        self._meshes: list[Mesh] = []
        self.corners = np.zeros((0, 4, 3))
        self.normals = np.zeros((0, 3))
        self.parts = np.zeros(0, np.uint8)
        self.tags = np.zeros(0, np.uint8)
        self.start = np.zeros(1, np.int64)

    def number(self, type_id: str) -> int:
        """Return the number of a blueprint's mesh."""
        key = type_id
        if type_id.startswith("walker."):
            key = f"walker {self._library.get(type_id).extent[2]}"
        found = self._number.get(key)
        if found is None:
            found = self._number[key] = len(self._meshes)
            self._meshes.append(self._make(type_id))
            self._pack()
        return found

    def box(self, number: int) -> np.ndarray:
        """Return [6] the corners of what encloses a mesh."""
        return self._meshes[number].box

    def _make(self, type_id: str) -> Mesh:
        if type_id == _LIGHT:
            return light_mesh()
        if type_id.startswith("traffic."):
            return sign_mesh(type_id)
        blueprint = self._library.get(type_id)
        if type_id.startswith("walker."):
            return walker_mesh(blueprint.extent[2])
        if type_id.startswith("static."):
            return prop_mesh(type_id, blueprint.extent)
        facts = {attribute.name: attribute.value for attribute in blueprint.attributes}
        return vehicle_mesh(blueprint.extent, blueprint.wheelbase, facts["base_type"], facts["special_type"])

    def _pack(self) -> None:
        self.corners = np.concatenate([mesh.corners for mesh in self._meshes])
        self.normals = np.concatenate([mesh.normals for mesh in self._meshes])
        self.parts = np.concatenate([mesh.parts for mesh in self._meshes])
        self.tags = np.concatenate([mesh.tags for mesh in self._meshes])
        self.start = np.concatenate([[0], np.cumsum([len(mesh.tags) for mesh in self._meshes])]).astype(np.int64)


class SceneReader:
    """Turns the world's rows into instances; what does not change with every tick is kept.

    Args:
        world: the world.

    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.store = MeshStore(world.library)
        self._fixed = _light_poses(world)
        self._version = -1
        self._rows = np.zeros(0, np.int64)
        self._actors: list[Actor] = []
        self._vehicles = np.zeros(0, np.int64)
        self._lights: list[tuple[int, int]] = []
        self._shown: dict[int, int] = {}  # what the paint of each light's row shows
        self._frame = -1
        self._moment: Moment

    def read(self, night: bool = False) -> Moment:
        """Return the present moment; asked again within one frame it is the same object.

        Args:
            night: vehicles whose lamps no client has touched drive with lamps on.

        """
        actors, frame = self.world.state.actors, self.world.state.frame
        if self._version != actors.version:
            self._rebuild()
            self._version = actors.version
        elif frame == self._frame:
            return self._moment
        self._frame = frame
        moment, count = self._moment, len(self._rows)
        moment.poses[:count] = actors.rows["motion"][self._rows, :6]
        moment.turns[:count] = rotations(moment.poses[:count, 3:6])
        self._light_vehicles(moment, night)
        self._light_signals(moment)
        return moment

    def _rebuild(self) -> None:
        actors, store = self.world.state.actors, self.store
        bodies = [actor for actor in actors.order if actor.kind in (VEHICLE, WALKER, PROP)]
        self._actors = bodies
        self._rows = np.array([actors.index[actor.id] for actor in bodies], np.int64)
        self._vehicles = np.array([row for row, actor in enumerate(bodies) if actor.kind == VEHICLE], np.int64)
        lights = [actor for actor in actors.order if actor.kind == LIGHT]
        fixed: list[tuple[int, int, np.ndarray]] = []  # mesh, owner, pose
        self._lights, self._shown = [], {}
        for actor in lights:
            for pose in self._fixed[actor.id]:
                self._lights.append((len(bodies) + len(fixed), actor.id))
                fixed.append((store.number(_LIGHT), actor.id, pose))
        for actor in actors.order:
            if actor.kind == SIGN:
                fixed.append((store.number(actor.type_id), actor.id, np.array(actor.pose)))
        meshes = [store.number(actor.type_id) for actor in bodies] + [mesh for mesh, _, _ in fixed]
        poses = np.zeros((len(meshes), 6))
        for row, (_, _, pose) in enumerate(fixed, len(bodies)):
            poses[row] = pose
        boxes = np.array([store.box(mesh) for mesh in meshes]).reshape(-1, 6)
        paints = np.tile(materials.PAINTS, (len(meshes), 1, 1))
        for row, actor in enumerate(bodies):
            _dress(paints[row], actor, self.world.state.watched_from)
        self._moment = Moment(
            meshes=np.array(meshes, np.int64),
            poses=poses,
            turns=rotations(poses[:, 3:6]),
            paints=paints,
            owners=np.array([actor.id for actor in bodies] + [owner for _, owner, _ in fixed], np.int64),
            boxes=boxes,
            throws=np.arange(len(meshes)) < len(bodies),
            radius=np.sqrt(np.square(np.maximum(-boxes[:, :3], boxes[:, 3:])).sum(1)),
        )

    def _light_vehicles(self, moment: Moment, night: bool) -> None:
        """Switch the lamps of vehicles by their pedals, by the bits that clients set, and by the time of day."""
        rows = self._vehicles
        if not len(rows):
            return
        paints, actors = moment.paints, self.world.state.actors
        braking = actors.rows["control"][self._rows[rows], 2] > _BRAKING
        paints[rows, materials.TAIL_LAMP] = np.where(
            braking[:, None], np.array(_BRAKE_LAMP, np.float32), materials.PAINTS[materials.TAIL_LAMP]
        )
        blink = self.world.state.watched % 0.8 < 0.4
        for row in rows.tolist():
            bits, paint = self._actors[row].light_state or (_LOW_BEAM if night else 0), paints[row]
            if not bits and not paint[materials.HEAD_LAMP, 3]:
                continue
            for part in (materials.HEAD_LAMP, materials.BLINK_LEFT, materials.BLINK_RIGHT, materials.BEACON):
                paint[part] = materials.PAINTS[part]
            if bits & (_LOW_BEAM | _HIGH_BEAM):
                paint[materials.HEAD_LAMP] = _BEAM
            if bits & _BRAKE:
                paint[materials.TAIL_LAMP] = _BRAKE_LAMP
            elif bits & (_POSITION | _LOW_BEAM) and not paint[materials.TAIL_LAMP, 3]:
                paint[materials.TAIL_LAMP] = _REAR_LAMP
            if blink:
                if bits & _LEFT:
                    paint[materials.BLINK_LEFT] = _BLINK
                if bits & _RIGHT:
                    paint[materials.BLINK_RIGHT] = _BLINK
                if bits & _SPECIAL:
                    paint[materials.BEACON] = _BEACON

    def _light_signals(self, moment: Moment) -> None:
        """Show what the traffic lights show."""
        lights = self.world.board.lights
        for row, actor_id in self._lights:
            state = lights[actor_id].state
            if self._shown.get(row) == state:
                continue
            self._shown[row] = state
            paint = moment.paints[row]
            paint[materials.LIT_RED : materials.LIT_GREEN + 1] = materials.PAINTS[materials.LIT_RED :]
            lamp = _LAMPS.get(state)
            if lamp is not None:
                paint[lamp[0]] = lamp[1]


def _dress(paint: np.ndarray, actor: Actor, first: int) -> None:
    """Give an actor the colours of its attributes, or of its number counted from ``first`` where it has none."""
    for name, _, text in actor.attributes:
        numbers = text.split(",")
        if name == "color" and len(numbers) == 3 and all(number.strip().isdigit() for number in numbers):
            paint[materials.BODY, :3] = [0.04 + 0.9 * min(int(number), 255) / 255.0 for number in numbers]
    draw = zlib.crc32(f"{actor.type_id} {actor.id - first}".encode())
    paint[materials.UPPER, :3] = _UPPERS[draw % len(_UPPERS)]
    paint[materials.LOWER, :3] = _LOWERS[draw // 7 % len(_LOWERS)]
    paint[materials.SKIN, :3] = _SKINS[draw // 31 % len(_SKINS)]


def _light_poses(world: "World") -> dict[int, list[np.ndarray]]:
    """Return where each light stands, and is repeated: [x, y, z, pitch, yaw, roll] by actor."""
    poses: dict[int, list[np.ndarray]] = {}
    for actor_id, light in world.board.lights.items():
        near = np.array(light.place.pose, float)
        poses[actor_id] = [near]
        if light.place.far_side > 0.0:
            # The pole's y axis points back along the road.
            axes = rotation(*near[3:6].tolist())
            far = near.copy()
            far[:3] -= axes[:, 1] * light.place.far_side
            far[2] = world.town.ground(float(far[0]), float(far[1]))
            poses[actor_id].append(far)
    return poses


def headlamps(world: "World", actor_id: int, night: float) -> tuple[float, float, float, float, float]:
    """Return x, y of a vehicle's headlamps, the direction they shine, and how bright they are (0 where they are off).

    They shine where the client switched them on, and at night, since nobody drives in the dark.
    """
    actor = world.state.actors.get(actor_id)
    if actor is None or actor.kind != VEHICLE:
        return 0.0, 0.0, 1.0, 0.0, 0.0
    on = 1.0 if actor.light_state & (_LOW_BEAM | _HIGH_BEAM) else min(max(2.0 * night - 0.6, 0.0), 1.0)
    x, y, _, _, yaw, _ = world.state.actors.rows["motion"][world.state.actors.index[actor_id], :6].tolist()
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return x + actor.extent[0] * cos, y + actor.extent[0] * sin, cos, sin, 0.55 * on
