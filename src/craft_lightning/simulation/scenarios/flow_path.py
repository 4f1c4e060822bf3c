"""The line that the vehicles of a flow follow, with the pace they keep along it."""

import numpy as np

from craft_lightning.roads.junctions import resample
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.speed_profile import SpeedParameters, speed_limits

_CURVES = SpeedParameters(limit_share=1.0, top_speed=60.0, braking=2.5, lateral_acceleration=2.5)
_WINDOW = np.arange(-4, 13)  # points around the last place where a vehicle is looked for


class FlowPath:
    """A line in the world frame, points one metre apart.

    Args:
        xyz: [N, 3] points of any spacing, metres.
        speed: m/s that is driven where no curve forbids it.

    Attributes:
        xyz: [N, 3] points one metre apart.
        length: metres.
        pace: [N] m/s, slower in and before curves.
        line: [N, 4] x, y, cosine and sine of the direction.

    """

    def __init__(self, xyz: np.ndarray, speed: float) -> None:
        self.xyz = resample(np.asarray(xyz, np.float64))
        self.length = float(len(self.xyz) - 1)
        heading = np.arctan2(np.gradient(self.xyz[:, 1]), np.gradient(self.xyz[:, 0]))
        self.line = np.stack([self.xyz[:, 0], self.xyz[:, 1], np.cos(heading), np.sin(heading)], 1)
        s = np.arange(float(len(self.xyz)))
        self.pace = speed_limits(self.xyz[:, :2], s, np.full(len(s), speed), _CURVES)

    def pose(self, s: float) -> tuple[float, float, float, float]:
        """Return x, y, z and yaw at ``s`` metres."""
        place = np.arange(float(len(self.xyz)))
        x, y, z = (float(np.interp(s, place, self.xyz[:, column])) for column in range(3))
        index = min(max(round(s), 0), len(self.line) - 1)
        return x, y, z, float(np.arctan2(self.line[index, 3], self.line[index, 2]))

    def earlier(self, s: float, seconds: float) -> float:
        """Return the metres of path ``seconds`` before ``s``, less than 0 before its beginning."""
        last = min(max(int(s), 0), len(self.pace) - 1)
        clock = np.concatenate([[0.0], np.cumsum(1.0 / self.pace)[:last]])
        begin = float(clock[-1]) - seconds
        if begin < 0.0:
            return begin * float(self.pace[0])
        return float(np.interp(begin, clock, np.arange(len(clock))))

    def follow(self, x: np.ndarray, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the metres of path [V] and the metres to its left [V] of vehicles that were at ``s`` [V] lately."""
        last = len(self.line) - 1
        index = np.minimum(np.maximum(s.astype(int)[:, None] + _WINDOW, 0), last)
        near = self.line[index]
        gap = (near[..., 0] - x[:, None]) ** 2 + (near[..., 1] - y[:, None]) ** 2
        best = index[np.arange(len(x)), gap.argmin(1)]
        return self._offsets(x, y, best)

    def nearest(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return metres of path, metres to its left and metres of distance of any points, all in their shape."""
        shape = np.shape(x)
        px, py = np.ravel(x), np.ravel(y)
        gap = (px[:, None] - self.line[:, 0]) ** 2 + (py[:, None] - self.line[:, 1]) ** 2
        best = gap.argmin(1)
        s, left = self._offsets(px, py, best)
        distance = np.sqrt(gap[np.arange(len(px)), best])
        return s.reshape(shape), left.reshape(shape), distance.reshape(shape)

    def _offsets(self, x: np.ndarray, y: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        point = self.line[index]
        dx, dy = x - point[:, 0], y - point[:, 1]
        return index + dx * point[:, 2] + dy * point[:, 3], dy * point[:, 2] - dx * point[:, 3]

    def at(self, s: np.ndarray) -> np.ndarray:
        """Return the line's points [V, 4] at ``s`` [V] metres, straight on beyond its end."""
        inside = np.minimum(np.maximum(s, 0.0), self.length - 1e-6)
        index = inside.astype(int)
        here, there = self.line[index], self.line[index + 1]
        point = here + (inside - index)[:, None] * (there - here)
        point[:, :2] += (s - inside)[:, None] * point[:, 2:]
        return point

    def pace_at(self, s: np.ndarray) -> np.ndarray:
        """Return the pace [V] at ``s`` [V] metres, m/s."""
        return self.pace[np.minimum(np.maximum(s.astype(int), 0), len(self.pace) - 1)]

    def intention(self, s: float, left: float, scale: float = 1.0) -> Intention:
        """Return what a vehicle at ``s`` metres intends; ``scale`` times the pace."""
        return Intention(self.line, self.pace if scale == 1.0 else scale * self.pace, s, left)
