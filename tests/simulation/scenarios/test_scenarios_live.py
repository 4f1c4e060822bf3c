"""Scenarios on the real embedded server, driven through the real client in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.simulation.launcher import EmbeddedServer

PLAY = Path(__file__).parent / "play.py"
TRIGGER = 45.0
CROSSING = {"distance": "30", "direction": "right", "blocker_model": "static.prop.container", "crossing_angle": "8"}


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer("craftville") as running:
        yield running


def play(server, *cases):
    """Play cases one after the other in one client process."""
    done = subprocess.run(
        [sys.executable, str(PLAY), str(server.port), json.dumps(cases)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def hard_brake(server):
    case = {"type": "HardBreakRoute", "seed": 3}
    return play(server, {**case, "driver": "expert"}, {**case, "driver": "blind", "decisions": 40})


@pytest.fixture(scope="module")
def crossing(server):
    case = {"type": "DynamicObjectCrossing", "seed": 3, "parameters": CROSSING}
    return play(
        server,
        {**case, "driver": "expert"},
        {**case, "driver": "blind", "decisions": 40},
        {**case, "driver": "expert", "parameters": {**CROSSING, "direction": "left", "blocker_model": "none"}},
    )


def leads(answer):
    """(decision, lead) for every decision at which the lead vehicle is there."""
    return [(step, actor) for step in answer["trace"] for actor in step["actors"] if actor["kind"] == AGENT_VEHICLE]


def walkers(answer):
    return [(step, actor) for step in answer["trace"] for actor in step["actors"] if actor["kind"] == AGENT_WALKER]


def test_lead_appears_ahead_in_the_ego_lane_before_the_trigger(hard_brake):
    answer = hard_brake[0]
    assert not answer["trace"][0]["actors"]
    step, lead = leads(answer)[0]
    assert step["s"] < TRIGGER
    assert abs(lead["left"]) < 0.3
    assert 7.0 < lead["s"] - step["s"] < 45.0


def test_lead_drives_then_brakes_hard_at_the_trigger_holds_and_goes(hard_brake):
    seen = leads(hard_brake[0])
    before = [actor["speed"] for step, actor in seen if step["s"] < TRIGGER - 2.0]
    assert max(before) > 5.0
    time = np.array([step["time"] for step, _ in seen])
    speed = np.array([actor["speed"] for _, actor in seen])
    after = time > next(step["time"] for step, _ in seen if step["s"] >= TRIGGER)
    assert np.diff(speed).min() / 0.5 < -3.5, "m/s2"
    stood = after & (speed < 0.1)
    assert stood.any()
    assert 2.0 <= np.ptp(time[stood]) <= 4.5
    assert speed[time > time[stood][-1]].max() > 1.0, "it drives off"


def test_the_attentive_survive_the_brake_and_the_blind_do_not(hard_brake):
    expert, blind = hard_brake
    assert expert["incidents"] == []
    assert "collisions_vehicle" in blind["incidents"]


def test_walker_waits_beside_the_road_and_crosses_all_of_it(crossing):
    answer = crossing[0]
    seen = walkers(answer)
    first = seen[0][1]
    assert first["left"] < -2.5, "right of the lane, off the road"
    assert first["speed"] < 0.05
    begun = [step for step, actor in seen if actor["speed"] > 0.5]
    assert begun[0]["s"] >= TRIGGER
    last = seen[-1][1]
    assert last["left"] > 1.5
    assert abs(first["s"] - (TRIGGER + 30.0)) < 6.0


def test_walker_from_the_left_comes_across_the_oncoming_lane(crossing):
    seen = walkers(crossing[2])
    assert seen[0][1]["left"] > 4.0
    assert seen[-1][1]["left"] < -1.5
    assert crossing[2]["props"] == 0


def test_blocker_stands_off_the_road_before_the_walker(crossing):
    answer = crossing[0]
    assert answer["props"] == 1
    prop = next(actor for actor in answer["trace"][0]["actors"] if actor["kind"] == AGENT_STATIC)
    walker = next(actor for actor in answer["trace"][0]["actors"] if actor["kind"] == AGENT_WALKER)
    assert 0.5 < walker["s"] - prop["s"] < 6.0
    assert prop["left"] + 0.5 * prop["size"][1] < -1.5, "its near side is off the lane"


def test_the_attentive_let_the_walker_pass_and_the_blind_hit_it(crossing):
    expert, blind, from_left = crossing
    assert expert["incidents"] == from_left["incidents"] == []
    assert "collisions_pedestrian" in blind["incidents"]


@pytest.mark.parametrize("which", ["hard_brake", "crossing"])
def test_scenarios_end_and_leave_nothing(request, which):
    for answer in request.getfixturevalue(which):
        assert answer["actors"] >= 1
        assert answer["left_after_clear"] == 0
    expert = request.getfixturevalue(which)[0]
    assert expert["trace"][-1]["finished"]
    assert expert["left_while_driving"] == 0


def test_an_episode_cut_short_leaves_nothing_and_seeds_decide(server):
    case = {"type": "DynamicObjectCrossing", "driver": "expert", "decisions": 12, "parameters": CROSSING}
    first, again, other = play(server, {**case, "seed": 5}, {**case, "seed": 5}, {**case, "seed": 6})
    for answer in (first, again, other):
        assert not answer["trace"][-1]["finished"]
        assert answer["actors"] == 2
        assert answer["left_after_clear"] == 0

    def facts(answer):
        return [[step["s"], step["speed"], step["actors"]] for step in answer["trace"]]

    assert facts(first) == facts(again)
    assert (first["place"], first["start"]) != (other["place"], other["start"])
