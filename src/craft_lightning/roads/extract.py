"""OpenDRIVE to arrays: the table of lanes from the XML, all geometry through ``carla.Map``."""

import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.kinds import DRIVING, KIND_OF_TYPE
from craft_lightning.roads.opendrive import OpenDrive
from craft_lightning.roads.signals import stop_lines

POINT_SPACING = 1.0
# OpenDRIVE's default where a file states no limit: 50 km/h, the urban limit of most countries.
DEFAULT_SPEED = 50.0 / 3.6
_UNITS = {"m/s": 1.0, "": 1.0, "km/h": 1.0 / 3.6, "mph": 0.44704}
# Distance kept from the ends of a lane section, where carla.Map already answers for the next one.
_INSET = 1e-3


@dataclasses.dataclass
class Lane:
    """One row of the lane table: where it lies in the file and what the file says about it."""

    road: int
    section: int
    lane_id: int
    kind: int
    type: str
    junction: int
    speed: float  # m/s, NaN where the file states none
    start: float
    end: float


def lane_table(root: ElementTree.Element, source: str) -> tuple[list[Lane], list[str]]:
    """Read every lane of a known kind, in file order.

    Args:
        root: the parsed OpenDRIVE document.
        source: where it came from, for errors.

    Returns:
        The lanes and the road ids (a lane's ``road`` indexes them).

    Raises:
        CraftError: a lane section, lane id or speed that is not a number.

    """
    lanes: list[Lane] = []
    road_ids: list[str] = []
    for road in root.iterfind("road"):
        name = road.get("id", "")
        number = len(road_ids)
        road_ids.append(name)
        try:
            junction = int(road.get("junction", "-1"))
            road_speed = _speed(road.find("type/speed"))
            sections = road.findall("lanes/laneSection")
            starts = [float(section.get("s", "0")) for section in sections]
            ends = [*starts[1:], float(road.get("length", "0"))]
            for index, section in enumerate(sections):
                # carla.Map cannot tell apart lanes of a section shorter than its own tolerance.
                if ends[index] - starts[index] < 4 * _INSET:
                    continue
                for lane in section.iter("lane"):
                    kind = KIND_OF_TYPE.get(lane.get("type", ""))
                    lane_id = int(lane.get("id", "0"))
                    if kind is None or lane_id == 0:
                        continue
                    speed = _speed(lane.find("speed")) or road_speed or math.nan
                    written = lane.get("type", "")
                    lanes.append(
                        Lane(number, index, lane_id, kind, written, junction, speed, starts[index], ends[index])
                    )
        except ValueError as error:
            raise CraftError(f"{source}: road '{name}' has a malformed number ({error}); repair the file") from error
    return lanes, road_ids


def _speed(element: ElementTree.Element | None) -> float | None:
    if element is None or element.get("max") in (None, "no limit", "undefined"):
        return None
    value = float(element.get("max", "0")) * _UNITS.get(element.get("unit") or "", 1.0)
    return value if value > 0 else None


def extract_arrays(opendrive: OpenDrive) -> dict[str, np.ndarray]:
    """Return the arrays of ``RoadNetwork`` (all fields but name and digest).

    Raises:
        CraftError: the file holds no lane that carla.Map can follow, or carla.Map refuses it.

    """
    try:
        return _extract(opendrive)
    except (RuntimeError, IndexError) as error:  # what carla.Map raises on inconsistent roads
        raise CraftError(
            f"{opendrive.source} is not consistent: carla.Map says '{error}'; export the map again as OpenDRIVE 1.4"
        ) from error


def _extract(opendrive: OpenDrive) -> dict[str, np.ndarray]:
    root = ElementTree.fromstring(opendrive.text)
    carla_map = opendrive.carla_map()
    lanes, road_ids = lane_table(root, opendrive.source)
    numbers = [_carla_road(name, opendrive.source) for name in road_ids]
    lanes, points, starts = _sample(carla_map, lanes, numbers)
    index = {(lane.road, lane.section, lane.lane_id): k for k, lane in enumerate(lanes)}
    if not lanes:
        raise CraftError(f"{opendrive.source} has no lane that carla.Map can follow; check its lane sections")
    road_number = {number: k for k, number in enumerate(numbers)}

    left, right = _neighbours(lanes, index)
    successor_start, successor_lane = _successors(carla_map, lanes, numbers, road_number, index)
    changes, marks = _lane_changes_and_marks(carla_map, lanes, numbers)
    marking_start, marking_xy, marking_broken = _markings(lanes, points, starts, marks, left)
    arrays = {
        "lane_road": np.array([lane.road for lane in lanes], np.int32),
        "lane_section": np.array([lane.section for lane in lanes], np.int32),
        "lane_id": np.array([lane.lane_id for lane in lanes], np.int32),
        "lane_kind": np.array([lane.kind for lane in lanes], np.int32),
        "lane_type": np.array([lane.type for lane in lanes], np.str_),
        "lane_junction": np.array([lane.junction >= 0 for lane in lanes], bool),
        "lane_junction_id": np.array([lane.junction for lane in lanes], np.int32),
        "lane_speed": _fill_speeds([lane.speed for lane in lanes], successor_start, successor_lane),
        "lane_start": starts,
        "lane_left_change": changes[:, 0],
        "lane_right_change": changes[:, 1],
        "left_neighbour": left,
        "right_neighbour": right,
        "successor_start": successor_start,
        "successor_lane": successor_lane,
        "x": points[:, 0],
        "y": points[:, 1],
        "z": points[:, 2],
        "heading": points[:, 3],
        "width": points[:, 4],
        "s": points[:, 5],
        "marking_start": marking_start,
        "marking_xy": marking_xy,
        "marking_broken": marking_broken,
        "road_ids": np.array(road_ids, np.str_),
    }
    return arrays | stop_lines(carla_map, lanes, road_number, arrays)


def _carla_road(name: str, source: str) -> int:
    """Return the number by which carla.Map knows a road (it reads ids as unsigned integers)."""
    try:
        return int(name)
    except ValueError as error:
        raise CraftError(
            f"{source}: road id '{name}' is not a number, which carla.Map needs; number the roads"
        ) from error


def _sample(carla_map: Any, lanes: list[Lane], numbers: list[int]) -> tuple[list[Lane], np.ndarray, np.ndarray]:
    """Sample lane centres in the direction of travel; lanes that carla.Map does not know are dropped.

    Returns:
        The kept lanes, their points [P, 6] (x, y, z, heading, width, s) and offsets [L + 1].

    """
    kept: list[Lane] = []
    parts: list[np.ndarray] = []
    get = carla_map.get_waypoint_xodr
    for lane in lanes:
        length = lane.end - lane.start
        count = max(2, math.ceil(length / POINT_SPACING) + 1)
        points = _sample_lane(get, lane, numbers[lane.road], count)
        # On the outside of a bend the lane is longer than the reference line that s is measured on.
        while points is not None and np.diff(points[:, 5]).max() > POINT_SPACING and count < 4 * length + 8:
            count = math.ceil((count - 1) * min(2.0, 1.02 * np.diff(points[:, 5]).max() / POINT_SPACING)) + 2
            points = _sample_lane(get, lane, numbers[lane.road], count)
        if points is None or points[-1, 5] <= 0.0:
            continue
        kept.append(lane)
        parts.append(points)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    points = np.concatenate(parts) if parts else np.zeros((0, 6))
    points[:, 3] = (points[:, 3] + np.pi) % (2 * np.pi) - np.pi
    return kept, points, starts


def _sample_lane(get: Any, lane: Lane, road: int, count: int) -> np.ndarray | None:
    """Return ``count`` points [count, 6] of one lane, or None where carla.Map has no finite answer."""
    along = np.linspace(lane.start + _INSET, lane.end - _INSET, count)
    if lane.lane_id > 0:
        along = along[::-1]
    points = np.empty((count, 6))
    for row, s in enumerate(along.tolist()):
        waypoint = get(road, lane.lane_id, s)
        if waypoint is None:
            return None
        transform = waypoint.transform
        location = transform.location
        points[row, :5] = location.x, -location.y, location.z, -transform.rotation.yaw, waypoint.lane_width
    if not np.isfinite(points[:, :5]).all():
        return None
    points[:, 3] = np.deg2rad(points[:, 3])
    points[:, 5] = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1])))])
    return points


def _neighbours(lanes: list[Lane], index: dict[tuple[int, int, int], int]) -> tuple[np.ndarray, np.ndarray]:
    """Return same-direction driving neighbours [L] to the left and right of travel, -1 where there is none."""
    left = np.full(len(lanes), -1, np.int32)
    right = np.full(len(lanes), -1, np.int32)
    for k, lane in enumerate(lanes):
        if lane.kind != DRIVING:
            continue
        away = 1 if lane.lane_id > 0 else -1  # away from the reference line is to the right of travel
        for array, lane_id in ((right, lane.lane_id + away), (left, lane.lane_id - away)):
            other = index.get((lane.road, lane.section, lane_id))
            if other is not None and lanes[other].kind == DRIVING:
                array[k] = other
    return left, right


def _successors(
    carla_map: Any,
    lanes: list[Lane],
    numbers: list[int],
    road_number: dict[int, int],
    index: dict[tuple[int, int, int], int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lanes that each lane leads to, as offsets [L + 1] and values."""
    offsets = [0]
    values: list[int] = []
    for k, lane in enumerate(lanes):
        s = lane.end - _INSET if lane.lane_id < 0 else lane.start + _INSET
        waypoint = carla_map.get_waypoint_xodr(numbers[lane.road], lane.lane_id, s)
        found: list[int] = []
        # A section too short to be a lane of ours is stepped over by the second try.
        for step in (5 * _INSET, 0.05):
            for after in waypoint.next(step) if waypoint is not None else []:
                other = index.get((road_number[after.road_id], after.section_id, after.lane_id))
                if other is not None and other != k and other not in found:
                    found.append(other)
            if found:
                break
        values.extend(found)
        offsets.append(len(values))
    return np.array(offsets, np.int64), np.array(values, np.int32)


def _fill_speeds(speeds: list[float], successor_start: np.ndarray, successor_lane: np.ndarray) -> np.ndarray:
    """Give lanes without a limit (connecting roads, mostly) the limit of the lane that leads to them."""
    filled = np.array(speeds, np.float64)
    tail = np.repeat(np.arange(len(filled)), np.diff(successor_start))
    for _ in range(4):  # connecting roads are made of a few sections at most
        known = np.isfinite(filled[tail]) & ~np.isfinite(filled[successor_lane])
        if not known.any():
            break
        filled[successor_lane[known]] = filled[tail[known]]
    filled[~np.isfinite(filled)] = DEFAULT_SPEED
    return filled


def _lane_changes_and_marks(
    carla_map: Any, lanes: list[Lane], numbers: list[int]
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Return permitted changes [L, 2] (left, right) and the names of the left and right markings, at mid-lane."""
    changes = np.zeros((len(lanes), 2), bool)
    marks: list[tuple[str, str]] = []
    for k, lane in enumerate(lanes):
        waypoint = carla_map.get_waypoint_xodr(numbers[lane.road], lane.lane_id, 0.5 * (lane.start + lane.end))
        change = str(waypoint.lane_change)
        changes[k] = change in ("Left", "Both"), change in ("Right", "Both")
        left, right = waypoint.left_lane_marking, waypoint.right_lane_marking
        marks.append(("NONE" if left is None else str(left.type), "NONE" if right is None else str(right.type)))
    return changes, marks


def _markings(
    lanes: list[Lane], points: np.ndarray, starts: np.ndarray, marks: list[tuple[str, str]], left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return marking polylines outside junctions: each driving lane's right edge, and its left edge where it is first.

    Returns:
        Offsets [M + 1], points [.., 2], broken [M].

    """
    half = 0.5 * points[:, 4:5]
    normal = np.stack([-np.sin(points[:, 3]), np.cos(points[:, 3])], axis=1) * half
    lines: list[np.ndarray] = []
    broken: list[bool] = []
    for k, lane in enumerate(lanes):
        if lane.kind != DRIVING or lane.junction >= 0:
            continue
        part = slice(starts[k], starts[k + 1])
        for sign, mark, wanted in ((1.0, marks[k][0], left[k] < 0), (-1.0, marks[k][1], True)):
            if wanted and mark != "NONE":
                lines.append(points[part, :2] + sign * normal[part])
                broken.append("Broken" in mark)
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
    return offsets, np.concatenate(lines) if lines else np.zeros((0, 2)), np.array(broken, bool)
