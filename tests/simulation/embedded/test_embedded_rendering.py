"""The renderer's parts without a server: rotations, meshes, the z-buffer, the ground, the light."""

import math

import carla
import numpy as np
import pytest

from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.embedded.blueprints import BlueprintLibrary
from craft_lightning.simulation.embedded.geometry import angles, compose, rotation, rotations
from craft_lightning.simulation.embedded.rendering import materials, raster
from craft_lightning.simulation.embedded.rendering.ground import HEIGHT_CELL, Ground
from craft_lightning.simulation.embedded.rendering.scene import MeshStore
from craft_lightning.simulation.embedded.rendering.weather import light_of
from craft_lightning.simulation.embedded.state import DEFAULT_WEATHER
from craft_lightning.simulation.embedded.town import TownAssets

CLEAR = [0.0, 0.0, 0.0, 0.0, 0.0, 60.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.03, 0.03, 0.0]


def transform(pose):
    return carla.Transform(carla.Location(*pose[:3]), carla.Rotation(*pose[3:]))


@pytest.mark.parametrize("above", [(3.0, -2.0, 1.0, 0.0, 40.0, 0.0), (3.0, -2.0, 1.0, 20.0, -130.0, 15.0)])
def test_poses_compose_as_the_clients_transforms_do(above):
    mount = (1.5, -0.4, 1.7, -15.0, 100.0, 5.0)
    made = compose(above, mount)
    place = transform(above).transform(carla.Location(*mount[:3]))
    assert made[:3] == pytest.approx([place.x, place.y, place.z], abs=1e-5)
    for tip in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        inside = transform((0, 0, 0, *mount[3:])).transform(carla.Location(*tip))
        want = transform((0, 0, 0, *above[3:])).transform(inside)
        got = transform((0, 0, 0, *made[3:])).transform(carla.Location(*tip))
        assert (got.x, got.y, got.z) == pytest.approx((want.x, want.y, want.z), abs=1e-5)


def test_rotations_and_angles_are_inverse():
    given = np.array([[10.0, 200.0, -5.0], [-80.0, -30.0, 60.0], [0.0, 90.0, 0.0]])
    for row, axes in zip(given, rotations(given), strict=True):
        assert axes == pytest.approx(rotation(*row))
        assert rotation(*angles(axes)) == pytest.approx(axes)
    assert rotation(*angles(rotation(90.0, 35.0, 10.0))) == pytest.approx(rotation(90.0, 35.0, 10.0), abs=1e-6)


def test_every_blueprint_has_a_closed_mesh_of_its_own_size():
    library = BlueprintLibrary()
    store = MeshStore(library)
    names = [name for _, name, *_ in library.definitions if name.startswith(("vehicle.", "walker.", "static."))]
    assert len(names) > 60
    for name in names:
        box, extent = store.box(store.number(name)), library.get(name).extent
        size = box[3:] - box[:3]
        assert (size > 0.5 * 2.0 * np.array(extent) - 0.3).all(), name
        assert (size < 2.0 * np.array(extent) + 1.0).all(), name
    assert np.linalg.norm(store.normals, axis=1) == pytest.approx(np.ones(len(store.normals)))
    assert store.parts.max() < materials.PARTS
    # All pedestrians of one height share a mesh.
    assert store.number("walker.pedestrian.0001") == store.number("walker.pedestrian.0002")


def draw(
    poses, camera_pose=(0, 0, 1.0, 0, 0, 0), name="static.prop.vendingmachine", size=(80, 60), sun=(0.0, 0.0, 1.0)
):
    """Inverse depth, faces in sight and their table for boxes seen by a camera of 90 degrees."""
    store = MeshStore(BlueprintLibrary())
    number, count = store.number(name), len(poses)
    poses = np.array(poses, float)
    inverse = np.zeros(size[::-1], np.float32)
    face_of = np.full(size[::-1], -1, np.int32)
    faces = np.zeros((500, raster.FACE_COLUMNS), np.float32)
    used = raster.draw_solids(
        store.corners,
        store.normals,
        store.parts,
        store.tags,
        store.start,
        np.full(count, number),
        poses[:, :3] - np.array(camera_pose[:3], float),
        rotations(poses[:, 3:]),
        np.tile(materials.PAINTS, (count, 1, 1)),
        np.arange(100, 100 + count),
        np.ascontiguousarray(rotation(*camera_pose[3:]).T),
        np.array(sun),
        0.5 * size[0],
        inverse,
        face_of,
        faces,
    )
    return inverse, face_of, faces[:used]


def test_a_box_has_the_depth_size_and_owner_that_geometry_says():
    inverse, face_of, faces = draw([(10.0, 0.0, 0.0, 0.0, 0.0, 0.0)])
    seen = face_of >= 0
    assert 1.0 / inverse[seen].max() == pytest.approx(9.5, abs=0.02)  # half a metre deep
    rows, columns = np.nonzero(seen)
    # 1.24 m wide and 2.16 m high, 9.5 m away, focal length 40 pixels.
    assert columns.max() - columns.min() + 1 == pytest.approx(40 * 1.24 / 9.5, abs=1.0)
    assert rows.max() - rows.min() + 1 == pytest.approx(40 * 2.16 / 9.5, abs=1.5)
    assert set(faces[:, raster.OWNER]) == {100.0}
    assert set(faces[:, raster.TAG]) == {float(materials.TAG_STATIC)}


def test_the_nearer_of_two_hides_the_farther():
    inverse, face_of, faces = draw([(10.0, 0.0, 0.0, 0.0, 0.0, 0.0), (6.0, 0.3, 0.0, 0.0, 30.0, 0.0)])
    middle = face_of[30, 40]
    assert faces[middle, raster.OWNER] == 101.0
    swapped, _, _ = draw([(6.0, 0.3, 0.0, 0.0, 30.0, 0.0), (10.0, 0.0, 0.0, 0.0, 0.0, 0.0)])
    assert swapped == pytest.approx(inverse)


def test_what_is_behind_is_not_drawn_and_what_reaches_past_the_camera_is_cut():
    _, face_of, _ = draw([(-10.0, 0.0, 0.0, 0.0, 0.0, 0.0)])
    assert (face_of < 0).all()
    # A long bus beside the camera: its near part lies behind.
    inverse, face_of, _ = draw([(2.0, 2.0, 0.0, 0.0, 0.0, 0.0)], name="vehicle.mitsubishi.fusorosa")
    columns = np.nonzero((face_of >= 0).any(0))[0]
    assert columns.max() == 79
    assert columns.min() > 40
    assert np.isfinite(inverse).all()


def test_shadows_fall_away_from_the_sun():
    mask = np.zeros((60, 80), np.uint8)
    camera = np.ascontiguousarray(rotation(-90.0, 0.0, 0.0).T)  # looks straight down from 20 m; up is forward
    low_sun = np.array([0.5, 0.0, 0.5]) / math.hypot(0.5, 0.5)
    box = np.array([[-0.5, -0.5, 0.0, 0.5, 0.5, 2.0]])
    raster.draw_shadows(
        box, np.array([[0.0, 0.0, -20.0]]), rotations(np.zeros((1, 3))), np.array([-20.0]), camera, low_sun, 40.0, mask
    )
    rows = np.nonzero((mask & 1).any(1))[0]
    # Two metres high, sun at 45 degrees: two metres of shadow backwards, which is down in this picture.
    assert rows.max() - 30 == pytest.approx(40 * 2.5 / 20.0, abs=1.5)
    assert 30 - rows.min() == pytest.approx(40 * 0.5 / 20.0, abs=1.5)
    assert (mask == 3).sum() == pytest.approx((40 / 20.0) ** 2, abs=3)


@pytest.fixture(scope="module")
def craftside():
    return TownAssets(load_town("craftside"))


def test_the_ground_has_roads_lines_and_crossings_where_the_town_has_them(craftside):
    ground, network = Ground.from_town(craftside), craftside.network
    origin, texel = ground.frame[:2], ground.frame[2]
    rows, columns = ground.material.shape
    start, level_rows, level_columns = ground.levels[0]
    assert (level_rows, level_columns) == (rows, columns)
    cover = ground.paint[start : start + rows * columns].reshape(rows, columns)

    def at(layer, x, y):
        place = np.round((np.stack([x, y], -1) - origin) / texel).astype(int)
        return layer[place[..., 1], place[..., 0]]

    driving = np.repeat(network.lane_kind == 1, np.diff(network.lane_start))
    assert (at(ground.material, network.x[driving], -network.y[driving]) == materials.ROAD).mean() > 0.99
    solid = np.repeat(~network.marking_broken, np.diff(network.marking_start))
    marks = network.marking_xy[solid]
    assert (at(cover, marks[:, 0], -marks[:, 1]) > 60).mean() > 0.95
    lines = network.line_xy.reshape(-1, 2, 2).mean(1)
    assert (at(cover, lines[:, 0], -lines[:, 1]) > 100).mean() > 0.95
    assert at(ground.material, np.array(origin[0] + 1.0), np.array(origin[1] + 1.0)) == materials.TERRAIN
    # Each level has about a quarter of the texels, and no more paint than the one before.
    sizes = ground.levels[:, 1] * ground.levels[:, 2]
    assert (sizes[1:] * 3 < sizes[:-1]).all()
    again = Ground.from_town(craftside)
    assert (again.material == ground.material).all()


def test_a_hilly_town_has_heights(shared_data):
    town = TownAssets(load_town(str(shared_data / "maps" / "Town07.xodr")))
    ground = Ground.from_town(town)
    assert ground.heights.shape[0] > 100
    assert 0.02 < ground.frame[4] < 3.0
    network = town.network
    driving = np.flatnonzero(np.repeat(network.lane_kind == 1, np.diff(network.lane_start)))[::50]
    cells = np.round((np.stack([network.x[driving], -network.y[driving]], -1) - ground.frame[:2]) / HEIGHT_CELL).astype(
        int
    )
    apart = ground.heights[cells[:, 1], cells[:, 0]] - network.z[driving]
    assert np.median(np.abs(apart)) < 0.3


def light(**changes):
    names = ("cloudiness", "precipitation", "deposits", "wind", "azimuth", "altitude", "fog", "start", "falloff", "wet")
    numbers = list(CLEAR)
    for name, value in changes.items():
        numbers[names.index(name)] = value
    return light_of(numbers)


def test_light_follows_the_weather():
    noon = light()
    assert light(altitude=-40.0).vector[3:6].mean() < 0.5 * noon.vector[3:6].mean()
    assert light(altitude=-40.0).night == 1.0
    assert noon.night == 0.0
    assert light(cloudiness=100.0).vector[6:9].mean() < 0.3 * noon.vector[6:9].mean()
    thin, thick = light(fog=20.0).fog, light(fog=80.0).fog
    assert (thick[20:] < thin[20:]).all()
    assert (np.diff(thin) <= 0.0).all()
    assert light(fog=80.0, start=30.0).fog[40] > 0.9  # 20 m away, fog begins at 30 m
    assert light(precipitation=60.0).rain == pytest.approx(0.6)
    assert light(wet=70.0).vector[18] == pytest.approx(0.7)
    low = light(altitude=4.0).vector
    assert low[6] > 1.3 * low[8]  # a low sun is red
    assert light(azimuth=90.0).vector[1] > 0.4  # it stands on the right
    assert np.isfinite(noon.vector).all()


def test_the_maps_own_weather_is_daylight():
    assert light_of(DEFAULT_WEATHER).night == 0.0
    assert light_of(DEFAULT_WEATHER).vector[2] > 0.5
