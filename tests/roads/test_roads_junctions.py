"""Ways through junctions, and the sites of the scenarios that are about them."""

import itertools

import numpy as np
import pytest

from craft_lightning.roads.junctions import BACK, LEFT, RIGHT, STRAIGHT, Junctions, lane_line, lead_in, lead_out
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.signals import STOP_SIGN
from craft_lightning.roads.sites import finders
from craft_lightning.roads.towns import load_town

TOWNS = ("craftville", "craftway", "craftfield", "craftside")
TYPES = (
    "BlockedIntersection",
    "CrossingBicycleFlow",
    "EnterActorFlow",
    "HighwayExit",
    "InterurbanActorFlow",
    "InterurbanAdvancedActorFlow",
    "MergerIntoSlowTraffic",
    "MergerIntoSlowTrafficV2",
    "NonSignalizedJunctionLeftTurn",
    "NonSignalizedJunctionLeftTurnEnterFlow",
    "NonSignalizedJunctionRightTurn",
    "OppositeVehicleRunningRedLight",
    "OppositeVehicleTakingPriority",
    "SignalizedJunctionLeftTurn",
    "SignalizedJunctionLeftTurnEnterFlow",
    "SignalizedJunctionRightTurn",
    "T_Junction",
    "VanillaNonSignalizedTurn",
    "VanillaNonSignalizedTurnEncounterStopsign",
    "VanillaSignalizedTurnEncounterGreenLight",
    "VanillaSignalizedTurnEncounterRedLight",
)
WANTED = 25


@pytest.fixture(scope="module")
def networks(cache):
    return [load_town(town).network for town in TOWNS]


@pytest.fixture(scope="module")
def sites(networks):
    """Type -> (network, site) of sites whose starts or ends lie more than 5 m apart."""
    found = {}
    for kind in TYPES:
        places, kept = np.zeros((0, 4)), []
        for network in networks:
            rng = np.random.default_rng(3)
            for _ in range(120):
                site = finders()[kind](network, rng)
                if site is None or len(kept) >= 2 * WANTED:
                    continue
                ends = np.concatenate([site.route.xy[0], site.route.xy[-1]])
                gap = np.abs(places - ends)
                if not ((np.hypot(gap[:, 0], gap[:, 1]) < 5.0) & (np.hypot(gap[:, 2], gap[:, 3]) < 5.0)).any():
                    places = np.concatenate([places, ends[None]])
                    kept.append((network, site))
        found[kind] = kept
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_many_sites(sites, kind):
    assert len(sites[kind]) >= WANTED
    for network, site in sites[kind]:
        route = site.route
        assert 200.0 <= route.length <= 250.0
        assert not network.lane_junction[route.lane[[0, -1]]].any()
        x, y, _, yaw = site.scenario.trigger_point
        index, s, offset = route.project(x, y, 0, len(route.s))
        assert abs(offset) < 0.2
        assert np.cos(yaw - route.heading[index]) > 0.98
        assert 9.0 < s < route.length - 60.0
        assert site.scenario.type == kind


@pytest.mark.parametrize(
    ("kind", "manoeuvre", "signalised"),
    [
        ("NonSignalizedJunctionLeftTurn", LEFT, False),
        ("NonSignalizedJunctionRightTurn", RIGHT, False),
        ("SignalizedJunctionLeftTurnEnterFlow", LEFT, True),
        ("SignalizedJunctionRightTurn", RIGHT, True),
    ],
)
def test_turns_are_what_their_names_say(sites, kind, manoeuvre, signalised):
    for network, site in sites[kind]:
        junctions = Junctions.of(network)
        x, y, *_ = site.scenario.trigger_point
        s = site.route.project(x, y, 0, len(site.route.s))[1]
        movement, entry, last = junctions.on_route(site.route, s)
        assert movement.manoeuvre == manoeuvre
        assert junctions.signalised(movement) == signalised
        assert s < entry < last
        assert entry - s < 60.0


def test_stop_sign_turns_come_to_a_stop_sign(sites):
    for network, site in sites["VanillaNonSignalizedTurnEncounterStopsign"]:
        x, y, *_ = site.scenario.trigger_point
        s = site.route.project(x, y, 0, len(site.route.s))[1]
        movement, _, _ = Junctions.of(network).on_route(site.route, s)
        assert movement.approach in network.sign_lane[network.sign_type == STOP_SIGN]


@pytest.mark.parametrize("kind", ["HighwayExit", "MergerIntoSlowTraffic", "InterurbanActorFlow"])
def test_lane_changes_survive_a_route_file(sites, kind):
    planners = {}
    for network, site in sites[kind][:8]:
        planner = planners.setdefault(id(network), RoutePlanner(network))
        points = np.column_stack([site.route.xy, site.route.z])
        config = RouteConfig("r", network.name, np.round(np.concatenate([points[:-4:8], points[-1:]]), 2))
        again = planner.plan_route(config)
        assert again.length == pytest.approx(site.route.length, abs=3.0)
        gap = np.hypot(*(again.xy[:, None] - site.route.xy[None]).transpose(2, 0, 1)).min(1)
        assert gap.max() < 3.0, "the change itself may shift, its lanes do not"


def test_sites_are_drawn_by_number(networks):
    first, second = (
        [finders()["EnterActorFlow"](networks[2], rng) for _ in range(6)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert [site and site.scenario for site in first] == [site and site.scenario for site in second]


def test_a_town_without_junctions_has_no_sites(make_network):
    network = make_network()
    rng = np.random.default_rng(0)
    assert all(finders()[kind](network, rng) is None for kind in TYPES)


def test_sides_and_manoeuvres(networks):
    junctions = Junctions.of(networks[0])
    seen = set()
    for movement in junctions.movements:
        own = lane_line(junctions.network, movement.inside)
        first, last = own[1] - own[0], own[-1] - own[-2]
        turn = first[0] * last[1] - first[1] * last[0]
        if movement.manoeuvre in (LEFT, RIGHT):
            assert (turn > 0.0) == (movement.manoeuvre == LEFT)
        for other in junctions.others(movement):
            start = lane_line(junctions.network, other.inside)[0] - own[0]
            left = first[0] * start[1] - first[1] * start[0]
            side = movement.side(other)
            seen.add((movement.manoeuvre, side))
            assert side != BACK
            if side in (LEFT, RIGHT):
                assert (left > 0.0) == (side == LEFT)
    assert {(LEFT, STRAIGHT), (RIGHT, LEFT), (STRAIGHT, RIGHT)} <= seen


def test_ways_lead_to_and_from_a_lane_without_a_gap(networks):
    network = networks[1]
    movement = Junctions.of(network).movements[10]
    way = [*lead_in(network, movement.approach, 80.0), movement.approach]
    way += [*movement.inside, movement.exit, *lead_out(network, movement.exit, 80.0)]
    line = lane_line(network, way)
    assert np.hypot(*np.diff(line[:, :2], axis=0).T).max() < 1.05
    assert all(after in network.successors[before] for before, after in itertools.pairwise(way))
