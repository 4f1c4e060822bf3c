"""What never changes about a loaded town: OpenDRIVE text, SUMO net, spawn points, ground, and where its lights stand.

Arrays come from ``roads`` in the right-handed world frame and are turned into CARLA's frame here, once.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from craft_lightning import frames
from craft_lightning.errors import CraftError
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.opendrive import load_opendrive
from craft_lightning.roads.towns import BUILT_IN, Town, load_town, sumo_net
from craft_lightning.simulation.embedded.signs import sign_places

# Spawn points: one every so many metres of driving lane, at least this far from where the lane begins and ends.
SPAWN_SPACING = 20.0
SPAWN_MARGIN = 6.0
SPAWN_HEIGHT = 0.3

# Trigger volumes: this far before the stop line, half this deep along the road and half this high.
TRIGGER_BEFORE_LINE = 1.5
TRIGGER_HALF_DEPTH = 1.5
TRIGGER_HALF_HEIGHT = 1.0
# A light's pole stands this far beside the right-most lane it rules.
POLE_BESIDE = 1.0
# It is repeated behind the junction where that is so many metres deep, and stands so far behind its end.
MIN_FAR_SIDE, MAX_FAR_SIDE = 6.0, 60.0
FAR_SIDE_BEYOND = 1.0

DRIVING = 1
_CELL = 4.0  # m a side of the squares whose nearest lanes are remembered


@dataclasses.dataclass(frozen=True)
class LightPlace:
    """Where one traffic light stands and which lane ends it rules, in CARLA's frame.

    Attributes:
        signal: OpenDRIVE id.
        pose: x, y, z, pitch, yaw, roll of the pole; its x axis points across the approach, to the right.
        trigger_centre: centre of the trigger volume in the pole's frame [m].
        trigger_extent: half sizes of the trigger volume [m], x across the approach.
        far_side: metres from the stop line to where the light is repeated behind the junction, 0 for nowhere.
        lane_ends: [n, 3] x, y, yaw [deg] of the ends of all the lanes it rules.

    """

    signal: str
    pose: tuple[float, float, float, float, float, float]
    trigger_centre: tuple[float, float, float]
    trigger_extent: tuple[float, float, float]
    lane_ends: np.ndarray
    far_side: float = 0.0


class TownAssets:
    """One town as the server needs it.

    Args:
        town: name, OpenDRIVE and SUMO net.

    Attributes:
        name: name that clients see.
        xodr: OpenDRIVE text.
        net: path of the SUMO net, whose frame is the OpenDRIVE frame.
        spawn_points: [N, 6] x, y, z, pitch, yaw, roll in CARLA's frame.
        lights: the traffic lights that rule a lane.
        network: the arrays that all this is made from.
        opendrive: the OpenDRIVE text as ``roads`` holds it.
        signs: the stop and yield signs that rule a lane.
        flat: whether all ground lies at height zero.

    """

    def __init__(self, town: Town) -> None:
        self.network = network = town.network
        self.opendrive = town.opendrive
        self.name = town.name
        self.xodr = town.opendrive.text
        self.net: Path = town.sumo_net_path
        driving = np.repeat(network.lane_kind == DRIVING, np.diff(network.lane_start))
        self._xy = np.stack([network.x, -network.y], 1)[driving]
        self._z = network.z[driving]
        self._yaw = -np.degrees(network.heading[driving])
        self._half_width = 0.5 * network.width[driving]
        self._speed = np.repeat(network.lane_speed, np.diff(network.lane_start))[driving]
        self._tree = cKDTree(self._xy)
        self._candidates: dict[tuple[int, int], np.ndarray] = {}
        self.flat = bool(np.abs(self._z).max() < 0.05)
        self.spawn_points = _spawn_points(network)
        self.lights = _lights(network)
        self.signs = sign_places(network)

    def ground(self, x: float, y: float) -> float:
        """Return the height of the nearest driving lane [m]."""
        if self.flat:
            return 0.0
        return float(self._z[self._nearest(x, y)[1]])

    def project(
        self, start: Sequence[float], direction: Sequence[float], reach: float
    ) -> tuple[float, float, float] | None:
        """Return where a ray meets the ground, which is all that rays meet here; None where it meets none.

        Args:
            start: x, y, z in CARLA's frame.
            direction: of any length.
            reach: metres.

        """
        length = math.hypot(*direction)
        if length <= 0.0 or direction[2] >= 0.0:
            return None
        along = 0.0
        # The ground hardly rises over the metres that a ray passes, so that few steps find its height.
        for _ in range(8):
            x, y = (start[axis] + along * direction[axis] / length for axis in (0, 1))
            above = start[2] + along * direction[2] / length - self.ground(x, y)
            along += above * length / -direction[2]
        if not -1e-3 <= along <= reach:
            return None
        return x, y, self.ground(x, y)

    def ground_many(self, xy: np.ndarray) -> np.ndarray:
        """Return [N] heights of the nearest driving lanes [m] for [N, 2] places."""
        if self.flat or len(xy) == 0:
            return np.zeros(len(xy))
        return self._z[self._tree.query(xy)[1]]

    def _nearest(self, x: float, y: float) -> tuple[float, int]:
        """Return the distance and the index of the nearest point of a driving lane.

        The tree is asked once a cell for all points that can be nearest to a place in it: most places are near one that
        was asked about before, and a single question to the tree costs many times more than a look at those.
        """
        cell = (math.floor(x / _CELL), math.floor(y / _CELL))
        candidates = self._candidates.get(cell)
        if candidates is None:
            middle = ((cell[0] + 0.5) * _CELL, (cell[1] + 0.5) * _CELL)
            reach = float(self._tree.query(middle)[0]) + math.sqrt(2.0) * _CELL + 1e-6
            candidates = self._candidates[cell] = np.sort(self._tree.query_ball_point(middle, reach))
        apart = self._xy[candidates] - (x, y)
        squares = apart[:, 0] * apart[:, 0] + apart[:, 1] * apart[:, 1]
        best = int(squares.argmin())
        return math.sqrt(squares[best]), int(candidates[best])

    def lane_at(self, x: float, y: float) -> tuple[float, float, float, float]:
        """Return what the nearest driving lane is like at a place.

        Returns:
            Metres to its centre, half its width [m], its yaw [deg, CARLA's frame], its speed limit [m/s].

        """
        distance, nearest = self._nearest(x, y)
        return distance, float(self._half_width[nearest]), float(self._yaw[nearest]), float(self._speed[nearest])


def _spawn_points(network: RoadNetwork) -> np.ndarray:
    points = []
    for lane in np.flatnonzero((network.lane_kind == DRIVING) & ~network.lane_junction):
        first, last = int(network.lane_start[lane]), int(network.lane_start[lane + 1])
        s = network.s[first:last]
        length = float(s[-1])
        if length < 2 * SPAWN_MARGIN:
            continue
        count = int((length - 2 * SPAWN_MARGIN) // SPAWN_SPACING) + 1
        for wanted in np.linspace(SPAWN_MARGIN, length - SPAWN_MARGIN, count) if count > 1 else [0.5 * length]:
            row = first + int(np.searchsorted(s, wanted))
            x, y, yaw = frames.pose_to_carla(network.x[row], network.y[row], network.heading[row])
            points.append((x, y, network.z[row] + SPAWN_HEIGHT, 0.0, yaw, 0.0))
    return np.array(points, np.float64).reshape(-1, 6)


def _lights(network: RoadNetwork) -> list[LightPlace]:
    """Gather the stop lines by signal; lines of the commonest approach make the trigger volume."""
    by_signal: dict[str, list[int]] = defaultdict(list)
    for row, signal in enumerate(network.line_signal):
        by_signal[str(signal)].append(row)
    return [_light(network, signal, np.array(rows)) for signal, rows in sorted(by_signal.items())]


def _light(network: RoadNetwork, signal: str, rows: np.ndarray) -> LightPlace:
    ends = network.lane_start[network.line_lane[rows] + 1] - 1
    line = frames.points_to_carla(network.line_xy[rows].reshape(-1, 2)).reshape(-1, 2, 2)  # left, right
    middle = line.mean(1)
    yaw = -network.heading[ends]
    lane_ends = np.column_stack([middle, np.degrees(yaw)])

    # One approach: lanes that end side by side with the first of the largest group.
    close = (np.cos(yaw[:, None] - yaw[None]) > 0.7) & (
        np.linalg.norm(middle[:, None] - middle[None], axis=-1) < 4.0 * len(rows) + 4.0
    )
    group = close[int(close.sum(1).argmax())]
    heading = math.atan2(np.sin(yaw[group]).mean(), np.cos(yaw[group]).mean())
    right = np.array([-math.sin(heading), math.cos(heading)])  # y points right in this frame
    forward = np.array([math.cos(heading), math.sin(heading)])
    corners = line[group].reshape(-1, 2)
    across = corners @ right
    back = float((middle[group] @ forward).min()) - TRIGGER_BEFORE_LINE
    z = float(network.z[ends[group]].mean())
    pole = right * (across.max() + POLE_BESIDE) + forward * (back + TRIGGER_BEFORE_LINE)
    centre = right * 0.5 * (across.max() + across.min()) + forward * back
    # The pole's x axis is ``right``; its y axis, to the right of that, points backwards along the road.
    offset = centre - pole
    return LightPlace(
        signal,
        (float(pole[0]), float(pole[1]), z, 0.0, math.degrees(heading) + 90.0, 0.0),
        (float(offset @ right), float(-offset @ forward), TRIGGER_HALF_HEIGHT),
        (0.5 * float(across.max() - across.min()), TRIGGER_HALF_DEPTH, TRIGGER_HALF_HEIGHT),
        lane_ends,
        _far_side(network, network.line_lane[rows][group], forward, float((middle[group] @ forward).min())),
    )


def _far_side(network: RoadNetwork, lanes: np.ndarray, forward: np.ndarray, line: float) -> float:
    """Return the metres from the stop line to the end of the junction straight ahead, 0 where no way leads there."""
    reach = 0.0
    for lane in lanes.tolist():
        for after in network.successors[lane]:
            last = network.lane_start[after + 1] - 1
            heading = -float(network.heading[last])
            if math.cos(heading) * forward[0] + math.sin(heading) * forward[1] > 0.85:
                reach = max(reach, float(np.array([network.x[last], -network.y[last]]) @ forward) - line)
    return reach + FAR_SIDE_BEYOND if MIN_FAR_SIDE < reach < MAX_FAR_SIDE else 0.0


class TownShelf:
    """The towns that this server can load: built-in ones, files, and OpenDRIVE texts that clients sent.

    Args:
        first: name or path of the town to begin with; other files in its folder can be loaded by their stem.
        maps: folder of further files, instead of that of ``first``.

    """

    CUSTOM = "OpenDriveMap"

    def __init__(self, first: str, maps: str = "") -> None:
        beside = Path(first).parent if first.endswith(".xodr") else None
        self._folder = Path(maps) if maps else beside
        self._loaded: dict[str, TownAssets] = {}
        self._custom: str | None = None
        self.first = self.load(first)

    def offer(self, text: str) -> None:
        """Keep an OpenDRIVE text, to be loaded under the name ``OpenDriveMap``."""
        self._custom = text

    def names(self) -> list[str]:
        """Return the names that ``load`` knows."""
        stems = sorted(path.stem for path in self._folder.glob("*.xodr")) if self._folder else []
        return list(dict.fromkeys([*BUILT_IN, *stems, *self._loaded]))

    def load(self, wanted: str) -> TownAssets:
        """Return a town by name, path, or the tail of a path such as ``/Game/Carla/Maps/Town01``.

        Raises:
            CraftError: no such town, or its files are broken.

        """
        if wanted == self.CUSTOM:
            return self._load_custom()
        stem = Path(wanted).stem
        for key in (wanted, stem):
            if key in self._loaded:
                return self._loaded[key]
        source = wanted
        if stem in BUILT_IN:
            source = stem
        elif not Path(wanted).is_file() and self._folder is not None:
            source = str(self._folder / f"{stem}.xodr")
        assets = TownAssets(load_town(source))
        self._loaded[assets.name] = assets
        return assets

    def _load_custom(self) -> TownAssets:
        if self._custom is None:
            raise CraftError("no OpenDRIVE text was sent yet; use client.generate_opendrive_world to send one")
        opendrive = load_opendrive(self._custom, name=self.CUSTOM)
        return TownAssets(Town(self.CUSTOM, opendrive, sumo_net(opendrive)))
