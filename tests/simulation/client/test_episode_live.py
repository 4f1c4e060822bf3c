import signal

import pytest

from craft_lightning.metrics.records import RouteRecord
from craft_lightning.simulation.launcher import EmbeddedServer


def test_a_blind_drive_down_an_empty_road(run_script, live_server):
    answer = run_script(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            results = blind(episode, EpisodeSpec(straight_route(), number=7, seed=3, vehicles=0, walkers=0))
            last = results[-1]
            print(json.dumps({
                "record": last.record, "events": np.sum([r.events for r in results], 0).tolist(),
                "decisions": len(results) - 1, "lateral": [float(r.observation["route"][0, 1]) for r in results],
                "shapes": {k: list(v.shape) for k, v in {**last.observation, **last.scene}.items()},
            }))
        """,
        live_server.port,
    )
    record = RouteRecord.from_dict(answer["record"])
    assert record.success
    assert record.driving_score == 100.0
    assert (record.route_id, record.number, record.seed, record.town) == ("test", 7, 3, "craftville")
    assert record.length_m == pytest.approx(60.0, abs=1.5)
    assert sum(answer["events"]) == 0.0
    assert max(map(abs, answer["lateral"])) < 0.5
    assert answer["shapes"]["bev"] == [6, 96, 96]


def test_equal_specifications_give_equal_episodes(run_script, live_server):
    script = """
        import hashlib
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            def digest(seed):
                results = blind(episode, EpisodeSpec(straight_route(), seed=seed, vehicles=15, walkers=5), decisions=8)
                made = hashlib.sha256()
                for result in results:
                    for value in (*result.observation.values(), *result.scene.values(), result.events):
                        made.update(np.ascontiguousarray(value).tobytes())
                return made.hexdigest(), [r.scene["ego_pose"].tolist() for r in results]
            print(json.dumps([digest(1), digest(2), digest(1)]))
    """
    first, other, again = run_script(script, live_server.port)
    assert first == again
    assert first[0] != other[0]


def test_ticks_asked_for_at_once_are_judged_one_by_one(run_script, live_server):
    """The same drive, through lights and into what comes, whether the next tick waits for the one before or not."""
    script = """
        import hashlib
        from craft_lightning.simulation.session import Session
        class Patient(Session):
            at_once = 1
        def drive(kind):
            with kind("127.0.0.1", PORT, TOWN, timeout=10.0) as session:
                asked, ticks = [], session.ticks
                session.ticks = lambda count: asked.append(count) or ticks(count)
                episode = RouteEpisode(session, TOWN)
                answers = []
                for number, route in enumerate(read_routes(suite_path("craftville_eval"))[:4]):
                    spec = EpisodeSpec(route, seed=number, vehicles=30, walkers=10, record_motion=True)
                    results = blind(episode, spec, decisions=60)
                    made = hashlib.sha256()
                    for result in results:
                        for value in (*result.observation.values(), *result.scene.values(), result.events):
                            made.update(np.ascontiguousarray(value).tobytes())
                    incidents = [(one.kind, one.time, one.actor) for result in results for one in result.incidents]
                    motion = None if results[-1].motion is None else len(results[-1].motion)
                    answers.append([made.hexdigest(), results[-1].record, incidents, motion])
            return answers, max(asked)
        from craft_lightning.roads.routes import read_routes
        from craft_lightning.roads.towns import suite_path
        print(json.dumps([drive(Session), drive(Patient)]))
    """
    (together, most), (alone, least) = run_script(script, live_server.port)
    assert (most, least) == (2, 1)
    assert together == alone
    assert any(incidents for _, _, incidents, _ in together), "somebody was hit, or a light was run"


def test_running_into_a_parked_car(run_script, live_server):
    answer = run_script(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            spec = EpisodeSpec(straight_route(), vehicles=0, walkers=0)
            result = episode.reset(spec)
            x, y, yaw = episode.route.at(30.0)
            place = carla.Transform(carla.Location(x, -y, 0.2), carla.Rotation(yaw=-float(np.degrees(yaw))))
            parked = session.spawn(session.blueprint("vehicle.*"), place)
            events = []
            while not result.done:
                result = episode.step(follow_route(result.scene))
                events.append(float(result.events[0]))
            print(json.dumps({"record": result.record, "events": events, "incidents": [
                (i.kind, i.actor, i.time) for i in episode.criteria.incidents]}))
        """,
        live_server.port,
    )
    record = RouteRecord.from_dict(answer["record"])
    assert record.status == "Failed - Agent collided"
    assert record.collisions_vehicle == 1
    assert 20.0 < record.route_completion < 50.0
    assert answer["events"][-1] == 1.0
    assert sum(answer["events"]) == 1.0
    kind, actor, _ = answer["incidents"][-1]
    assert kind == "collisions_vehicle"
    assert actor.startswith("vehicle.")


def test_running_a_red_light(run_script, live_server):
    answer = run_script(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            result = episode.reset(EpisodeSpec(straight_route(before_light=True), vehicles=0, walkers=0))
            for light in session.world.get_actors().filter("traffic.traffic_light*"):
                light.set_state(carla.TrafficLightState.Red)
                light.freeze(True)
            events = np.zeros(9)
            while not result.done:
                result = episode.step(follow_route(result.scene))
                events += result.events
            print(json.dumps({"record": result.record, "events": events.tolist(),
                              "incidents": [(i.kind, i.actor) for i in episode.criteria.incidents]}))
            session.world.reset_all_traffic_lights()
            session.world.freeze_all_traffic_lights(False)
        """,
        live_server.port,
    )
    record = RouteRecord.from_dict(answer["record"])
    assert record.status == "Completed"
    assert record.red_light == 1
    assert record.driving_score == pytest.approx(70.0)
    assert answer["events"][1] == 1.0
    assert answer["incidents"][0][0] == "red_light"


def test_stepping_after_the_end_and_bad_plans(run_script, live_server):
    messages = run_script(
        """
        def message(call):
            try:
                call()
            except CraftError as error:
                return str(error)
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            before = message(lambda: episode.step(np.zeros((40, 3))))
            episode.reset(EpisodeSpec(straight_route(), vehicles=0, walkers=0))
            bad = message(lambda: episode.step(np.full((40, 3), np.nan)))
            print(json.dumps([before, bad]))
        """,
        live_server.port,
    )
    assert "call reset before step" in messages[0]
    assert "NaN" in messages[1]


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_a_server_that_dies_or_freezes_costs_the_episode_not_the_run(run_script, fault):
    """The client raises WorldError or aborts its own process; both are seen by whoever supervises it."""
    with EmbeddedServer("craftville") as server:
        body = f"""
        session = open_session(timeout=1.5)
        episode = RouteEpisode(session, TOWN)
        result = episode.reset(EpisodeSpec(straight_route(), vehicles=0, walkers=0))
        os.kill({server.pid}, signal.{fault})
        try:
            while True:
                result = episode.step(follow_route(result.scene))
        except WorldError as error:
            message = str(error)
        session.close()
        print(json.dumps(message), flush=True)
        os._exit(0)
        """
        died = (0, -signal.SIGABRT, -signal.SIGSEGV)
        message = run_script(body, server.port, expect=died)
    if message is not None:
        assert "collected again" in message
        assert "\n" not in message


@pytest.mark.parametrize("driver", ["blind", "expert"])
def test_a_scenario_on_the_route(run_script, live_server, driver):
    """A lead vehicle brakes hard: who follows the line blindly runs into it, the expert does not."""
    answer = run_script(
        f"""
        from craft_lightning.roads.routes import ScenarioConfig
        route = straight_route(length=90.0, margin=105.0)
        x, y, z = route.waypoints[0]
        yaw = float(np.arctan2(*(route.waypoints[1] - route.waypoints[0])[[1, 0]]))
        far = (x + 25.0 * np.cos(yaw), y + 25.0 * np.sin(yaw), z, yaw)
        scenario = ScenarioConfig("HardBreakRoute_1", "HardBreakRoute", far)
        route = dataclasses.replace(route, scenarios=(scenario,))
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            spec = EpisodeSpec(route, seed=1, vehicles=0, walkers=0)
            if {driver!r} == "blind":
                results = blind(episode, spec)
            else:
                results = [episode.reset(spec)]
                while not results[-1].done:
                    results.append(episode.expert_step())
            agents = max(int((result.scene["agent_kind"] > 0).sum()) for result in results)
            episode.clear()
            left = [actor.type_id for actor in session.world.get_actors() if actor.type_id.startswith("vehicle.")]
            print(json.dumps({{"record": results[-1].record, "agents": agents, "left": left}}))
        """,
        live_server.port,
    )
    record = RouteRecord.from_dict(answer["record"])
    assert record.scenario == "HardBreakRoute"
    assert answer["agents"] >= 1
    assert answer["left"] == []
    if driver == "blind":
        assert record.collisions_vehicle == 1
    else:
        assert record.success


def test_an_ego_that_the_server_lacks_is_refused_before_a_route_is_begun(run_script, live_server):
    said = run_script(
        """
        with open_session() as session:
            try:
                RouteEpisode(session, TOWN, EpisodeOptions(ego="vehicle.tesla.model"))
            except CraftError as error:
                print(json.dumps(str(error)))
        """,
        live_server.port,
    )
    assert said.startswith(
        "data.episode.ego is 'vehicle.tesla.model', which the server has not; did you mean vehicle.tesla."
    )
