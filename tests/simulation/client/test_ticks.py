"""Ticks of another length than 0.05 s: the same seconds pass, and whoever needs 0.05 s says so."""

import re

import pytest

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.errors import CraftError
from craft_lightning.rig import Lidar, Radar
from craft_lightning.rollouts.rules import named_rules
from craft_lightning.simulation.clock import ticks_in_a_step
from craft_lightning.simulation.episode_options import EpisodeOptions, episode_options
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.progress import RouteProgress
from craft_lightning.simulation.rig_decoding import carla_attributes


@pytest.mark.parametrize(("tick", "ticks"), [(0.1, 1), (0.05, 2), (0.025, 4), (0.02, 5), (0.1 / 3, 3)])
def test_steps_and_decisions_last_the_same_in_any_ticks(tick, ticks):
    assert ticks_in_a_step(tick) == ticks
    options = EpisodeOptions(tick_seconds=tick)
    assert options.ticks_per_decision == 5 * ticks
    assert EpisodeOptions(tick_seconds=tick, ticks_per_decision=7).ticks_per_decision == 7


@pytest.mark.parametrize("tick", [0.0, -0.05, 1e-9, 0.001, 5e-324, 0.03, 0.15, 0.2, 1.0, float("nan"), float("inf")])
def test_a_tick_that_does_not_fit_is_refused_before_anything_starts(tick):
    with pytest.raises(CraftError, match=r"data.episode.tick_seconds\) is .*; give 0.1, 0.05, 0.025 or 0.02"):
        episode_options({"tick_seconds": tick})


def test_a_protocol_is_judged_in_its_own_ticks():
    assert named_rules("bench2drive", {"tick_seconds": TICK_SECONDS}).name == "bench2drive"
    with pytest.raises(CraftError, match=r"data.episode.tick_seconds is 0.1, but data.protocol=bench2drive .* 0.05 s"):
        named_rules("bench2drive", {"tick_seconds": 0.1})
    with pytest.raises(CraftError, match=r"but data.suite=embedded-220 \(judged by bench2drive-star\) is defined at"):
        named_rules("", {"tick_seconds": 0.1}, "embedded-220")
    with pytest.raises(CraftError, match=r"is set by data.suite=embedded-220 .* data.eval_routes are judged"):
        named_rules("", {"timeout_base": 10.0}, "embedded-220")
    assert named_rules("", {"tick_seconds": 0.1}) is None


def test_what_an_episode_does_not_know_is_refused_with_the_closest_name():
    with pytest.raises(CraftError, match="data.episode has no 'tick_second'; did you mean tick_seconds?"):
        episode_options({"tick_second": 0.1})
    with pytest.raises(CraftError, match=r"data.episode has no 'foo'; there are ego, tick_seconds, "):
        episode_options({"foo": 1})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("tick_seconds", "fast", "'fast'; give a number such as 0.05"),
        ("tick_seconds", None, "None; give a number such as 0.05"),
        ("ego", 7, "7; give a name such as vehicle"),
        ("ego", "", "''; give a name such as vehicle"),
        ("ticks_per_decision", 2.5, "2.5; give a whole number of ticks from 0 to 400, such as 0"),
        ("ticks_per_decision", True, "True; give a whole number of ticks"),
        ("ticks_per_decision", -1, "-1; give a whole number of ticks"),
        ("ticks_per_decision", 1_000_000, "1000000; give a whole number of ticks"),
        ("ticks_per_decision", 81, "81: 4.05 s of 0.05 s a tick, but a plan ends after 4 s; give 80 or fewer, or 0"),
        ("settle_ticks", 0, "0; give a whole number of ticks from 1 to 1000"),
        ("blocked_seconds", -5, "-5; give a number of seconds from 1 to 1e"),
        ("blocked_seconds", float("nan"), "nan; give a number of seconds"),
        ("timeout_base", float("inf"), "inf; give a number of seconds"),
        ("timeout_share", -1.0, "-1.0; give a number of times the speed limit from 0 to 10, such as 0.25"),
        ("offroute_distance", 0.0, "0.0; give a number of metres"),
        ("go_zone", "far", "'far'; give a number of metres from 0 to 100, such as 15"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_before_anything_starts(name, value, sentence):
    with pytest.raises(CraftError, match=re.escape(f"data.episode.{name} is {sentence}")):
        episode_options({name: value})


def test_the_ends_of_the_ranges_are_taken():
    assert episode_options({"ticks_per_decision": 80}).ticks_per_decision == 80
    assert episode_options({"ticks_per_decision": 400, "tick_seconds": 0.01}).ticks_per_decision == 400
    assert episode_options({"timeout_share": 0, "blocked_seconds": 1}).timeout_share == 0


def test_waypoints_pass_as_fast_in_long_ticks(straight_route):
    """20 m/s in 0.05 s is one waypoint a tick, 30 m/s in 0.1 s three: two a tick would fall behind for good."""
    limits = EpisodeOptions(tick_seconds=0.1).criteria(EpisodeSpec(None))
    assert (limits.waypoints_a_tick, EpisodeOptions().criteria(EpisodeSpec(None)).waypoints_a_tick) == (4, 2)
    assert EpisodeOptions(tick_seconds=0.025).criteria(EpisodeSpec(None)).waypoints_a_tick == 2
    passed = {}
    for waypoints in (2, limits.waypoints_a_tick):
        progress = RouteProgress(straight_route, waypoints=waypoints)
        for tick in range(60):
            progress.update(3.0 * tick, -1.75)
        passed[waypoints] = progress.completed_index
    assert passed == {2: 118, 4: 176}


def test_a_measurement_has_the_same_rays_in_any_tick():
    lidar, radar = Lidar("roof", place=(0.0, 0.0, 2.0)), Radar("front", place=(2.0, 0.0, 1.0), points_per_second=1500)
    for tick in (0.025, 0.05, 0.1):
        turned = carla_attributes(lidar, tick)
        assert turned["rotation_frequency"] * tick == pytest.approx(1.0)
        assert turned["points_per_second"] * tick == pytest.approx(lidar.beams, abs=0.5)
        assert carla_attributes(radar, tick)["points_per_second"] * tick == pytest.approx(75.0)


def test_a_drive_takes_as_long_in_ticks_of_a_tenth(run_script, live_server):
    """One route with a scenario, by the expert in traffic: as many seconds, the same outcome, half the frames."""
    found = run_script(
        """
        from craft_lightning.roads.routes import read_routes
        from craft_lightning.roads.towns import suite_path
        from craft_lightning.simulation.session import Session
        route = next(r for r in read_routes(suite_path("craftville_eval")) if r.scenarios)
        def drive(tick):
            with Session("127.0.0.1", PORT, TOWN, delta=tick) as session:
                episode = RouteEpisode(session, TOWN)
                result = episode.reset(EpisodeSpec(route, seed=1))
                began, frame, decisions = episode.view.time, episode.view.frame, 0
                while not result.done:
                    result, decisions = episode.expert_step(), decisions + 1
                seconds, frames = episode.view.time - began, episode.view.frame - frame
                acted = any(scenario.triggered and scenario.finished for scenario in episode.scenarios)
                refused = ""
                try:
                    RouteEpisode(session, TOWN, EpisodeOptions(tick_seconds=0.025))
                except CraftError as error:
                    refused = str(error)
                return dict(seconds=seconds, frames=frames, decisions=decisions, status=result.record["status"],
                            acted=acted, refused=refused)
        print(json.dumps({tick: drive(tick) for tick in (0.05, 0.1)}))
        """,
        live_server.port,
    )
    fine, coarse = found["0.05"], found["0.1"]
    assert fine["status"] == coarse["status"] == "Perfect"
    assert fine["acted"]
    assert coarse["acted"]
    assert coarse["seconds"] == pytest.approx(fine["seconds"], rel=0.05)
    for drive, tick in ((fine, 0.05), (coarse, 0.1)):
        assert drive["seconds"] == pytest.approx(drive["frames"] * tick, abs=1e-3)
        assert drive["seconds"] == pytest.approx(0.5 * drive["decisions"], abs=0.5)
        assert f"ticks of 0.025 s do not fit a session whose ticks last {tick:g} s" in drive["refused"]
