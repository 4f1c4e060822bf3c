import math

import pytest
from carla import Map

from craft_lightning.errors import CraftError
from craft_lightning.roads import opendrive as module
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.opendrive import load_opendrive


def test_a_file_is_read_with_its_name_and_digest(tmp_path, make_xodr):
    path = tmp_path / "village.xodr"
    path.write_text(make_xodr())
    loaded = load_opendrive(path)
    assert loaded.name == "village"
    assert loaded.digest == load_opendrive(make_xodr()).digest != load_opendrive(make_xodr(90.0)).digest
    assert isinstance(loaded.carla_map(), Map)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</OpenDRIVE>", "", "not well-formed XML"),
        ("OpenDRIVE>", "routes>", "its root element is <routes>"),
        ('type="driving"', 'type="sidewalk"', "no lane of type 'driving'"),
        ('length="100.0"><line', 'length="ten"><line', "road '7' has length='ten'"),
        ('hdg="0"', 'hdg="nan"', "road '7' has hdg='nan'"),
        ("planView", "plan", "no planView"),
    ],
)
def test_broken_text_is_refused_in_one_sentence(make_xodr, old, new, said):
    text = make_xodr()
    assert old in text
    with pytest.raises(CraftError, match=said) as caught:
        load_opendrive(text.replace(old, new))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_named(tmp_path):
    with pytest.raises(CraftError, match=r"gone\.xodr does not exist"):
        load_opendrive(tmp_path / "gone.xodr")
    (tmp_path / "photo.xodr").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CraftError, match=r"photo\.xodr is not UTF-8"):
        load_opendrive(tmp_path / "photo.xodr")


def test_a_text_that_kills_carla_map_does_not_kill_us(tmp_path, craftville):
    # The wheel dies of a segmentation fault on a lane id that is no number.
    path = tmp_path / "deadly.xodr"
    path.write_text(craftville.opendrive.text.replace('id="-1"', 'id="abc"', 1))
    with pytest.raises(CraftError, match=r"deadly\.xodr cannot be parsed by carla\.Map \(it died of signal \d+\)"):
        load_opendrive(path)


def test_a_text_that_carla_map_refuses_is_told(craftville):
    # The first connection of the first junction goes to a road that does not exist.
    text = craftville.opendrive.text.replace('connectingRoad="', 'connectingRoad="77', 1)
    with pytest.raises(CraftError, match=r"cannot be parsed by carla\.Map|is not consistent"):
        RoadNetwork.from_opendrive(load_opendrive(text))


def test_a_checked_text_is_not_parsed_in_a_child_again(monkeypatch, make_xodr):
    text = make_xodr(55.0)
    load_opendrive(text)

    def refuse(*_, **__):
        raise AssertionError("a child process was started for a text that passed before")

    monkeypatch.setattr(module.subprocess, "run", refuse)
    assert load_opendrive(text).text == text
    with pytest.raises(AssertionError):
        load_opendrive(make_xodr(56.0))


def test_a_road_id_that_is_no_number_is_refused_with_its_name(make_xodr):
    with pytest.raises(CraftError, match="road id 'main' is not a number"):
        RoadNetwork.from_opendrive(load_opendrive(make_xodr().replace('id="7"', 'id="main"'), check=False))


def test_speeds_are_read_in_every_unit(make_network):
    assert make_network().lane_speed == pytest.approx(10.0)
    assert make_network(speed='max="10" unit="mph"').lane_speed == pytest.approx(4.4704)
    assert make_network(speed='max="12"').lane_speed == pytest.approx(12.0)
    assert make_network(speed='max="no limit"').lane_speed == pytest.approx(50 / 3.6)


def test_a_speed_that_is_no_number_is_refused(make_network):
    with pytest.raises(CraftError, match="road '7' has a malformed number"):
        make_network(speed='max="fast"')
    assert math.isfinite(make_network().lane_speed[0])
