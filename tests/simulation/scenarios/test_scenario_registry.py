"""Scenarios that cannot be built say why."""

from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.simulation.scenarios import SCENARIOS, Scenario, build
from craft_lightning.simulation.scenarios.base import parameter
from craft_lightning.simulation.scenarios.stage import route_position


def config(kind="DynamicObjectCrossing", **parameters):
    return ScenarioConfig(f"{kind}_1", kind, (20.0, 0.0, 0.0, 0.0), parameters)


def test_unknown_type_names_the_closest(lab):
    route = lab.make_route(lab.straight(0, 0, 100, 0))
    with pytest.raises(CraftError, match=r"'HardBrakeRoute'.*closest known one is 'HardBreakRoute'"):
        build(config("HardBrakeRoute"), SimpleNamespace(ticks_per_step=2), route)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"distance": "near"}, "'distance' is 'near', not a number"),
        ({"distance": "-4"}, "'distance' is '-4', not a number between"),
        ({"direction": "up"}, "'direction' is 'up', not 'left' or 'right'"),
    ],
)
def test_bad_parameters_name_field_and_scenario(lab, parameters, words):
    route = lab.make_route(lab.straight(0, 0, 100, 0))
    with pytest.raises(CraftError, match="DynamicObjectCrossing_1") as error:
        build(config(**parameters), SimpleNamespace(ticks_per_step=2), route)
    assert words in str(error.value)
    assert "route file" in str(error.value)


def test_parameters_are_read_as_text_number_or_value_element():
    assert parameter(config(distance="42"), "distance", 40.0) == 42.0
    assert parameter(config(distance=42), "distance", 40.0) == 42.0
    assert parameter(config(distance={"value": "42"}), "distance", 40.0) == 42.0
    assert parameter(config(), "distance", 40.0) == 40.0
    assert parameter(config(direction="Left"), "direction", "right") == "Left"


def test_route_position_tells_two_passes_apart_by_direction(lab):
    sides = [(0, 0, 60, 0), (60, 1, 60, 40), (59, 40, 30, 40), (30, 39, 30, -20)]
    route = lab.make_route(np.concatenate([lab.straight(*side) for side in sides]))
    along = route_position(route, 30.0, 0.0, 0.0)
    across = route_position(route, 30.0, 0.0, -1.57)
    assert along == pytest.approx(30.0, abs=1.0)
    assert across == pytest.approx(61 + 40 + 30 + 39, abs=2.0)


def test_the_folder_is_listed_and_every_type_has_a_class():
    assert {"HardBreakRoute", "DynamicObjectCrossing"} <= set(SCENARIOS)
    assert all(issubclass(kind, Scenario) for kind in SCENARIOS.values())
