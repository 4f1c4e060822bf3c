"""Machine code that says of every pixel how far it is, what it is and whose it is; ground and sky included."""

# Types are numba's here; to a type checker numpy's scalars and Python's numbers do not mix.
# mypy: disable-error-code="operator,assignment,call-overload,return-value,arg-type"
import math

import numpy as np
from numba import njit

from craft_lightning.simulation.embedded.rendering.light_vector import FAR
from craft_lightning.simulation.embedded.rendering.materials import TAG_LINE, TAG_SKY
from craft_lightning.simulation.embedded.rendering.raster import OWNER, TAG
from craft_lightning.simulation.embedded.rendering.shading import ground_height, march, texel_cover

_F = np.float32
_NIL, _HALF, _ONE = _F(0.0), _F(0.5), _F(1.0)
_FAR = _F(FAR)
_COVERED = _F(0.45)  # share of a texel that counts as painted


@njit(nogil=True, cache=True, error_model="numpy")
def tag_ground(
    material: np.ndarray,
    paint: np.ndarray,
    levels: np.ndarray,
    texel: float,
    ground_tags: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    grounded: np.ndarray,
    tags: np.ndarray,
) -> None:
    """Write the semantic tags of places on the ground; many at once, since a call with arrays costs as much as a tag.

    Args:
        material: [R, C] as in ``shading.shade``; so are ``paint`` and ``levels``.
        paint: flat.
        levels: [K, 3].
        texel: metres.
        ground_tags: [5] uint8 semantic tags of the materials.
        x: [N] float32 metres from the middle of texel [0, 0]; ``y`` likewise.
        y: [N].
        grounded: [N] bool, which of them to tag.
        tags: [N] uint8, in and out.

    """
    rows, columns = material.shape
    per_texel = _ONE / texel
    for index in range(len(x)):
        if not grounded[index]:
            continue
        column, row = x[index] * per_texel, y[index] * per_texel
        kind, cover = 0, _NIL
        if column > -_HALF and row > -_HALF:
            c, r = np.int64(column + _HALF), np.int64(row + _HALF)
            if c < columns and r < rows:
                kind = np.int64(material[r, c])
                if kind:
                    cover = texel_cover(paint, levels[0, 0], rows, columns, row, column)
        tags[index] = np.uint8(TAG_LINE) if cover > _COVERED else ground_tags[kind]


@njit(nogil=True, cache=True, error_model="numpy")
def label(
    inverse: np.ndarray,
    face_of: np.ndarray,
    faces: np.ndarray,
    axes: np.ndarray,
    eye: np.ndarray,
    step: float,
    material: np.ndarray,
    paint: np.ndarray,
    levels: np.ndarray,
    heights: np.ndarray,
    frame: np.ndarray,
    ground_tags: np.ndarray,
    depth: np.ndarray,
    tags: np.ndarray,
    owners: np.ndarray,
) -> None:
    """Label a picture.

    All numbers but the owners are of single precision; what is named as in ``shading.shade`` is the same.

    Args:
        inverse: [H, W] inverse depth of the solids, 0 where there is none.
        face_of: [H, W].
        faces: [N, FACE_COLUMNS].
        axes: [3, 3].
        eye: [3].
        step: one over the focal length in pixels.
        material: [R, C].
        paint: flat.
        levels: [K, 3].
        heights: [r, c].
        frame: texel [m], cell of ``heights`` [m], steepest slope.
        ground_tags: [5] uint8 semantic tags of the materials.
        depth: [H, W] float32 metres along the camera's axis, infinite for the sky; out.
        tags: [H, W] uint8, out.
        owners: [H, W] int32, out: actor, 0 for ground and sky.

    """
    height, width = inverse.shape
    cu, cv = _HALF * _F(width), _HALF * _F(height)
    cell, slope = frame[1], frame[2]
    ex, ey, ez = eye[0], eye[1], eye[2]
    flat = heights.shape[0] < 2
    base = heights[0, 0] if flat else ground_height(heights, cell, ex, ey)
    xs, ys, grounded = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.bool_)
    for v in range(height):
        b = (cv - _F(v) - _HALF) * step
        row_x = axes[0, 0] + b * axes[2, 0]
        row_y = axes[0, 1] + b * axes[2, 1]
        row_z = axes[0, 2] + b * axes[2, 2]
        # Machine code works on many pixels at once where nothing is looked up, so the distance has a loop of its own.
        for u in range(width):
            a = (_F(u) + _HALF - cu) * step
            dx, dy, dz = row_x + a * axes[1, 0], row_y + a * axes[1, 1], row_z + a * axes[1, 2]
            norm = math.sqrt(_ONE + a * a + b * b)
            near = _NIL
            if flat:
                if dz < _F(-1e-6):
                    near = dz / (base - ez)
            elif dz < slope * norm:
                near = march(heights, cell, slope, ex, ey, ez, dx, dy, dz)
            depth[v, u] = near if near > inverse[v, u] and near * _FAR > norm else _NIL
        for u in range(width):
            near = depth[v, u]
            grounded[u] = near > _NIL
            if near > _NIL:
                t = _ONE / near
                a = (_F(u) + _HALF - cu) * step
                xs[u], ys[u] = ex + (row_x + a * axes[1, 0]) * t, ey + (row_y + a * axes[1, 1]) * t
                depth[v, u] = t
                owners[v, u] = 0
            elif face_of[v, u] >= 0:
                face = face_of[v, u]
                depth[v, u] = _ONE / inverse[v, u]
                tags[v, u] = np.uint8(faces[face, TAG])
                owners[v, u] = np.int32(faces[face, OWNER])
            else:
                depth[v, u] = np.inf
                tags[v, u] = TAG_SKY
                owners[v, u] = 0
        tag_ground(material, paint, levels, frame[0], ground_tags, xs, ys, grounded, tags[v])


@njit(nogil=True, cache=True, error_model="numpy")
def encode_depth(depth: np.ndarray, reach: float, picture: np.ndarray) -> None:
    """Write depth as CARLA does: 24 bits, red the lowest, all ones at ``reach`` metres and beyond.

    Args:
        depth: [H, W] float32 metres.
        reach: metres.
        picture: [H, W, 4] uint8 blue, green, red, opacity, out.

    """
    height, width = depth.shape
    for v in range(height):
        for u in range(width):
            share = min(max(np.float64(depth[v, u]) / reach, 0.0), 1.0)
            number = np.int64(share * 16777215.0 + 0.5)
            picture[v, u, 0] = number >> 16
            picture[v, u, 1] = (number >> 8) & 255
            picture[v, u, 2] = number & 255
            picture[v, u, 3] = 255


@njit(nogil=True, cache=True, error_model="numpy")
def encode_tags(tags: np.ndarray, owners: np.ndarray, instances: bool, picture: np.ndarray) -> None:
    """Write tags into the red channel and, for instances, the owner's low 16 bits into green (low) and blue.

    Args:
        tags: [H, W] uint8.
        owners: [H, W] int32.
        instances: whether to write owners.
        picture: [H, W, 4] uint8 blue, green, red, opacity, out.

    """
    height, width = tags.shape
    for v in range(height):
        for u in range(width):
            owner = owners[v, u] if instances else 0
            picture[v, u, 0] = (owner >> 8) & 255
            picture[v, u, 1] = owner & 255
            picture[v, u, 2] = tags[v, u]
            picture[v, u, 3] = 255
