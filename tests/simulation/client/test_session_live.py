import socket
import threading

import msgpack
import pytest


@pytest.fixture
def pretender():
    """A server that answers every MessagePack-RPC call with one value, or never."""
    servers = []

    def start(answer):
        listener = socket.create_server(("127.0.0.1", 0))
        servers.append(listener)

        def serve(connection):
            unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
            while data := connection.recv(4096):
                unpacker.feed(data)
                for request in unpacker:
                    if answer is not None:
                        connection.sendall(msgpack.packb([1, request[1], None, [[1, answer]]]))

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in servers:
        listener.close()


REFUSED = """
    try:
        open_session(timeout=1.0)
    except CraftError as error:
        print(json.dumps(str(error)))
"""


def test_another_version_is_refused_before_it_can_abort(run_script, pretender):
    message = run_script(REFUSED, pretender("0.9.13"))
    assert "has version 0.9.13 but the installed client has 0.9.16" in message
    assert "\n" not in message


def test_what_is_no_carla_server(run_script, pretender):
    message = run_script(REFUSED, pretender(None))
    assert "does not answer like a CARLA server within 1 s" in message
    assert "\n" not in message


def test_settings_and_actors_are_given_back(run_script, live_server):
    answer = run_script(
        """
        client = carla.Client("127.0.0.1", PORT)
        client.set_timeout(10.0)
        world = client.get_world()
        before = world.get_settings()
        bodies = len(world.get_actors().filter("vehicle.*"))
        with open_session() as session:
            during = session.world.get_settings()
            car = session.spawn(session.blueprint("vehicle.*"), session.world.get_map().get_spawn_points()[0])
            sensor = session.spawn(session.blueprint("sensor.other.collision"), carla.Transform(), attach_to=car)
            sensor.listen(lambda event: None)
            frames = [session.tick() for _ in range(3)]
            taken = session.try_spawn(session.blueprint("vehicle.*"), car.get_transform())
            try:
                session.blueprint("vehicle.flying.carpet")
            except CraftError as error:
                unknown = str(error)
        after = world.get_settings()
        world.wait_for_tick() if not after.synchronous_mode else world.tick()
        left = len(world.get_actors().filter("vehicle.*")) + len(world.get_actors().filter("sensor.*"))
        print(json.dumps({
            "before": [before.synchronous_mode, before.fixed_delta_seconds],
            "during": [during.synchronous_mode, during.fixed_delta_seconds],
            "after": [after.synchronous_mode, after.fixed_delta_seconds],
            "frames": frames, "bodies": bodies, "left": left, "taken": taken is None, "unknown": unknown,
        }))
        """,
        live_server.port,
    )
    assert answer["during"] == [True, pytest.approx(0.05)]
    assert answer["after"] == answer["before"]
    assert answer["frames"] == list(range(answer["frames"][0], answer["frames"][0] + 3))
    assert (answer["bodies"], answer["left"]) == (0, 0)
    assert answer["taken"]
    assert "vehicle.flying.carpet" in answer["unknown"]


def test_controls_travel_with_the_tick(run_script, live_server):
    """The last control before a tick holds from that tick on, until another one; who is gone is controlled no more."""
    answer = run_script(
        """
        with open_session() as session:
            points = session.world.get_map().get_spawn_points()
            car, other = (session.spawn(session.blueprint("vehicle.*"), points[place]) for place in (0, 20))
            session.tick()
            session.control(car.id, carla.VehicleControl(brake=1.0))
            session.control(car.id, carla.VehicleControl(throttle=0.7))
            session.control(other.id, carla.VehicleControl(throttle=0.7))
            session.destroy([other], tick=False)
            frames = [session.tick() for _ in range(20)]
            driven = [car.get_control().throttle, car.get_velocity().length()]
            session.control(car.id, carla.VehicleControl(brake=1.0))
            session.settle()
            frames += [session.tick() for _ in range(40)]
            print(json.dumps({"frames": frames, "driven": driven, "stands": car.get_velocity().length()}))
        """,
        live_server.port,
    )
    first = answer["frames"][0]
    assert answer["frames"] == list(range(first, first + 60))
    assert answer["driven"] == [pytest.approx(0.7), pytest.approx(2.5, abs=1.5)]
    assert answer["stands"] == 0.0
