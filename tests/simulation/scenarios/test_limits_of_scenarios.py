"""What scenarios hold against the ego, and the star's flow of bicycles: every limit, just beyond it and just short."""

from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.roads.routes import RouteConfig, ScenarioConfig
from craft_lightning.rollouts.rules import judging
from craft_lightning.simulation.scenarios import build
from craft_lightning.simulation.scenarios.flow import SOURCE
from craft_lightning.simulation.scenarios.flow_base import first_meeting


class Road:
    """A session with one model, which it spawns as actor 2 wherever it is asked to."""

    ticks_per_step = 2

    def __init__(self):
        car = SimpleNamespace(id="vehicle.ambulance", has_attribute=lambda name: False)
        self.world = SimpleNamespace(get_blueprint_library=lambda: SimpleNamespace(filter=lambda pattern: [car]))

    def try_spawn(self, blueprint, place):
        calls = {name: lambda value: None for name in ("set_light_state", "set_target_velocity")}
        return SimpleNamespace(id=2, get_physics_control=lambda: SimpleNamespace(wheels=[]), **calls)

    def control(self, actor_id, control):
        pass

    def destroy(self, actors, tick):
        pass


@pytest.fixture
def pressed(lab):
    """An ego with an emergency vehicle behind it."""

    def pressed(seconds, gap, aside, speed, then=(), place=60.0):
        """Have it ``gap`` metres behind the ego for some seconds, ``then`` elsewhere; return the scenario."""
        route = lab.make_route(lab.straight(0, 0, 250, 0))
        config = ScenarioConfig("YieldToEmergencyVehicle_1", "YieldToEmergencyVehicle", (30.0, 0.0, 0.0, 0.0), {})
        scenario = build(config, Road(), route, seed=0)
        gaps = [gap] * (round(seconds / 0.1) + 1) + list(then)  # in the first step it only appears
        for tick, behind in enumerate(np.repeat(gaps, 2).tolist()):
            other = lab.Agent(lambda _, behind=behind: (place - behind, 0.0, 0.0, 10.0, 0.0))
            scenario.tick(lab.make_view(0.05 * tick, (place, aside, 0.0, speed), [other], {}))
        return scenario

    return pressed


# What holds it up, for seven seconds, just so.
HELD = {"seconds": 7.0, "gap": 24.9, "aside": 1.89, "speed": 1.01}


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, True),
        ({"seconds": 5.9}, False),
        ({"seconds": 6.1}, True),
        ({"gap": 25.1}, False),
        ({"gap": 0.1}, True),
        ({"aside": 1.91}, False),
        ({"aside": -1.89}, True),
        ({"aside": -1.91}, False),
        ({"speed": 0.99}, False),
        ({"then": [0.1]}, True),  # still behind in the end
        ({"then": [-0.1]}, False),
    ],
)
def test_an_emergency_vehicle_is_not_let_past(pressed, changed, failed):
    scenario = pressed(**HELD | changed)
    assert not scenario.finished
    for _ in range(2):  # as the episode does where the route ends, possibly again
        scenario.clean_up()
    assert scenario.verdicts == ["yield_emergency"] * failed


@pytest.mark.parametrize(
    ("changed", "over"),
    [
        ({"then": [0.0, -24.9]}, False),
        ({"then": [0.0, -25.1]}, True),
        ({"place": 179.9}, False),
        ({"place": 180.1}, True),
    ],
)
def test_it_is_over_once_it_is_25_metres_ahead_or_the_ego_150_beyond_the_trigger(pressed, changed, over):
    assert pressed(**HELD | changed).finished is over


def test_the_star_lets_bicycles_appear_from_forty_to_ten_metres_before_the_meeting(lab):
    places = {"start_actor_flow": {"x": 80.0, "y": -60.0, "z": 0.0}, "end_actor_flow": {"x": 80.0, "y": 60.0, "z": 0.0}}
    config = ScenarioConfig("CrossingBicycleFlow_1", "CrossingBicycleFlow", (20.0, 0.0, 0.0, 0.0), places)
    route = RouteConfig("1", "Town12", np.zeros((2, 3)), (config,))
    found = {}
    for protocol in ("bench2drive", "bench2drive-star"):
        patched = judging(protocol_rules(protocol)).prescribed(route).scenarios[0]
        scenario = build(patched, Road(), lab.make_route(lab.straight(0, 0, 200, 0)), seed=0)
        (flow,) = scenario.flows
        _, met = first_meeting(scenario.stage, flow.path)
        found[protocol] = flow.source, scenario.farthest(flow)
    assert found["bench2drive-star"] == pytest.approx((met - 40.0, met - 10.0))
    assert found["bench2drive"] == (SOURCE, flow.path.length - 30.0)
