"""SUMO's traffic as actors, and how it reacts to what clients control."""

import os
from pathlib import Path

import pytest


def test_traffic_is_there_at_once_spread_out_and_moving(run):
    got = run(
        """
        ego = car(straight(60.0))
        ticks(2)
        controller = traffic(seed=1, vehicles=25, walkers=8)
        world.tick()
        cars = [actor for actor in world.get_actors().filter("vehicle.*") if actor.id != ego.id]
        walkers = list(world.get_actors().filter("walker.*"))
        places = [actor.get_location() for actor in cars]
        near = min(place.distance(ego.get_location()) for place in places)
        apart = min(a.distance(b) for i, a in enumerate(places) for b in places[:i])
        spread = max(a.distance(b) for a in places for b in places)
        moving = sum(speed(actor) > 0.5 for actor in cars)
        roles = sorted({actor.attributes["role_name"] for actor in cars})
        offset = []
        for actor in cars:
            lane = town.get_waypoint(actor.get_location())
            if not lane.is_junction:
                here, centre = actor.get_location(), lane.transform.location
                offset.append(math.hypot(here.x - centre.x, here.y - centre.y))
        answer(cars=len(cars), walkers=len(walkers), near=near, apart=apart, spread=spread, moving=moving, roles=roles,
               offset=sorted(offset)[len(offset) // 2], kinds=len({actor.type_id for actor in cars}),
               walking=sum(speed(walker) > 0.3 for walker in walkers))
        """
    )
    assert got["cars"] == 25
    assert got["walkers"] == 8
    assert got["near"] >= 12.0
    assert got["apart"] > 3.0
    assert got["spread"] > 200.0
    assert got["moving"] >= 12
    assert got["roles"] == ["traffic"]
    assert got["offset"] < 0.2
    assert got["kinds"] >= 5
    assert got["walking"] >= 3


def test_same_seed_same_traffic_and_nothing_left_behind(run):
    got = run(
        """
        def state():
            return sorted((round(a.get_location().x, 3), round(a.get_location().y, 3), round(speed(a), 3))
                          for a in world.get_actors() if a.type_id.startswith(("vehicle.", "walker.")))
        found = []
        for seed in (4, 9, 4):
            controller = traffic(seed=seed, vehicles=15, walkers=5)
            ticks(100)
            found.append(state())
            controller.destroy()
            world.tick()
            assert state() == []
        try:
            first = traffic(seed=1, vehicles=2)
            traffic(seed=2, vehicles=2)
            text = ""
        except RuntimeError as error:
            text = str(error)
        answer(same=found[0] == found[2], other=found[0] == found[1], number=len(found[0]), text=text)
        """
    )
    assert got["same"]
    assert not got["other"]
    assert got["number"] == 20
    assert "destroy it" in got["text"]


FIND_CAR_ON_STRAIGHT = """
def driver_with_room(room, seed):
    "A moving car of SUMO's with straight free lane ahead."
    controller = traffic(seed=seed, vehicles=30, ignore_foe_share=0)
    for _ in range(400):
        world.tick()
        cars = list(world.get_actors().filter("vehicle.*"))
        for actor in cars:
            pose = actor.get_transform()
            lane = town.get_waypoint(pose.location)
            ahead = lane.next(room + 5.0)
            if (speed(actor) < 6.0 or lane.is_junction or len(ahead) != 1 or ahead[0].road_id != lane.road_id
                    or ahead[0].lane_id != lane.lane_id):
                continue
            if any(other.id != actor.id and other.get_location().distance(along(pose, room / 2).location) < room / 2 + 8
                   for other in cars):
                continue
            return actor, lane.next(room)[0].transform
    raise SystemExit("no car on a free straight")

def watch(actor, obstacle, count):
    "Centre distance along the actor's heading over time, and its last speed."
    gaps = []
    for _ in range(count):
        world.tick()
        pose = actor.get_transform()
        to = obstacle.get_location() - pose.location
        forward = pose.get_forward_vector()
        gaps.append(to.x * forward.x + to.y * forward.y)
    return gaps
"""


def test_follower_stops_behind_a_car_that_stands_in_its_lane(run):
    got = run(
        FIND_CAR_ON_STRAIGHT
        + """
follower, pose = driver_with_room(45.0, seed=2)
pose.location.z += 0.1
ego = car(pose)
ego.apply_control(carla.VehicleControl(brake=1.0))
events = []
sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=ego)
sensor.listen(lambda event: events.append(event.frame))
before = speed(follower)
gaps = watch(follower, ego, 250)
stands = speed(follower)
bumper = gaps[-1] - 2.45 - follower.bounding_box.extent.x
ego.apply_control(carla.VehicleControl(throttle=0.7))
ticks(60)
answer(before=before, stands=stands, bumper=bumper, events=len(events), on=speed(follower), least=min(gaps))
""",
    )
    assert got["before"] > 5.0
    assert got["stands"] < 0.3
    assert 0.5 < got["bumper"] < 8.0
    assert got["events"] == 0
    assert got["on"] > 0.5, "it drives on when the way is free"


@pytest.mark.parametrize(
    ("name", "right", "up"),
    [("walker.pedestrian.0001", 0.0, 1.0), ("static.prop.streetbarrier", 0.6, 0.1), ("vehicle.audi.tt", 2.2, 0.1)],
    ids=["walker", "prop", "car half in the lane"],
)
def test_traffic_stops_for_what_sumo_does_not_know(run, name, right, up):
    got = run(
        FIND_CAR_ON_STRAIGHT
        + f"""
follower, pose = driver_with_room(45.0, seed=3)
obstacle = spawn("{name}", along(pose, 0.0, right={right}, up={up}))
if "{name}".startswith("vehicle"):
    slanted = along(pose, 0.0, right={right}, up={up})
    slanted.rotation.yaw += 35.0
    obstacle.set_transform(slanted)
gaps = watch(follower, obstacle, 250)
stands = speed(follower)
obstacle.destroy()
ticks(80)
answer(stands=stands, gap=gaps[-1] - follower.bounding_box.extent.x, on=speed(follower))
""",
    )
    assert got["stands"] < 0.3
    assert 0.5 < got["gap"] < 8.0
    assert got["on"] > 1.0


def test_traffic_lets_a_crossing_walker_pass_and_ignores_one_on_the_pavement(run):
    got = run(
        FIND_CAR_ON_STRAIGHT
        + """
follower, pose = driver_with_room(40.0, seed=6)
crossing = spawn("walker.pedestrian.0001", along(pose, 0.0, right=4.0, up=1.0))
crossing.apply_control(carla.WalkerControl(direction=pose.get_right_vector() * -1.0, speed=1.2))
events = []
sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=crossing)
sensor.listen(lambda event: events.append(event.frame))
slowest, closest = 99.0, 99.0
for _ in range(160):
    world.tick()
    slowest = min(slowest, speed(follower))
    closest = min(closest, follower.get_location().distance(crossing.get_location()))
crossing.destroy()
sensor_events = len(events)
ticks(10)
answer(slowest=slowest, closest=closest, events=sensor_events)
""",
    )
    assert got["events"] == 0
    assert got["slowest"] < 4.0


def test_traffic_that_is_hit_stands_for_a_while(run):
    got = run(
        FIND_CAR_ON_STRAIGHT
        + """
victim, _ = driver_with_room(30.0, seed=8)
pose = victim.get_transform()
ego = car(along(pose, -12.0, up=0.1))
events = []
sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=ego)
sensor.listen(lambda event: events.append((event.other_actor.id, event.normal_impulse.length())))
ego.set_target_velocity(pose.get_forward_vector() * 20.0)
ego.apply_control(carla.VehicleControl(throttle=1.0))
for _ in range(100):
    world.tick()
    if events:
        break
ego.apply_control(carla.VehicleControl(brake=1.0))
ticks(20)
time.sleep(0.1)
stands = speed(victim)
box = victim.bounding_box.extent.x + 2.45
apart = ego.get_location().distance(victim.get_location()) - box
answer(hit=events[0][0] == victim.id, impulse=events[0][1], stands=stands, apart=apart)
""",
    )
    assert got["hit"]
    assert got["impulse"] > 1000.0
    assert got["stands"] == 0.0
    assert got["apart"] > -0.05


def test_numbers_are_kept_up_and_bad_attributes_are_refused(run):
    got = run(
        """
        texts = []
        for attributes in ({"vehicles": "many"}, {"tau": "-1"}):
            try:
                traffic(**attributes)
                texts.append("")
            except RuntimeError as error:
                texts.append(str(error))
        controller = traffic(seed=1, vehicles=12)
        world.tick()
        ids = [actor.id for actor in world.get_actors().filter("vehicle.*")]
        client.apply_batch_sync([carla.command.DestroyActor(number) for number in ids[:5]], False)
        world.tick()
        fewer = len(world.get_actors().filter("vehicle.*"))
        ticks(60)
        answer(texts=texts, before=len(ids), fewer=fewer, after=len(world.get_actors().filter("vehicle.*")))
        """
    )
    assert "vehicles" in got["texts"][0]
    assert "tau" in got["texts"][1]
    assert (got["before"], got["fewer"], got["after"]) == (12, 7, 12)


MAPS = Path(os.environ.get("CRAFT_SHARED", Path(__file__).parents[4] / "shared")) / "data" / "maps"


@pytest.mark.skipif(not MAPS.is_dir(), reason="no third-party maps")
@pytest.mark.parametrize("name", ["Town01", "Town07", "Town10HD"])
def test_carla_towns_have_traffic_and_lights(tools, name):
    serve, ask = tools
    with serve("--town", str(MAPS / f"{name}.xodr")) as process:
        got = ask(
            process.port,
            """
            controller = traffic(seed=1, vehicles=20, walkers=5)
            ticks(200)
            cars = list(world.get_actors().filter("vehicle.*"))
            lights = list(world.get_actors().filter("traffic.traffic_light*"))
            height = max(abs(actor.get_location().z - town.get_waypoint(actor.get_location()).transform.location.z)
                         for actor in cars)
            answer(name=town.name, cars=len(cars), moving=sum(speed(actor) > 0.5 for actor in cars), height=height,
                   lights=len(lights), lit=sum(light.state != carla.TrafficLightState.Off for light in lights),
                   stops=sum(bool(light.get_stop_waypoints()) for light in lights))
            """,
        )
    assert got["name"] == name
    assert got["cars"] >= 18
    assert got["moving"] >= 5
    assert got["height"] < 0.5
    assert got["lights"] > 10
    assert got["lit"] == got["lights"]
    assert got["stops"] == got["lights"]


def test_a_car_of_sumos_that_a_client_moves_becomes_the_clients(run):
    got = run(
        """
        controller = traffic(seed=1, vehicles=10)
        world.tick()
        taken = world.get_actors().filter("vehicle.*")[0]
        pose = straight(60.0)
        taken.set_transform(pose)
        ticks(5)
        stands = speed(taken), taken.get_location().distance(pose.location)
        taken.apply_control(carla.VehicleControl(throttle=0.8))
        ticks(60)
        answer(stands=stands, drives=speed(taken), cars=len(world.get_actors().filter("vehicle.*")))
        """
    )
    assert got["stands"][0] == 0.0
    assert got["stands"][1] < 0.3
    assert got["drives"] > 3.0
    assert got["cars"] == 11


def test_clients_that_jump_about_on_and_off_the_road_do_no_harm(run):
    got = run(
        """
        import random
        chance = random.Random(3)
        points = town.get_spawn_points()
        traffic(seed=1, vehicles=25, walkers=5)
        blueprint = library.find("vehicle.audi.tt")
        cars = [actor for pose in chance.sample(points, 12) if (actor := world.try_spawn_actor(blueprint, pose))]
        for k in range(400):
            pose = chance.choice(points)
            pose.location.x += chance.gauss(0.0, 5.0)
            pose.location.y += chance.gauss(0.0, 5.0)
            pose.rotation.yaw += chance.gauss(0.0, 60.0)
            actor = chance.choice(cars)
            actor.set_transform(pose)
            actor.apply_control(carla.VehicleControl(throttle=chance.random(), steer=chance.uniform(-1, 1)))
            world.tick()
        places = [actor.get_location() for actor in world.get_actors().filter("vehicle.*")]
        answer(far=max(max(abs(place.x), abs(place.y)) for place in places), cars=len(places))
        """
    )
    assert got["far"] < 1000.0
    assert got["cars"] >= 25
