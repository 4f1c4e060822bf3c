"""The agent in a harness that does what an evaluator does, without any evaluator installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.official import leaderboard_agent
from craft_lightning.official.configured import configured_policy
from craft_lightning.official.evaluator_rig import EvaluatorRig
from craft_lightning.official.leaderboard_agent import split_configuration
from craft_lightning.rigs import read_rig

HARNESS = """
    import carla, numpy as np, torch
    torch.set_num_threads(1)
    from craft_lightning.frames import pose_to_carla
    from craft_lightning.policies.checkpoint import load_policy
    from craft_lightning.roads.routes import read_routes
    from craft_lightning.roads.towns import load_town, suite_path
    from craft_lightning.rollouts.drivers import PolicyDriver
    from craft_lightning.simulation.episode import RouteEpisode
    from craft_lightning.simulation.episode_spec import EpisodeSpec
    from craft_lightning.simulation.session import Session
    from craft_lightning.simulation.stage import spawn_ego
    import dataclasses, importlib

    TICKS = 100
    town = load_town("craftville")
    route = dataclasses.replace(read_routes(suite_path("craftville_eval"))[2], scenarios=())

    def place(actor):
        pose = actor.get_transform()
        return [pose.location.x, pose.location.y, pose.rotation.yaw, actor.get_velocity().length()]
"""

DRIVES_AS_EPISODES_DO = (
    HARNESS
    + """
    with Session("127.0.0.1", PORT, town) as session:
        episode = RouteEpisode(session, town)
        result = episode.reset(EpisodeSpec(route, vehicles=0, walkers=0))
        driver = PolicyDriver(load_policy("vocabulary_craftville"), worlds=1, seed=0, greedy=True)
        while not result.done and episode.criteria.ticks < TICKS:
            result = episode.step(driver.decide_alone(result.observation))
        expected, record = place(episode._ego), episode.criteria.record()
        start = episode.route
        episode.clear()

        # The same place, the same four ticks on the brake; then the agent alone.
        session.world.reset_all_traffic_lights()
        ego = spawn_ego(session, "vehicle.lincoln.mkz_2020", *start.xy[0], start.z[0], start.heading[0])
        for _ in range(4):
            ego.apply_control(carla.VehicleControl(brake=1.0))
            session.tick()
        provider = importlib.import_module("srunner.scenariomanager.carla_data_provider").CarlaDataProvider
        provider.world = session.world
        module = importlib.import_module("craft_lightning.official.leaderboard_agent")
        os.environ[module.REFEREE_VARIABLE] = VERDICTS = os.path.join(sys.path[0], "verdicts.jsonl")
        agent = getattr(module, module.get_entry_point())("127.0.0.1", PORT)
        plan = []
        for (x, y), yaw in zip(start.xy.tolist(), start.heading.tolist()):
            cx, cy, degrees = pose_to_carla(x, y, yaw)
            plan.append((carla.Transform(carla.Location(cx, cy), carla.Rotation(yaw=degrees)), None))
        agent.set_global_plan([None] * len(plan), plan)
        agent.setup("vocabulary_craftville+RouteScenario_x_rep0")
        sensors = agent.sensors()
        for _ in range(TICKS):
            ego.apply_control(agent())
            session.tick()
        found = place(ego)
        agent.destroy()
        session.tick()
        left = len(session.world.get_actors().filter("sensor.*"))
    print(json.dumps({
        "expected": expected, "found": found, "told": agent.told, "track": agent.track.value, "sensors": sensors,
        "verdicts": [json.loads(line) for line in open(VERDICTS)], "completion": record["route_completion"],
        "save_name": agent.save_name, "left": left,
    }))
"""
)


def test_it_drives_exactly_as_our_own_episodes_do(run_script):
    got = run_script(DRIVES_AS_EPISODES_DO)
    assert got["found"] == pytest.approx(got["expected"], abs=1e-6)
    assert got["found"][3] > 1.0  # it drove off
    assert got["told"] == [len_ for len_ in got["told"] if len_ > 50]  # the base class heard the plan
    assert got["track"] == "MAP"
    assert [sensor["type"] for sensor in got["sensors"]] == ["sensor.opendrive_map"]
    assert got["save_name"] == "RouteScenario_x_rep0"
    # Our criteria judged the same drive, but for the last tick, which the agent never saw.
    (verdict,) = got["verdicts"]
    assert verdict["town"] == "craftville"
    assert verdict["route_completion"] == pytest.approx(got["completion"], abs=2.0)
    assert verdict["route_completion"] > 5.0
    assert got["left"] == 0


ANOTHER_CLOCK = (
    HARNESS
    + """
    with Session("127.0.0.1", PORT, town, delta=0.1) as session:
        from craft_lightning.errors import CraftError
        from craft_lightning.official.route_driver import RouteDriver
        try:
            RouteDriver(None, session.world, None, np.zeros((2, 3)))
        except CraftError as error:
            print(json.dumps(str(error)))
"""
)


def test_a_world_of_another_clock_is_one_sentence(run_script):
    assert "ticks last 0.1" in run_script(ANOTHER_CLOCK)


def test_its_file_can_be_found_without_an_evaluator():
    code = "import craft_lightning.official.leaderboard_agent as a, sys; assert 'torch' not in sys.modules"
    code += "; print(a.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert Path(done.stdout.strip()).name == "leaderboard_agent.py"
    assert hasattr(leaderboard_agent, leaderboard_agent.get_entry_point())
    with pytest.raises(CraftError, match="craft-lightning official"):
        leaderboard_agent.CraftAgent().setup("vocabulary_craftville")


def test_what_an_evaluator_appends_is_told_from_what_the_user_gave():
    assert split_configuration("policy") == ("policy", "")
    assert split_configuration("runs/a+b.safetensors") == ("runs/a+b.safetensors", "")
    # Bench2Drive appends every route's name to the one before, beyond what a file's name may be long.
    names = [f"RouteScenario_{number}_rep0_craftville_HardBreakRoute_1_26_11_26_02_25_35" for number in range(9)]
    assert split_configuration("+".join(["policy", *names])) == ("policy", names[-1])


def test_an_agent_whose_setup_failed_can_be_destroyed():
    leaderboard_agent.CraftAgent().destroy()


def test_policies_come_from_names_files_and_recipes(tmp_path):
    by_name = configured_policy("vocabulary_craftville")
    by_recipe = configured_policy("craft_vocabulary")
    mine = tmp_path / "mine.yaml"
    mine.write_text("model:\n  adapter: {class_path: VocabularyScorer}\n  checkpoint: vocabulary_craftville\n")
    by_file = configured_policy(str(mine))
    for policy in (by_name, by_recipe, by_file):
        assert not policy.training
        own = {name: float(tensor.double().sum()) for name, tensor in policy.state_dict().items()}
        assert own == {name: float(tensor.double().sum()) for name, tensor in by_name.state_dict().items()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: {adapter: {class_path: VocabularyScorer}}\n", "no model.checkpoint"),
        ("model: {adapter: {class_path: Nobody}, checkpoint: vocabulary_craftville}\n", "Nobody"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_recipe_that_names_no_driver_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CraftError, match=words) as caught:
        configured_policy(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(CraftError, match="--agent-config is empty"):
        configured_policy("")


LOOKS_THROUGH_THE_EVALUATORS_SENSORS = (
    HARNESS
    + """
    from craft_lightning.adapters.transfuser import TransFuserPlusPlus
    from craft_lightning.policies.released.source import LocalModel
    from craft_lightning.testing.stand_ins.transfuser import StandInTransFuserPP
    import craft_lightning.official.configured as configured
    torch.manual_seed(3)
    policy = TransFuserPlusPlus(LocalModel(StandInTransFuserPP(12, 4)), width=12).eval()
    configured.configured_policy = lambda name: policy
    seen = []
    inner = policy.encode
    policy.encode = lambda observation: seen.append(observation.sensors[0].numpy()) or inner(observation)
    with Session("127.0.0.1", PORT, town) as session:
        episode = RouteEpisode(session, town, rig=policy.rig)
        own = episode.reset(EpisodeSpec(route, vehicles=0, walkers=0)).observation["sensors"]
        start = episode.route
        episode.clear()
        session.world.reset_all_traffic_lights()
        ego = spawn_ego(session, "vehicle.lincoln.mkz_2020", *start.xy[0], start.z[0], start.heading[0])
        provider = importlib.import_module("srunner.scenariomanager.carla_data_provider").CarlaDataProvider
        provider.world = session.world
        module = importlib.import_module("craft_lightning.official.leaderboard_agent")
        agent = getattr(module, module.get_entry_point())("127.0.0.1", PORT)
        plan = []
        for (x, y), yaw in zip(start.xy.tolist(), start.heading.tolist()):
            cx, cy, degrees = pose_to_carla(x, y, yaw)
            plan.append((carla.Transform(carla.Location(cx, cy), carla.Rotation(yaw=degrees)), None))
        agent.set_global_plan([None] * len(plan), plan)
        agent.setup("transfuser")
        declared = agent.sensors()
        # As Leaderboard's wrapper does: sensors of its own making, a queue each, frames matched.
        import queue
        told = {}
        for wanted in declared[1:]:
            given = {"fov": wanted["fov"], "image_size_x": wanted["width"], "image_size_y": wanted["height"]} \\
                if "camera" in wanted["type"] else {"range": 85, "rotation_frequency": 10, "channels": 64,
                "upper_fov": 10, "lower_fov": -30, "points_per_second": 600000}
            mount = carla.Transform(carla.Location(wanted["x"], wanted["y"], wanted["z"]),
                carla.Rotation(wanted["pitch"], wanted["yaw"], wanted["roll"]))
            told[wanted["id"]] = queue.Queue()
            session.spawn(session.blueprint(wanted["type"], **given), mount, attach_to=ego).listen(
                told[wanted["id"]].put)
        for tick in range(24):
            ego.apply_control(carla.VehicleControl(brake=1.0) if tick < 4 else agent.run_step(data, 0.0))
            frame = session.tick()
            messages = {name: heard.get(timeout=20.0) for name, heard in told.items()}
            assert {message.frame for message in messages.values()} == {frame}
            data = {"rgb": (frame, np.frombuffer(messages["rgb"].raw_data, np.uint8).reshape(256, 1024, 4)),
                "lidar": (frame, np.frombuffer(messages["lidar"].raw_data, np.float32).reshape(-1, 4))}
            if tick < 4:
                agent.eyes.take(data, ego.get_transform())
        first, last = seen[0], seen[-1]
        agent.destroy()
    half = np.arctan2(last["lidar"][:int(last["lidar.count"]), 1], last["lidar"][:int(last["lidar.count"]), 0])
    print(json.dumps({
        "declared": declared, "decisions": len(seen), "names": sorted(first),
        "picture": float(np.abs(first["rgb"].astype(int) - own["rgb"]).mean()),
        "counts": [int(first["lidar.count"]), int(own["lidar.count"])],
        "quarters": np.histogram(half, 4, (-np.pi, np.pi))[0].tolist(),
        "moved": float(np.abs(first["rgb"].astype(int) - last["rgb"]).mean()),
    }))
"""
)


def test_a_policy_with_a_rig_declares_it_and_sees_what_our_worlds_show(run_script):
    answer = run_script(LOOKS_THROUGH_THE_EVALUATORS_SENSORS)
    chart, camera, lidar = answer["declared"]
    assert chart["type"] == "sensor.opendrive_map"
    assert camera == {
        **{"type": "sensor.camera.rgb", "id": "rgb", "width": 1024, "height": 256, "fov": 110.0},
        **{"x": -1.5, "y": 0.0, "z": 2.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0},
    }
    assert (lidar["type"], lidar["z"]) == ("sensor.lidar.ray_cast", 2.5)
    assert answer["decisions"] == 2
    assert answer["names"] == ["lidar", "lidar.count", "rgb"]
    assert answer["picture"] < 1.0, "not the picture of our own worlds"
    official, own = answer["counts"]
    assert abs(official - own) < 0.05 * own, "two half turns are not one whole"
    assert min(answer["quarters"]) > 0.15 * sum(answer["quarters"])


@pytest.mark.parametrize(
    ("sensor", "said"),
    [
        ({"kind": "depth", "name": "far", "place": [0, 0, 2], "field_of_view": 70}, "do not have"),
        ({"kind": "lidar", "name": "roof", "place": [0, 0, 2], "range": 50.0}, "has range 50 and not 85"),
        ({"name": "drone", "place": [0, 0, 30], "field_of_view": 70}, "more than 3 m"),
    ],
)
def test_what_evaluators_do_not_build_is_refused(sensor, said):
    with pytest.raises(CraftError, match=said):
        EvaluatorRig(read_rig([sensor]))
