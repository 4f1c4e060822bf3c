"""Parameters, verdicts and disturbances of the roadside family, without a server."""

from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import ScenarioConfig, read_routes
from craft_lightning.roads.sites import manoeuvres, roadside
from craft_lightning.simulation.scenarios import parameters, tracks
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.control_loss import ControlLoss
from craft_lightning.simulation.scenarios.obstacles import ObstacleAhead
from craft_lightning.simulation.scenarios.registry import SCENARIOS, ego_place
from craft_lightning.simulation.scenarios.stage import Stage

KINDS = sorted([*roadside.FINDERS, *manoeuvres.FINDERS])


def config(kind="Accident", **given):
    return ScenarioConfig(f"{kind}_1", kind, (30.0, 0.0, 0.0, 0.0), given)


class Nowhere:
    """A session of a server without any blueprint on which nothing stands."""

    ticks_per_step = 2
    world = SimpleNamespace(get_blueprint_library=lambda: SimpleNamespace(filter=lambda pattern: []))

    def has_blueprint(self, name):
        return False

    def destroy(self, actors=None, tick=True):
        pass


@pytest.fixture
def route(lab):
    return lab.make_route(lab.straight(0, 0, 200, 0))


@pytest.fixture
def stage(route):
    return Stage(Nowhere(), route, None, np.random.default_rng(0), 30.0)


def test_all_types_of_the_family_are_there():
    assert set(KINDS) <= set(SCENARIOS)


@pytest.mark.parametrize("given", ["forty", "nan", "-3", "900"])
def test_a_wrong_distance_is_one_sentence(given):
    with pytest.raises(CraftError, match=r"'Accident_1' \(Accident\): parameter 'distance' .*route file"):
        parameters.number(config(distance=given), "distance", 40.0)


@pytest.mark.parametrize(
    "given", [{"from": "80", "to": "30"}, {"from": "a", "to": "3"}, {"from": "5"}, "0", "-4", {"value": "inf"}]
)
def test_a_wrong_frequency_is_one_sentence(given):
    with pytest.raises(CraftError, match=r"parameter 'frequency' .*route file"):
        parameters.interval(config(frequency=given), "frequency", (20.0, 90.0))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({"from": "32", "to": "184"}, (32.0, 184.0)), ({"value": "85"}, (85.0, 85.0)), ("85", (85.0, 85.0))],
)
def test_frequencies_come_as_a_range_or_as_one_number(given, wanted):
    assert parameters.interval(config(frequency=given), "frequency", (1.0, 2.0)) == wanted


def test_sides_and_places():
    assert parameters.side(config(direction="LEFT")) == 1.0
    assert parameters.side(config()) == -1.0
    with pytest.raises(CraftError, match="'direction' is 'up', not 'left' or 'right'"):
        parameters.side(config(direction="up"))
    assert parameters.place(config(other_actor_location={"x": "1.5", "y": 2, "z": 0}), "other_actor_location") == (
        1.5,
        2.0,
        0.0,
    )
    with pytest.raises(CraftError, match="not a place with x and y"):
        parameters.place(config(other_actor_location="here"), "other_actor_location")


def test_bad_values_are_refused_before_anything_is_spawned(route):
    for given in ({"distance": "far"}, {"direction": "up"}, {"speed": "0"}):
        with pytest.raises(CraftError):
            ObstacleAhead(config(**given), Nowhere(), route, None, np.random.default_rng(0))


def test_parameters_of_bench2drive_are_understood(shared_data, route):
    routes = read_routes(shared_data / "routes" / "bench2drive220.xml")
    scenarios = [one for item in routes for one in item.scenarios if one.type in KINDS]
    assert len(scenarios) == 5 * len(KINDS)
    for one in scenarios:
        for name, value in one.parameters.items():
            if name == "frequency":
                low, high = parameters.interval(one, name, (0.0, 0.0))
                assert 0.0 < low <= high
            elif name.endswith("_location"):
                assert parameters.place(one, name) is not None
            elif name == "direction":
                assert parameters.side(one) in (1.0, -1.0)
            elif name != "blocker_model":
                assert parameters.number(one, name, 1.0) == float(value["value"] if isinstance(value, dict) else value)


def test_noise_is_seeded_bounded_and_stronger_on_a_patch(lab, route):
    def sent(seed, x):
        scenario = ControlLoss(config("ControlLoss"), Nowhere(), route, None, np.random.default_rng(seed))
        for place in np.linspace(0.0, x, 20).tolist():
            scenario.stage.see(lab.make_view(0.0, (place, 0.0, 0.0, 8.0), [], {}))
        return np.array([scenario.disturb(0.5, 0.0, 0.0) for _ in range(400)]), scenario

    first, scenario = sent(3, 32.0)
    again, _ = sent(3, 32.0)
    other, _ = sent(4, 32.0)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(first[:, 1].mean()) < 0.01, "no pull beside the patches"
    assert 0.01 < first[:, 1].std() < 0.03
    assert (first[:, 2] == 0.0).all()
    place, pull = scenario.patches[0]
    patch, _ = sent(3, place + 3.0)
    assert np.sign(patch[:, 1].mean()) == np.sign(pull)
    assert 0.03 <= abs(pull) <= 0.07


def test_an_ego_begins_on_its_route_or_where_it_is_parked(route):
    assert ego_place([config("Accident"), config("NoSuchType")], route) == pytest.approx((0.0, 0.0, 0.0, 0.0))
    x, y, _, _ = ego_place([config("ParkingExit")], route)
    assert (x, y) == pytest.approx((30.0, -2.95))
    _, y, *_ = ego_place([config("ParkingExit", direction="left")], route)
    assert y > 2.0


def test_controls_pass_undisturbed_by_default(route):
    assert Scenario.disturb(SimpleNamespace(), 0.3, -0.2, 0.1) == (0.3, -0.2, 0.1)


def test_tracks_run_beside_and_across(stage):
    way = tracks.beside(stage, (10.0, 20.0, 40.0, 60.0), (-3.0, -3.0, 0.0, 0.0))
    assert way.pose(5.0)[1] == pytest.approx(-3.0)
    assert way.pose(way.end)[1] == pytest.approx(0.0, abs=0.05)
    assert np.abs(np.diff(way.heading)).max() < 0.06, "no kink"
    over = tracks.across(stage, 50.0, -5.0, 0.5 * np.pi, 12.0)
    assert over.pose(12.0)[:2] == pytest.approx((50.0, 7.0))
    assert tracks.along(over, 50.0, 0.0) == pytest.approx(5.0)
    assert tracks.against(stage, 50.0, 100.0, 50.0) is None, "no town, no oncoming lane"
