"""Building blocks of what stands in the world: convex solids made of flat quadrilaterals.

Frame of a mesh: that of its actor, x forward, y right, z up, metres.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """Faces of one thing.

    Attributes:
        corners: [F, 4, 3] float64; a triangle repeats its last corner.
        normals: [F, 3] unit, outward.
        parts: [F] uint8 of ``materials``.
        tags: [F] uint8 semantic tags.

    """

    corners: np.ndarray
    normals: np.ndarray
    parts: np.ndarray
    tags: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """[6] lowest and highest corner of what encloses it."""
        points = self.corners.reshape(-1, 3)
        return np.concatenate([points.min(0), points.max(0)])


def join(meshes: Iterable[Mesh]) -> Mesh:
    """Return several meshes as one."""
    parts = list(meshes)
    return Mesh(*(np.concatenate([getattr(mesh, field.name) for mesh in parts]) for field in dataclasses.fields(Mesh)))


def convex(polygons: Sequence[Sequence[Sequence[float]]], parts: Sequence[int], tag: int) -> Mesh:
    """Return the mesh of a convex solid from its sides.

    Args:
        polygons: convex outlines of three or more corners, in either sense of rotation.
        parts: part of each side.
        tag: semantic tag.

    """
    middle = np.concatenate([np.array(polygon, float) for polygon in polygons]).mean(0)
    corners, normals, owners = [], [], []
    for polygon, part in zip(polygons, parts, strict=True):
        points = np.array(polygon, float)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        length = float(np.linalg.norm(normal))
        if length < 1e-12:
            continue
        normal /= length
        if normal @ (points.mean(0) - middle) < 0.0:
            normal = -normal
        for first in range(1, len(points) - 1, 2):
            last = min(first + 2, len(points) - 1)
            corners.append(points[[0, first, first + 1, last]])
            normals.append(normal)
            owners.append(part)
    return Mesh(np.array(corners), np.array(normals), np.array(owners, np.uint8), np.full(len(corners), tag, np.uint8))


def block(low: Sequence[float], high: Sequence[float], part: int, tag: int) -> Mesh:
    """Return an upright box between two corners."""
    return frustum(
        (low[0], high[0]), (low[1], high[1]), (low[0], high[0]), (low[1], high[1]), low[2], high[2], part, tag
    )


def frustum(
    low_x: tuple[float, float],
    low_y: tuple[float, float],
    high_x: tuple[float, float],
    high_y: tuple[float, float],
    low_z: float,
    high_z: float,
    part: int,
    tag: int,
    sides: int | None = None,
    ends: int | None = None,
) -> Mesh:
    """Return a box whose bottom and top rectangles differ.

    Args:
        low_x: ends of the bottom along x; ``low_y`` along y, ``high_x`` and ``high_y`` those of the top.
        low_y: see ``low_x``.
        high_x: see ``low_x``.
        high_y: see ``low_x``.
        low_z: height of the bottom.
        high_z: height of the top.
        part: of top and bottom, and of what is not named.
        tag: semantic tag.
        sides: part of the faces to the left and the right.
        ends: part of the faces in front and behind.

    """
    low = [(low_x[i], low_y[j], low_z) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
    high = [(high_x[i], high_y[j], high_z) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
    faces = [low, high] + [[low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]] for i in range(4)]
    beside, along = part if sides is None else sides, part if ends is None else ends
    return convex(faces, [part, part, beside, along, beside, along], tag)


def prism(outline: Sequence[tuple[float, float]], half_width: float, part: int, tag: int) -> Mesh:
    """Return a convex outline in x and z, drawn out across by ``half_width`` to both sides."""
    left = [(x, -half_width, z) for x, z in outline]
    right = [(x, half_width, z) for x, z in outline]
    count = len(outline)
    around = [[left[i], left[(i + 1) % count], right[(i + 1) % count], right[i]] for i in range(count)]
    return convex([left, right, *around], [part] * (count + 2), tag)


def wheel(x: float, y: float, radius: float, width: float, part: int, tag: int, sides: int = 10) -> Mesh:
    """Return a wheel that stands on the ground at (x, y), its axle across."""
    turns = [2.0 * math.pi * (index + 0.5) / sides for index in range(sides)]
    outline = [(x + radius * math.cos(turn), radius * (1.0 + math.sin(turn))) for turn in turns]
    mesh = prism(outline, 0.5 * width, part, tag)
    return dataclasses.replace(mesh, corners=mesh.corners + np.array([0.0, y, 0.0]))


def post(x: float, y: float, low: float, high: float, radius: float, part: int, tag: int, tip: float = 1.0) -> Mesh:
    """Return a six-sided post; ``tip`` is the radius at its top over that at its foot."""
    turns = [math.pi * index / 3.0 for index in range(6)]
    foot = [(x + radius * math.cos(turn), y + radius * math.sin(turn), low) for turn in turns]
    head = [(x + tip * radius * math.cos(turn), y + tip * radius * math.sin(turn), high) for turn in turns]
    around = [[foot[i], foot[(i + 1) % 6], head[(i + 1) % 6], head[i]] for i in range(6)]
    return convex([foot, head, *around], [part] * 8, tag)


def plate(
    centre: Sequence[float], facing: Sequence[float], wide: float, high: float, part: int, tag: int, sides: int = 4
) -> Mesh:
    """Return one upright face that is seen from the front alone, such as a lamp or a sign.

    Args:
        centre: its middle.
        facing: horizontal unit vector x, y that it looks along.
        wide: width; of a sign with more than four sides, its diameter.
        high: height; negative stands it on its head.
        part: see ``Mesh``.
        tag: see ``Mesh``.
        sides: 4 for a rectangle, more for a regular outline.

    """
    across = np.array([-facing[1], facing[0], 0.0])
    up = np.array([0.0, 0.0, 1.0])
    if sides == 4:
        outline = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    else:
        # A triangle stands on one of its sides, as an octagon does.
        start = 0.5 * math.pi if sides == 3 else math.pi / sides
        turns = [start + 2.0 * math.pi * index / sides for index in range(sides)]
        outline = [(0.5 * math.cos(turn), 0.5 * math.sin(turn)) for turn in turns]
    points = [np.array(centre, float) + wide * a * across + high * b * up for a, b in outline]
    mesh = convex([[point.tolist() for point in points]], [part], tag)
    return dataclasses.replace(mesh, normals=np.tile([facing[0], facing[1], 0.0], (len(mesh.normals), 1)))
