"""The Traffic Manager of the client's wheel as the other traffic of an episode."""

import socket
import threading
import time
from types import SimpleNamespace

import msgpack
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.rollouts.collect import Traffic
from craft_lightning.simulation import traffic_manager
from craft_lightning.simulation.episode_spec import EpisodeSpec

DRIVE = """
    with open_session() as session:
        episode = RouteEpisode(session, TOWN)
        counts, moved, roles = [], [], []
        for seed in (3, 4):  # a second episode uses the same Traffic Manager
            spec = EpisodeSpec(straight_route(), seed=seed, vehicles=12, walkers=4, traffic="traffic_manager")
            episode.reset(spec)
            others = [a for a in session.world.get_actors().filter("vehicle.*") if a.id != episode._ego.id]
            start = {a.id: a.get_location() for a in others}
            for _ in range(6):
                if episode.step(np.zeros((40, 3), np.float32)).done:
                    break
            counts.append((len(others), len(session.world.get_actors().filter("walker.*"))))
            moved.append(sum(a.get_location().distance(start[a.id]) > 1.0 for a in others if a.is_alive))
            roles += [a.attributes["role_name"] for a in others]
        episode.clear()
        left = len(session.world.get_actors().filter("vehicle.*"))
        print(json.dumps({"counts": counts, "moved": moved, "left": left, "roles": sorted(set(roles))}))
"""


def test_the_traffic_manager_drives_the_background(run_script, live_server):
    answer = run_script(DRIVE, live_server.port)
    assert [vehicles for vehicles, _ in answer["counts"]] == [12, 12]
    assert all(walkers >= 1 for _, walkers in answer["counts"])
    # Some wait at red lights.
    assert min(answer["moved"]) >= 4
    assert answer["left"] == 0
    assert answer["roles"] == ["background"]
    again = run_script("with open_session() as session: print(json.dumps(session.tick() > 0))", live_server.port)
    assert again is True


def test_an_unknown_source_is_one_sentence():
    with pytest.raises(CraftError, match="choose sumo or traffic_manager"):
        EpisodeSpec(route=None, traffic="autopilot")
    with pytest.raises(CraftError, match=r"data\.traffic is 'tm'"):
        Traffic(source="tm")


def test_a_hanging_tick_is_signalled_again_and_a_running_one_is_not(monkeypatch):
    """A fake in place of the Traffic Manager's port, since the race that loses a signal cannot be asked for."""
    monkeypatch.setattr(traffic_manager, "_LOOK", 0.01)
    session = SimpleNamespace(traffic_manager=object(), ticking_since=time.monotonic())
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watching = traffic_manager.watch_traffic_manager
        watch = threading.Thread(target=watching, args=(lambda: session, port), daemon=True)
        watch.start()
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):  # this tick has only begun
            server.accept()
        session.ticking_since = time.monotonic() - 2 * traffic_manager._PATIENCE
        server.settimeout(10.0)
        connection, _ = server.accept()
        session.ticking_since = None
        with connection:
            unpacker = msgpack.Unpacker()
            while len(heard) < 2:
                unpacker.feed(connection.recv(4096))
                for request in unpacker:
                    heard.append(request)
                    connection.sendall(msgpack.packb([1, request[1], None, None]))
        session.traffic_manager = None
        watch.join(10.0)
    assert [request[2:] for request in heard] == [["set_synchronous_mode", [False]], ["set_synchronous_mode", [True]]]
    assert not watch.is_alive()
