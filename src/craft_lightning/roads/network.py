"""The road network of one town as numpy arrays, in the right-handed world frame."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.cache import cache_directory, cached_arrays
from craft_lightning.roads.extract import extract_arrays
from craft_lightning.roads.kinds import DRIVING, OTHER, SHOULDER
from craft_lightning.roads.opendrive import OpenDrive
from craft_lightning.roads.signals import STOP_SIGN, YIELD_SIGN

# Raise when a stored array changes its meaning: older cache files are then built again.
NETWORK_VERSION = 2

__all__ = ["DRIVING", "NETWORK_VERSION", "OTHER", "SHOULDER", "RoadNetwork"]


@dataclasses.dataclass(frozen=True, eq=False)
class RoadNetwork:
    """Lanes, points along them, markings and stop lines of one town.

    Frame: world frame (OpenDRIVE's: x east, y north, yaw counter-clockwise), metres, radians, seconds.

    Args:
        name: name of the town.
        digest: sha256 of the OpenDRIVE text.
        lane_road: [L] OpenDRIVE road number (index into ``road_ids``).
        lane_section: [L] lane section index within the road.
        lane_id: [L] OpenDRIVE lane id; negative lanes run along the reference line, positive ones against it.
        lane_kind: [L] DRIVING = 1, SHOULDER = 2 (shoulder, stop, parking), OTHER = 0 (sidewalk, biking).
        lane_type: [L] OpenDRIVE lane type as written in the file (driving, shoulder, parking, ...), str.
        lane_junction: [L] bool, on a connecting road of a junction.
        lane_junction_id: [L] junction number, -1 outside junctions.
        lane_speed: [L] speed limit, m/s.
        lane_start: [L + 1] offsets of each lane into the points.
        lane_left_change: [L] bool, markings permit a change to the left neighbour.
        lane_right_change: [L] bool, markings permit a change to the right neighbour.
        left_neighbour: [L] driving lane to the left in the same direction, -1 where there is none.
        right_neighbour: [L] driving lane to the right in the same direction, -1 where there is none.
        successor_start: [L + 1] offsets into ``successor_lane``.
        successor_lane: lanes that each lane leads to.
        x: [P] lane centre, in the direction of travel, points at most 1 m apart.
        y: [P].
        z: [P].
        heading: [P] direction of travel.
        width: [P] width of the lane.
        s: [P] metres from the start of the lane, in the direction of travel.
        marking_start: [M + 1] offsets of each marking into ``marking_xy``.
        marking_xy: [.., 2] lane-marking polylines outside junctions.
        marking_broken: [M] bool, broken rather than solid.
        line_xy: [N, 4] stop lines x0, y0 (left end), x1, y1 (right end), across the controlled lane at its end.
        line_lane: [N] lane that ends at the line.
        line_signal: [N] OpenDRIVE signal id, str.
        sign_xy: [K, 4] the same lines for stop and yield signs.
        sign_lane: [K] lane that ends at the line.
        sign_id: [K] OpenDRIVE signal id, str; a sign of several lanes has several lines.
        sign_type: [K] OpenDRIVE signal type, str: STOP_SIGN or YIELD_SIGN of ``roads.signals``.
        road_ids: [R] OpenDRIVE road ids as written in the file, str.

    """

    name: str
    digest: str
    lane_road: np.ndarray
    lane_section: np.ndarray
    lane_id: np.ndarray
    lane_kind: np.ndarray
    lane_type: np.ndarray
    lane_junction: np.ndarray
    lane_junction_id: np.ndarray
    lane_speed: np.ndarray
    lane_start: np.ndarray
    lane_left_change: np.ndarray
    lane_right_change: np.ndarray
    left_neighbour: np.ndarray
    right_neighbour: np.ndarray
    successor_start: np.ndarray
    successor_lane: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    heading: np.ndarray
    width: np.ndarray
    s: np.ndarray
    marking_start: np.ndarray
    marking_xy: np.ndarray
    marking_broken: np.ndarray
    line_xy: np.ndarray
    line_lane: np.ndarray
    line_signal: np.ndarray
    sign_xy: np.ndarray
    sign_lane: np.ndarray
    sign_id: np.ndarray
    sign_type: np.ndarray
    road_ids: np.ndarray

    @classmethod
    def from_opendrive(cls, opendrive: OpenDrive) -> "RoadNetwork":
        """Build the network of ``opendrive``, or read it from the disk cache.

        Raises:
            CraftError: the map has no lane to drive on.

        """
        path = cache_directory("networks") / f"{opendrive.digest}-{NETWORK_VERSION}.npz"
        arrays = cached_arrays(path, lambda: extract_arrays(opendrive))
        if not (arrays["lane_kind"] == DRIVING).any():
            raise CraftError(f"{opendrive.source} has no driving lane that carla.Map can follow; check its lane links")
        return cls(name=opendrive.name, digest=opendrive.digest, **arrays)

    @property
    def num_lanes(self) -> int:
        """Number of lanes L."""
        return len(self.lane_id)

    @functools.cached_property
    def lane_length(self) -> np.ndarray:
        """[L] length of each lane's centre line, m."""
        return self.s[self.lane_start[1:] - 1]

    @functools.cached_property
    def successors(self) -> list[list[int]]:
        """Lanes that each lane leads to."""
        return _rows(self.successor_start, self.successor_lane)

    @functools.cached_property
    def predecessors(self) -> list[list[int]]:
        """Lanes that lead to each lane."""
        rows: list[list[int]] = [[] for _ in range(self.num_lanes)]
        for lane, nexts in enumerate(self.successors):
            for successor in nexts:
                rows[successor].append(lane)
        return rows

    @functools.cached_property
    def stop_lane(self) -> np.ndarray:
        """Lanes that end at a stop sign, ascending."""
        return np.unique(self.sign_lane[self.sign_type == STOP_SIGN])

    @functools.cached_property
    def yield_lane(self) -> np.ndarray:
        """Lanes that end at a yield sign, ascending."""
        return np.unique(self.sign_lane[self.sign_type == YIELD_SIGN])

    @functools.cached_property
    def point_lane(self) -> np.ndarray:
        """[P] lane of each point."""
        return np.repeat(np.arange(self.num_lanes), np.diff(self.lane_start))

    def lane_slice(self, lane: int) -> slice:
        """Return the slice of ``lane`` in the point arrays."""
        return slice(int(self.lane_start[lane]), int(self.lane_start[lane + 1]))

    def lane_at(self, lane: int, s: float | np.ndarray) -> np.ndarray:
        """Interpolate along one lane.

        Args:
            lane: lane index.
            s: metres from the lane's start, scalar or [N]; clipped to the lane.

        Returns:
            [N, 5] x, y, z, heading, width (or [5] for a scalar).

        """
        part = self.lane_slice(lane)
        along = self.s[part]
        heading = np.interp(s, along, np.unwrap(self.heading[part]))
        columns = [np.interp(s, along, values[part]) for values in (self.x, self.y, self.z)]
        return np.stack([*columns, heading, np.interp(s, along, self.width[part])], axis=-1)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the left and the right edge [P, 2] of the lanes at every point."""
        half = 0.5 * self.width
        normal = np.stack([-np.sin(self.heading), np.cos(self.heading)], axis=1) * half[:, None]
        centre = np.stack([self.x, self.y], axis=1)
        return centre + normal, centre - normal


def _rows(start: np.ndarray, values: np.ndarray) -> list[list[int]]:
    flat: Sequence[int] = values.tolist()
    return [list(flat[a:b]) for a, b in itertools.pairwise(start.tolist())]
