"""Parts of flows that need no server: parameters, paths, foresight, and what the expert makes of them."""

import copy
import math
from types import SimpleNamespace

import carla
import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import ScenarioConfig
from craft_lightning.simulation.corridor import Occupancy
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.intentions import Intention, foresee
from craft_lightning.simulation.merging import makes_room
from craft_lightning.simulation.scenarios import build
from craft_lightning.simulation.scenarios.flow_base import first_meeting, passed
from craft_lightning.simulation.scenarios.flow_path import FlowPath
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.stop_signs import StopZone
from craft_lightning.simulation.stopping import StopPlaces

FLOW = {
    "start_actor_flow": {"x": 80.0, "y": -60.0, "z": 0.0},
    "end_actor_flow": {"x": 80.0, "y": 60.0, "z": 0.0},
    "flow_speed": 10.0,
    "source_dist_interval": {"from": 15.0, "to": 25.0},
}


def crowded():
    """A session in whose world every place is taken."""
    car = SimpleNamespace(id="vehicle.car", has_attribute=lambda name: False)
    world = SimpleNamespace(get_blueprint_library=lambda: SimpleNamespace(filter=lambda pattern: [car]))
    return SimpleNamespace(
        world=world,
        ticks_per_step=2,
        control=lambda actor_id, control: None,
        blueprint=lambda name: name,
        try_spawn=lambda blueprint, place: None,
        destroy=lambda actors, tick: None,
    )


def enter(lab, **parameters):
    config = ScenarioConfig("EnterActorFlow_1", "EnterActorFlow", (20.0, 0.0, 0.0, 0.0), {**FLOW, **parameters})
    return build(config, crowded(), lab.make_route(lab.straight(0, 0, 200, 0)), seed=3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"flow_speed": "fast"}, "'flow_speed' is 'fast', not a number"),
        ({"flow_speed": 0.0}, "'flow_speed' is '0', not a number between 1 and 50"),
        (
            {"source_dist_interval": {"from": 30.0, "to": 20.0}},
            "'source_dist_interval' is '30 to 20', not a range of positive numbers",
        ),
        ({"source_dist_interval": {"from": "near", "to": 20.0}}, "not a number, or two as from and to"),
        ({"start_actor_flow": None}, "'start_actor_flow' is 'missing', not a place with x and y"),
        (
            {"end_actor_flow": {"x": math.nan, "y": 0.0}},
            "not a place whose x, y and z are finite",
        ),
        ({"end_actor_flow": {"x": 80.0, "y": -55.0}}, "closer than 12 m"),
        ({"direction": "up"}, "'direction' is 'up', not 'left' or 'right' or 'opposite'"),
    ],
)
def test_bad_parameters_are_one_sentence(lab, parameters, words):
    with pytest.raises(CraftError, match="EnterActorFlow_1") as error:
        enter(lab, **parameters)
    assert words in str(error.value)
    assert "route file" in str(error.value)


@pytest.mark.parametrize("kind", ["SignalizedJunctionLeftTurn", "OppositeVehicleTakingPriority", "T_Junction"])
def test_junction_types_ask_for_the_network(lab, kind):
    config = ScenarioConfig(f"{kind}_1", kind, (20.0, 0.0, 0.0, 0.0), {})
    with pytest.raises(CraftError, match=rf"{kind}_1.*needs the town's road network"):
        build(config, crowded(), lab.make_route(lab.straight(0, 0, 200, 0)))


def test_a_flow_without_room_waits_ends_and_can_be_copied(lab):
    scenario = enter(lab)
    copies = []
    for step in range(500):
        x = 0.4 * step
        scenario.tick(lab.make_view(0.05 * step, (x, 0.0, 0.0, 8.0), [], {}))
        if step == 120:
            # py_trees' nodes carry a generator that only ``tick`` uses, which makes a new one.
            shared = [scenario.stage.session, *(node.iterator for node in scenario.root.iterate())]
            copies.append(copy.deepcopy(scenario, {id(one): one for one in shared}))
        if scenario.finished:
            break
    assert scenario.triggered
    assert scenario.finished
    assert 80.0 < x < 110.0, "the flow is crossed at 80 m"
    twin = copies[0]
    assert not twin.finished
    assert twin.flows[0]._due != scenario.flows[0]._due or twin.stage.view.time < scenario.stage.view.time
    assert twin.stage is twin.flows[0].stage is not scenario.stage


class Spacious:
    """A session that finds room for everybody and notes where they are put."""

    ticks_per_step = 2

    def __init__(self):
        cycle = SimpleNamespace(
            id="vehicle.gazelle.omafiets",
            has_attribute=lambda name: name == "number_of_wheels",
            get_attribute=lambda name: SimpleNamespace(as_int=lambda: 2),
        )
        self.world = SimpleNamespace(get_blueprint_library=lambda: SimpleNamespace(filter=lambda pattern: [cycle]))
        self.places = []

    def control(self, actor_id, control):
        pass

    def blueprint(self, name):
        return name

    def try_spawn(self, blueprint, place):
        self.places.append(-place.location.y)  # the world's y is to the left, CARLA's to the right
        return SimpleNamespace(
            id=1000 + len(self.places),
            set_target_velocity=lambda velocity: None,
            get_physics_control=lambda: SimpleNamespace(wheels=[SimpleNamespace(max_steer_angle=70.0)]),
        )

    def destroy(self, actors, tick):
        pass


@pytest.mark.parametrize(("patch", "low", "high"), [({}, -57.0, 53.0), ({"spawn_range": (10.0, 40.0)}, -40.0, -10.0)])
def test_bicycles_appear_in_the_range_of_the_star_and_without_it_on_all_their_way(lab, patch, low, high):
    """The flow comes from y = -60 and crosses the ego's way at y = 0."""
    parameters = {**FLOW, "flow_speed": 4.0, "source_dist_interval": {"from": 4.0, "to": 6.0}}
    parameters |= {name: {"from": value[0], "to": value[1]} for name, value in patch.items()}
    config = ScenarioConfig("CrossingBicycleFlow_1", "CrossingBicycleFlow", (20.0, 0.0, 0.0, 0.0), parameters)
    met = []
    for seed in range(24):
        session = Spacious()
        scenario = build(config, session, lab.make_route(lab.straight(0, 0, 200, 0)), seed=seed)
        for step in range(80):
            scenario.tick(lab.make_view(0.05 * step, (min(0.4 * step, 25.0), 0.0, 0.0, 8.0), [], {}))
        met += session.places
    assert len(met) > 12
    assert low - 1.5 <= min(met) <= low + 9.0
    assert high - 9.0 <= max(met) <= high + 1.5


def test_a_path_is_slow_in_curves_and_tells_places(lab):
    curve = np.column_stack([lab.turn(8.0), np.zeros(len(lab.turn(8.0)))])
    path = FlowPath(curve, 12.0)
    assert path.pace[0] == pytest.approx(12.0, abs=0.5)
    assert path.pace[34] < 5.0
    s, left = path.follow(np.array([10.0]), np.array([1.0]), np.array([8.0]))
    assert (s[0], left[0]) == (pytest.approx(10.0, abs=0.1), pytest.approx(1.0, abs=0.05))
    straight = FlowPath(np.array([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]), 10.0)
    assert straight.earlier(60.0, 3.0) == pytest.approx(30.0, abs=0.2)
    assert straight.earlier(20.0, 3.0) == pytest.approx(-10.0, abs=0.2)


def test_where_the_ego_meets_and_has_passed_a_flow(lab):
    stage = Stage(crowded(), lab.make_route(lab.straight(0, 0, 200, 0)), None, np.random.default_rng(0), 20.0)
    across = FlowPath(np.array([[80.0, -60.0, 0.0], [80.0, 60.0, 0.0]]), 10.0)
    place, s = first_meeting(stage, across)
    assert place == pytest.approx(79.0, abs=1.0)
    assert s == pytest.approx(60.0, abs=1.0)
    assert passed(stage, across) == pytest.approx(90.0, abs=2.0)
    along = FlowPath(np.array([[60.0, 0.0, 0.0], [180.0, 0.0, 0.0]]), 10.0)
    assert passed(stage, along) == pytest.approx(91.0, abs=2.0)
    beside = FlowPath(np.array([[60.0, 9.0, 0.0], [180.0, 9.0, 0.0]]), 10.0)
    assert first_meeting(stage, beside) is None
    assert passed(stage, beside) == stage.end


def test_foreseen_vehicles_take_up_their_pace_and_keep_to_their_path(lab):
    points = lab.turn(8.0)
    path = FlowPath(np.column_stack([points, np.zeros(len(points))]), 9.0)
    time = 0.2 * np.arange(31)
    moving, standing = path.intention(5.0, 0.5), path.intention(5.0, 0.0)
    x, y, _, sin, speed = foresee([moving, standing], np.array([6.0, 0.0]), time)
    assert y[0, 0] == pytest.approx(0.5)
    assert speed[0].max() > 7.0
    assert speed[0, 20:].min() < 5.5, "slower in the curve"
    assert sin[0, -1] > 0.8
    assert np.ptp(x[1]) == np.ptp(y[1]) == 0.0, "whoever stands is held up by somebody"


def test_the_expert_yields_to_a_red_light_runner_only_if_it_knows(lab):
    network = lab.make_network(
        [lab.straight(0, 0, 200, 0), lab.straight(80, -100, 80, -6), lab.straight(80, -5, 80, 100)],
        [(1, "south")],
        successors=[[], [2], []],
    )
    route = lab.make_route(lab.straight(0, 0, 200, 0))
    runner = lab.Agent(lambda time: (80.0, -45.0, math.pi / 2, 10.0, 0.0))
    view = lab.make_view(0.0, (35.0, 0.0, 0.0, 10.0), [runner], {"south": int(carla.TrafficLightState.Red)})
    path = FlowPath(np.array([[80.0, -100.0, 0.0], [80.0, 100.0, 0.0]]), 10.0)
    reasons = []
    for intentions in (None, {2: path.intention(55.0, 0.0)}):
        expert = Expert(network, route)
        expert.plan(view, intentions)
        reasons.append(expert.reason)
    assert reasons == ["free", "yield 2"]


def occupied(low, high, along, steps=31):
    """One hypothesis that covers a stretch from the tenth step on."""
    table = [np.full((1, steps), value) for value in (np.inf, -np.inf, along)]
    table[0][0, 10:] = low + np.arange(steps - 10) * 2.0
    table[1][0, 10:] = high + np.arange(steps - 10) * 2.0
    return Occupancy(*table)


@pytest.mark.parametrize(
    ("high", "along", "pace", "polite"),
    [(20.0, 1.0, 10.0, True), (33.0, 1.0, 10.0, False), (20.0, 0.1, 10.0, False), (20.0, 1.0, 20.0, False)],
)
def test_who_comes_up_from_behind_makes_room_if_slight_braking_is_enough(high, along, pace, polite):
    ego = 20.0 + 0.2 * 9.0 * np.arange(31)  # at 38 m after ten steps, 9 m/s
    met = occupied(high - 5.0, high, along)
    assert makes_room(ego, 0.2, 2.4, met, np.full((1, 31), pace))[0] == polite


def test_stop_places_are_left_once_the_car_has_stood_there(lab):
    xy = lab.straight(0, 0, 200, 0)
    zone, other_way = StopZone(57.0, 0.0, 0.0, 3.0, 1.75), StopZone(97.0, 0.0, math.pi, 3.0, 1.75)
    places = StopPlaces([zone, other_way], xy)
    assert places.ahead((20.0, 0.0, 0.0), 20.0, 2.4, 10.0) == [60.0]
    assert places.ahead((56.0, 0.0, 0.0), 56.0, 2.4, 1.0) == [60.0], "slow is not standing"
    assert places.ahead((56.0, 0.0, 0.0), 56.0, 2.4, 0.0) == []
    assert places.ahead((56.0, 0.0, 0.0), 56.0, 2.4, 3.0) == []


def test_the_expert_stands_at_a_stop_sign_and_drives_on(lab):
    network = lab.make_network([lab.straight(0, 0, 300, 0)])
    expert = Expert(network, lab.make_route(lab.straight(0, 0, 200, 0)), zones=[StopZone(77.0, 0.0, 0.0, 3.0, 1.75)])
    drive = lab.closed_loop(expert, 22.0)
    stood = drive.rows[drive.rows[:, 4] < 0.1]
    assert len(stood)
    assert 74.0 < stood[0, 1] < 80.0
    assert drive.rows[-1, 1] > 100.0
    assert "sign" in drive.reasons


def test_intentions_scale_with_the_pace():
    path = FlowPath(np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]), 10.0)
    half = path.intention(3.0, 0.0, 0.5)
    assert isinstance(half, Intention)
    assert half.pace[0] == pytest.approx(0.5 * path.pace[0])
