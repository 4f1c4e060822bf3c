"""A rig on the ego through the real client: every frame matched, what it sees is there, and nothing else changes."""

import numpy as np
import pytest

SEEN = """
        import hashlib
        from craft_lightning.rigs import read_rig
        from craft_lightning.simulation.rig_reader import check_rig
        WIDE = read_rig(["bench2drive@256x144", {"kind": "lidar", "name": "roof", "place": [0.4, 0.0, 2.0], "yaw": 90}])

        def digest(results):
            made = hashlib.sha256()
            for result in results:
                for name, value in sorted(result.observation.get("sensors", {}).items()):
                    made.update(name.encode() + np.ascontiguousarray(value).tobytes())
            return made.hexdigest()

        def poses(results):
            return [result.scene["ego_pose"].tolist() for result in results]
"""


def test_six_cameras_and_a_lidar_see_every_decision(run_script, live_server):
    answer = run_script(
        SEEN
        + """
        with open_session() as session:
            spec = EpisodeSpec(straight_route(), seed=4, vehicles=12, walkers=5)
            check_rig(session, WIDE)
            plain = blind(RouteEpisode(session, TOWN), spec, 6)
            episode = RouteEpisode(session, TOWN, rig=WIDE)
            seen = blind(episode, spec, 6)
            blind(episode, EpisodeSpec(straight_route(), seed=5, vehicles=3, walkers=9), 3)
            again = blind(episode, spec, 6)
            arrays = seen[-1].observation["sensors"]
            moved = [float(np.abs(a.observation["sensors"]["CAM_FRONT"].astype(float)
                - b.observation["sensors"]["CAM_FRONT"]).mean()) for a, b in zip(seen, seen[1:])]
            print(json.dumps({
                "shapes": {name: [list(value.shape), str(value.dtype)] for name, value in arrays.items()},
                "wanted": {name: [list(shape), kind] for s in WIDE for name, (shape, kind) in s.shapes().items()},
                "same": poses(plain) == poses(seen) == poses(again), "digests": [digest(seen), digest(again)],
                "moved": moved, "bare": "sensors" in plain[-1].observation, "frames": len(seen),
                "sky": arrays["CAM_FRONT"][:20].mean((0, 1)).tolist(),
                "different": len({arrays[s.name].tobytes() for s in WIDE}),
            }))
        """,
        live_server.port,
    )
    assert answer["shapes"] == answer["wanted"]
    assert answer["same"], "a rig changed how the episode went"
    assert answer["digests"][0] == answer["digests"][1], "a picture depends on what the world did before"
    assert not answer["bare"]
    assert answer["frames"] == 7
    assert min(answer["moved"][2:]) > 0.2, "the pictures stand still while the car drives"
    red, _, blue = answer["sky"]
    assert blue > red + 20.0
    assert answer["different"] == 7


def test_what_stands_ahead_to_the_left_is_seen_there_by_every_kind(run_script, live_server):
    answer = run_script(
        SEEN
        + """
        with open_session() as session:
            place = {"place": [0.8, 0.0, 1.6], "field_of_view": 90}
            rig = read_rig([{"name": "front", **place}, {"name": "far", "kind": "depth", **place},
                {"name": "tags", "kind": "semantic", **place},
                {"kind": "lidar", "name": "roof", "place": [0.0, 0.0, 2.5], "yaw": -70, "pitch": 0},
                {"kind": "radar", "name": "bumper", "place": [2.4, 0.0, 0.8], "horizontal_field_of_view": 60}])
            episode = RouteEpisode(session, TOWN, rig=rig)
            episode.reset(EpisodeSpec(straight_route(), vehicles=0, walkers=0))
            before = {n: v.copy() for n, v in episode.observe().observation["sensors"].items()}
            x, y, yaw = episode.view.ego_pose
            at = x + 14 * np.cos(yaw) - 3.5 * np.sin(yaw), y + 14 * np.sin(yaw) + 3.5 * np.cos(yaw)
            session.spawn(session.blueprint("vehicle.*"), carla.Transform(
                carla.Location(at[0], -at[1], 0.2), carla.Rotation(yaw=-float(np.degrees(yaw)))))
            after = episode.step(np.zeros((40, 3), np.float32)).observation["sensors"]
            roof = after["roof"][:int(after["roof.count"])]
            bumper = after["bumper"][:int(after["bumper.count"])]
            body = roof[(roof[:, 2] > 0.4) & (np.abs(roof[:, 0] - 14.0) < 8.0)]
            print(json.dumps({
                "columns": np.flatnonzero((after["tags"] == 14).any(0)).tolist(),
                "left": float(np.abs(after["front"][:, :128].astype(int) - before["front"][:, :128]).mean()),
                "right": float(np.abs(after["front"][:, 160:].astype(int) - before["front"][:, 160:]).mean()),
                "depth": float(after["far"][after["tags"] == 14].min()),
                "body": [body.min(0).tolist(), body.max(0).tolist()], "ground": float(np.median(roof[:, 2])),
                "spare": float(np.abs(after["roof"][int(after["roof.count"]):]).max()),
                "radar": bumper[(bumper[:, 0] > 8) & (bumper[:, 1] > 1) & (bumper[:, 2] > 0.3)].tolist(),
            }))
        """,
        live_server.port,
    )
    assert answer["columns"], "nobody sees a car (tag 14)"
    assert max(answer["columns"]) < 128, "what is on the left is seen on the right"
    assert answer["left"] > 2.0 * answer["right"]
    assert 8.0 < answer["depth"] < 14.0
    (low_x, low_y, *_), (high_x, high_y, *_) = answer["body"]
    assert 10.0 < low_x < high_x < 18.0
    assert 2.0 < low_y < high_y < 5.0
    assert abs(answer["ground"]) < 0.1
    assert answer["spare"] == 0.0
    assert answer["radar"]
    assert all(10.0 < x < 18.0 and abs(speed) < 1.0 for x, _, _, speed in answer["radar"])


def test_a_branch_sees_its_own_world_and_the_episode_goes_on_as_if_nothing_was(run_script, live_server):
    answer = run_script(
        SEEN
        + """
        from craft_lightning.simulation.branching import Branching
        with open_session() as session:
            spec = EpisodeSpec(straight_route(), seed=2, vehicles=8, walkers=3)
            episode = RouteEpisode(session, TOWN, rig=read_rig(["front_camera", {"kind": "lidar", "name": "roof",
                "place": [0, 0, 2.5], "points_per_second": 100000}]))
            whole = blind(episode, spec, 6)
            first = blind(episode, spec, 2)
            branching = Branching(episode)
            stay = np.zeros((40, 3), np.float32)
            inside = []
            def look(result):
                inside.append(digest([result]))
                return follow_route(result.scene)
            go = follow_route(first[-1].scene)
            branches = branching.run([go, stay, go], 1.5, look)
            rest = []
            while len(rest) < 4:
                rest.append(episode.step(follow_route((rest or first)[-1].scene)))
            print(json.dumps({
                "same": digest(first + rest) == digest(whole), "poses": poses(first + rest) == poses(whole),
                "inside": inside, "own": digest(whole[3:4]),
            }))
        """,
        live_server.port,
    )
    assert answer["poses"]
    assert answer["same"]
    going, staying, again = answer["inside"][:2], answer["inside"][2:4], answer["inside"][4:]
    assert going == again
    assert going[0] == answer["own"]
    assert not set(going) & set(staying)


def test_a_silent_sensor_costs_the_episode(run_script, live_server):
    answer = run_script(
        SEEN
        + """
        from craft_lightning.simulation import rig_reader
        rig_reader._WAIT = 0.3
        with open_session() as session:
            episode = RouteEpisode(session, TOWN, rig=read_rig("front_camera"))
            spec = EpisodeSpec(straight_route(), seed=2, vehicles=2, walkers=0)
            result = episode.reset(spec)
            sensor = next(a for a in session._actors.values() if a.type_id == "sensor.camera.rgb")
            sensor.stop()
            try:
                episode.step(follow_route(result.scene))
                said = ""
            except WorldError as error:
                said = str(error)
            again = blind(episode, spec, 2)
            print(json.dumps({"said": said, "again": "sensors" in again[-1].observation}))
        """,
        live_server.port,
    )
    assert "sensor 'front' told of frame" in answer["said"]
    assert "collect the episode again" in answer["said"]
    assert answer["again"]


def test_a_world_that_ticks_its_sensors_always_is_read_at_decisions_too(run_script, live_server):
    """What a server does whose sensors' clocks are not exact: they measure every tick."""
    answer = run_script(
        SEEN
        + """
        from craft_lightning.simulation import rig_reader
        rig = read_rig(["front_camera", {"kind": "lidar", "name": "roof", "place": [0, 0, 2.5]}])
        with open_session() as session:
            spec = EpisodeSpec(straight_route(), seed=4, vehicles=6, walkers=2)
            exact = blind(RouteEpisode(session, TOWN, rig=rig), spec, 4)
            rig_reader.SUMO_TRAFFIC = "no.such.blueprint"
            ticking = blind(RouteEpisode(session, TOWN, rig=rig), spec, 4)
            pictures = [[r.observation["sensors"]["front"] for r in rs] for rs in (exact, ticking)]
            print(json.dumps([float(np.abs(a.astype(int) - b).max()) for a, b in zip(*pictures)]))
        """,
        live_server.port,
    )
    # The clock of clouds starts with the first sensor, three ticks earlier here.
    assert len(answer) == 5
    assert max(answer) <= 8.0


def test_a_rig_without_places_is_refused(run_script, live_server):
    said = run_script(
        SEEN
        + """
        from craft_lightning.rig import Camera
        with open_session() as session:
            try:
                check_rig(session, (Camera("cam_f0", width=1920, height=1080),))
            except CraftError as error:
                print(json.dumps(str(error)))
        """,
        live_server.port,
    )
    assert "'cam_f0' (1920 x 1080)" in said
    assert "no world can attach it" in said


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(30, 0, 0), (0, 20, 0), (0, 0, 15), (-110, 5, -7)])
def test_mounts_are_those_of_carla(yaw, pitch, roll):
    carla = pytest.importorskip("carla")
    from craft_lightning.frames import sensor_axes

    theirs = np.array(carla.Transform(carla.Location(), carla.Rotation(pitch, -yaw, roll)).get_matrix())[:3, :3]
    flip = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(sensor_axes(yaw, pitch, roll), flip @ theirs @ flip, atol=1e-6)
