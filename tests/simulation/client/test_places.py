"""A world that changes town, and what it records of the ego there."""

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.simulation.recorder import COLUMNS, directions
from craft_lightning.simulation.stage import background_vehicles, blocking_vehicles


def test_an_episode_is_the_same_whatever_town_was_driven_before(run_script, live_server):
    answer = run_script(
        """
        import hashlib
        from craft_lightning.roads.routes import read_routes
        from craft_lightning.roads.suites import suite_file
        routes = read_routes(suite_file("embedded-220"))
        first = {town: next(r for r in routes if r.town == town) for town in ("craftville", "craftside")}
        with open_session() as session:
            episode = RouteEpisode(session, TOWN, atlas={"craftside": "craftside", "craftville": "craftville"})
            def digest(town, vehicles):
                spec = EpisodeSpec(first[town], seed=2, vehicles=vehicles, walkers=0, record_motion=True)
                results = blind(episode, spec, decisions=6)
                made = hashlib.sha256()
                for result in results:
                    for value in (*result.observation.values(), *result.scene.values(), result.events):
                        made.update(np.ascontiguousarray(value).tobytes())
                return made.hexdigest(), int(results[-1].scene["town"]), episode.town.name
            print(json.dumps([digest(town, vehicles) for town in ("craftville", "craftside", "craftville")
                              for vehicles in (8, 0)]))
        """,
        live_server.port,
    )
    ville, ville_empty, side, _, again, again_empty = answer
    assert ville == again
    assert ville_empty == again_empty  # without traffic nobody else resets the lights
    assert ville[1:] == [1, "craftville"]
    assert side[1:] == [0, "craftside"]  # scenes index the grids in the atlas's order


def test_a_town_that_is_none_of_the_worlds_is_refused(run_script, live_server):
    message = run_script(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN, atlas={"craftville": "craftville"})
            route = dataclasses.replace(straight_route(), town="atlantis")
            try:
                episode.reset(EpisodeSpec(route, vehicles=0, walkers=0))
            except CraftError as error:
                print(json.dumps(str(error)))
        """,
        live_server.port,
    )
    assert "'atlantis' is none of this world's: craftville" in message


def test_the_recording_is_what_carla_says_tick_by_tick(run_script, live_server):
    answer = run_script(
        """
        with open_session() as session:
            episode = RouteEpisode(session, TOWN)
            spec = EpisodeSpec(straight_route(), vehicles=0, walkers=0, record_motion=True)
            result = episode.reset(spec)
            ticks = 0
            while not result.done:
                result = episode.step(follow_route(result.scene))
                ticks = episode.criteria.ticks
            ego = episode._ego
            pose = ego.get_transform()
            forward, right = pose.get_forward_vector(), pose.get_right_vector()
            print(json.dumps({"motion": result.motion.tolist(), "ticks": ticks,
                "forward": [forward.x, forward.y, forward.z], "right": [right.x, right.y, right.z],
                "place": [pose.location.x, pose.location.y, pose.location.z, pose.rotation.yaw]}))
        """,
        live_server.port,
    )
    motion = np.array(answer["motion"])
    assert motion.shape == (answer["ticks"], len(COLUMNS))
    forward, right = directions(motion)
    assert forward[-1] == pytest.approx(answer["forward"], abs=1e-5)
    assert right[-1] == pytest.approx(answer["right"], abs=1e-5)
    assert [*motion[-1, 6:9], motion[-1, 11]] == pytest.approx(answer["place"], abs=1e-4)
    # CARLA's units: metres gone by in a tick are a twentieth of the speed that the accelerations add up to.
    speed = np.linalg.norm(np.diff(motion[:, 6:8], axis=0), axis=1) / 0.05
    assert speed.max() == pytest.approx(6.0, abs=1.0)


def test_without_being_asked_nothing_is_recorded(run_script, live_server):
    nothing = run_script(
        """
        with open_session() as session:
            results = blind(RouteEpisode(session, TOWN), EpisodeSpec(straight_route(), vehicles=0, walkers=0))
            print(json.dumps([result.motion is None for result in results]))
        """,
        live_server.port,
    )
    assert all(nothing)


def test_background_is_every_vehicle_but_the_egos_and_the_scenarios(make_view):
    view = make_view(
        (0.0, 0.0, 0.0, 5.0),
        (10.0, 0.0, 0.0, 5.0),
        (20.0, 0.0, 0.0, 5.0, AGENT_CYCLIST, 1.8, 0.6),
        (30.0, 0.0, 0.0, 1.0, AGENT_WALKER, 0.5, 0.5),
        (40.0, 0.0, 0.0, 5.0, AGENT_VEHICLE, 4.8, 2.0),
    )
    assert background_vehicles(view, {5}) == [2, 3]


@pytest.mark.parametrize(
    ("ahead", "aside", "speed", "blocking"),
    [
        (11.9, 1.99, 0.099, [2]),
        (11.9, -1.99, 0.099, [2]),
        (12.1, 1.99, 0.099, []),
        (11.9, 2.01, 0.099, []),
        (11.9, -2.01, 0.099, []),
        (11.9, 1.99, 0.101, []),
    ],
)
def test_what_blocks_stands_within_twelve_metres_ahead_and_two_beside(make_view, ahead, aside, speed, blocking):
    assert blocking_vehicles(make_view((0.0, 0.0, 0.0, 0.0), (ahead, aside, 0.0, speed)), set()) == blocking


def test_what_stands_before_the_ego_blocks_it(make_view):
    view = make_view(
        (0.0, 0.0, 0.0, 0.0),
        (8.0, 0.5, 0.0, 0.0),  # standing before it
        (8.0, 3.5, 0.0, 0.0),  # beside its lane
        (-8.0, 0.0, 0.0, 0.0),  # behind
        (11.0, 0.0, 0.0, 0.5),  # moving
        (7.0, 0.0, 0.0, 0.0, AGENT_STATIC, 1.0, 1.0),  # no traffic
        (9.0, 0.0, 0.0, 0.0),  # a scenario's
    )
    assert blocking_vehicles(view, {7}) == [2]


@pytest.mark.parametrize(("metres", "speed", "blocking"), [(34.6, 0.099, [3]), (34.7, 0.099, []), (34.6, 0.101, [])])
def test_what_stands_before_a_standing_vehicle_of_a_scenario_near_the_ego_blocks_it_too(
    make_view, metres, speed, blocking
):
    view = make_view(
        (0.0, 0.0, 0.0, 0.0),
        (metres, 20.0, 0.0, speed),  # a scenario's, 40 m from the ego
        (metres + 6.0, 20.0, 0.0, 0.0),  # before it
        (metres - 6.0, 20.0, 0.0, 0.0),  # behind it
    )
    assert blocking_vehicles(view, {2}) == blocking
