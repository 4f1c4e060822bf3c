"""Sites of the roadside family over the built-in towns, and what the finders promise of them."""

import itertools

import numpy as np
import pytest

from craft_lightning.roads.cross_section import CrossSections, neighbour, oncoming
from craft_lightning.roads.sites import manoeuvres, roadside
from craft_lightning.roads.sites.places import LENGTH
from craft_lightning.roads.towns import load_town

TOWNS = ("craftside", "craftville", "craftway", "craftfield")
FINDERS = {**roadside.FINDERS, **manoeuvres.FINDERS}
WANTED, TRIES = 25, 1500


@pytest.fixture(scope="module")
def networks():
    return {town: load_town(town).network for town in TOWNS}


def found(networks, kind, wanted):
    """Distinct sites of a type, (town, site), until there are enough."""
    sites = {}
    for town, network in networks.items():
        rng = np.random.default_rng(0)
        for _ in range(TRIES):
            site = FINDERS[kind](network, rng)
            if site is not None:
                x, y, *_ = site.scenario.trigger_point
                sites.setdefault((town, round(x / 3.0), round(y / 3.0)), (town, site))
            if len(sites) >= wanted:
                return list(sites.values())
    return list(sites.values())


@pytest.mark.parametrize("kind", sorted(FINDERS))
def test_enough_different_sites_whose_routes_pass_them(networks, kind):
    sites = found(networks, kind, WANTED)
    assert len(sites) == WANTED
    for town, site in sites:
        route, scenario = site.route, site.scenario
        assert scenario.type == kind
        assert LENGTH[0] - 10.0 <= route.length <= LENGTH[1] + 10.0
        x, y, _, yaw = scenario.trigger_point
        gap = np.hypot(route.xy[:, 0] - x, route.xy[:, 1] - y)
        nearest = int(gap.argmin())
        assert gap[nearest] < 0.6
        assert np.cos(route.heading[nearest] - yaw) > 0.9
        assert not networks[town].lane_junction[route.lane[[0, -1]]].any()


@pytest.mark.parametrize(("kind", "facing"), [("Accident", False), ("AccidentTwoWays", True)])
def test_obstacles_have_a_lane_to_go_round_on(networks, kind, facing):
    for town, site in found(networks, kind, 10):
        distance = site.scenario.parameters["distance"]
        x, y, *_ = site.scenario.trigger_point
        _, s, _ = site.route.project(x, y, 0, len(site.route.s))
        place = site.route.at(s + distance).tolist()
        strips = CrossSections.of(networks[town]).at(*place)
        assert (oncoming(strips) is not None) if facing else (neighbour(strips, 1.0) is not None)


def test_lane_change_routes_change_lane_at_least_twice(networks):
    network = networks["craftway"]
    for town, site in found({"craftway": network}, "SequentialLaneChange", 5):
        lanes = site.route.lane
        beside = [
            new in (network.left_neighbour[old], network.right_neighbour[old])
            for old, new in itertools.pairwise(lanes.tolist())
            if old != new
        ]
        assert sum(beside) >= 2, town


def test_invaders_meet_the_ego_in_a_bend(networks):
    for _, site in found(networks, "InvadingTurn", 8):
        x, y, *_ = site.scenario.trigger_point
        _, s, _ = site.route.project(x, y, 0, len(site.route.s))
        reach = np.linspace(s, s + site.scenario.parameters["distance"], 20)
        assert np.ptp(np.unwrap(site.route.at(reach)[:, 2])) >= 0.25


def test_a_cross_section_knows_sides_and_directions(networks):
    network = networks["craftway"]
    lane = int(np.flatnonzero((network.left_neighbour >= 0) & ~network.lane_junction)[0])
    x, y, _, yaw, _ = network.lane_at(lane, 0.5 * float(network.lane_length[lane])).tolist()
    strips = CrossSections.of(network).at(x, y, yaw)
    own = min(strips, key=lambda strip: abs(strip.left))
    assert own.lane == lane
    assert abs(own.left) < 0.3
    assert neighbour(strips, 1.0).lane == network.left_neighbour[lane]
    turned = CrossSections.of(network).at(x, y, yaw + np.pi)
    assert [round(one.left, 3) for one in turned] == [round(-one.left, 3) for one in reversed(strips)]
    assert all(a.same != b.same for a, b in zip(turned, reversed(strips), strict=True))


def test_who_leaves_a_parking_place_starts_beside_a_parking_lane_and_not_a_shoulder(networks):
    for town, site in found(networks, "ParkingExit", 10):
        network = networks[town]
        strip = neighbour(CrossSections.of(network).at(*site.route.at(1.0)), -1.0, driving=False)
        assert strip is not None
        assert strip.parking
        assert network.lane_type[strip.lane] == "parking"
