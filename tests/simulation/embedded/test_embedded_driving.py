"""Vehicles and walkers that a client moves."""

import math

import pytest


def test_pedals_and_wheel_have_carlas_meaning(run):
    got = run(
        """
        pose = straight(60.0)
        ego = car(pose)
        ticks(10)
        ego.apply_control(carla.VehicleControl(throttle=1.0))
        early = []
        for _ in range(20):
            world.tick()
            early.append(speed(ego))
        ego.apply_control(carla.VehicleControl(brake=1.0))
        fast = speed(ego)
        stopped = None
        for k in range(60):
            world.tick()
            if speed(ego) == 0.0:
                stopped = k
                break
        there = pose.location.distance(ego.get_location())
        ego.apply_control(carla.VehicleControl(throttle=0.6, reverse=True))
        ticks(20)
        back = there - pose.location.distance(ego.get_location())
        ego.apply_control(carla.VehicleControl(hand_brake=True))
        ticks(40)
        held = speed(ego)
        ego.set_transform(pose)
        ego.apply_control(carla.VehicleControl(throttle=0.5, steer=0.3))
        ticks(30)
        yaw = ego.get_transform().rotation.yaw - pose.rotation.yaw
        rate = ego.get_angular_velocity().z
        control = ego.get_control()
        answer(early=early, fast=fast, stopped=stopped, back=back, held=held, yaw=(yaw + 180) % 360 - 180, rate=rate,
               steer=control.steer, throttle=control.throttle)
        """
    )
    # The throttle lags: the first tick gains far less than a later one.
    assert got["early"][0] < 0.5 * (got["early"][10] - got["early"][9])
    assert 2.5 < got["fast"] < 4.0
    # Full braking: about 8 m/s2 after a short lag.
    assert got["stopped"] is not None
    assert got["fast"] / 8.0 < 0.05 * (got["stopped"] + 1) < got["fast"] / 8.0 + 0.4
    assert got["back"] > 0.2
    assert got["held"] == 0.0
    assert got["yaw"] > 3.0  # right is positive
    assert got["rate"] > 3.0
    assert got["steer"] == pytest.approx(0.3, abs=1e-6)
    assert got["throttle"] == pytest.approx(0.5, abs=1e-6)


def test_snapshot_is_consistent(run):
    got = run(
        """
        ego = car(straight(60.0))
        ego.apply_control(carla.VehicleControl(throttle=0.8, steer=0.1))
        ticks(30)
        worst_place = worst_pull = 0.0
        for _ in range(20):
            before = world.get_snapshot()
            world.tick()
            after = world.get_snapshot()
            a, b = before.find(ego.id), after.find(ego.id)
            moved = b.get_transform().location - a.get_transform().location
            mean = (a.get_velocity() + b.get_velocity()) * 0.5
            worst_place = max(worst_place, math.hypot(moved.x / 0.05 - mean.x, moved.y / 0.05 - mean.y))
            pull = (b.get_velocity() - a.get_velocity()) * 20.0
            worst_pull = max(worst_pull, math.hypot(pull.x - b.get_acceleration().x, pull.y - b.get_acceleration().y))
        answer(place=worst_place, pull=worst_pull, delta=after.timestamp.delta_seconds,
               elapsed=after.timestamp.elapsed_seconds - before.timestamp.elapsed_seconds)
        """
    )
    assert got["place"] < 0.05
    assert got["pull"] < 0.01
    assert got["delta"] == pytest.approx(0.05)
    assert got["elapsed"] == pytest.approx(0.05)


def test_poses_velocities_and_physics_switch(run):
    got = run(
        """
        pose = straight(60.0)
        ego = car(pose)
        world.tick()
        ego.set_target_velocity(pose.get_forward_vector() * 7.0)
        world.tick()
        pushed = speed(ego)
        ego.set_simulate_physics(False)
        ticks(5)
        still = ego.get_location()
        ticks(5)
        frozen = still.distance(ego.get_location())
        deep = along(pose, 0.0, up=-50.0)
        ego.set_transform(deep)
        ticks(3)
        depth = ego.get_location().z
        ego.set_simulate_physics(True)
        ticks(3)
        deeper = ego.get_location().z
        second = world.try_spawn_actor(library.find("vehicle.audi.tt"), pose)
        ticks(2)
        refused = world.try_spawn_actor(library.find("vehicle.audi.tt"), along(pose, 2.0)) is None
        ego.set_transform(along(pose, 30.0))
        ego.enable_constant_velocity(carla.Vector3D(5.0, 0.0, 0.0))
        ticks(20)
        constant = speed(ego)
        ego.disable_constant_velocity()
        physics = ego.get_physics_control()
        box = ego.bounding_box
        ego.set_light_state(carla.VehicleLightState(carla.VehicleLightState.Brake))
        answer(pushed=pushed, frozen=frozen, depth=depth, deeper=deeper, above=second is not None, refused=refused,
               constant=constant, mass=physics.mass, wheels=len(physics.wheels),
               extent=[box.extent.x, box.extent.y, box.extent.z], centre=box.location.z)
        """
    )
    assert got["pushed"] == pytest.approx(7.0, abs=0.2)
    assert got["frozen"] == 0.0
    assert got["depth"] < -45.0
    assert got["deeper"] == pytest.approx(got["depth"])
    assert got["above"], "overlap tests are three-dimensional"
    assert got["refused"]
    assert got["constant"] == pytest.approx(5.0, abs=1e-3)
    assert got["mass"] == pytest.approx(2040.0)
    assert got["wheels"] == 4
    assert got["extent"] == pytest.approx([2.45, 0.92, 0.75])
    assert got["centre"] == pytest.approx(0.75)


def test_batches(run):
    got = run(
        """
        commands = carla.command
        blueprint = library.find("vehicle.audi.tt")
        points = town.get_spawn_points()[::40][:6]
        batch = [commands.SpawnActor(blueprint, pose).then(
            commands.ApplyVehicleControl(commands.FutureActor, carla.VehicleControl(throttle=1.0))) for pose in points]
        batch.append(commands.SpawnActor(blueprint, points[0]))
        answers = client.apply_batch_sync(batch, False)
        ids = [entry.actor_id for entry in answers if not entry.has_error()]
        ticks(20)
        speeds = [speed(actor) for actor in world.get_actors(ids)]
        client.apply_batch([commands.ApplyTargetVelocity(ids[0], carla.Vector3D(0, 0, 0)),
                            commands.ApplyTransform(ids[1], points[1]),
                            commands.SetSimulatePhysics(ids[2], False)])
        gone = client.apply_batch_sync([commands.DestroyActor(number) for number in [*ids, 999999]], True)
        answer(spawned=len(ids), error=answers[-1].error, speeds=speeds,
               gone=[entry.has_error() for entry in gone], left=len(world.get_actors().filter("vehicle.*")))
        """
    )
    assert got["spawned"] == 6
    assert "collision" in got["error"]
    assert min(got["speeds"]) > 1.0
    assert got["gone"] == [False] * 6 + [True]
    assert got["left"] == 0


def test_walker_walks_turns_and_stops(run):
    got = run(
        """
        pose = along(straight(60.0), 10.0, up=1.0)
        walker = spawn("walker.pedestrian.0002", pose)
        ticks(20)
        start = walker.get_location()
        right = pose.get_right_vector()
        walker.apply_control(carla.WalkerControl(direction=right, speed=2.0))
        ticks(20)
        end = walker.get_location()
        aside = (end.x - start.x) * right.x + (end.y - start.y) * right.y
        turn = walker.get_transform().rotation.yaw - pose.rotation.yaw
        pace = speed(walker)
        seen = walker.get_control().speed
        walker.apply_control(carla.WalkerControl(speed=0.0))
        ticks(5)
        rest = speed(walker)
        walker.set_target_velocity(carla.Vector3D(0.0, 1.5, 0.0))
        before = walker.get_location().y
        ticks(20)
        answer(aside=aside, turn=turn, pace=pace, seen=seen, rest=rest, drift=walker.get_location().y - before,
               height=start.z)
        """
    )
    assert got["aside"] == pytest.approx(2.0, abs=0.15)
    assert (got["turn"] - 90.0 + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1.0)
    assert got["pace"] == pytest.approx(2.0, abs=1e-3)
    assert got["seen"] == pytest.approx(2.0)
    assert got["rest"] == 0.0
    assert got["drift"] == pytest.approx(1.5, abs=0.1)
    assert got["height"] == pytest.approx(0.93, abs=0.05)


def test_orders_to_actors_that_are_gone_are_harmless(run):
    got = run(
        """
        ego = car(straight(60.0))
        world.tick()
        number = ego.id
        first = ego.destroy()
        commands = carla.command
        client.apply_batch_sync([commands.ApplyVehicleControl(number, carla.VehicleControl()),
                                 commands.ApplyTransform(number, carla.Transform())], False)
        again = client.apply_batch_sync([commands.DestroyActor(number)], False)[0].has_error()
        world.tick()
        answer(first=first, again=again, alive=client.get_server_version())
        """
    )
    assert got == {"first": True, "again": True, "alive": "0.9.16"}


def test_collision_sensor(run):
    got = run(
        """
        events = []
        pose = straight(70.0)
        ego, other = car(pose), spawn("vehicle.audi.tt", along(pose, 25.0))
        sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=ego)
        sensor.listen(lambda event: events.append((event.frame, event.actor.id, event.other_actor.id,
                      event.other_actor.type_id, event.normal_impulse.length(), event.transform.location.x)))
        ticks(10)
        ego.set_target_velocity(pose.get_forward_vector() * 8.0)
        ego.apply_control(carla.VehicleControl(throttle=1.0))
        gap = []
        for _ in range(120):
            world.tick()
            gap.append(ego.get_location().distance(other.get_location()))
            if events:
                break
        crash = world.get_snapshot().frame
        before, shoved = max(8.0, 0.0), []
        ticks(5)
        deadline = time.time() + 5
        while not events and time.time() < deadline:
            time.sleep(0.01)
        after = speed(ego), speed(other)
        walker = spawn("walker.pedestrian.0001", along(pose, 55.0, up=1.0))
        other.destroy()
        ego.set_transform(along(pose, 30.0))
        ego.set_target_velocity(pose.get_forward_vector() * 10.0)
        cone = spawn("static.prop.streetbarrier", along(pose, 65.0))
        ticks(100)
        time.sleep(0.2)
        kinds = sorted({entry[3] for entry in events})
        sensor.stop()
        answer(events=events[:3], ego=ego.id, crash=crash, gap=min(gap), after=after, kinds=kinds, final=speed(ego),
               x=ego.get_transform().location.x)
        """
    )
    frame, actor, _, kind, impulse, _ = got["events"][0]
    assert actor == got["ego"]
    assert kind == "vehicle.audi.tt"
    assert abs(frame - got["crash"]) <= 3
    # Inelastic: closing speed times the reduced mass of 2040 kg and 1395 kg.
    assert impulse == pytest.approx(10.5 * 2040 * 1395 / (2040 + 1395), rel=0.35)
    # They touch, they do not pass through each other, and both move on.
    assert got["gap"] > 2.45 + 2.09 - 0.05
    assert got["after"][1] > 2.0
    assert got["kinds"] == ["static.prop.streetbarrier", "vehicle.audi.tt", "walker.pedestrian.0001"]
    assert got["final"] < 0.5
    assert math.isfinite(got["x"])


def test_destroying_a_vehicle_takes_its_sensor_along(run):
    got = run(
        """
        ego = car(straight(60.0))
        sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=ego)
        world.tick()
        ego.destroy()
        world.tick()
        answer(left=[actor.type_id for actor in world.get_actors() if actor.type_id.startswith(("vehicle", "sensor"))])
        """
    )
    assert got["left"] == []


def test_numbers_that_are_none_do_not_spread(run):
    got = run(
        """
        ego = car(straight(60.0))
        world.tick()
        nan, inf = float("nan"), float("inf")
        place = ego.get_location()
        ego.apply_control(carla.VehicleControl(throttle=nan, steer=nan, brake=inf))
        ego.set_target_velocity(carla.Vector3D(nan, 0.0, 0.0))
        ego.set_transform(carla.Transform(carla.Location(nan, 0.0, 0.0)))
        ticks(5)
        answer(moved=place.distance(ego.get_location()), speed=speed(ego))
        """
    )
    assert got["moved"] == pytest.approx(0.0, abs=0.3)
    assert got["speed"] == pytest.approx(0.0, abs=0.5)


def test_lane_invasion_is_noticed_by_the_client(run):
    got = run(
        """
        ego = car(straight(60.0))
        sensor = world.spawn_actor(library.find("sensor.other.lane_invasion"), carla.Transform(), attach_to=ego)
        events = []
        sensor.listen(lambda event: events.append(event.frame))
        world.tick()
        ego.apply_control(carla.VehicleControl(throttle=0.7, steer=0.1))
        ticks(60)
        sensor.stop()
        answer(events=len(events))
        """
    )
    assert got["events"] >= 1
