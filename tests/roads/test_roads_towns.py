import gzip
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.generate import generate_routes
from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.kinds import DRIVING
from craft_lightning.roads.opendrive import load_opendrive
from craft_lightning.roads.routes import leak_guard, read_routes
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town, loading, suite_path, sumo_net
from craft_lightning.roads.towns.build import TownParameters, build_town, draw_plan

MAPS = ("Town01", "Town02", "Town04", "Town06", "Town07", "Town10HD")


def net_text(town) -> str:
    raw = town.sumo_net_path.read_bytes()
    return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()


def test_the_command_makes_the_committed_town(craftville, tmp_path):
    xodr, net = build_town(tmp_path)
    root = ElementTree.fromstring(xodr.read_text())
    committed = ElementTree.fromstring(craftville.opendrive.text)
    assert [road.attrib for road in root.iter("road")] == [road.attrib for road in committed.iter("road")]
    assert [signal.attrib for signal in root.iter("signal")] == [signal.attrib for signal in committed.iter("signal")]
    again_xodr, again_net = build_town(tmp_path)
    assert again_xodr.read_bytes() == xodr.read_bytes()
    assert again_net.read_bytes() == net.read_bytes()


def test_another_seed_gives_another_town():
    plan, other = draw_plan(TownParameters()), draw_plan(TownParameters(seed=5))
    assert plan == draw_plan(TownParameters())
    assert plan != other
    for one in (plan, other):
        arms = {name: sum(name in (street.start, street.end) for street in one.streets) for name in one.nodes}
        assert set(arms.values()) == {3, 4}


def test_a_generated_town_of_another_seed_can_be_driven(tmp_path):
    xodr, _ = build_town(
        tmp_path, TownParameters(name="hamlet", seed=9, columns=3, rows=2, main_columns=(1,), missing=0)
    )
    town = load_town(xodr)
    routes = generate_routes(town.network, 4, seed=0)
    assert {route.town for route in routes} == {"hamlet"}


def test_the_built_in_town_is_an_urban_grid(craftville):
    carla_map = craftville.opendrive.carla_map()
    assert len(carla_map.get_topology()) > 300
    assert len(carla_map.get_crosswalks()) > 0
    lights = carla_map.get_all_landmarks_of_type("1000001")
    root = ElementTree.fromstring(craftville.opendrive.text)
    junctions = [junction for junction in root.iter("junction") if len(junction.findall("connection")) > 2]
    signalised = [junction for junction in junctions if junction.find("controller") is not None]
    assert 10 <= len(signalised) <= len(junctions) - 8, "some junctions have lights and some have not"
    assert len(lights) >= 3 * len(signalised)
    controlled = {control.get("signalId") for control in root.iter("control")}
    assert controlled == {light.id for light in lights}
    for light in lights:
        # Beside the road, at the end of the approach.
        road = root.find(f"road[@id='{light.road_id}']")
        assert float(road.get("length")) - 0.2 < light.s < float(road.get("length"))
        assert str(light.orientation) == "Positive"
        waypoint = carla_map.get_waypoint_xodr(light.road_id, light.get_lane_validities()[0][0], light.s)
        gap = light.transform.location.distance(waypoint.transform.location)
        assert 1.5 < np.hypot(gap, 0) < 8.0


def test_signals_and_sumo_tell_the_same_story(craftville):
    root = ElementTree.fromstring(net_text(craftville))
    signals = set(craftville.network.line_signal.tolist())
    named: set[str] = set()
    for logic in root.iter("tlLogic"):
        links = {
            int(param.get("key").split(":")[1]): param.get("value")
            for param in logic.iter("param")
            if param.get("key").startswith("linkSignalID:")
        }
        named |= set(links.values())
        phases = [(float(phase.get("duration")), phase.get("state")) for phase in logic.iter("phase")]
        assert 25.0 <= sum(duration for duration, _ in phases) <= 60.0
        for duration, state in phases:
            for signal in set(links.values()):
                # One colour for all lanes of an approach; yellow lasts its three seconds.
                colours = {state[index].lower() for index, name in links.items() if name == signal}
                assert len(colours) == 1
                assert colours != {"y"} or duration == 3.0
        for signal in set(links.values()):
            index = next(index for index, name in links.items() if name == signal)
            shown = "".join(state[index].lower() for _, state in phases)
            assert {"g", "y", "r"} == set(shown)
            assert not re.search("gr|yg", shown), "green, then yellow, then red"
    assert named == signals


def test_pedestrians_have_somewhere_to_walk(craftville):
    root = ElementTree.fromstring(net_text(craftville))
    functions = [edge.get("function") for edge in root.iter("edge")]
    assert functions.count("crossing") > 50
    assert functions.count("walkingarea") > 50


def test_the_suites_are_as_promised(craftville, planner):
    train = read_routes(suite_path("craftville_train"), strict=True)
    judging = read_routes(suite_path("craftville_eval"), strict=True)
    assert (len(train), len(judging)) == (240, 60)
    leak_guard(train, judging)
    ways = []
    for suite in (train, judging):
        assert {route.town for route in suite} == {"craftville"}
        kinds = [route.scenarios[0].type if route.scenarios else "" for route in suite]
        assert min(kinds.count(kind) for kind in ("HardBreakRoute", "DynamicObjectCrossing", "")) >= len(suite) // 4
        ways.append({tuple(dict.fromkeys(planner.plan_route(route).lane.tolist())) for route in suite})
    assert not ways[0] & ways[1], "no evaluation route passes the same lanes as a training route"


def test_suite_paths():
    assert suite_path("craftville_eval").is_file()
    assert suite_path("nowhere_eval") is None
    assert suite_path("../towns/craftville_eval") is None


def test_an_unknown_town_is_told_what_there_is(tmp_path):
    with pytest.raises(
        CraftError,
        match=r"town 'craftvile' is neither built in \(craftville, craftway, craftfield, craftside\) nor a file",
    ):
        load_town("craftvile")
    with pytest.raises(CraftError, match=r"gone\.xodr does not exist"):
        load_town(tmp_path / "gone.xodr")
    broken = tmp_path / "broken.xodr"
    broken.write_text("<OpenDRIVE")
    with pytest.raises(CraftError, match=r"broken\.xodr is not well-formed XML"):
        load_town(broken)


def test_an_edited_file_is_read_again(make_xodr, tmp_path):
    path = tmp_path / "lane.xodr"
    path.write_text(make_xodr(60.0))
    first = load_town(path)
    assert load_town(str(path)) is first
    path.write_text(make_xodr(61.0))
    os.utime(path, ns=(1, 1))
    assert load_town(path).network.lane_length.max() == pytest.approx(61.0, abs=0.01)


def test_an_unusable_cache_folder_is_told(monkeypatch, tmp_path, make_xodr):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CraftError, match="cannot create the cache folder .* set XDG_CACHE_HOME to a writable folder"):
        load_opendrive(make_xodr(62.0))


def test_a_net_is_converted_once(make_xodr, monkeypatch):
    opendrive = load_opendrive(make_xodr(77.0))
    path = sumo_net(opendrive)
    assert "<net " in path.read_text()
    assert not list(path.parent.glob(".*")), "no scratch file is left"

    def refuse(*_, **__):
        raise AssertionError("converted again")

    monkeypatch.setattr(loading, "run_netconvert", refuse)
    assert sumo_net(opendrive) == path
    with pytest.raises(AssertionError):
        sumo_net(load_opendrive(make_xodr(78.0)))


def test_a_failing_netconvert_is_one_sentence(make_xodr, monkeypatch, cache):
    monkeypatch.setattr(loading, "_IMPORT_ARGUMENTS", ("--no-such-option=1",))
    opendrive = load_opendrive(make_xodr(79.0))
    with pytest.raises(CraftError, match="netconvert cannot convert the given OpenDRIVE text to a SUMO net") as caught:
        sumo_net(opendrive)
    assert "\n" not in str(caught.value)
    assert not list((cache / "craft-lightning" / "nets").glob(f"*{opendrive.digest}*"))


@pytest.mark.parametrize("name", MAPS)
def test_real_towns_load_convert_and_route(shared, name):
    town = load_town(shared / "data" / "maps" / f"{name}.xodr")
    network = town.network
    assert town.name == name
    assert (network.lane_kind == DRIVING).sum() > 80
    assert len(network.line_lane) >= 18
    assert not network.lane_junction[network.line_lane].any()
    # Every light that rules a lane is known to the SUMO net.
    known = {
        signal for value in re.findall(r'linkSignalID:\d+" value="([^"]*)"', net_text(town)) for signal in value.split()
    }
    assert set(network.line_signal.tolist()) <= known
    assert 'netOffset="0.00,0.00"' in net_text(town)
    planner = RoutePlanner(network)
    for config in generate_routes(network, 4, seed=3):
        assert planner.plan_route(config).length == pytest.approx(config.length, abs=4.0)


@pytest.mark.parametrize("name", ["Town01", "Town04"])
def test_real_towns_have_grids(shared, name):
    network = load_town(shared / "data" / "maps" / f"{name}.xodr").network
    grid = RoadGrid.from_network(network)
    driving = network.lane_kind[network.point_lane] == DRIVING
    assert grid.distance(network.x[driving], network.y[driving]).min() > 1.0
    lane = network.point_lane
    inner = driving & ~network.lane_junction[lane] & (network.s > 1) & (network.s < network.lane_length[lane] - 1)
    assert (grid.lane(network.x[inner], network.y[inner]) == lane[inner]).mean() > 0.98


def test_the_room_needs_no_torch():
    code = (
        "import sys\n"
        "from craft_lightning.roads import area, generate, grid, raster, routes, routing\n"
        "from craft_lightning.roads.towns import load_town, build\n"
        "print(sorted({'torch', 'lightning', 'tensordict'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
