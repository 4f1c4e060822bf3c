"""What a client meets before it drives: versions, maps, settings, refusals, and how a server begins and ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import msgpack

COMMAND = [sys.executable, "-m", "craft_lightning.simulation.embedded"]


def call(port, request):
    """Send one raw MessagePack-RPC message and return the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(msgpack.packb(request))
        unpacker = msgpack.Unpacker()
        while True:
            data = connection.recv(65536)
            if not data:
                return None
            unpacker.feed(data)
            for reply in unpacker:
                return reply


def test_basics(run):
    got = run(
        """
        weather = carla.WeatherParameters(cloudiness=33.0)
        world.set_weather(weather)
        bp = library.find("vehicle.tesla.model3")
        answer(version=client.get_server_version(), town=town.name, points=len(town.get_spawn_points()),
               maps=client.get_available_maps(), settings=[world.get_settings().synchronous_mode,
               world.get_settings().fixed_delta_seconds], clouds=world.get_weather().cloudiness,
               spectator=world.get_spectator().type_id, wheels=bp.get_attribute("number_of_wheels").as_int(),
               base=bp.get_attribute("base_type").as_str(), walkers=len(library.filter("walker.*")),
               props=len(library.filter("static.prop.*")),
               landmarks=len(town.get_all_landmarks_of_type("1000001")))
        """
    )
    assert got["version"] == "0.9.16"
    assert got["town"] == "craftville"
    assert got["points"] > 100
    assert "craftville" in got["maps"]
    assert got["settings"] == [True, 0.05]
    assert got["clouds"] == 33.0
    assert got["spectator"] == "spectator"
    assert (got["wheels"], got["base"]) == (4, "car")
    assert got["walkers"] > 5
    assert got["props"] > 5
    assert got["landmarks"] > 10


def test_spawn_points_lie_on_lanes_and_take_cars(run):
    got = run(
        """
        points = town.get_spawn_points()[::25]
        cars = [car(pose) for pose in points]
        world.tick()
        offsets, turns = [], []
        for actor in cars:
            pose = actor.get_transform()
            lane = town.get_waypoint(pose.location).transform
            offsets.append(math.hypot(lane.location.x - pose.location.x, lane.location.y - pose.location.y))
            turns.append(abs((lane.rotation.yaw - pose.rotation.yaw + 180) % 360 - 180))
        answer(offset=max(offsets), turn=max(turns), cars=len(cars))
        """
    )
    assert got["cars"] > 10
    assert got["offset"] < 0.3
    assert got["turn"] < 3.0


def test_asynchronous_mode_ticks_by_itself(run):
    got = run(
        """
        settings.synchronous_mode = False
        world.apply_settings(settings)
        first = world.get_snapshot().frame
        frames = [world.wait_for_tick(5.0).frame for _ in range(4)]
        settings.synchronous_mode = True
        world.apply_settings(settings)
        before = world.get_snapshot().frame
        time.sleep(0.3)
        answer(first=first, frames=frames, still=world.get_snapshot().frame - before)
        """
    )
    assert got["frames"] == sorted(set(got["frames"]))
    assert got["frames"][-1] > got["first"]
    assert got["still"] <= 1


def test_unknown_method_is_refused_by_name(server):
    reply = call(server.port, [0, 7, "make_coffee", [[False]]])
    assert reply[:3] == [1, 7, None]
    assert "make_coffee" in reply[3][0][1][0]


def test_client_of_another_protocol_is_refused(server):
    # Clients before the metadata was introduced send bare parameters.
    reply = call(server.port, [0, 1, "get_actors_by_id", [[5, 6]]])
    assert "0.9.16" in reply[3][0][1][0]
    # The right metadata but other arguments.
    reply = call(server.port, [0, 2, "spawn_actor", [[False], "car"]])
    assert "spawn_actor" in reply[3][0][1][0]


def test_garbage_is_hung_up_on_and_others_are_served_on(server, run):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert run("answer(version=client.get_server_version())")["version"] == "0.9.16"


def test_method_of_the_client_that_the_server_lacks(run):
    got = run(
        """
        try:
            client.show_recorder_file_info("x", False)
            text = ""
        except RuntimeError as error:
            text = str(error)
        answer(text=text, alive=client.get_server_version())
        """
    )
    assert "show_recorder_file_info" in got["text"]
    assert got["alive"] == "0.9.16"


def test_claimed_version(tools):
    serve, _ = tools
    with serve("--claim-version", "0.9.15") as process:
        assert call(process.port, [0, 1, "version", [[False]]])[3] == [[1, "0.9.15"]]


def test_port_in_use_and_unknown_town(server):
    done = subprocess.run(
        [*COMMAND, "--port", str(server.port)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert str(server.port) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = subprocess.run(
        [*COMMAND, "--port", "0", "--town", "Atlantis"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Atlantis" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_ends_cleanly_on_sigterm(tools):
    serve, _ = tools
    with serve() as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_ends_with_its_parent(tools):
    serve, _ = tools
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with serve("--parent-pid", str(parent.pid)) as process:
        assert process.poll() is None
        parent.communicate(b"\n")
        assert process.wait(timeout=20) == 0


def test_listens_on_loopback_alone(server):
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A"}
    wanted = {f"{port:04X}" for port in (server.port, server.port + 1)}
    found = {entry for entry in listening if entry.split(":")[1] in wanted}
    assert found == {f"0100007F:{port}" for port in wanted}


def test_temporary_files_are_removed(tools, tmp_path):
    environment = dict(os.environ, TMPDIR=str(tmp_path))
    process = subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline().startswith("ready ")
    assert any(tmp_path.iterdir())
    process.terminate()
    assert process.wait(timeout=20) == 0
    process.stdout.close()
    deadline = time.monotonic() + 5
    while any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(tmp_path.iterdir())
