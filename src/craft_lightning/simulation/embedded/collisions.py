"""Contacts between upright boxes: a numpy prefilter over all bodies, the separating axis on what is left.

Frame: CARLA's (x forward, y right, z up, yaw clockwise in degrees); metres.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Contact:
    """Two overlapping bodies.

    Attributes:
        first: row of the body that was asked about.
        second: row of the other.
        normal: unit vector in the plane that pushes the first away from the second.
        depth: how far the first must move along it to be free [m].

    """

    first: int
    second: int
    normal: tuple[float, float]
    depth: float


def find_contacts(
    asked: list[int],
    motion: np.ndarray,
    extents: np.ndarray,
    reach: np.ndarray,
    centre_z: np.ndarray,
    solid: np.ndarray,
) -> list[Contact]:
    """Return the contacts of the bodies ``asked`` about with any solid body, each pair once, in order of rows.

    Boxes overlap when they do so in all three dimensions (scenarios park actors under the road).

    Args:
        asked: rows of the bodies to test against all.
        motion: [N, >=5] x, y, z, pitch, yaw, ... of all actors.
        extents: [N, 3] half sizes.
        reach: [N] half diagonals of the boxes in the plane.
        centre_z: [N] height of the box's centre over the actor's origin.
        solid: [N] bool, takes part.

    """
    rows = [row for row in asked if solid[row]]
    if not rows:
        return []
    # The plane first: hardly anybody is near, and few numbers are left for the rest.
    xs, ys = motion[:, 0], motion[:, 1]
    contacts: list[Contact] = []
    done: set[tuple[int, int]] = set()
    for row in rows:
        limit = reach + reach[row]
        near = np.abs(xs - xs[row]) < limit
        near &= np.abs(ys - ys[row]) < limit
        near &= solid
        near[row] = False
        for other in near.nonzero()[0].tolist():
            if abs(_middle(motion, centre_z, other) - _middle(motion, centre_z, row)) >= float(
                extents[other, 2] + extents[row, 2]
            ):
                continue
            if (other, row) in done:
                continue
            done.add((row, other))
            found = overlap(_box(motion, extents, row), _box(motion, extents, other))
            if found is not None:
                contacts.append(Contact(row, other, *found))
    return contacts


def _middle(motion: np.ndarray, centre_z: np.ndarray, row: int) -> float:
    return float(motion[row, 2] + centre_z[row])


Box = tuple[float, float, float, float, float]
"""x, y [m], yaw [deg], half length, half width [m]."""


def _box(motion: np.ndarray, extents: np.ndarray, row: int) -> Box:
    return (
        float(motion[row, 0]),
        float(motion[row, 1]),
        float(motion[row, 4]),
        float(extents[row, 0]),
        float(extents[row, 1]),
    )


def overlap(first: Box, second: Box) -> tuple[tuple[float, float], float] | None:
    """Return the normal and depth of the least push that frees two oriented rectangles, None when they are apart.

    The separating axis theorem on the four edge directions.
    """
    x1, y1, yaw1, a1, b1 = first
    x2, y2, yaw2, a2, b2 = second
    c1, s1 = math.cos(math.radians(yaw1)), math.sin(math.radians(yaw1))
    c2, s2 = math.cos(math.radians(yaw2)), math.sin(math.radians(yaw2))
    dx, dy = x1 - x2, y1 - y2
    best = math.inf
    normal = (1.0, 0.0)
    for nx, ny in ((c1, s1), (-s1, c1), (c2, s2), (-s2, c2)):
        apart = dx * nx + dy * ny
        size = (
            a1 * abs(c1 * nx + s1 * ny)
            + b1 * abs(-s1 * nx + c1 * ny)
            + a2 * abs(c2 * nx + s2 * ny)
            + b2 * abs(-s2 * nx + c2 * ny)
        )
        depth = size - abs(apart)
        if depth <= 0.0:
            return None
        if depth < best - 1e-9:
            best = depth
            normal = (nx, ny) if apart >= 0.0 else (-nx, -ny)
    return normal, best
