"""The loaded SUMO network as places where traffic can begin and ways it can take."""

import dataclasses

import libsumo
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Where vehicles can be put in: every so many metres of lane, this far from both ends.
PLACE_SPACING = 10.0
PLACE_MARGIN = 8.0
SHORTEST_PAVEMENT = 15.0


@dataclasses.dataclass(frozen=True)
class Streets:
    """Edges and lanes of a network, read once a load.

    Attributes:
        edges: names of the edges that cars can drive round and round on (the largest strongly connected part).
        onward: for each edge the numbers of the edges after it.
        place_edge: [P] number of the edge of each insertion place.
        place_lane: [P] index of its lane.
        place_position: [P] metres of the front bumper along the lane.
        place_xy: [P, 2] the same in CARLA's frame.
        pavements: names of the edges with a pavement.
        pavement_length: metres of each.

    """

    edges: list[str]
    onward: list[list[int]]
    place_edge: np.ndarray
    place_lane: np.ndarray
    place_position: np.ndarray
    place_xy: np.ndarray
    pavements: list[str]
    pavement_length: list[float]


def read_streets() -> Streets:
    """Read the network that SUMO has loaded."""
    by_edge: dict[str, list[str]] = {}
    pavements: dict[str, float] = {}
    for lane in libsumo.lane.getIDList():
        if lane.startswith(":"):
            continue
        edge = libsumo.lane.getEdgeID(lane)
        if _allows(lane, "passenger"):
            by_edge.setdefault(edge, []).append(lane)
        elif _allows(lane, "pedestrian") and libsumo.lane.getLength(lane) >= SHORTEST_PAVEMENT:
            pavements[edge] = libsumo.lane.getLength(lane)
    names = sorted(by_edge)
    number = {name: row for row, name in enumerate(names)}
    onward: list[list[int]] = []
    for name in names:
        after = {
            number[libsumo.lane.getEdgeID(link[0])]
            for lane in by_edge[name]
            for link in libsumo.lane.getLinks(lane)
            if libsumo.lane.getEdgeID(link[0]) in number
        }
        onward.append(sorted(after))
    keep = _round_trip_edges(onward)
    renumber = {old: new for new, old in enumerate(keep)}
    places = [place for new, old in enumerate(keep) for lane in by_edge[names[old]] for place in _places(lane, new)]
    table = np.array(places, np.float64).reshape(-1, 5)
    walkable = sorted(pavements)
    return Streets(
        edges=[names[old] for old in keep],
        onward=[[renumber[after] for after in onward[old] if after in renumber] for old in keep],
        place_edge=table[:, 0].astype(np.int64),
        place_lane=table[:, 1].astype(np.int64),
        place_position=table[:, 2],
        place_xy=table[:, 3:],
        pavements=walkable,
        pavement_length=[pavements[name] for name in walkable],
    )


def random_way(streets: Streets, start: int, count: int, random: np.random.Generator) -> list[str]:
    """Return ``count`` edges of a random drive that begins on edge ``start``; shorter only where the road ends."""
    way = [start]
    draws = random.random(count)
    for draw in draws[1:]:
        after = streets.onward[way[-1]]
        if not after:
            break
        way.append(after[int(draw * len(after))])
    return [streets.edges[edge] for edge in way]


def _allows(lane: str, vehicle_class: str) -> bool:
    allowed = libsumo.lane.getAllowed(lane)
    return vehicle_class in allowed if allowed else vehicle_class not in libsumo.lane.getDisallowed(lane)


def _round_trip_edges(onward: list[list[int]]) -> list[int]:
    """Return the edges of the largest strongly connected part; all of them where no two edges lead to each other."""
    count = len(onward)
    rows = [row for row, after in enumerate(onward) for _ in after]
    columns = [column for after in onward for column in after]
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    _, label = connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(label)
    if sizes.max() < 2:
        return list(range(count))
    return np.flatnonzero(label == sizes.argmax()).tolist()


def _places(lane: str, edge: int) -> list[tuple[float, ...]]:
    length = libsumo.lane.getLength(lane)
    shape = np.array(libsumo.lane.getShape(lane))[:, :2]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(shape, axis=0), axis=1))])
    index = int(lane.rpartition("_")[2])
    found: list[tuple[float, ...]] = []
    for position in np.arange(PLACE_MARGIN, length - PLACE_MARGIN, PLACE_SPACING):
        at = position / length * along[-1]
        found.append((edge, index, position, np.interp(at, along, shape[:, 0]), -np.interp(at, along, shape[:, 1])))
    return found
