"""Machine code that fills a z-buffer with flat quadrilaterals; shading comes afterwards, once a pixel.

Camera frame: x forward, y right, z up, metres; pixel (column u, row v) looks along (1, (u - cu) / f, -(v - cv) / f).
Depth is the distance along x, kept as its inverse, which is linear over a flat face on the screen.
"""

import math

import numpy as np
from numba import njit

# Nearer than this nothing is drawn [m].
NEAR = 0.05
# Columns of a face's row in ``faces``.
RED, GREEN, BLUE, LAMBERT, UP, GLOW, TAG, OWNER = range(8)
FACE_COLUMNS = 8
MAX_CORNERS = 5  # of a quadrilateral that the near plane cut


@njit(nogil=True, cache=True, error_model="numpy")
def _clip(corners: np.ndarray, clipped: np.ndarray) -> int:
    """Cut a convex quadrilateral [4, 3] in the camera frame at the near plane; return the number of corners left."""
    count = 0
    for index in range(4):
        after = (index + 1) % 4
        here, there = corners[index, 0], corners[after, 0]
        if here >= NEAR:
            for axis in range(3):
                clipped[count, axis] = corners[index, axis]
            count += 1
        if (here >= NEAR) != (there >= NEAR):
            part = (NEAR - here) / (there - here)
            for axis in range(3):
                clipped[count, axis] = corners[index, axis] + part * (corners[after, axis] - corners[index, axis])
            count += 1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _project(clipped: np.ndarray, count: int, focal: float, cu: float, cv: float, screen: np.ndarray) -> None:
    for index in range(count):
        scale = focal / clipped[index, 0]
        screen[index, 0] = cu + scale * clipped[index, 1]
        screen[index, 1] = cv - scale * clipped[index, 2]


@njit(nogil=True, cache=True, error_model="numpy")
def _span(screen: np.ndarray, count: int, row: float, width: int) -> tuple[int, int]:
    """Return the first column and the one after the last that a convex outline covers at the middle of a row."""
    low, high = 1e30, -1e30
    for index in range(count):
        after = index + 1 if index + 1 < count else 0
        y0, y1 = screen[index, 1], screen[after, 1]
        if (y0 <= row) != (y1 <= row):
            cross = screen[index, 0] + (row - y0) / (y1 - y0) * (screen[after, 0] - screen[index, 0])
            low, high = min(low, cross), max(high, cross)
    if high < low:
        return 0, 0
    return math.ceil(max(low - 0.5, 0.0)), math.ceil(min(high - 0.5, width))


@njit(nogil=True, cache=True, error_model="numpy")
def draw_solids(
    corners: np.ndarray,
    normals: np.ndarray,
    parts: np.ndarray,
    tags: np.ndarray,
    mesh_start: np.ndarray,
    meshes: np.ndarray,
    places: np.ndarray,
    turns: np.ndarray,
    paints: np.ndarray,
    owners: np.ndarray,
    camera: np.ndarray,
    sun: np.ndarray,
    focal: float,
    inverse: np.ndarray,
    face_of: np.ndarray,
    faces: np.ndarray,
) -> int:
    """Draw instances of meshes into a z-buffer.

    Args:
        corners: [F, 4, 3] corners of all faces of all meshes, in the frame of their mesh [m].
        normals: [F, 3] outward unit normals.
        parts: [F] column of ``paints``.
        tags: [F] semantic tag.
        mesh_start: [M + 1] offsets of the meshes into the faces.
        meshes: [I] mesh of each instance.
        places: [I, 3] origin of each instance relative to the camera, in the world's axes [m].
        turns: [I, 3, 3] columns are the instance's axes in the world.
        paints: [I, P, 4] red, green, blue (0 to 1), glow (0 to 1) of each part of each instance.
        owners: [I] actor of each instance.
        camera: [3, 3] rows are the camera's axes in the world.
        sun: [3] direction to the sun.
        focal: focal length in pixels.
        inverse: [H, W] float32, in and out: inverse depth, 0 where nothing is.
        face_of: [H, W] int32, in and out: row of ``faces``, -1 where nothing is.
        faces: [N, FACE_COLUMNS] float32, out: what the drawn faces look like.

    Returns:
        The number of rows of ``faces`` in use.

    """
    height, width = inverse.shape
    cu, cv = 0.5 * width, 0.5 * height
    seen = np.empty((4, 3))
    clipped = np.empty((MAX_CORNERS + 1, 3))
    screen = np.empty((MAX_CORNERS + 1, 2))
    mixed = np.empty((3, 3))
    used = 0
    for instance in range(len(meshes)):
        ox, oy, oz = places[instance]
        turn = turns[instance]
        for row in range(3):
            for column in range(3):
                mixed[row, column] = (
                    camera[row, 0] * turn[0, column]
                    + camera[row, 1] * turn[1, column]
                    + camera[row, 2] * turn[2, column]
                )
        px = camera[0, 0] * ox + camera[0, 1] * oy + camera[0, 2] * oz
        py = camera[1, 0] * ox + camera[1, 1] * oy + camera[1, 2] * oz
        pz = camera[2, 0] * ox + camera[2, 1] * oy + camera[2, 2] * oz
        # The camera and the sun as the instance sees them.
        ex = -(turn[0, 0] * ox + turn[1, 0] * oy + turn[2, 0] * oz)
        ey = -(turn[0, 1] * ox + turn[1, 1] * oy + turn[2, 1] * oz)
        ez = -(turn[0, 2] * ox + turn[1, 2] * oy + turn[2, 2] * oz)
        sx = turn[0, 0] * sun[0] + turn[1, 0] * sun[1] + turn[2, 0] * sun[2]
        sy = turn[0, 1] * sun[0] + turn[1, 1] * sun[1] + turn[2, 1] * sun[2]
        sz = turn[0, 2] * sun[0] + turn[1, 2] * sun[1] + turn[2, 2] * sun[2]
        for face in range(mesh_start[meshes[instance]], mesh_start[meshes[instance] + 1]):
            nx, ny, nz = normals[face, 0], normals[face, 1], normals[face, 2]
            facing = (ex - corners[face, 0, 0]) * nx + (ey - corners[face, 0, 1]) * ny + (ez - corners[face, 0, 2]) * nz
            if facing <= 0.0:
                continue
            nearest = 1e30
            for index in range(4):
                x, y, z = corners[face, index, 0], corners[face, index, 1], corners[face, index, 2]
                seen[index, 0] = px + mixed[0, 0] * x + mixed[0, 1] * y + mixed[0, 2] * z
                seen[index, 1] = py + mixed[1, 0] * x + mixed[1, 1] * y + mixed[1, 2] * z
                seen[index, 2] = pz + mixed[2, 0] * x + mixed[2, 1] * y + mixed[2, 2] * z
                nearest = min(nearest, seen[index, 0])
            if nearest >= NEAR:
                count = 4
                _project(seen, 4, focal, cu, cv, screen)
            else:
                count = _clip(seen, clipped)
                if count < 3:
                    continue
                _project(clipped, count, focal, cu, cv, screen)
            top, bottom, left, right = 1e30, -1e30, 1e30, -1e30
            for index in range(count):
                left, right = min(left, screen[index, 0]), max(right, screen[index, 0])
                top, bottom = min(top, screen[index, 1]), max(bottom, screen[index, 1])
            if bottom <= 0.0 or top >= height or right <= 0.0 or left >= width or used >= len(faces):
                continue
            # Inverse depth over the screen from the face's plane: n . p = d, p = depth * (1, a, b).
            mx = mixed[0, 0] * nx + mixed[0, 1] * ny + mixed[0, 2] * nz
            my = mixed[1, 0] * nx + mixed[1, 1] * ny + mixed[1, 2] * nz
            mz = mixed[2, 0] * nx + mixed[2, 1] * ny + mixed[2, 2] * nz
            plane = mx * seen[0, 0] + my * seen[0, 1] + mz * seen[0, 2]
            step = my / (focal * plane)
            drawn = False
            first, last = math.ceil(max(top - 0.5, 0.0)), math.ceil(min(bottom - 0.5, height))
            for v in range(first, last):
                begin, end = _span(screen, count, v + 0.5, width)
                if begin >= end:
                    continue
                value = (mx + (my * (begin + 0.5 - cu) - mz * (v + 0.5 - cv)) / focal) / plane
                for u in range(begin, end):
                    if value > inverse[v, u]:
                        inverse[v, u] = value
                        face_of[v, u] = used
                        drawn = True
                    value += step
            if drawn:
                paint = paints[instance, parts[face]]
                faces[used, RED], faces[used, GREEN], faces[used, BLUE] = paint[0], paint[1], paint[2]
                faces[used, LAMBERT] = max(nx * sx + ny * sy + nz * sz, 0.0)
                faces[used, UP] = turn[2, 0] * nx + turn[2, 1] * ny + turn[2, 2] * nz
                faces[used, GLOW] = paint[3]
                faces[used, TAG] = tags[face]
                faces[used, OWNER] = owners[instance]
                used += 1
    return used


@njit(nogil=True, cache=True, error_model="numpy")
def draw_shadows(
    boxes: np.ndarray,
    places: np.ndarray,
    turns: np.ndarray,
    grounds: np.ndarray,
    camera: np.ndarray,
    sun: np.ndarray,
    focal: float,
    mask: np.ndarray,
) -> None:
    """Mark the ground that boxes keep the sun from (bit 1) and what lies right under them (bit 2).

    Args:
        boxes: [I, 6] lowest and highest corner in the instance's frame [m].
        places: [I, 3] as in ``draw_solids``; ``turns`` likewise.
        turns: [I, 3, 3].
        grounds: [I] height of the ground relative to the camera [m].
        camera: [3, 3] rows are the camera's axes in the world.
        sun: [3] direction to the sun, well above the horizon.
        focal: focal length in pixels.
        mask: [H, W] uint8, in and out.

    """
    height, width = mask.shape
    cu, cv = 0.5 * width, 0.5 * height
    world = np.empty((8, 3))
    seen = np.empty((4, 3))
    clipped = np.empty((MAX_CORNERS + 1, 3))
    screen = np.empty((MAX_CORNERS + 1, 2))
    # Corners of the box's sides: number = 4 * high x + 2 * high y + high z.
    sides = np.array([[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [1, 3, 7, 5], [0, 2, 6, 4]])
    for instance in range(len(boxes)):
        for corner in range(8):
            x = boxes[instance, 3 if corner & 4 else 0]
            y = boxes[instance, 4 if corner & 2 else 1]
            z = boxes[instance, 5 if corner & 1 else 2]
            for axis in range(3):
                world[corner, axis] = (
                    places[instance, axis]
                    + turns[instance, axis, 0] * x
                    + turns[instance, axis, 1] * y
                    + turns[instance, axis, 2] * z
                )
        for side in range(6):
            bit = np.uint8(1)
            if side == 5:
                bit = np.uint8(3)
            for index in range(4):
                corner = sides[side, index]
                rise = world[corner, 2] - grounds[instance]
                slide = 0.0 if side == 5 else rise / sun[2]
                x = world[corner, 0] - slide * sun[0]
                y = world[corner, 1] - slide * sun[1]
                z = grounds[instance]
                for axis in range(3):
                    seen[index, axis] = camera[axis, 0] * x + camera[axis, 1] * y + camera[axis, 2] * z
            count = _clip(seen, clipped)
            if count < 3:
                continue
            _project(clipped, count, focal, cu, cv, screen)
            top, bottom = 1e30, -1e30
            for index in range(count):
                top, bottom = min(top, screen[index, 1]), max(bottom, screen[index, 1])
            first, last = math.ceil(max(top - 0.5, 0.0)), math.ceil(min(bottom - 0.5, height))
            for v in range(first, last):
                begin, end = _span(screen, count, v + 0.5, width)
                for u in range(begin, end):
                    mask[v, u] |= bit
