import os
import socket
import sys
import textwrap

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.simulation import launcher
from craft_lightning.simulation.launcher import PORTS_PER_BLOCK, CarlaServer, EmbeddedServer, PortBlock


def test_two_blocks_never_overlap():
    first, second = PortBlock(), PortBlock()
    try:
        assert abs(first.first - second.first) >= PORTS_PER_BLOCK
    finally:
        first.close()
        second.close()


def test_a_taken_port_is_left_alone():
    block = PortBlock()
    wanted = block.first
    block.close()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an earlier server may linger in TIME_WAIT
        holder.bind(("127.0.0.1", wanted + 1))
        holder.listen()
        with pytest.raises(CraftError, match=f"port {wanted}"):
            PortBlock(wanted)
        socket.create_connection(("127.0.0.1", wanted + 1), 1.0).close()  # still there


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CraftError, match=f"no CARLA server answers at 127.0.0.1:{port}"):
        CarlaServer("127.0.0.1", port).start()


@pytest.fixture
def fake_server(monkeypatch, tmp_path):
    """Replace the interpreter by a script that stands for the server."""

    def use(body):
        script = tmp_path / "server.sh"
        script.write_text(f"#!{sys.executable}\n" + textwrap.dedent(body))
        script.chmod(0o755)
        monkeypatch.setattr(launcher.sys, "executable", str(script))

    return use


def test_start_and_stop_end_only_that_process(fake_server):
    fake_server("""
        import sys, time
        port = sys.argv[sys.argv.index("--port") + 1]
        print(f"ready port={port} town=x version=0.9.16", flush=True)
        time.sleep(60)
    """)
    server = EmbeddedServer("craftville").start()
    pid = server.pid
    assert server.alive
    assert server.port > 0
    assert os.getpgid(pid) == pid  # its own process group
    server.stop()
    assert not server.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    server.stop()  # again is harmless


def test_a_stubborn_server_is_killed(fake_server):
    fake_server("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready port=1 town=x version=0.9.16", flush=True)
        time.sleep(60)
    """)
    server = EmbeddedServer("craftville").start()
    pid = server.pid
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_servers_own_sentence_is_passed_on(fake_server):
    fake_server("""
        import sys
        print("error: town 'atlantis' is nowhere", file=sys.stderr)
        sys.exit(2)
    """)
    with pytest.raises(CraftError, match="status 2: town 'atlantis' is nowhere"):
        EmbeddedServer("atlantis").start()


def test_not_ready_in_time(fake_server):
    fake_server("""
        import time
        print("loading", flush=True)
        time.sleep(60)
    """)
    server = EmbeddedServer("craftville", timeout=0.7)
    with pytest.raises(CraftError, match=r"not ready within 1 s.*loading"):
        server.start()
    assert server.pid is None


def test_a_stolen_port_is_tried_elsewhere(fake_server, tmp_path):
    fake_server(f"""
        import pathlib, sys, time
        port = sys.argv[sys.argv.index("--port") + 1]
        seen = pathlib.Path({str(tmp_path / "seen")!r})
        if not seen.exists():
            seen.write_text(port)
            print(f"error: port {{port}} is in use", file=sys.stderr)
            sys.exit(2)
        print(f"ready port={{port}} town=x version=0.9.16", flush=True)
        time.sleep(60)
    """)
    with EmbeddedServer("craftville") as server:
        assert server.port > 0
