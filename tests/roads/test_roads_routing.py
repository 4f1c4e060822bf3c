import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.generate import generate_routes
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.routes import RouteConfig, read_routes
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town


def check_route(network, route):
    """What every route must be, however it came about."""
    steps = np.hypot(*np.diff(route.xy, axis=0).T)
    assert steps == pytest.approx(1.0, abs=0.05)
    assert route.s == pytest.approx(np.arange(len(route.s)))
    assert route.length == route.s[-1]
    assert len(route.xy) == len(route.heading) == len(route.lane) == len(route.speed_limit) == len(route.z)
    forward = np.arctan2(*np.diff(route.xy, axis=0).T[::-1])
    assert np.abs(np.angle(np.exp(1j * (forward - route.heading[:-1])))).max() < 0.3
    assert (network.lane_kind[route.lane] == DRIVING).all()
    assert set(route.lane.tolist()) <= route.legal_lanes
    assert np.array_equal(route.speed_limit, network.lane_speed[route.lane])
    # Every step leads along the lane graph or to a neighbour.
    for lane, after in zip(route.lane[:-1], route.lane[1:], strict=True):
        beside = (network.left_neighbour[lane], network.right_neighbour[lane])
        # A lane shorter than the spacing may be stepped over.
        reached = {after for first in network.successors[lane] for after in (first, *network.successors[first])}
        assert after == lane or after in beside or after in reached


def random_poses(network, count, seed):
    rng = np.random.default_rng(seed)
    lanes = np.flatnonzero((network.lane_kind == DRIVING) & ~network.lane_junction & (network.lane_length > 15))
    for start, goal in rng.choice(lanes, (count, 2)):
        x, y, _, yaw, _ = network.lane_at(start, 4.0)
        yield (x, y, yaw), network.lane_at(goal, 10.0)[:2]


def test_straight_ahead(make_network):
    route = RoutePlanner(make_network()).plan((10.0, -1.0, 0.0), (80.0, -2.5))
    assert route.xy[:, 1] == pytest.approx(-1.75, abs=1e-3)
    assert route.xy[0, 0] == pytest.approx(10.0, abs=0.01)
    assert route.length == pytest.approx(70.0, abs=1.0)
    assert route.heading == pytest.approx(0.0, abs=1e-6)
    assert route.speed_limit == pytest.approx(10.0)


def test_a_lane_change_is_smooth(make_network):
    network = make_network(length=200.0)
    route = RoutePlanner(network).plan((10.0, -1.75, 0.0), (150.0, -5.25))
    check_route(network, route)
    assert set(network.lane_id[route.lane]) == {-1, -2}
    y = np.interp(np.arange(10.0, 150.0), route.xy[:, 0], route.xy[:, 1])
    assert y[0] == pytest.approx(-1.75, abs=1e-3)
    assert y[-1] == pytest.approx(-5.25, abs=1e-3)
    assert np.abs(np.diff(route.heading)).max() < 0.06
    assert (np.diff(y) < 1e-6).all()


def test_a_waypoint_on_the_second_lane_places_the_change(make_network):
    network = make_network(length=200.0)
    route = RoutePlanner(network).plan((10.0, -1.75, 0.0), [(100.0, -1.75), (140.0, -5.25), (180.0, -5.25)])
    changing = (route.xy[:, 1] < -1.8) & (route.xy[:, 1] > -5.2)
    assert route.xy[changing, 0].min() > 99.0
    assert route.xy[changing, 0].max() < 141.0


def test_going_against_the_traffic_is_refused(make_network):
    planner = RoutePlanner(make_network())
    with pytest.raises(CraftError, match=r"no way along the lanes from \(50\.0, -1\.8\)"):
        planner.plan((50.0, -1.75, 0.0), (20.0, -1.75))
    with pytest.raises(CraftError, match="farther than 5 m from every driving lane"):
        planner.plan((50.0, -1.75, 0.0), (20.0, 60.0))
    with pytest.raises(CraftError, match="needs two waypoints"):
        planner.plan((50.0, -1.75, 0.0), (50.2, -1.75))
    with pytest.raises(CraftError, match="route 'x' of straight"):
        planner.plan_route(RouteConfig("x", "straight", np.array([[50.0, -1.75, 0.0], [20.0, 60.0, 0.0]])))


def test_routes_between_random_poses(network, planner):
    for start, goal in random_poses(network, 25, seed=3):
        route = planner.plan(start, goal)
        check_route(network, route)
        assert route.xy[0] == pytest.approx(start[:2], abs=0.2)
        assert np.hypot(*(route.xy[-1] - goal)) < 1.1


def test_a_goal_behind_the_start_is_reached_round_the_block(network, planner):
    lane = int(np.argmax(np.where(network.lane_junction, 0.0, network.lane_length) * (network.lane_kind == DRIVING)))
    x, y, _, yaw, _ = network.lane_at(lane, 30.0)
    route = planner.plan((x, y, yaw), network.lane_at(lane, 10.0)[:2])
    check_route(network, route)
    assert route.length > 150.0
    assert route.lane[0] == route.lane[-1] == lane


@pytest.mark.parametrize("step", [2, 50])
def test_waypoints_of_a_route_give_the_route_back(network, planner, step):
    for start, goal in random_poses(network, 6, seed=5):
        route = planner.plan(start, goal)
        again = planner.plan(start, np.concatenate([route.xy[1::step], route.xy[-1:]]))
        assert again.length == pytest.approx(route.length, abs=1.5)
        count = min(len(again.xy), len(route.xy))
        assert np.hypot(*(again.xy[:count] - route.xy[:count]).T).mean() < 1.0


def test_the_shorter_way_is_taken(network, planner):
    for start, goal in random_poses(network, 10, seed=8):
        route = planner.plan(start, goal)
        direct = np.hypot(*(np.array(start[:2]) - goal))
        # A grid of streets: Manhattan distance plus a way round the block at either end.
        assert direct <= route.length + 1.0
        assert route.length < 1.5 * direct + 450.0


def test_legal_lanes(make_network, network, planner):
    straight = make_network(right=2)
    route = RoutePlanner(straight).plan((10.0, -1.75, 0.0), (80.0, -1.75))
    assert {int(straight.lane_id[lane]) for lane in route.legal_lanes} == {-1, -2}
    start, goal = next(random_poses(network, 1, seed=1))
    route = planner.plan(start, goal)
    own = set(route.lane.tolist())
    others = route.legal_lanes - own
    assert others, "a way through junctions crosses other lanes"
    for lane in others:
        beside = own & {int(network.left_neighbour[lane]), int(network.right_neighbour[lane])}
        short = network.lane_length[lane] <= 30.0
        assert beside or short or network.lane_junction[lane]
        assert 0.0 <= route.legal_s[lane] <= route.length


def test_projection_follows_a_route_that_meets_itself(network, planner):
    lane = int(np.argmax(np.where(network.lane_junction, 0.0, network.lane_length) * (network.lane_kind == DRIVING)))
    x, y, _, yaw, _ = network.lane_at(lane, 30.0)
    # Once round the block, and past the start again.
    route = planner.plan((x, y, yaw), [network.lane_at(lane, 10.0)[:2], network.lane_at(lane, 60.0)[:2]])
    index, past = 0, 0.0
    for s in np.arange(0.0, route.length, 2.0):
        px, py, heading = route.at(s)
        index, along, offset = route.project(px - 0.7 * np.sin(heading), py + 0.7 * np.cos(heading), index)
        assert along == pytest.approx(s, abs=0.5)
        assert offset == pytest.approx(0.7, abs=0.1), "left of the route is positive"
        assert along >= past - 0.5
        past = along
    assert past > route.length - 3.0


def test_beyond_its_ends_a_route_goes_straight_on(make_network):
    route = RoutePlanner(make_network()).plan((10.0, -1.75, 0.0), (60.0, -1.75))
    assert route.at(np.array([-5.0, route.length + 5.0])) == pytest.approx(
        np.array([[5.0, -1.75, 0.0], [10.0 + route.length + 5.0, -1.75, 0.0]]), abs=0.02
    )


@pytest.mark.parametrize("town", ["Town01", "Town02", "Town04", "Town06", "Town07", "Town10HD"])
def test_bench2drive_routes_are_planned_as_published(shared, town):
    network = load_town(shared / "data" / "maps" / f"{town}.xodr").network
    planner = RoutePlanner(network)
    configs = [route for route in read_routes(shared / "data" / "routes" / "bench2drive220.xml") if route.town == town]
    assert len(configs) >= 4
    for config in configs:
        route = planner.plan_route(config)
        check_route(network, route)
        # Bench2Drive ends some routes a few metres short, and places its lane changes elsewhere.
        assert route.length == pytest.approx(config.length, abs=9.0)
        away = [abs(route.project(x, y, 0, len(route.s))[2]) for x, y, _ in config.waypoints]
        assert np.median(away) < 0.6
        assert max(away) < 5.0


def test_projection_passes_over_no_nearer_piece(planner, network):
    route = planner.plan_route(generate_routes(network, 1, 3)[0])
    rng = np.random.default_rng(0)
    for _ in range(300):
        index = int(rng.integers(len(route.s) - 1))
        x, y = route.xy[index] + rng.normal(0.0, rng.choice([0.5, 5.0, 40.0]), 2)
        begin, window = int(rng.integers(len(route.s) - 1)), int(rng.choice([1, 30, len(route.s)]))
        found = route.project(x, y, begin, window)
        pieces = range(max(0, begin - 5), min(len(route.s) - 2, begin + window) + 1)
        start, step = route.xy[:-1][pieces], np.diff(route.xy, axis=0)[pieces]
        share = ((([x, y] - start) * step).sum(1) / (step**2).sum(1)).clip(0.0, 1.0)
        gap = np.hypot(*([x, y] - start - share[:, None] * step).T)
        assert abs(found[2]) == pytest.approx(gap.min())
        assert gap[found[0] - pieces[0]] == pytest.approx(gap.min())


def test_a_route_is_planned_once(network, planner):
    way = generate_routes(network, 1, seed=3, town="town")[0]
    first = planner.plan_route(way)
    again = RouteConfig(way.id, way.town, way.waypoints.copy())
    assert planner.plan_route(again) is first
    elsewhere = RouteConfig(way.id, way.town, way.waypoints[:-1])
    assert planner.plan_route(elsewhere) is not first
    lost = RouteConfig("lost", "town", way.waypoints + 1e5)
    for _ in range(2):
        with pytest.raises(CraftError, match="route 'lost' of town"):
            planner.plan_route(lost)
