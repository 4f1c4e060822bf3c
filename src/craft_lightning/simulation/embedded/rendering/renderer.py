"""One picture of the world from one place: colours, depth, semantic tags and owners, for whichever sensor asks."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.simulation.embedded.geometry import rotation
from craft_lightning.simulation.embedded.rendering import labels, raster, rays, shading
from craft_lightning.simulation.embedded.rendering.ground import Ground
from craft_lightning.simulation.embedded.rendering.light_vector import LAMP
from craft_lightning.simulation.embedded.rendering.materials import GROUND_COLOURS, GROUND_TAGS
from craft_lightning.simulation.embedded.rendering.scene import Moment, SceneReader, headlamps
from craft_lightning.simulation.embedded.rendering.weather import Light, light_of

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.world import World

REACH = 220.0  # m; solids beyond it are not drawn
SHADOW_REACH = 80.0  # m
MOST_FACES = 40_000
DROPS = 900  # streaks of the heaviest rain
Surface = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What kernels know of the ground: material, paint, levels, heights, and texel, cell and slope."""
_WIND_DRIFT = 0.01  # tiles of noise a second that clouds move


@dataclasses.dataclass(frozen=True)
class Optics:
    """Width and height in pixels, horizontal field of view in degrees."""

    width: int
    height: int
    fov: float

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return 0.5 * self.width / math.tan(math.radians(0.5 * self.fov))


class Picture:
    """What one camera sees; the arrays are used again two frames later.

    The solids are always there; ``Renderer.coloured`` fills in the colours and ``Renderer.labelled`` the labels.

    Attributes:
        inverse: [H, W] float32, one over the metres along the camera's axis to the nearest solid; 0 for none.
        face_of: [H, W] int32 row of ``faces``, -1 for none.
        faces: [N, FACE_COLUMNS] float32, see ``raster``.
        colours: [H, W, 4] uint8 blue, green, red, opacity.
        depth: [H, W] float32 metres along the camera's axis; infinite for the sky.
        tags: [H, W] uint8 semantic tags of CARLA.
        owners: [H, W] int32 actors, 0 for ground and sky.
        done: which of colours and labels are there.

    """

    def __init__(self, optics: Optics) -> None:
        shape = (optics.height, optics.width)
        self.inverse = np.empty(shape, np.float32)
        self.face_of = np.empty(shape, np.int32)
        self.shadow = np.empty(shape, np.uint8)
        self.faces = np.empty((MOST_FACES, raster.FACE_COLUMNS), np.float32)
        self.colours = np.empty((*shape, 4), np.uint8)
        self.depth = np.empty(shape, np.float32)
        self.tags = np.empty(shape, np.uint8)
        self.owners = np.empty(shape, np.int32)
        self.done: set[str] = set()


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """What rays hit.

    Attributes:
        distance: [N] metres, infinite for what hits nothing.
        cosine: [N] float32 between the ray and the surface's normal, 0 to 1.
        owner: [N] int64 actor, 0 for the ground.
        tag: [N] uint8 semantic tag.

    """

    distance: np.ndarray
    cosine: np.ndarray
    owner: np.ndarray
    tag: np.ndarray


class Renderer:
    """Draws one town.

    Args:
        world: the world; a renderer lives as long as its episode.

    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.ground = Ground.from_town(world.town)
        self.scene = SceneReader(world)
        # A tile of smooth noise: asphalt, grass, clouds and stars are made of it.
        self._noise = np.random.default_rng(5).integers(0, 256, (shading.NOISE, shading.NOISE), np.uint8)
        self._frame = -1
        self._pictures: dict[tuple[tuple[float, ...], Optics, int], Picture] = {}
        self._spare: dict[Optics, list[Picture]] = {}
        self._weather: tuple[float, ...] = ()
        self._light: Light

    def coloured(self, pose: Sequence[float], optics: Optics, viewer: int = 0) -> Picture:
        """Return what is seen from a place now, with colours; see ``labelled``."""
        picture = self._picture(pose, optics, viewer)
        if "colours" not in picture.done:
            self._colour(picture, pose, optics, viewer)
            picture.done.add("colours")
        return picture

    def labelled(self, pose: Sequence[float], optics: Optics, viewer: int = 0) -> Picture:
        """Return what is seen from a place now, with depth, tags and owners.

        Sensors that look from one place the same way share a picture.

        Args:
            pose: x, y, z [m], pitch, yaw, roll [deg], CARLA's frame.
            optics: of the camera.
            viewer: actor that the camera sits on, whose headlamps light the road at night; 0 for none.

        """
        picture = self._picture(pose, optics, viewer)
        if "labels" not in picture.done:
            labels.label(
                picture.inverse,
                picture.face_of,
                picture.faces,
                *self._look(pose, optics),
                *self.surface(),
                GROUND_TAGS,
                picture.depth,
                picture.tags,
                picture.owners,
            )
            picture.done.add("labels")
        return picture

    def cast(
        self,
        place: Sequence[float],
        directions: np.ndarray,
        limit: float,
        counts: Callable[[int], bool] | None = None,
    ) -> Hits:
        """Follow rays from a place to what they hit now.

        Args:
            place: x, y, z [m], CARLA's frame.
            directions: [N, 3] unit vectors in the world's axes.
            limit: metres after which a ray ends.
            counts: whether rays stop at an actor; where it is given, they pass through the ground.

        """
        moment, store, count = self.moment(), self.scene.store, len(directions)
        apart = moment.poses[:, :3] - np.array(place[:3], np.float64)
        near = np.flatnonzero(np.square(apart).sum(1) < np.square(limit + moment.radius))
        if counts is not None:
            near = np.array([row for row in near.tolist() if counts(int(moment.owners[row]))], np.int64)
        hits = Hits(np.empty(count), np.empty(count, np.float32), np.empty(count, np.int64), np.empty(count, np.uint8))
        rays.cast(
            np.ascontiguousarray(directions, np.float64),
            float(limit),
            counts is None,
            store.corners,
            store.normals,
            store.tags,
            store.start,
            moment.meshes[near],
            apart[near],
            moment.turns[near],
            moment.owners[near],
            moment.boxes[near],
            moment.radius[near],
            self.eye(place),
            *self.surface(),
            GROUND_TAGS,
            hits.distance,
            hits.cosine,
            hits.owner,
            hits.tag,
        )
        return hits

    def _picture(self, pose: Sequence[float], optics: Optics, viewer: int) -> Picture:
        """Return a picture of this frame with the solids drawn."""
        frame = self.world.state.frame
        if frame != self._frame:
            for (_, kind, _), old in self._pictures.items():
                self._spare.setdefault(kind, []).append(old)
            self._pictures.clear()
            self._frame = frame
        key = (tuple(pose), optics, viewer)
        found = self._pictures.get(key)
        if found is None:
            spare = self._spare.get(optics)
            found = self._pictures[key] = spare.pop() if spare else Picture(optics)
            self._draw(found, pose, optics)
        return found

    def surface(self) -> Surface:
        """Return what kernels know of the ground: material, paint, levels, heights and frame."""
        ground = self.ground
        return ground.material, ground.paint, ground.levels, ground.heights, ground.frame[2:].astype(np.float32)

    def eye(self, place: Sequence[float]) -> np.ndarray:
        """Return [3] float32 a place relative to the middle of the ground's texel [0, 0]."""
        origin = self.ground.frame[:2]
        return np.array([place[0] - origin[0], place[1] - origin[1], place[2]], np.float32)

    def moment(self) -> Moment:
        """Return what stands in the world now."""
        return self.scene.read(self._light_now().night > 0.5)

    def _look(self, pose: Sequence[float], optics: Optics) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return the camera's axes, its place over the ground and the width of a pixel, of single precision."""
        axes = np.ascontiguousarray(rotation(*pose[3:6]).T).astype(np.float32)
        return axes, self.eye(pose), np.float32(1.0 / optics.focal)

    def _draw(self, picture: Picture, pose: Sequence[float], optics: Optics) -> None:
        moment = self.moment()
        camera = np.ascontiguousarray(rotation(*pose[3:6]).T)
        apart = moment.poses[:, :3] - np.array(pose[:3], np.float64)
        near = _in_sight(apart, moment.radius, camera, optics)
        picture.done.clear()
        picture.inverse.fill(0.0)
        picture.face_of.fill(-1)
        store = self.scene.store
        raster.draw_solids(
            store.corners,
            store.normals,
            store.parts,
            store.tags,
            store.start,
            moment.meshes[near],
            apart[near],
            moment.turns[near],
            moment.paints[near],
            moment.owners[near],
            camera,
            self._light.sun,
            optics.focal,
            picture.inverse,
            picture.face_of,
            picture.faces,
        )

    def _colour(self, picture: Picture, pose: Sequence[float], optics: Optics, viewer: int) -> None:
        light, moment = self._light_now(), self.moment()
        camera = np.ascontiguousarray(rotation(*pose[3:6]).T)
        picture.shadow.fill(0)
        self._shadows(picture, moment, moment.poses[:, :3] - np.array(pose[:3], np.float64), camera, light, optics)
        vector = light.vector.copy()
        x, y, along_x, along_y, vector[LAMP] = headlamps(self.world, viewer, light.night)
        origin = self.ground.frame[:2]
        shading.shade(
            picture.inverse,
            picture.face_of,
            picture.faces,
            picture.shadow,
            *self._look(pose, optics),
            *self.surface(),
            self._noise,
            vector,
            light.fog,
            np.array([x - origin[0], y - origin[1], along_x, along_y], np.float32),
            GROUND_COLOURS,
            picture.colours,
        )
        if light.rain > 0.0:
            self._rain(picture, light)

    def _shadows(
        self, picture: Picture, moment: Moment, apart: np.ndarray, camera: np.ndarray, light: Light, optics: Optics
    ) -> None:
        ground = self.world.town.ground_many(moment.poses[:, :2])
        # What is parked under the road throws no shadow on it.
        throws = moment.throws & (moment.poses[:, 2] > ground - 1.0)
        throws &= _in_sight(apart, moment.radius + 12.0, camera, optics) & (np.square(apart).sum(1) < SHADOW_REACH**2)
        if not throws.any():
            return
        eye_height = moment.poses[throws, 2] - apart[throws, 2]
        raster.draw_shadows(
            moment.boxes[throws],
            apart[throws],
            moment.turns[throws],
            ground[throws] - eye_height,
            camera,
            light.sun if light.shadows else np.array([0.0, 0.0, 1.0]),
            optics.focal,
            picture.shadow,
        )

    def _light_now(self) -> Light:
        weather = tuple(self.world.state.weather)
        moving = weather[0] > 0.0
        if weather != self._weather or moving:
            self._light = light_of(weather, _WIND_DRIFT * self.world.state.watched if moving else 0.0)
            self._weather = weather
        return self._light

    def _rain(self, picture: Picture, light: Light) -> None:
        # New drops with every frame, the same ones whenever the frame's time is the same.
        random = np.random.default_rng([round(1000.0 * self.world.state.watched), 3])
        drops = random.random((round(DROPS * light.rain), 4), np.float32)
        drops[:, 2] = 0.03 + 0.05 * drops[:, 2] ** 2
        drops[:, 3] = 0.10 * (drops[:, 3] - 0.3)
        shading.rain(picture.colours, drops, 0.22, 60.0 + 130.0 * float(light.vector[3:6].mean()))


def _in_sight(apart: np.ndarray, radius: np.ndarray, camera: np.ndarray, optics: Optics) -> np.ndarray:
    """Return [I] whether a ball around each instance reaches into the frustum."""
    seen = apart @ camera.T
    ahead = seen[:, 0]
    wide = 0.5 * optics.width / optics.focal
    high = 0.5 * optics.height / optics.focal
    return (
        (ahead > -radius)
        & (ahead < REACH)
        & (np.abs(seen[:, 1]) < np.maximum(ahead, 0.0) * wide + radius * math.hypot(1.0, wide))
        & (np.abs(seen[:, 2]) < np.maximum(ahead, 0.0) * high + radius * math.hypot(1.0, high))
    )
