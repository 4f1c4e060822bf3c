"""Stop lines of traffic lights and of signs: where the lanes that obey them end before the junction."""

from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.roads.kinds import DRIVING

if TYPE_CHECKING:
    from craft_lightning.roads.extract import Lane

TRAFFIC_LIGHT_TYPE = "1000001"
STOP_SIGN, YIELD_SIGN = "206", "205"
# A light beside the approach belongs to the junction ahead when that is not farther than this.
_REACH = 60.0


def stop_lines(
    carla_map: Any, lanes: "list[Lane]", road_number: dict[int, int], arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the arrays of ``RoadNetwork`` about lights (``line_*``) and signs (``sign_*``).

    CARLA's towns refer to a light from the connecting roads inside the junction; generated towns place it beside the
    approach. Either way the line lies at the end of the last driving lane outside the junction, which is where
    ``TrafficLight.get_stop_waypoints`` of the client stops walking. Several references of one light to one lane give
    one line.

    Args:
        carla_map: the ``carla.Map``.
        lanes: the lane table.
        road_number: index of a road by carla.Map's road id.
        arrays: lane and point arrays of the network, successors included.

    """
    successors: list[list[int]] = [
        arrays["successor_lane"][a:b].tolist()
        for a, b in zip(arrays["successor_start"][:-1], arrays["successor_start"][1:], strict=True)
    ]
    predecessors: list[list[int]] = [[] for _ in lanes]
    for k, nexts in enumerate(successors):
        for after in nexts:
            predecessors[after].append(k)
    of_road: dict[int, list[int]] = {}
    for k, lane in enumerate(lanes):
        if lane.kind == DRIVING:
            of_road.setdefault(lane.road, []).append(k)

    def lines(kind: str) -> list[tuple[int, str]]:
        """Return the (lane, signal) pairs of one type of signal, in order."""
        found: set[tuple[int, str]] = set()
        for landmark in carla_map.get_all_landmarks_of_type(kind):
            for k in of_road.get(road_number.get(landmark.road_id, -1), []):
                lane = lanes[k]
                if lane.start - 1e-6 <= landmark.s <= lane.end + 1e-6 and _obeys(landmark, lane.lane_id):
                    for end in _approaches(k, lanes, arrays, successors, predecessors):
                        found.add((end, str(landmark.id)))
        return sorted(found)

    lights = lines(TRAFFIC_LIGHT_TYPE)
    signs = [(lane, name, kind) for kind in (STOP_SIGN, YIELD_SIGN) for lane, name in lines(kind)]
    line_lane = np.array([lane for lane, _ in lights], np.int32)
    sign_lane = np.array([lane for lane, _, _ in signs], np.int32)
    return {
        "line_xy": _across(arrays, line_lane),
        "line_lane": line_lane,
        "line_signal": np.array([signal for _, signal in lights], np.str_),
        "sign_xy": _across(arrays, sign_lane),
        "sign_lane": sign_lane,
        "sign_id": np.array([name for _, name, _ in signs], np.str_),
        "sign_type": np.array([kind for _, _, kind in signs], np.str_),
    }


def _across(arrays: dict[str, np.ndarray], lanes: np.ndarray) -> np.ndarray:
    """Return the lines [N, 4] across the ends of lanes, from the left to the right."""
    last = arrays["lane_start"][1:][lanes] - 1
    heading, half = arrays["heading"][last], 0.5 * arrays["width"][last]
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1) * half[:, None]
    centre = np.stack([arrays["x"][last], arrays["y"][last]], axis=1)
    return np.concatenate([centre + normal, centre - normal], axis=1).reshape(-1, 4)


def _obeys(landmark: Any, lane_id: int) -> bool:
    """Tell whether a lane of the landmark's road obeys it: by its lane validities, else by its orientation."""
    validities = landmark.get_lane_validities()
    if validities:
        return any(min(pair) <= lane_id <= max(pair) for pair in validities)
    orientation = str(landmark.orientation)
    return orientation == "Both" or (lane_id < 0) == (orientation == "Positive")


def _approaches(
    lane: int,
    lanes: "list[Lane]",
    arrays: dict[str, np.ndarray],
    successors: list[list[int]],
    predecessors: list[list[int]],
) -> set[int]:
    """Return the driving lanes that end at the junction which ``lane`` belongs to or leads to."""
    inside = arrays["lane_junction"]
    length = arrays["s"][arrays["lane_start"][1:] - 1]
    if inside[lane]:
        # Back out of the junction; connecting roads may be made of several sections.
        open_lanes, seen, ends = [lane], {lane}, set()
        while open_lanes:
            for before in predecessors[open_lanes.pop()]:
                if not inside[before]:
                    ends.add(before)
                elif before not in seen and lanes[before].road == lanes[lane].road:
                    seen.add(before)
                    open_lanes.append(before)
        return {end for end in ends if lanes[end].kind == DRIVING}
    ahead, ends, travelled = [(lane, 0.0)], set(), {lane}
    while ahead:
        current, distance = ahead.pop()
        if any(inside[after] for after in successors[current]):
            ends.add(current)
            continue
        for after in successors[current]:
            if after not in travelled and distance + length[after] < _REACH:
                travelled.add(after)
                ahead.append((after, distance + float(length[after])))
    return ends
