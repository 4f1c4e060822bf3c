"""Oriented boxes and crossings as scalar functions that numba compiles for CPU and GPU."""

import math


def boxes_overlap(
    ax: float,
    ay: float,
    a_cos: float,
    a_sin: float,
    a_half_length: float,
    a_half_width: float,
    bx: float,
    by: float,
    b_cos: float,
    b_sin: float,
    b_half_length: float,
    b_half_width: float,
) -> bool:
    """Whether two oriented boxes overlap, by the separating axis theorem.

    Boxes are given by centre (metres), cosine and sine of the heading and half extents; touching boxes do not overlap.
    """
    dx = bx - ax
    dy = by - ay
    # |cosine| and |sine| of the angle between the boxes.
    turn_cos = abs(a_cos * b_cos + a_sin * b_sin)
    turn_sin = abs(a_cos * b_sin - a_sin * b_cos)
    # All four axes and no branch, so that a compiler can test many pairs at once.
    return (
        (abs(dx * a_cos + dy * a_sin) < a_half_length + b_half_length * turn_cos + b_half_width * turn_sin)
        & (abs(dy * a_cos - dx * a_sin) < a_half_width + b_half_length * turn_sin + b_half_width * turn_cos)
        & (abs(dx * b_cos + dy * b_sin) < b_half_length + a_half_length * turn_cos + a_half_width * turn_sin)
        & (abs(dy * b_cos - dx * b_sin) < b_half_width + a_half_length * turn_sin + a_half_width * turn_cos)
    )


def crosses_line(px: float, py: float, qx: float, qy: float, x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether the step from p to q crosses the line from (x0, y0) to (x1, y1).

    The side where p stands is open and the other one closed: of two steps that meet on the line, one crosses it.
    """
    before = side_of_line(px, py, x0, y0, x1, y1)
    after = side_of_line(qx, qy, x0, y0, x1, y1)
    return crosses_between(px, py, qx, qy, before, after, x0, y0, x1, y1)


def side_of_line(px: float, py: float, x0: float, y0: float, x1: float, y1: float) -> float:
    """Metres from p to the line through (x0, y0) and (x1, y1), times its length; positive on its left."""
    return (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0)


def crosses_between(
    px: float,
    py: float,
    qx: float,
    qy: float,
    before: float,
    after: float,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
) -> bool:
    """``crosses_line`` of a step whose ends have the sides ``before`` and ``after``; no branch is taken."""
    lx, ly = x1 - x0, y1 - y0
    changes = (before < 0.0) != (after < 0.0)
    # Where along the line: between its ends, the ends included.
    share = before / (before - after if changes else 1.0)
    along = lx * (px + share * (qx - px) - x0) + ly * (py + share * (qy - py) - y0)
    return changes & (along >= 0.0) & (along <= lx * lx + ly * ly)


def distance_before_line(
    px: float, py: float, cos_yaw: float, sin_yaw: float, x0: float, y0: float, x1: float, y1: float
) -> float:
    """Metres that p has to go along its heading to reach the line from (x0, y0) to (x1, y1).

    Negative when the line is behind; 1e9 when the ray through p misses it or runs along it.
    """
    lx, ly = x1 - x0, y1 - y0
    cross = lx * sin_yaw - ly * cos_yaw
    parallel = abs(cross) < 1e-6
    reach = (ly * (px - x0) - lx * (py - y0)) / (1.0 if parallel else cross)
    along = lx * (px + reach * cos_yaw - x0) + ly * (py + reach * sin_yaw - y0)
    misses = parallel | (along < 0.0) | (along > lx * lx + ly * ly)
    return 1e9 if misses else reach


def circumradius(half_length: float, half_width: float) -> float:
    """Radius (metres) of the circle around a box."""
    return math.sqrt(half_length * half_length + half_width * half_width)
