"""Where a town's stop and yield signs stand and which stretch of road their trigger volumes cover, in CARLA's frame."""

import dataclasses

import numpy as np

from craft_lightning import frames
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.signals import STOP_SIGN, YIELD_SIGN

_BLUEPRINT = {STOP_SIGN: "traffic.stop", YIELD_SIGN: "traffic.yield"}
# A sign stands this far beside the right-most lane it rules; its volume covers the lanes this far before the line.
_BESIDE = 1.0
_BEFORE_LINE = 1.5
_HALF_DEPTH = 1.5
_HALF_HEIGHT = 1.0


@dataclasses.dataclass(frozen=True)
class SignPlace:
    """One sign at one approach.

    Attributes:
        blueprint: ``traffic.stop`` or ``traffic.yield``.
        signal: OpenDRIVE id.
        pose: x, y, z, pitch, yaw, roll; its x axis points across the approach, to the right.
        trigger_centre: centre of the trigger volume in the sign's frame [m].
        trigger_extent: half sizes of the trigger volume [m], x across the approach.

    """

    blueprint: str
    signal: str
    pose: tuple[float, float, float, float, float, float]
    trigger_centre: tuple[float, float, float]
    trigger_extent: tuple[float, float, float]


def sign_places(network: RoadNetwork) -> list[SignPlace]:
    """Return the signs that rule a lane, one for each approach: lanes of one road that end side by side."""
    approaches: dict[tuple[str, str, int, bool], list[int]] = {}
    for row, lane in enumerate(network.sign_lane.tolist()):
        side = bool(network.lane_id[lane] > 0)
        key = str(network.sign_type[row]), str(network.sign_id[row]), int(network.lane_road[lane]), side
        approaches.setdefault(key, []).append(row)
    return [_place(network, kind, name, np.array(rows)) for (kind, name, _, _), rows in sorted(approaches.items())]


def _place(network: RoadNetwork, kind: str, name: str, rows: np.ndarray) -> SignPlace:
    last = network.lane_start[network.sign_lane[rows] + 1] - 1
    corners = frames.points_to_carla(network.sign_xy[rows].reshape(-1, 2))
    heading = -float(network.heading[last[0]])
    right = np.array([-np.sin(heading), np.cos(heading)])  # y points right in this frame
    forward = np.array([np.cos(heading), np.sin(heading)])
    across, along = corners @ right, float((corners @ forward).min())
    low, high = float(across.min()), float(across.max())
    pole = right * (high + _BESIDE) + forward * along
    return SignPlace(
        _BLUEPRINT[kind],
        name,
        (float(pole[0]), float(pole[1]), float(network.z[last].mean()), 0.0, float(np.degrees(heading)) + 90.0, 0.0),
        # The sign's y axis, to the right of its x axis, points backwards along the road.
        (0.5 * (low + high) - high - _BESIDE, _BEFORE_LINE, _HALF_HEIGHT),
        (0.5 * (high - low), _HALF_DEPTH, _HALF_HEIGHT),
    )
