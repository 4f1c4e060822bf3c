"""The suites over all built-in towns: what is in them, that they can be planned, and that the command makes them."""

from collections import Counter

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import leak_guard, read_routes
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.sites import finders
from craft_lightning.roads.suites import suite_file
from craft_lightning.roads.suites.assemble import Assembler, Ground
from craft_lightning.roads.suites.build import EVALUATION, SEED, build
from craft_lightning.roads.towns import BUILT_IN, load_town

SUITES = ("embedded-220", "embedded-train")


@pytest.fixture(scope="module")
def suites():
    return {name: read_routes(suite_file(name), strict=True) for name in SUITES}


@pytest.fixture(scope="module")
def grounds():
    return {name: Ground.of(load_town(name).network) for name in BUILT_IN}


def test_every_type_five_times_for_evaluation_and_a_larger_disjoint_suite_for_training(suites):
    judging = Counter(route.scenarios[0].type for route in suites["embedded-220"])
    assert set(judging.values()) == {EVALUATION}
    assert len(judging) == 44
    learning = Counter(route.scenarios[0].type for route in suites["embedded-train"])
    assert set(learning) == set(judging)
    assert min(learning.values()) >= 10
    leak_guard(suites["embedded-train"], suites["embedded-220"])
    leak_guard(read_routes(suite_file("craftville_train")), suites["embedded-220"])
    leak_guard(suites["embedded-train"], read_routes(suite_file("craftville_eval")))


def test_the_front_of_a_suite_has_every_type_once(suites):
    assert len({route.scenarios[0].type for route in suites["embedded-220"][:44]}) == 44


@pytest.mark.parametrize("name", SUITES)
def test_every_route_is_planned_as_it_was_laid(suites, grounds, name):
    for route in suites[name]:
        (scenario,) = route.scenarios
        planned = grounds[route.town].planner.plan_route(route)
        assert 198.0 <= planned.length <= 252.0, route.id
        x, y = scenario.trigger_point[:2]
        assert np.hypot(planned.xy[:, 0] - x, planned.xy[:, 1] - y).min() < 5.0, route.id


def test_all_built_in_towns_are_driven(suites):
    towns = Counter(route.town for route in suites["embedded-220"])
    assert set(towns) == set(BUILT_IN)
    assert min(towns.values()) >= 20


def test_a_type_without_room_is_one_sentence(grounds):
    only = {"craftville": grounds["craftville"]}
    with pytest.raises(CraftError, match="room for 0 routes of HighwayCutInX"):
        Assembler(only, {"HighwayCutInX": lambda network, rng: None}, 0).assemble(1, 1)


def test_equal_seeds_give_equal_suites_and_others_differ(grounds):
    chosen = {kind: finders()[kind] for kind in ("HardBreakRoute", "ParkedObstacle")}

    def ways(seed):
        judging, learning = Assembler(grounds, chosen, seed).assemble(2, 3)
        return [route.fingerprint() for route in (*judging, *learning)]

    assert ways(1) == ways(1)
    assert ways(1) != ways(2)


def test_a_route_read_back_has_the_same_fingerprint(suites, grounds):
    kind = suites["embedded-220"][0].scenarios[0].type
    trained = read_routes(suite_file("craftville_train"))
    judging, _ = Assembler(grounds, {kind: finders()[kind]}, SEED).assemble(1, 1, trained)
    assert judging[0].fingerprint() == suites["embedded-220"][0].fingerprint()
    assert RoutePlanner(grounds[judging[0].town].network).plan_route(judging[0]).length > 198.0


@pytest.mark.slow
def test_the_command_makes_the_shipped_files(tmp_path):
    build(tmp_path)
    for name in SUITES:
        assert (tmp_path / f"{name}.xml").read_text() == suite_file(name).read_text()
