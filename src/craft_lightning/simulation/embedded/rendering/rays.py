"""Machine code that follows rays to what they hit first: solids by their faces, or the ground."""

# Types are numba's here; to a type checker numpy's scalars and Python's numbers do not mix.
# mypy: disable-error-code="operator,assignment,call-overload,return-value,arg-type"
import math

import numpy as np
from numba import njit

from craft_lightning.simulation.embedded.rendering.labels import tag_ground
from craft_lightning.simulation.embedded.rendering.shading import ground_height, march

_F = np.float32
SECTORS = 512  # of the full circle around the sensor, in each of which the instances are listed


@njit(nogil=True, cache=True, error_model="numpy")
def _sectors(places: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the instances of each sector: [SECTORS + 1] offsets into the flat list of instances.

    A ray stays in the half-plane of its azimuth, so a ball is met only by rays whose azimuth meets its disc.
    """
    count = len(places)
    first = np.zeros(count, np.int64)
    wide = np.zeros(count, np.int64)
    start = np.zeros(SECTORS + 1, np.int64)
    per_turn = SECTORS / (2.0 * math.pi)
    for index in range(count):
        x, y = places[index, 0], places[index, 1]
        away = math.hypot(x, y)
        if away <= radius[index]:
            first[index], wide[index] = 0, SECTORS
        else:
            half = math.asin(radius[index] / away)
            middle = math.atan2(y, x) + math.pi
            low = math.floor((middle - half) * per_turn)
            first[index] = low
            wide[index] = min(math.floor((middle + half) * per_turn) - low + 1, SECTORS)
        for step in range(wide[index]):
            start[(first[index] + step) % SECTORS + 1] += 1
    for sector in range(SECTORS):
        start[sector + 1] += start[sector]
    listed = np.empty(start[SECTORS], np.int64)
    used = start[:-1].copy()
    for index in range(count):
        for step in range(wide[index]):
            sector = (first[index] + step) % SECTORS
            listed[used[sector]] = index
            used[sector] += 1
    return start, listed


@njit(nogil=True, cache=True, error_model="numpy")
def _meets_box(box: np.ndarray, o: np.ndarray, d: np.ndarray, best: float) -> bool:
    """Tell whether a ray enters an upright box before ``best``."""
    low, high = 0.0, best
    for axis in range(3):
        if abs(d[axis]) < 1e-12:
            if o[axis] < box[axis] or o[axis] > box[3 + axis]:
                return False
            continue
        one, two = (box[axis] - o[axis]) / d[axis], (box[3 + axis] - o[axis]) / d[axis]
        low, high = max(low, min(one, two)), min(high, max(one, two))
    return low <= high


@njit(nogil=True, cache=True, error_model="numpy")
def _inside(face: np.ndarray, normal: np.ndarray, x: float, y: float, z: float) -> bool:
    """Tell whether a place on the plane of a convex face [4, 3] lies on it; corners may run either way round."""
    sign = 0.0
    for index in range(4):
        after = index + 1 if index < 3 else 0
        ax, ay, az = face[after, 0] - face[index, 0], face[after, 1] - face[index, 1], face[after, 2] - face[index, 2]
        bx, by, bz = x - face[index, 0], y - face[index, 1], z - face[index, 2]
        turn = normal[0] * (ay * bz - az * by) + normal[1] * (az * bx - ax * bz) + normal[2] * (ax * by - ay * bx)
        if abs(turn) < 1e-9:
            continue
        if sign * turn < 0.0:
            return False
        sign = turn
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def cast(
    directions: np.ndarray,
    limit: float,
    ground: bool,
    corners: np.ndarray,
    normals: np.ndarray,
    tags: np.ndarray,
    mesh_start: np.ndarray,
    meshes: np.ndarray,
    places: np.ndarray,
    turns: np.ndarray,
    owners: np.ndarray,
    boxes: np.ndarray,
    radius: np.ndarray,
    eye: np.ndarray,
    material: np.ndarray,
    paint: np.ndarray,
    levels: np.ndarray,
    heights: np.ndarray,
    frame: np.ndarray,
    ground_tags: np.ndarray,
    distance: np.ndarray,
    cosine: np.ndarray,
    owner: np.ndarray,
    tag: np.ndarray,
) -> None:
    """Follow rays from one place.

    Args:
        directions: [N, 3] unit vectors in the world's axes.
        limit: metres after which a ray ends.
        ground: whether rays end at the ground.
        corners: [F, 4, 3] as in ``raster.draw_solids``; so are ``normals``, ``tags``, ``mesh_start``, ``meshes``,
            ``turns`` and ``owners``.
        normals: [F, 3].
        tags: [F].
        mesh_start: [M + 1].
        meshes: [I].
        places: [I, 3] origin of each instance relative to the rays' origin, in the world's axes [m].
        turns: [I, 3, 3].
        owners: [I].
        boxes: [I, 6] lowest and highest corner of each instance in its own frame [m].
        radius: [I] farthest corner from the instance's origin [m].
        eye: [3] float32 the rays' origin relative to the middle of the ground's texel [0, 0].
        material: [R, C] as in ``shading.shade``; so are ``paint``, ``levels``, ``heights`` and ``frame``.
        paint: flat.
        levels: [K, 3].
        heights: [r, c].
        frame: [3].
        ground_tags: [5].
        distance: [N] float64 metres, infinite for what hits nothing; out.
        cosine: [N] float32 between the ray and the surface's normal; out.
        owner: [N] int64 actor that was hit, 0 for the ground; out.
        tag: [N] uint8 semantic tag of what was hit; out.

    """
    start, listed = _sectors(places, radius)
    per_turn = SECTORS / (2.0 * math.pi)
    count = len(places)
    origins = np.empty((count, 3))
    for index in range(count):
        for axis in range(3):
            origins[index, axis] = -(
                turns[index, 0, axis] * places[index, 0]
                + turns[index, 1, axis] * places[index, 1]
                + turns[index, 2, axis] * places[index, 2]
            )
    d = np.empty(3)
    flat = heights.shape[0] < 2
    base = heights[0, 0] if flat else ground_height(heights, frame[1], eye[0], eye[1])
    rise = np.float64(eye[2]) - np.float64(base)
    count = len(directions)
    xs, ys, grounded = np.empty(count, np.float32), np.empty(count, np.float32), np.zeros(count, np.bool_)
    for ray in range(len(directions)):
        dx, dy, dz = directions[ray]
        best, face_hit, hit = limit, -1, -1
        sector = min(max(int((math.atan2(dy, dx) + math.pi) * per_turn), 0), SECTORS - 1)
        for entry in range(start[sector], start[sector + 1]):
            instance = listed[entry]
            turn, o = turns[instance], origins[instance]
            for axis in range(3):
                d[axis] = turn[0, axis] * dx + turn[1, axis] * dy + turn[2, axis] * dz
            if not _meets_box(boxes[instance], o, d, best):
                continue
            for face in range(mesh_start[meshes[instance]], mesh_start[meshes[instance] + 1]):
                nx, ny, nz = normals[face, 0], normals[face, 1], normals[face, 2]
                toward = nx * d[0] + ny * d[1] + nz * d[2]
                if toward > -1e-12:
                    continue
                over = (
                    nx * (corners[face, 0, 0] - o[0])
                    + ny * (corners[face, 0, 1] - o[1])
                    + nz * (corners[face, 0, 2] - o[2])
                )
                t = over / toward
                if t <= 0.0 or t >= best:
                    continue
                if _inside(corners[face], normals[face], o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]):
                    best, face_hit, hit = t, face, instance
                    cosine[ray] = -toward
        t = np.inf
        steep = -dz
        if not ground:
            pass
        elif flat:
            if dz < -1e-9 and rise > 0.0:
                t = -rise / dz
        elif dz < frame[2]:
            near = march(heights, frame[1], frame[2], eye[0], eye[1], eye[2], _F(dx), _F(dy), _F(dz))
            if near > 0.0:
                t = 1.0 / near
                # The slope is that of the ground between places a metre apart.
                x, y = eye[0] + _F(t * dx), eye[1] + _F(t * dy)
                here = ground_height(heights, frame[1], x, y)
                sx = ground_height(heights, frame[1], x + _F(1.0), y) - here
                sy = ground_height(heights, frame[1], x, y + _F(1.0)) - here
                steep = max((sx * dx + sy * dy - dz) / math.sqrt(1.0 + sx * sx + sy * sy), 0.0)
        if t < best:
            distance[ray], cosine[ray], owner[ray] = t, steep, 0
            grounded[ray] = True
            xs[ray], ys[ray] = eye[0] + _F(t * dx), eye[1] + _F(t * dy)
        elif hit >= 0:
            distance[ray], owner[ray], tag[ray] = best, owners[hit], tags[face_hit]
        else:
            distance[ray], cosine[ray], owner[ray], tag[ray] = np.inf, 0.0, 0, 0
    tag_ground(material, paint, levels, frame[0], ground_tags, xs, ys, grounded, tag)
