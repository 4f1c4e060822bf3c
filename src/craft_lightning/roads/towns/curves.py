"""Smooth plane curves made of lines and arcs alone, which is what every reader of OpenDRIVE agrees on."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

Pose = tuple[float, float, float]
"""x, y in metres and heading in radians, world frame."""

# Below this curvature (1/m) a piece is written as a line: readers lose metres on nearly straight arcs.
_STRAIGHT = 1e-6
_SHORTEST = 1e-3


@dataclasses.dataclass(frozen=True)
class Curve:
    """Lines and arcs joined without a kink.

    Args:
        start: pose of the first point.
        pieces: (length in metres, curvature in 1/m, positive to the left) one after the other.

    """

    start: Pose
    pieces: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        """Length of the curve in metres."""
        return sum(length for length, _ in self.pieces)

    def starts(self) -> list[Pose]:
        """Return the pose at the beginning of every piece, and the one at the end."""
        poses = [self.start]
        for length, curvature in self.pieces:
            poses.append(advance(poses[-1], length, curvature))
        return poses

    def pose(self, s: float) -> Pose:
        """Return the pose ``s`` metres from the start; beyond the ends the curve goes on as its last piece does."""
        pose = self.start
        for number, (length, curvature) in enumerate(self.pieces):
            if s <= length or number == len(self.pieces) - 1:
                return advance(pose, s, curvature)
            pose, s = advance(pose, length, curvature), s - length
        return pose

    def parallel(self, left: float) -> "Curve":
        """Return the curve that runs ``left`` metres to the left of this one."""
        x, y, heading = self.start
        start = (x - left * math.sin(heading), y + left * math.cos(heading), heading)
        return Curve(start, tuple((length * (1.0 - k * left), k / (1.0 - k * left)) for length, k in self.pieces))

    def backwards(self) -> "Curve":
        """Return the same curve run from its end to its start."""
        x, y, heading = self.starts()[-1]
        return Curve((x, y, heading + math.pi), tuple((length, -k) for length, k in reversed(self.pieces)))

    def points(self, spacing: float = 2.5) -> np.ndarray:
        """Return points [N, 2]: the ends of lines, and arcs every ``spacing`` metres or less."""
        found = [self.start[:2]]
        for (length, curvature), pose in zip(self.pieces, self.starts(), strict=False):
            steps = math.ceil(length / spacing) if curvature else 1
            found += [advance(pose, length * step / steps, curvature)[:2] for step in range(1, steps + 1)]
        return np.array(found)


def advance(pose: Pose, length: float, curvature: float) -> Pose:
    """Return the pose after ``length`` metres at a curvature."""
    x, y, heading = pose
    if not curvature:
        return x + length * math.cos(heading), y + length * math.sin(heading), heading
    turned = heading + length * curvature
    return (
        x + (math.sin(turned) - math.sin(heading)) / curvature,
        y - (math.cos(turned) - math.cos(heading)) / curvature,
        turned,
    )


def through(points: Sequence[tuple[float, float]], radius: float | Sequence[float] = 50.0) -> Curve:
    """Return the lines through ``points`` with every corner rounded.

    Args:
        points: (x, y) of the ends and the corners.
        radius: of the bends, one for all or one a corner, metres; smaller where two corners are too close.

    """
    corners = np.array(points, np.float64)
    legs = np.diff(corners, axis=0)
    lengths = np.linalg.norm(legs, axis=1)
    headings = np.unwrap(np.arctan2(legs[:, 1], legs[:, 0]))
    radii = [float(radius)] * (len(points) - 2) if isinstance(radius, int | float) else list(radius)
    turns = np.diff(headings)
    # Tangent lengths; two bends of one leg share it, a bend at an end may use all of it.
    reach = [abs(math.tan(0.5 * turn)) * r for turn, r in zip(turns, radii, strict=True)]
    for number in range(len(reach)):
        before = lengths[number] * (1.0 if number == 0 else 0.5)
        after = lengths[number + 1] * (1.0 if number == len(reach) - 1 else 0.5)
        reach[number] = min(reach[number], before, after)
    pieces: list[tuple[float, float]] = []
    for number, length in enumerate(lengths):
        used = (reach[number - 1] if number else 0.0) + (reach[number] if number < len(reach) else 0.0)
        pieces.append((float(length) - used, 0.0))
        if number < len(reach) and abs(turns[number]) > _STRAIGHT:
            bend = reach[number] / math.tan(0.5 * abs(turns[number]))
            pieces.append((bend * abs(float(turns[number])), math.copysign(1.0 / bend, float(turns[number]))))
    return Curve((float(corners[0, 0]), float(corners[0, 1]), float(headings[0])), _tidy(pieces))


def connect(start: Pose, end: Pose) -> Curve:
    """Return a smooth way from one pose to another.

    One bend between two straights where the tangents meet ahead of ``start`` and before ``end``, otherwise two arcs
    (the biarc with equal tangent lengths: Bolton, "Biarc curves", Computer-Aided Design 7, 1975).
    """
    (x0, y0, h0), (x1, y1, h1) = start, end
    turn = _wrap(h1 - h0)
    dx, dy = x1 - x0, y1 - y0
    along, across = dx * math.cos(h0) + dy * math.sin(h0), dy * math.cos(h0) - dx * math.sin(h0)
    if abs(turn) < 1e-6 and abs(across) < 1e-3:
        return Curve(start, ((along, 0.0),))
    if 0.02 < abs(turn) < 3.0:
        # start + a * u0 = end - b * u1
        b = across / math.sin(turn)
        a = along - b * math.cos(turn)
        tangent = min(a, b)
        if tangent > 0.5:
            bend = tangent / abs(math.tan(0.5 * turn))
            pieces = [(a - tangent, 0.0), (bend * abs(turn), math.copysign(1.0 / bend, turn)), (b - tangent, 0.0)]
            return Curve(start, _tidy(pieces))
    return _biarc(start, end)


def _biarc(start: Pose, end: Pose) -> Curve:
    first, last = np.array(start[:2]), np.array(end[:2])
    t0, t1 = (np.array([math.cos(h), math.sin(h)]) for h in (start[2], end[2]))
    chord = last - first
    # |chord - d (t0 + t1)| = 2 d, solved for the tangent length d.
    a, b, c = 2.0 * (1.0 - float(t0 @ t1)), 2.0 * float(chord @ (t0 + t1)), -float(chord @ chord)
    d = -c / b if abs(a) < 1e-9 else (-b + math.sqrt(b * b - 4.0 * a * c)) / (2.0 * a)
    joint = 0.5 * (first + d * t0 + last - d * t1)
    pieces = []
    heading = start[2]
    for begin, finish in ((first, joint), (joint, last)):
        ray = finish - begin
        half = _wrap(math.atan2(ray[1], ray[0]) - heading)
        distance = float(np.hypot(*ray))
        if abs(half) < 1e-9:
            pieces.append((distance, 0.0))
        else:
            pieces.append((distance * half / math.sin(half), 2.0 * math.sin(half) / distance))
        heading += 2.0 * half
    return Curve(start, _tidy(pieces))


def _tidy(pieces: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Drop what is too short to matter and straighten what is nearly straight."""
    return tuple((length, k if abs(k) > _STRAIGHT else 0.0) for length, k in pieces if length > _SHORTEST)


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
