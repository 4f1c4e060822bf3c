from collections import Counter

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.generate import generate_routes, write_suites
from craft_lightning.roads.routes import leak_guard, read_routes

COUNT = 48


@pytest.fixture(scope="module")
def routes(network):
    return generate_routes(network, COUNT, seed=11)


@pytest.fixture(scope="module")
def planned(routes, planner):
    return [planner.plan_route(route) for route in routes]


def test_the_same_seed_gives_the_same_routes(network, routes):
    again = generate_routes(network, COUNT, seed=11)
    assert [one.fingerprint() for one in routes] == [one.fingerprint() for one in again]
    assert [one.scenarios for one in routes] == [one.scenarios for one in again]
    other = generate_routes(network, COUNT, seed=12)
    assert not {one.fingerprint() for one in routes} & {one.fingerprint() for one in other}


def test_lengths_are_as_asked(planned, network, planner):
    assert all(148.0 <= route.length <= 220.0 for route in planned)
    assert np.ptp([route.length for route in planned]) > 40.0
    for route in generate_routes(network, 8, seed=1, length=(300.0, 320.0)):
        assert 298.0 <= planner.plan_route(route).length <= 320.0


def test_manoeuvres_are_mixed(planned):
    kinds = Counter()
    for route in planned:
        bend = np.unwrap(route.heading)
        turned = bend - bend[0]
        kinds["left"] += turned.max() > 1.0
        kinds["right"] += turned.min() < -1.0
        kinds["straight"] += np.abs(turned).max() < 0.5
    assert min(kinds["left"], kinds["right"], kinds["straight"]) >= COUNT // 6, kinds


def test_no_two_routes_are_the_same_way(planned):
    ways = {tuple(dict.fromkeys(route.lane.tolist())) for route in planned}
    assert len(ways) == COUNT
    outlines = np.array([route.at(np.linspace(0, route.length, 16))[:, :2] for route in planned])
    gap = np.linalg.norm(outlines[:, None] - outlines[None], axis=-1).mean(-1) + 1e3 * np.eye(COUNT)
    assert gap.min() > 10.0


def test_starts_and_ends_lie_outside_junctions(network, planned):
    for route in planned:
        assert not network.lane_junction[route.lane[0]]
        assert not network.lane_junction[route.lane[-5:]].any()


def test_scenarios_are_placed_where_they_have_room(network, routes, planned):
    kinds = Counter(route.scenarios[0].type if route.scenarios else None for route in routes)
    assert set(kinds) == {"HardBreakRoute", "DynamicObjectCrossing", None}
    assert min(kinds.values()) >= COUNT // 4
    for config, route in zip(routes, planned, strict=True):
        for scenario in config.scenarios:
            x, y, _, yaw = scenario.trigger_point
            index, s, offset = route.project(x, y, 0, len(route.s))
            assert abs(offset) < 0.2
            assert np.cos(yaw - route.heading[index]) > 0.98
            if scenario.type == "HardBreakRoute":
                assert 44.0 <= s <= route.length - 40.0
                stopping = (route.s >= s) & (route.s <= s + 29.0)
            else:
                place = s + scenario.parameters["distance"]
                assert scenario.parameters["direction"] in ("left", "right")
                assert 0 <= scenario.parameters["crossing_angle"] <= 15
                assert 54.0 <= place <= route.length - 20.0
                stopping = np.abs(route.s - place) < 6.0
            assert not network.lane_junction[route.lane[stopping]].any()


def test_only_the_wanted_scenarios(network):
    plain = generate_routes(network, 6, seed=2, scenario_types=(None,), town="elsewhere", prefix="p")
    assert all(route.scenarios == () for route in plain)
    assert {route.town for route in plain} == {"elsewhere"}
    assert [route.id for route in plain] == [f"p{k}" for k in range(6)]
    braking = generate_routes(network, 6, seed=2, scenario_types=("HardBreakRoute",))
    assert sum(route.scenarios[0].type == "HardBreakRoute" for route in braking if route.scenarios) >= 5


def test_what_cannot_be_is_refused(make_network, network):
    with pytest.raises(CraftError, match="straight has room for 0 different routes"):
        generate_routes(make_network(), 2, seed=0)
    with pytest.raises(CraftError, match="cannot generate 0 routes"):
        generate_routes(network, 0, seed=0)
    with pytest.raises(CraftError, match="cannot generate 3 routes of 200 to 100 m"):
        generate_routes(network, 3, seed=0, length=(200.0, 100.0))
    with pytest.raises(CraftError, match="scenario type 'HardBrakeRoute' cannot be placed.*HardBreakRoute"):
        generate_routes(network, 3, seed=0, scenario_types=("HardBrakeRoute",))


def test_suites_are_disjoint_files(network, tmp_path):
    train_path, eval_path = write_suites(network, tmp_path, train=12, evaluation=4, seed=5)
    train, judging = read_routes(train_path, strict=True), read_routes(eval_path, strict=True)
    assert (len(train), len(judging)) == (12, 4)
    leak_guard(train, judging)
    with pytest.raises(CraftError, match="is also training route"):
        leak_guard(train, [*judging, train[3]])
