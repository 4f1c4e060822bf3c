"""Parts of scenarios that need no server: the pilot's decisions, and a lead that finds no room."""

from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.simulation.scenarios import build
from craft_lightning.simulation.scenarios.base import Scenario, When
from craft_lightning.simulation.scenarios.pilot import Pilot
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED


class Vehicle:
    """A vehicle without wheels."""

    id = 2

    def get_physics_control(self):
        return SimpleNamespace(wheels=[])


class Wheelhouse:
    """A session that remembers the last control of each vehicle."""

    def __init__(self):
        self.controls = {}

    def control(self, actor_id, control):
        self.controls[actor_id] = control


@pytest.fixture
def stage(lab):
    network = lab.make_network([lab.straight(0, 0, 60, 0), lab.straight(60, 0, 150, 0)], [(0, "a")])
    route = lab.make_route(lab.straight(0, 0, 120, 0))
    return Stage(Wheelhouse(), route, network, np.random.default_rng(0), 50.0)


def drive(lab, stage, lead, *others, signals=None, speed=8.0):
    """Let a pilot in ``lead`` (x, y, yaw, speed) drive at ``speed`` for one step; return the control."""
    agents = [lab.Agent(lambda _, state=state: (*state, 0.0)) for state in (lead, *others)]
    stage.see(lab.make_view(0.0, (0.0, 0.0, 0.0, 8.0), agents, signals or {}))
    vehicle = Vehicle()
    pilot = Pilot(stage, vehicle, lead[0])
    assert pilot.see()
    assert pilot.s == pytest.approx(lead[0], abs=0.01)
    pilot.drive(speed)
    return stage.session.controls[vehicle.id]


def test_pilot_accelerates_on_a_free_road_and_steers_back_to_it(lab, stage):
    control = drive(lab, stage, (20.0, 0.8, 0.1, 4.0))
    assert control.throttle > 0.3
    assert control.brake == 0.0
    assert control.steer > 0.02, "to the right, where CARLA's steering is positive"


def test_pilot_brakes_for_whoever_is_ahead_but_not_for_the_next_lane(lab, stage):
    assert drive(lab, stage, (20.0, 0.0, 0.0, 8.0), (29.0, 0.0, 0.0, 0.0)).brake > 0.3
    assert drive(lab, stage, (20.0, 0.0, 0.0, 8.0), (29.0, 3.5, 0.0, 0.0)).brake == 0.0


def test_pilot_stops_at_red_only(lab, stage):
    assert drive(lab, stage, (50.0, 0.0, 0.0, 7.0), signals={"a": LIGHT_RED}).brake > 0.3
    assert drive(lab, stage, (50.0, 0.0, 0.0, 7.0), signals={"a": LIGHT_GREEN}).brake == 0.0


def test_pilot_holds_on_the_brake_at_speed_zero(lab, stage):
    control = drive(lab, stage, (20.0, 0.0, 0.0, 0.0), speed=0.0)
    assert (control.throttle, control.brake) == (0.0, pytest.approx(0.3))


def test_a_pilot_whose_vehicle_is_gone_says_so(lab, stage):
    stage.see(lab.make_view(0.0, (0.0, 0.0, 0.0, 8.0), [], {}))
    assert not Pilot(stage, Vehicle(), 10.0).see()


class Standoff(Scenario):
    """Waits for ever, so that only its clocks end it."""

    life = 400.0

    def trigger_condition(self):
        return self.stage.ego_s >= self.stage.trigger

    def story(self):
        return When("for ever", self.stage, lambda: False)


@pytest.mark.parametrize(
    ("life", "seconds", "verdicts"),
    [(400.0, 240.0, ["scenario_timeout"]), (240.1, 240.0, ["scenario_timeout"]), (239.9, 239.9, []), (30.0, 30.0, [])],
)
def test_a_scenario_that_is_not_got_past_in_time_is_failed_unless_its_life_ends_before(lab, life, seconds, verdicts):
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    config = ScenarioConfig("Standoff_1", "Standoff", (60.0, 0.0, 0.0, 0.0), {})
    scenario = type("Timed", (Standoff,), {"life": life})(config, SimpleNamespace(ticks_per_step=2), route, None, None)
    tick = 0
    while not scenario.finished:
        # The server's clock did not begin with the episode.
        scenario.tick(lab.make_view(1000.05 + 0.05 * tick, (min(0.5 * tick, 70.0), 0.0, 0.0, 10.0), [], {}))
        tick += 1
        assert tick < 8200
    triggered = 120  # the first tick at 60 m
    assert 0.05 * (tick - triggered) == pytest.approx(seconds, abs=0.15)
    assert scenario.verdicts == verdicts
    scenario.clean_up()
    assert scenario.verdicts == verdicts


def test_lead_without_room_gives_up_when_the_ego_passes_the_trigger(lab):
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    config = ScenarioConfig("HardBreakRoute_1", "HardBreakRoute", (60.0, 0.0, 0.0, 0.0), {})
    scenario = build(config, SimpleNamespace(ticks_per_step=2), route, seed=1)
    queue = [lab.Agent(lambda _, x=x: (x, 0.0, 0.0, 0.0, 0.0)) for x in range(0, 200, 7)]
    met = {}
    for step in range(200):
        x = 0.5 * step
        if scenario.finished:
            break
        scenario.tick(lab.make_view(0.05 * step, (x, 0.0, 0.0, 10.0), queue, {}))
        met[x] = scenario.triggered
    assert any(met.values())
    assert not met[20.0], "the lead-in is at most 35 m"
    assert scenario.finished
    assert 60.0 <= max(met) < 64.0
    assert scenario.actor_ids == set()
