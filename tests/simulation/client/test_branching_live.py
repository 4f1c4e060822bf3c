"""Branches are exact: what is replayed is what happened, and the episode never learns of them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from craft_lightning.simulation.launcher import EmbeddedServer

HELPERS = """
    from craft_lightning.roads.routes import read_routes
    from craft_lightning.roads.towns import suite_path
    from craft_lightning.simulation.branching import Branching, drive_branch
    ROUTES = read_routes(suite_path("craftville_eval"))

    def moment_of(episode):
        "All that can be seen; ids counted from the ego, since a server never gives one twice."
        view = episode.reader.read()
        columns = (view.x, view.y, view.z, view.yaw, view.speed, view.vx, view.vy, view.acceleration, view.yaw_rate)
        return (view.ids - episode.reader.ego_id).tolist(), np.stack(columns), view.signals

    def gap(first, second):
        "Largest difference of anything, infinite where actors or lights differ."
        if first[0] != second[0] or first[2] != second[2]:
            return float("inf")
        return float(np.abs(first[1] - second[1]).max())
"""


@pytest.fixture
def run_branches(run_script, live_server):
    def run(body):
        return run_script(textwrap.dedent(HELPERS) + textwrap.dedent(body), live_server.port)

    return run


def test_the_episode_goes_on_as_if_nothing_had_happened(run_branches):
    """Hits, a scenario that plays on, walkers, red lights; branches that hit, spawn, destroy and end in between."""
    answer = run_branches(
        """
        def drive(episode, spec, branching, decisions):
            result, log = episode.reset(spec), []
            for number in range(decisions):
                plan = follow_route(result.scene)
                if branching is not None and number > 12 and number % 5 == 4:
                    then = "plan" if number % 2 else lambda reached: follow_route(reached.scene)
                    branching.run([plan, 0.3 * plan, plan * np.array([1.4, 1.0, 1.0])], seconds=2.0, then=then)
                result = episode.step(plan)
                log.append((moment_of(episode), result.events.tolist(), result.observation, result.scene))
            return log, [incident.kind for incident in episode.criteria.incidents]

        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            branching = Branching(episode)
            answers = []
            for route, decisions in ((0, 34), (20, 28)):
                spec = EpisodeSpec(ROUTES[route], seed=route, vehicles=25, walkers=12, end_on_collision=False)
                alone, incidents = drive(episode, spec, None, decisions)
                branched, again = drive(episode, spec, branching, decisions)
                same = all(
                    a[1] == b[1] and all((a[2][k] == b[2][k]).all() for k in a[2])
                    and all((a[3][k] == b[3][k]).all() for k in a[3]) for a, b in zip(alone, branched)
                )
                answers.append({"gap": max(gap(a[0], b[0]) for a, b in zip(alone, branched)), "same": same,
                                "incidents": incidents, "again": again})
            print(json.dumps(answers))
        """
    )
    for drive in answer:
        assert drive["gap"] < 1e-9
        assert drive["same"]
        assert drive["incidents"] == drive["again"]
    assert [drive["incidents"][0] for drive in answer] == ["collisions_vehicle", "collisions_pedestrian"]


def test_a_replay_is_what_really_happens_then(run_branches):
    answer = run_branches(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            branching = Branching(episode)
            result = episode.reset(EpisodeSpec(ROUTES[0], seed=0, vehicles=25, walkers=12, end_on_collision=False))
            for _ in range(25):
                result = episode.step(follow_route(result.scene))
            blind = lambda reached: follow_route(reached.scene)
            plan = follow_route(result.scene)
            followed = branching.run([plan, 0.5 * plan, plan], seconds=4.0, record=True)
            driven = branching.run([plan, plan], seconds=4.0, then=blind, record=True)
            real = drive_branch(episode, plan, 8, blind, 1, True)

            def apart(a, b):
                return [float(np.abs(a.ego - b.ego).max()), float(np.nanmax(np.abs(a.others - b.others))),
                        bool((a.flags == b.flags).all() and (a.events == b.events).all()),
                        a.ids.tolist() == b.ids.tolist()]

            print(json.dumps({
                "followed": apart(followed[0], followed[2]), "driven": apart(driven[0], driven[1]),
                "real": apart(driven[0], real), "hit": driven[0].collision_step, "others": list(real.others.shape),
                "incident": [incident.kind for incident in real.incidents],
                "slower": followed[1].progress < followed[0].progress, "poses": len(real.ego),
                "events": driven[0].events[:, 0].tolist(),
            }))
        """
    )
    for name in ("followed", "driven", "real"):
        ego, others, events, ids = answer[name]
        assert max(ego, others) < 1e-9
        assert events
        assert ids
    assert answer["poses"] == 41
    assert answer["others"][1:] == [41, 4]
    assert answer["slower"]
    assert answer["incident"] == ["collisions_vehicle"]
    assert answer["events"].index(1.0) == answer["hit"] // 5


def test_moments_nest_and_actors_come_and_go_with_them(run_branches):
    answer = run_branches(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            branching = Branching(episode)
            result = episode.reset(EpisodeSpec(straight_route(), seed=3, vehicles=5, walkers=3))
            x, y, yaw = episode.route.at(45.0)
            place = carla.Transform(carla.Location(x, -y, 0.2), carla.Rotation(yaw=-float(np.degrees(yaw))))
            blueprint = session.blueprint("vehicle.tesla.model3")
            parked = session.spawn(blueprint, place)
            session.tick()
            start, frames, spawned = moment_of(episode), [session.world.get_snapshot().frame], []
            plan = follow_route(result.scene)
            with branching.moment() as outer:
                session.destroy([parked])
                gone = parked.id in episode.reader.read().ids
                other = session.spawn(session.blueprint("walker.pedestrian.0001"), place)
                spawned.append(other.id)
                episode.execute(plan)
                deep = moment_of(episode)
                with branching.moment() as inner:
                    for _ in range(2):
                        episode.execute(0.2 * plan)
                        spawned.append(session.spawn(blueprint, carla.Transform(carla.Location(x, -y, 9.0))).id)
                        inner.restore()
                        frames.append(session.world.get_snapshot().frame)
                        assert gap(moment_of(episode), deep) == 0.0
                kinds = session.world.get_actors([other.id])[0].type_id
                outer.restore()
                frames.append(session.world.get_snapshot().frame)
            frames.append(session.world.get_snapshot().frame)
            back = gap(start, moment_of(episode))
            late = [actor.id for actor in session.world.get_actors() if actor.id in spawned]
            following = session.spawn(blueprint, carla.Transform(carla.Location(x, -y, 9.0)))
            session.tick()
            print(json.dumps({"gone": bool(gone), "back": back, "spawned": spawned, "late": late, "frames": frames,
                              "kind": kinds, "following": following.id, "parked": parked.id,
                              "actors": sorted(session._actors) == sorted({*session._actors})}))
        """
    )
    assert not answer["gone"]
    assert answer["back"] == 0.0
    assert answer["late"] == []
    assert answer["kind"] == "walker.pedestrian.0001"
    assert answer["frames"] == sorted(set(answer["frames"]))
    # No number twice while branches last, and after them those that would have come without.
    assert len(set(answer["spawned"])) == 3
    assert min(answer["spawned"]) > 1_000_000 > answer["following"]


def test_refusals(run_branches):
    answer = run_branches(
        """
        from craft_lightning.errors import CraftError
        said = []

        def refused(action):
            try:
                action()
            except CraftError as error:
                said.append(str(error))

        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            branching = Branching(episode)
            plan = np.zeros((20, 3))
            refused(lambda: branching.run([plan]))
            result = episode.reset(EpisodeSpec(straight_route(), vehicles=0, walkers=0))
            refused(lambda: branching.run([plan], seconds=0.7))
            before = moment_of(episode)
            refused(lambda: branching.run([plan, np.full((20, 3), np.nan)]))
            print(json.dumps([said, gap(before, moment_of(episode))]))
        """
    )
    said, apart = answer
    assert "call reset first" in said[0]
    assert "give a multiple of 0.5 s" in said[1]
    assert "NaN" in said[2]
    assert apart == 0.0  # a branch that fails half-way is left as well


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_ends_in_a_branch_leaves_no_process_behind(end):
    script = """
import json, sys, time
from craft_lightning.simulation.side_channel import SideChannel
import carla
client = carla.Client("127.0.0.1", int(sys.argv[1]))
world = client.get_world()
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
world.apply_settings(settings)
channel = SideChannel("127.0.0.1", int(sys.argv[1]), 5.0)
channel.ask("craft.branch")
channel.ask("craft.branch")
world.tick()
print("deep", flush=True)
time.sleep(60)
"""
    with EmbeddedServer("craftville") as server:
        client = subprocess.Popen(
            [sys.executable, "-c", script, str(server.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert client.stdout.readline() == "deep\n"
            family = psutil.Process(server.pid).children(recursive=True)
            assert len(family) == 2
            begun = time.monotonic()
            if end == "kill":
                os.kill(server.pid, signal.SIGKILL)
            server.stop()
            assert time.monotonic() - begun < 3.0  # asked, not insisted
            _, alive = psutil.wait_procs(family, timeout=5.0)
            assert not alive
        finally:
            client.kill()
            client.wait(10.0)
            client.stdout.close()


def test_a_world_that_runs_by_itself_is_not_branched(live_server):
    script = """
import sys
from craft_lightning.errors import CraftError
from craft_lightning.simulation.side_channel import SideChannel
for method in ("craft.branch", "craft.leave"):
    try:
        SideChannel("127.0.0.1", int(sys.argv[1]), 5.0).ask(method)
    except CraftError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(live_server.port)], capture_output=True, text=True, timeout=60, check=True
    )
    first, second = done.stdout.splitlines()
    assert "synchronous mode alone" in first
    assert "in no branch" in second
    assert json.dumps(done.stderr) == '""'
