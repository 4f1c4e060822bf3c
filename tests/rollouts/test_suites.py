"""Suites over several towns: what is read, what is left out, and one clear sentence for whatever cannot be driven."""

import re
import shutil

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import RouteConfig, ScenarioConfig, read_routes
from craft_lightning.roads.suites import suite_file, suite_names
from craft_lightning.roads.towns import suite_path
from craft_lightning.rollouts.collect import Traffic
from craft_lightning.rollouts.datamodule import DrivingDataModule
from craft_lightning.rollouts.evaluate import Evaluation
from craft_lightning.rollouts.rules import judging, named_rules
from craft_lightning.rollouts.suites import Atlas, load_suite
from craft_lightning.simulation.criteria import CriteriaParameters


@pytest.fixture
def two_towns(tmp_path):
    """A route file with two routes of craftville and one of a town that nobody has."""
    text = suite_path("craftville_eval").read_text()
    routes = re.findall(r"<route .*?</route>", text, re.DOTALL)[:3]
    routes[2] = routes[2].replace('town="craftville"', 'town="Town99"')
    path = tmp_path / "mixed.xml"
    path.write_text("<routes>" + "".join(routes) + "</routes>")
    return path


def changed(tmp_path, pattern, replacement):
    path = tmp_path / "changed.xml"
    path.write_text(re.sub(pattern, replacement, suite_path("craftville_eval").read_text(), count=1))
    return str(path)


def test_an_unknown_suite_names_the_closest():
    with pytest.raises(CraftError, match=r"data\.suite is 'embedded-22': .*did you mean 'embedded-220'"):
        DrivingDataModule(suite="embedded-22").setup()


def test_an_unknown_protocol_names_the_field_and_the_closest():
    with pytest.raises(CraftError, match=r"data\.protocol: .*'bench2driv'; did you mean 'bench2drive'"):
        DrivingDataModule(protocol="bench2driv")


def test_a_limit_of_ones_own_beside_a_protocol_is_refused():
    with pytest.raises(CraftError, match=r"data\.episode\.blocked_seconds is set by data\.protocol=bench2drive"):
        DrivingDataModule(protocol="bench2drive", episode={"blocked_seconds": 5.0})


@pytest.mark.parametrize("pair", [("suite", "eval_routes"), ("training_suite", "train_routes")])
def test_routes_named_twice_are_refused(pair):
    with pytest.raises(CraftError, match=rf"data\.{pair[0]}=a and data\.{pair[1]}=b"):
        DrivingDataModule(**dict(zip(pair, "ab", strict=True)))


def test_a_town_that_is_not_there_is_refused_or_left_out_and_listed(two_towns, capsys):
    with pytest.raises(CraftError, match=r"data\.suite: .*mixed\.xml .*Town99 \(1\).*leave_out_missing_towns"):
        DrivingDataModule(suite=str(two_towns)).setup()
    data = DrivingDataModule(suite=str(two_towns), leave_out_missing_towns=True)
    data.setup()
    assert len(data.eval_suite) == 2
    assert data.left_out == {"Town99": 1}
    assert "2 of 3 routes; left out, for want of a map: Town99 (1)" in capsys.readouterr().err
    assert data.protocol.suite == "mixed.xml"


def test_a_folder_of_maps_that_is_not_there():
    with pytest.raises(CraftError, match=r"data\.maps: there is no folder /nowhere"):
        DrivingDataModule(maps="/nowhere")


def test_a_map_that_is_broken_names_its_field_and_file(two_towns, tmp_path):
    (tmp_path / "Town99.xodr").write_text("<OpenDRIVE>")
    with pytest.raises(CraftError, match=r"data\.maps: .*Town99\.xodr"):
        DrivingDataModule(suite=str(two_towns), maps=str(tmp_path)).setup()


def test_a_town_name_never_leads_out_of_the_folder_of_maps(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "outside.xodr").write_text("<OpenDRIVE/>")
    assert Atlas(str(tmp_path / "maps")).source("../outside") is None


def test_the_field_of_a_broken_town_is_named():
    with pytest.raises(CraftError, match=r"data\.town: .*atlantis"):
        DrivingDataModule(town="atlantis").setup()


@pytest.mark.parametrize("field", ["suite", "eval_routes"])
@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        (
            'type="HardBreakRoute"',
            'type="HardBrakeRoute"',
            r"route e\d+ .*'HardBrakeRoute'.*closest is 'HardBreakRoute'",
        ),
        (r'<position x="[^"]+"', '<position x="99999.0"', r"waypoint 0 of route e0 is \d+ m from any lane"),
        (r'<position x="([^"]+)"', '<position x="one"', r"route 'e0': <position> has x='one'"),
        (
            r'<distance value="[^"]+"',
            '<distance value="near"',
            r"route e\d+: scenario .*'distance' is 'near', not a number",
        ),
    ],
)
def test_a_route_that_cannot_be_driven_is_refused_before_anything_starts(
    tmp_path, field, pattern, replacement, sentence
):
    path = changed(tmp_path, pattern, replacement)
    with pytest.raises(CraftError, match=rf"data\.{field}: .*changed\.xml.*{sentence}"):
        DrivingDataModule(**{field: path}).setup()


def test_waypoints_that_no_way_connects_are_refused_before_anything_starts(tmp_path):
    """A waypoint beside the road: near enough to be no blunder, too far to be on any lane."""
    route = read_routes(suite_path("craftville_eval"))[0]
    x, y = route.waypoints[3, :2]
    before = route.waypoints[2, :2]
    aside = (x - (y - before[1]) * 1.4, y + (x - before[0]) * 1.4)
    text = suite_path("craftville_eval").read_text()
    positions = re.findall(r"<position [^>]+>", text)
    path = tmp_path / "aside.xml"
    path.write_text(text.replace(positions[3], f'<position x="{aside[0]:.2f}" y="{-aside[1]:.2f}" z="0" />', 1))
    with pytest.raises(CraftError, match=r"data\.suite: .*aside\.xml: route 'e0'"):
        DrivingDataModule(suite=str(path)).setup()


def test_the_routes_of_bench2drive_whose_town_is_there_run_as_they_stand(shared_data):
    """No scenario type, waypoint or way of them is refused."""
    atlas = Atlas(str(shared_data / "maps"))
    suite = load_suite("data.suite", str(shared_data / "routes" / "bench2drive220.xml"), atlas, leave_out=True)
    assert len(suite.routes) == 35
    assert sum(suite.left_out.values()) == 185
    assert suite.towns == ["Town01", "Town02", "Town04", "Town06", "Town07", "Town10HD"]


def test_a_suite_of_one_town_needs_no_atlas_and_is_called_by_its_name():
    data = DrivingDataModule()
    data.setup()
    assert data.options.atlas == {}
    assert data.protocol.suite == "craftville_eval"
    assert data.protocol.rules == ""


def test_grids_are_in_the_order_of_the_atlas():
    data = DrivingDataModule(suite="embedded-220", training_suite="embedded-train", eval_limit=4)
    data.setup()
    assert [grid.name for grid in data.grids] == list(data.options.atlas)
    assert {route.town for route in data.train_suite} <= set(data.options.atlas)
    assert data.options.town in data.options.atlas
    assert data.protocol.rules == "bench2drive-star"
    assert data.protocol.num_routes == 4


def test_the_houses_own_limits_are_those_of_the_criteria():
    assert judging(None).criteria == {}
    star = CriteriaParameters(**judging(named_rules("bench2drive-star", {})).criteria)
    house = CriteriaParameters()
    same = ("end_on_collision", "blocked_seconds", "timeout_base", "timeout_share", "deviation_distance")
    assert [getattr(star, name) for name in same] == [getattr(house, name) for name in same]
    assert star.leaderboard
    assert not house.leaderboard


def flowing(kind, **parameters):
    scenario = ScenarioConfig(f"{kind}_1", kind, (20.0, 0.0, 0.0, 0.0), {"direction": "right", **parameters})
    return RouteConfig("3749", "Town13", np.zeros((2, 3)), (scenario,))


def test_only_the_star_slows_the_flow_of_route_3749_to_12_metres_a_second(shared_data):
    file = read_routes(shared_data / "routes" / "bench2drive220.xml")
    routes = {route.id: route for route in file}
    star, plain = judging(named_rules("bench2drive-star", {})), judging(named_rules("bench2drive", {}))
    assert routes["3749"].scenarios[0].parameters["flow_speed"] == 19.0
    patched = star.prescribed(routes["3749"])
    assert patched.scenarios[0].parameters == {**routes["3749"].scenarios[0].parameters, "flow_speed": 12.0}
    assert patched.waypoints is routes["3749"].waypoints
    assert star.prescribed(flowing("EnterActorFlow", flow_speed=11.0)).scenarios[0].parameters["flow_speed"] == 11.0
    assert plain.prescribed(routes["3749"]) is routes["3749"]
    # Of the 220 routes the star changes this one and the five with bicycles.
    changed = {route.id for route in file if star.prescribed(route) is not route}
    bicycles = {route.id for route in file if route.scenarios[0].type == "CrossingBicycleFlow"}
    assert changed == {"3749", *bicycles}
    assert len(bicycles) == 5


def test_the_patches_reach_the_episode_that_is_driven():
    route = flowing("EnterActorFlow", flow_speed=19.0)
    for protocol, speed in (("bench2drive-star", 12.0), ("bench2drive", 19.0)):
        judged = judging(named_rules(protocol, {}))
        spec = Evaluation([route], Traffic(), 0, judged).spec(0)
        assert spec.route.scenarios[0].parameters["flow_speed"] == speed
        assert spec.ignore_stop_sign_at_origin is (protocol == "bench2drive-star")
        assert (spec.clear_blocking_after > 0.0) is (protocol == "bench2drive-star")


def test_built_in_suites_are_named():
    assert {"embedded-220", "embedded-train", "craftville_eval"} <= set(suite_names())
    assert suite_file("embedded-220").is_file()
    assert suite_file("../suites/embedded-220") is None
    assert suite_file("nothing") is None


def test_maps_may_lie_beside_each_other(shared_data, tmp_path):
    shutil.copy(shared_data / "maps" / "Town02.xodr", tmp_path)
    assert Atlas(str(tmp_path)).load("Town02").name == "Town02"
