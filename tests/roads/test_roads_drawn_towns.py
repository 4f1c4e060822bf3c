"""The towns that are drawn by hand, and the pieces they are drawn with."""

import gzip
import itertools
import math
import xml.etree.ElementTree as ElementTree

import networkx as nx
import numpy as np
import pytest
from scipy.spatial import cKDTree

from craft_lightning.roads.generate import generate_routes
from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.opendrive import load_opendrive
from craft_lightning.roads.raster import StaticRaster
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town
from craft_lightning.roads.towns.build import PLANS, build, main
from craft_lightning.roads.towns.crossings import added_lane, crossing, ending_lane
from craft_lightning.roads.towns.curves import Curve
from craft_lightning.roads.towns.layout import Layout, lanes
from craft_lightning.roads.towns.loading import PACKAGE
from craft_lightning.roads.towns.net_writer import edge_name
from craft_lightning.roads.towns.plan import STOP, YIELD, Arm, Profile, Road, Strip, two_way

TOWNS = tuple(PLANS)


@pytest.fixture(scope="module", params=TOWNS)
def town(request, cache):
    return load_town(request.param)


def sumo(town) -> ElementTree.Element:
    return ElementTree.fromstring(gzip.decompress(town.sumo_net_path.read_bytes()))


def driving(network) -> np.ndarray:
    return np.flatnonzero(network.lane_kind == DRIVING)


def bend(network, lane) -> np.ndarray:
    """Curvature along a lane."""
    part = network.lane_slice(lane)
    return np.diff(np.unwrap(network.heading[part])) / np.diff(network.s[part])


@pytest.mark.parametrize("name", TOWNS)
def test_the_command_makes_the_committed_files(name, tmp_path):
    build(name, tmp_path)
    for file in (f"{name}.xodr", f"{name}.net.xml.gz"):
        assert (tmp_path / file).read_bytes() == (PACKAGE / file).read_bytes(), f"build {name} and commit it"
    assert (PACKAGE / f"{name}.xodr").stat().st_size < 600_000


def test_the_command_knows_its_towns(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["craftland", "--directory", str(tmp_path)])
    assert "there is no built-in town 'craftland'; name some of craftville, craftway" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_carla_reads_the_file(town):
    load_opendrive(PACKAGE / f"{town.name}.xodr")  # in a child process, which would die of a bad one


def test_every_lane_leads_on_smoothly(town):
    network = town.network
    graph = nx.DiGraph()
    for lane in driving(network):
        end = network.lane_start[lane + 1] - 1
        nexts = [after for after in network.successors[lane] if network.lane_kind[after] == DRIVING]
        assert nexts, "no driving lane is a dead end"
        for after in nexts:
            graph.add_edge(lane, after)
            start = network.lane_start[after]
            assert math.hypot(network.x[end] - network.x[start], network.y[end] - network.y[start]) < 0.01
            assert abs(math.sin(network.heading[end] - network.heading[start])) < 0.01
        for beside in (network.left_neighbour[lane], network.right_neighbour[lane]):
            if beside >= 0:
                graph.add_edge(lane, beside)
    assert nx.is_strongly_connected(graph), "from every lane there is a way to every other one"


def test_every_bend_can_be_driven(town):
    network = town.network
    for lane in driving(network):
        radius = 1.0 / max(np.abs(bend(network, lane)).max(), 1e-9)
        assert radius > (8.0 if network.lane_junction[lane] else 14.0)


def test_sumo_drives_on_the_lanes_of_the_map(town):
    network, net = town.network, sumo(town)
    drives = network.lane_kind[network.point_lane] == DRIVING
    tree = cKDTree(np.stack([network.x, network.y], 1)[drives])
    count = 0
    for lane in net.iter("lane"):
        if lane.get("disallow") != "pedestrian":
            continue
        count += 1
        shape = np.array([[float(x) for x in point.split(",")[:2]] for point in lane.get("shape").split()])
        along = np.concatenate([np.linspace(a, b, 12) for a, b in itertools.pairwise(shape)])
        assert tree.query(along)[0].max() < 0.6  # points of the map lie up to 1 m apart
    assert count >= (~network.lane_junction[driving(network)]).sum()


def test_sumo_goes_where_the_map_goes(town):
    plan = PLANS[town.name]()
    drawn = {
        (edge_name(way.source, True), edge_name(way.target, False))
        for junction in plan.junctions
        for way in junction.movements
    }
    walked = [
        (link.get("from"), link.get("to"))
        for link in sumo(town).iter("connection")
        if not link.get("from").startswith(":") and link.get("state") is not None and ":" not in link.get("to")
    ]
    edges = {edge.get("id") for edge in sumo(town).iter("edge") if edge.get("function") is None}
    assert {way for way in walked if set(way) <= edges} == drawn


def test_signs_hold_back_sumo_and_carla_alike(town):
    plan, network = PLANS[town.name](), town.network
    arms = [arm for junction in plan.junctions for arm in junction.arms]
    for control, state, ruled in ((STOP, "s", network.stop_lane), (YIELD, "m", network.yield_lane)):
        held = {edge_name(arm, True) for arm in arms if arm.control == control}
        links = [link for link in sumo(town).iter("connection") if not link.get("to").startswith(":")]
        states = {link.get("state") for link in links if link.get("from") in held}
        assert states <= {state}
        assert len(ruled) == sum(len(arm.lanes(True)) for arm in arms if arm.control == control)
    carla_map = town.opendrive.carla_map()
    for kind, control in (("206", STOP), ("205", YIELD)):
        assert len(carla_map.get_all_landmarks_of_type(kind)) == sum(arm.control == control for arm in arms)
    for lane in (*network.stop_lane, *network.yield_lane):
        assert not network.lane_junction[lane]
        assert all(network.lane_junction[after] for after in network.successors[lane])


def test_somebody_waits_at_every_crossroads(town):
    for junction in PLANS[town.name]().junctions:
        crossed = any(abs(way.turn) > 0.6 for way in junction.movements)
        if crossed and town.name != "craftside":
            assert any(arm.control for arm in junction.arms), junction.name


def test_there_is_room_for_routes(town):
    routes = generate_routes(town.network, 60, seed=2, length=(200.0, 250.0), scenario_types=(None,))
    planner = RoutePlanner(town.network)
    for config in routes[::6]:
        assert planner.plan_route(config).length == pytest.approx(config.length, abs=4.0)


def test_the_grid_shows_the_roads(town):
    network = town.network
    grid = RoadGrid.from_network(network)
    point = network.lane_kind[network.point_lane] == DRIVING
    assert grid.distance(network.x[point], network.y[point]).min() > 1.2


def test_the_raster_shows_the_roads(cache):
    raster = StaticRaster.from_network(load_town("craftside").network)
    assert 0.1 < (raster.drivable > 0).mean() < 0.4
    assert 0.005 < (raster.lane_marking > 0).mean() < 0.1


def test_craftway_is_a_motorway(cache):
    network = load_town("craftway").network
    road = {name: np.flatnonzero(network.lane_road == number) for number, name in enumerate(network.road_ids)}
    counts = [int((network.lane_kind[lanes_] == DRIVING).sum()) for lanes_ in road.values()]
    assert {1, 3, 4} <= set(counts)
    limits = network.lane_speed[driving(network)] * 3.6
    assert (limits.min().round(), limits.max().round()) == (60.0, 90.0)
    fast = np.flatnonzero((network.lane_speed > 24.0) & (network.lane_kind == DRIVING) & ~network.lane_junction)
    for lane in fast:
        outer = lane
        while network.right_neighbour[outer] >= 0:
            outer = network.right_neighbour[outer]
        shoulder = outer + 1
        assert (network.lane_type[shoulder], network.lane_road[shoulder]) == ("shoulder", network.lane_road[lane])
    # Where a lane begins, one lane leads to two; where it ends, two lead to one.
    three = [lanes_ for lanes_, count in zip(road.values(), counts, strict=True) if count == 3]
    loops = [lane for lanes_ in three for lane in lanes_ if not network.lane_junction[lane]]
    parted = [lane for lane in loops if len(network.successors[lane]) == 2]
    merged = [lane for lane in loops if len(network.predecessors[lane]) == 2]
    assert (len(parted), len(merged)) == (2, 2)
    names = [junction.name for junction in PLANS["craftway"]().junctions]
    assert sum("_leave" in name for name in names) == sum("_join" in name for name in names) == 4


def test_craftfield_has_bends_and_a_roundabout(cache):
    network = load_town("craftfield").network
    outside = driving(network)[~network.lane_junction[driving(network)]]
    sharpest = np.array([1.0 / max(np.abs(bend(network, lane)).max(), 1e-6) for lane in outside])
    assert ((sharpest > 28.0) & (sharpest < 85.0)).sum() >= 16
    straights = [network.lane_length[lane] for lane, radius in zip(outside, sharpest, strict=True) if radius > 1e4]
    assert sum(length > 100.0 for length in straights) >= 10
    assert (network.left_neighbour[outside] < 0).all(), "one lane a direction"
    overtaking = network.lane_left_change[outside]
    assert overtaking.sum() >= 24
    assert (~overtaking).sum() >= 8
    ring = [lane for lane in outside if network.lane_speed[lane] * 3.6 < 31.0]
    turned = sum(float(bend(network, lane).mean() * network.lane_length[lane]) for lane in ring)
    assert 0.3 < turned / (2.0 * math.pi) < 1.0, "counter-clockwise; the rest of the ring belongs to its junctions"


def test_craftside_has_parking_lanes_between_road_and_pavement(cache):
    network = load_town("craftside").network
    parking = np.flatnonzero(network.lane_type == "parking")
    assert len(parking) >= 50
    for lane in parking:
        assert network.lane_type[lane + 1] == "sidewalk" or network.lane_type[lane - 1] == "sidewalk"
    assert set(np.round(network.width[network.lane_start[parking]], 2)) == {2.3}
    assert len(set(network.line_signal.tolist())) == 19
    assert len(network.stop_lane) == 16
    carla_map = load_town("craftside").opendrive.carla_map()
    corners = carla_map.get_crosswalks()
    assert len(corners) == 5 * 2 * len(PLANS["craftside"]().roads)
    assert corners[0].distance(corners[4]) < 0.01, "the first corner comes again"
    crossings = [edge for edge in sumo(load_town("craftside")).iter("edge") if edge.get("function") == "crossing"]
    assert len(crossings) == 2 * len(PLANS["craftside"]().roads)


def test_turns_use_the_lanes_they_should():
    wide, narrow = two_way(*lanes(2)), two_way(*lanes(1))
    layout = Layout("crossroads")
    layout.place("middle", 0.0, 0.0, 20.0)
    for name, x, y, profile in (("w", -90, 0, wide), ("e", 90, 0, wide), ("s", 0, -90, narrow), ("n", 0, 90, narrow)):
        layout.place(name, x, y, 5.0)
        layout.road(name, "middle", profile, control=(None, STOP if x == 0 else None))
    junction = crossing("middle", layout.arms["middle"])
    assert junction.kind == "priority_stop"
    ways = {
        (way.source.road.name[0], way.target.road.name[0]): (way.lanes_in, way.lanes_out) for way in junction.movements
    }
    assert ways["w", "e"] == ((0, 1), (0, 1))
    assert ways["w", "n"] == ((0,), (0,)), "left from the inner lane"
    assert ways["w", "s"] == ((1,), (0,)), "right from the outer lane"
    assert ways["n", "w"] == ((0,), (1,)), "right into the outer lane"
    assert ways["n", "e"] == ((0,), (0,)), "left into the inner lane"
    assert len(ways) == 12


def test_lanes_that_begin_and_end_take_the_shoulder_along():
    shoulder = Strip("shoulder", 2.0)

    def road(name: str, count: int, start: float) -> Road:
        return Road(name, Curve((start, 0.0, 0.0), ((100.0, 0.0),)), Profile((*lanes(count), shoulder)))

    narrow, wide, after = road("a", 2, 0.0), road("b", 3, 150.0), road("c", 2, 300.0)
    begin, end = added_lane("begin", narrow, wide), ending_lane("end", wide, after)
    assert [(way.lanes_in, way.lanes_out) for way in begin.movements] == [((0, 1), (0, 1)), ((1, 2), (2, 3))]
    assert [(way.lanes_in, way.lanes_out) for way in end.movements] == [((0, 1), (0, 1)), ((2, 3), (1, 2))]
    assert end.kind == "zipper"
    assert begin.movements[1].curve().starts()[-1] == pytest.approx((150.0, -7.0, 0.0))


def test_arms_know_left_and_right():
    profile = Profile(
        (Strip("median", 1.0), *lanes(2, 3.0)), (Strip("median", 1.0), *lanes(1, 3.0), Strip("sidewalk", 2.0))
    )
    road = Road("road", Curve((0.0, 0.0, 0.0), ((50.0, 0.0),)), profile)
    start, end = Arm(road, False), Arm(road, True)
    assert (end.lanes(True), end.lanes(False)) == ([1, 2], [1])
    assert [end.lane_id(number, True) for number in (1, 2)] == [-2, -3]
    assert start.lane_id(1, True) == 2
    assert end.pose(1, True) == pytest.approx((50.0, -1.0, 0.0))
    assert end.pose(2, True) == pytest.approx((50.0, -4.0, 0.0))
    assert start.pose(1, True)[:2] == pytest.approx((0.0, 1.0))
    assert abs(start.pose(1, True)[2]) == pytest.approx(math.pi)
    assert start.pose(1, False) == pytest.approx((0.0, -1.0, 0.0))
