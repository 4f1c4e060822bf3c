"""What evaluators ask of a server beside driving: lamps, doors, ground, props, worlds loaded anew."""

import pytest


def test_lamps_of_a_vehicle_can_be_set_and_read(run):
    got = run(
        """
        pose = straight(20.0)
        one = car(pose)
        world.tick()
        before = int(one.get_light_state())
        lamps = carla.VehicleLightState.Position | carla.VehicleLightState.LeftBlinker
        one.set_light_state(carla.VehicleLightState(lamps))
        world.tick()
        single = int(one.get_light_state())
        command = carla.command.SetVehicleLightState(one.id, carla.VehicleLightState(carla.VehicleLightState.Brake))
        client.apply_batch_sync([command])
        world.tick()
        answer(before=before, single=single, wanted=int(lamps), batch=int(one.get_light_state()),
               brake=int(carla.VehicleLightState.Brake), all=world.get_vehicles_light_states().get(one.id))
        """
    )
    assert got["before"] == 0
    assert got["single"] == got["wanted"] != 0
    assert got["batch"] == got["brake"] == got["all"]


def test_rays_meet_the_ground_alone(run):
    got = run(
        """
        pose = straight(20.0)
        place = pose.location + carla.Location(z=5.0)
        down = world.ground_projection(place, 50.0)
        near = world.ground_projection(place, 1.0)
        slanted = world.project_point(place, carla.Vector3D(1.0, 0.0, -1.0), 50.0)
        up = world.project_point(place, carla.Vector3D(0.0, 0.0, 1.0), 50.0)
        ray = world.cast_ray(place, place + carla.Location(z=-20.0))
        one = car(pose)
        world.tick()
        one.open_door(carla.VehicleDoor.FR), one.close_door(carla.VehicleDoor.All)
        world.tick()
        answer(down=[down.location.x - place.x, down.location.z], label=str(down.label), near=near is None,
               slanted=slanted.location.x - place.x, up=up is None, ray=len(ray), alive=one.is_alive)
        """
    )
    assert got["down"] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert got["label"] == "Roads"
    assert got["slanted"] == pytest.approx(5.1, abs=0.2)
    assert got["near"]
    assert got["up"]
    assert got["ray"] == 1
    assert got["alive"]


def test_props_that_evaluators_spawn(run):
    got = run(
        """
        pose = straight(40.0)
        parked = spawn("static.prop.mesh", along(pose, 8.0, 6.0), mesh_path="/Game/Parked", scale="0.9")
        chain = spawn("static.prop.chainbarrier", along(pose, 16.0, 6.0))
        world.tick()
        answer(types=[parked.type_id, chain.type_id])
        """
    )
    assert got["types"] == ["static.prop.mesh", "static.prop.chainbarrier"]


def test_a_late_farewell_to_an_old_episode_hits_nobody_of_the_new_one(tools):
    """Evaluators destroy a scenario's actors by id when Python forgets the scenario, which may be after a load."""
    serve, ask = tools
    body = """
    old = [car(point).id for point in town.get_spawn_points()[:40:10]]
    world.tick()
    world = client.load_world("craftville", reset_settings=False)
    new = [car(point).id for point in town.get_spawn_points()[:40:10]]
    world.tick()
    client.apply_batch_sync([carla.command.DestroyActor(one) for one in old])
    world.tick()
    answer(shared=len(set(old) & set(new)), left=len(world.get_actors().filter("vehicle.*")))
    """
    with serve("--town", "craftville") as server:
        assert ask(server.port, body, clean=False) == {"shared": 0, "left": 4}


LOADED_UNDER_A_TRAFFIC_MANAGER = """
import threading
from types import SimpleNamespace
from craft_lightning.simulation.traffic_manager import watch_traffic_manager
# Under load the Traffic Manager's threads now and then wait for each other for ever.
pulse = SimpleNamespace(traffic_manager=True, ticking_since=None)
threading.Thread(target=watch_traffic_manager, args=(lambda: pulse, PORT), daemon=True).start()

def tick():
    pulse.ticking_since = time.monotonic()
    world.tick()
    pulse.ticking_since = None

manager = client.get_trafficmanager(PORT)
manager.set_synchronous_mode(True)
time.sleep(1.0)  # its thread ends the round that it began before
episodes, moved = [], []
for _ in range(3):
    world = client.load_world("craftville", reset_settings=False)
    tick()
    episodes.append(world.id)
    points = world.get_map().get_spawn_points()
    cars = [world.try_spawn_actor(library.find("vehicle.tesla.model3"), point) for point in points[:40:10]]
    tick()
    start = [one.get_location() for one in cars]
    for one in cars:
        one.set_autopilot(True, PORT)
    for _ in range(120):
        tick()
    moved.append(sum(one.get_location().distance(place) > 2.0 for one, place in zip(cars, start)))
answer(episodes=episodes, moved=moved, settings=world.get_settings().synchronous_mode)
"""


def test_worlds_are_loaded_again_and_again_under_one_traffic_manager(tools):
    """A client of 0.9.16 crashed here when it learnt of the new episode on its old subscription."""
    serve, ask = tools
    with serve("--town", "craftville") as server:
        got = ask(server.port, f"PORT = {server.port + 3}\n" + LOADED_UNDER_A_TRAFFIC_MANAGER, clean=False)
    assert len(set(got["episodes"])) == 3
    assert min(got["moved"]) >= 1
    assert got["settings"]
