import dataclasses
import math

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import RouteConfig, ScenarioConfig, leak_guard, read_routes, write_routes

FILE = """<routes>
  <route id="12" town="Town01">
    <weathers>
      <weather route_percentage="100" cloudiness="90"/>
      <weather route_percentage="0" cloudiness="5.0" sun_altitude_angle="45"/>
    </weathers>
    <waypoints>
      <position x="10.0" y="20.0" z="0.5"/>
      <position x="12.0" y="30.0" z="0.5"/>
    </waypoints>
    <scenarios>
      <scenario name="DynamicObjectCrossing_1" type="DynamicObjectCrossing">
        <trigger_point x="10.0" y="22.0" z="0.5" yaw="90.0"/>
        <distance value="42"/>
        <blocker_model value="static.prop.container"/>
        <interval from="10" to="30"/>
        <other x="1.0" y="2.0" z="3.0" yaw="-90"/>
      </scenario>
    </scenarios>
  </route>
</routes>"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "routes.xml"
        path.write_text(text)
        return path

    return write


def route(name="1", start=(0.0, 0.0), end=(100.0, 0.0), town="craftville", scenarios=()):
    way = np.column_stack([np.linspace(start, end, 11), np.zeros(11)])
    return RouteConfig(name, town, way, scenarios)


def test_a_route_file_is_read_into_the_world_frame(write):
    (config,) = read_routes(write(FILE))
    assert (config.id, config.town) == ("12", "Town01")
    assert config.waypoints.tolist() == [[10.0, -20.0, 0.5], [12.0, -30.0, 0.5]]
    assert config.weather == {"cloudiness": 5.0, "sun_altitude_angle": 45.0}
    (scenario,) = config.scenarios
    assert (scenario.name, scenario.type) == ("DynamicObjectCrossing_1", "DynamicObjectCrossing")
    assert scenario.trigger_point == pytest.approx((10.0, -22.0, 0.5, -math.pi / 2))
    assert scenario.parameters == {
        "distance": 42.0,
        "blocker_model": "static.prop.container",
        "interval": {"from": 10.0, "to": 30.0},
        "other": {"x": 1.0, "y": -2.0, "z": 3.0, "yaw": pytest.approx(math.pi / 2)},
    }


def test_writing_and_reading_gives_the_same_routes(write, tmp_path):
    first = read_routes(write(FILE))
    write_routes(tmp_path / "again.xml", first)
    second = read_routes(tmp_path / "again.xml", strict=True)
    assert first[0].waypoints.tolist() == second[0].waypoints.tolist()
    assert first[0].scenarios[0].parameters == second[0].scenarios[0].parameters
    assert first[0].scenarios[0].trigger_point == pytest.approx(second[0].scenarios[0].trigger_point)
    assert first[0].weather == second[0].weather
    assert first[0].fingerprint() == second[0].fingerprint()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</routes>", "", "routes.xml is not well-formed XML"),
        ("routes>", "paths>", "its root element is <paths>"),
        (' town="Town01"', "", "route '12' has no town; add the attribute town"),
        (' id="12"', "", "route number 1 has no id"),
        ('<position x="12.0" y="30.0" z="0.5"/>', "", "route '12' has 1 waypoints"),
        ("waypoints>", "points>", "route '12' has 0 waypoints"),
        ('y="30.0"', 'y="north"', "route '12': <position> has y='north', not a number"),
        ('y="30.0"', 'y="nan"', "route '12': <position> has y='nan', not a number"),
        ('y="30.0" ', "", "route '12': <position> lacks y"),
        ('yaw="90.0"', 'yaw="east"', "route '12': <trigger_point> has yaw='east'"),
        ("trigger_point", "trigger", "'DynamicObjectCrossing_1' has no <trigger_point>"),
        (' type="DynamicObjectCrossing"', "", "has a scenario without a type"),
        ('cloudiness="5.0"', 'cloudiness="grey"', "<weather> has cloudiness='grey'"),
    ],
)
def test_a_malformed_file_is_one_clear_sentence(write, old, new, said):
    assert old in FILE
    with pytest.raises(CraftError, match=said) as caught:
        read_routes(write(FILE.replace(old, new)))
    assert "routes.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_twofold(tmp_path, write):
    with pytest.raises(CraftError, match=r"none\.xml does not exist"):
        read_routes(tmp_path / "none.xml")
    with pytest.raises(CraftError, match="holds no <route>"):
        read_routes(write("<routes/>"))
    with pytest.raises(CraftError, match="two routes have the id '12'"):
        read_routes(write(FILE.replace("</routes>", FILE[FILE.index("<route ") :])))
    with pytest.raises(CraftError, match="two routes have the id '1'"):
        write_routes(tmp_path / "twofold.xml", [route(), route()])
    assert not (tmp_path / "twofold.xml").exists()


def test_a_number_with_something_behind_it_is_read_with_a_warning(write):
    path = write(FILE.replace('y="22.0"', 'y="330.6 0"'))
    with pytest.warns(UserWarning, match=r"route '12': trigger_point y='330\.6 0' is read as 330\.6"):
        (config,) = read_routes(path)
    assert config.scenarios[0].trigger_point[1] == -330.6
    with pytest.raises(CraftError, match=r"route '12': <trigger_point> has y='330\.6 0', not a number"):
        read_routes(path, strict=True)


def test_the_published_files_are_read(shared, tmp_path):
    routes = read_routes(shared / "data" / "routes" / "bench2drive220.xml")
    assert len(routes) == 220
    assert len({scenario.type for one in routes for scenario in one.scenarios}) == 44
    write_routes(tmp_path / "copy.xml", routes)
    copies = read_routes(tmp_path / "copy.xml", strict=True)
    for one, copy in zip(routes, copies, strict=True):
        assert one.fingerprint() == copy.fingerprint()
        assert [s.parameters for s in one.scenarios] == [s.parameters for s in copy.scenarios]
    assert [len(one.scenarios) > 5 for one in read_routes(shared / "data" / "routes" / "routes_devtest.xml")] == [
        True,
        True,
    ]


def test_a_fingerprint_is_the_way_and_nothing_else():
    one = route("1")
    scenario = ScenarioConfig("a", "HardBreakRoute", (1.0, 2.0, 0.0, 0.0))
    assert one.fingerprint() == dataclasses.replace(one, id="2", scenarios=(scenario,)).fingerprint()
    assert one.fingerprint() != dataclasses.replace(one, town="Town01").fingerprint()
    assert one.fingerprint() != route("1", end=(100.0, 1.0)).fingerprint()
    assert one.fingerprint() != dataclasses.replace(one, waypoints=one.waypoints[::-1]).fingerprint()


def test_the_leak_guard_refuses_shared_ways():
    train = [route("1"), route("2", start=(0.0, 50.0), end=(100.0, 50.0))]
    leak_guard(train, [route("9", start=(0.0, 20.0), end=(100.0, 20.0))])
    leak_guard(train, [route("9", town="Town01")])
    leak_guard(train, [route("9", start=(100.0, 0.0), end=(0.0, 0.0))])
    leak_guard(train, [route("9", end=(110.0, 0.0))])
    leak_guard([], train)
    leak_guard(train, [])
    with pytest.raises(CraftError, match="evaluation route '9' of craftville is also training route '1'"):
        leak_guard(train, [route("8", start=(0.0, 20.0)), route("9")])
    with pytest.raises(CraftError, match="evaluation route '9' of craftville is also training route '2'"):
        leak_guard(train, [route("9", start=(2.0, 51.0), end=(97.0, 50.0))])
