"""Training on evaluation routes is refused unless asked for, and then stamped into every result."""

import re

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.towns import suite_path
from craft_lightning.rollouts.datamodule import DrivingDataModule


def test_overlapping_suites_are_refused():
    data = DrivingDataModule(train_routes="craftville_eval")
    with pytest.raises(CraftError, match="evaluation"):
        data.setup()


def test_overlap_that_was_asked_for_is_stamped():
    data = DrivingDataModule(train_routes="craftville_eval", allow_training_on_evaluation_routes=True)
    data.setup()
    assert data.protocol.trained_on_evaluation
    assert data.protocol.to_dict()["trained_on_evaluation"] is True
    assert "TRAINED ON THESE ROUTES" in str(data.protocol)


def test_disjoint_suites_carry_no_stamp():
    data = DrivingDataModule()
    data.setup()
    assert not data.protocol.trained_on_evaluation
    assert "TRAINED" not in str(data.protocol)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"worlds": 0}, r"data\.worlds"),
        ({"transitions": 10, "worlds": 4}, r"data\.transitions"),
        ({"passes": 0}, r"data\.passes"),
        ({"step_timeout": -3.0}, r"data\.step_timeout"),
        ({"vehicles": -1}, r"data\.vehicles"),
        ({"host": "127.0.0.1"}, r"data\.worlds"),
    ],
)
def test_numbers_that_do_not_fit_name_the_field(arguments, field):
    with pytest.raises(CraftError, match=field):
        DrivingDataModule(**arguments)


def test_a_scenario_nobody_built_is_refused_before_anything_starts(tmp_path):
    text = suite_path("craftville_train").read_text().replace("HardBreakRoute", "HardBrakeRoute")
    (tmp_path / "routes.xml").write_text(text)
    with pytest.raises(CraftError, match=r"routes\.xml: route t\d+ .*'HardBrakeRoute'.*closest is 'HardBreakRoute'"):
        DrivingDataModule(train_routes=str(tmp_path / "routes.xml")).setup()


def test_a_waypoint_off_the_map_is_refused_before_anything_starts(tmp_path):
    text = re.sub(r'<position x="[^"]+"', '<position x="99999.0"', suite_path("craftville_train").read_text(), count=1)
    (tmp_path / "routes.xml").write_text(text)
    with pytest.raises(CraftError, match=r"routes\.xml: waypoint 0 of route t0 is \d+ m from any lane"):
        DrivingDataModule(train_routes=str(tmp_path / "routes.xml")).setup()
