"""Starts an embedded server in its own process, or names a server that somebody else runs."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from craft_lightning.errors import CraftError, WorldError

PORTS_PER_BLOCK = 4  # RPC, stream, secondary stream, Traffic Manager
_FIRST_PORT, _LAST_PORT = 20000, 32000  # below the range from which Linux draws the ports of outgoing connections
_READY = re.compile(r"^ready port=(\d+)", re.MULTILINE)


class PortBlock:
    """A block of consecutive free loopback ports, held by a file lock as long as this object is open.

    The lock keeps other launchers of this machine away; that the ports are free of strangers is verified by binding
    each of them once. A holder of a port is never disturbed: the next block is tried.

    Args:
        first: the first port of the block; 0 looks for a free block.

    Raises:
        CraftError: the wanted block is in use, or no block is free.

    """

    def __init__(self, first: int = 0) -> None:
        # Processes start their search at different blocks so that they rarely meet at a lock.
        blocks = range(_FIRST_PORT, _LAST_PORT, PORTS_PER_BLOCK)
        turn = os.getpid() * 7 % len(blocks)
        candidates = [first] if first else [*blocks[turn:], *blocks[:turn]]
        for port in candidates:
            lock = _lock(port)
            if lock is None:
                continue
            if all(_free(port + offset) for offset in range(PORTS_PER_BLOCK)):
                self.first, self._lock = port, lock
                return
            lock.close()
        if first:
            raise CraftError(f"port {first} or one of the three after it is in use; choose another port or 0 for any")
        raise CraftError(f"no block of {PORTS_PER_BLOCK} free ports in {_FIRST_PORT}-{_LAST_PORT}; end other servers")

    def close(self) -> None:
        """Give the block back."""
        self._lock.close()


def _lock(port: int) -> IO[str] | None:
    folder = Path(tempfile.gettempdir()) / f"craft-lightning-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = open(folder / f"{port}.lock", "w")  # noqa: SIM115  (the open file is the lock)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class EmbeddedServer:
    """An embedded server in its own process and process group; also a context manager.

    Args:
        town: built-in town or path of an OpenDRIVE file.
        port: RPC port; 0 picks a free block of ports.
        timeout: seconds the server may take until it listens.
        maps: folder of further OpenDRIVE files that clients may load by their stem; "" = none.

    Attributes:
        host: where it listens (loopback only).
        port: RPC port, known after ``start``.

    """

    def __init__(self, town: str = "craftville", port: int = 0, timeout: float = 120.0, maps: str = "") -> None:
        self.maps = maps
        self.town, self.host, self.port, self.timeout = town, "127.0.0.1", port, timeout
        self._wanted = port
        self._block: PortBlock | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None where there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it listens.

        Raises:
            CraftError: it ended with an error (its own sentence is passed on) or the port is in use.
            WorldError: it was not ready in time.

        """
        if self._process is not None:
            return self
        attempts = 1 if self._wanted else 3
        for attempt in range(attempts):
            self._block = PortBlock(self._wanted)
            try:
                self._launch(self._block.first)
                return self
            except CraftError as error:
                self.stop()
                # Somebody took the port between the check and the server's bind; any other block will do.
                if attempt + 1 == attempts or "in use" not in str(error):
                    raise
        return self

    def _launch(self, port: int) -> None:
        command = [sys.executable, "-m", "craft_lightning.simulation.embedded", "--port", str(port)]
        command += ["--town", self.town, "--parent-pid", str(os.getpid())]
        command += ["--maps", self.maps] if self.maps else []
        # A file rather than a pipe: nobody has to drain it, and it is there when something goes wrong.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        # Memory in large pages: a fork has fewer of them to copy, and SUMO's walks through its network miss less.
        tunables = ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES", ""), "glibc.malloc.hugetlb=1"]))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "GLIBC_TUNABLES": tunables,
        }
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0,
        )
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            ready = _READY.search(self.output())
            if ready:
                self.port = int(ready.group(1))
                return
            status = self._process.poll()
            if status is not None:
                raise CraftError(
                    f"the embedded server for town '{self.town}' ended with status {status}: {self._last_words()}"
                )
            time.sleep(0.02)
        words = self._last_words()
        raise WorldError(
            f"the embedded server for town '{self.town}' was not ready within {self.timeout:.0f} s; "
            f"raise the timeout or look at its output: {words}"
        )

    def output(self) -> str:
        """Return what the server has printed so far."""
        if self._output is None:
            return ""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.output().splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else "it printed nothing"

    def stop(self) -> None:
        """End this server's process, and no other: ask first, insist after three seconds."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.send_signal(signal.SIGCONT)  # a frozen server cannot obey before it runs again
                try:
                    self._process.wait(3.0)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait(10.0)
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None
        if self._block is not None:
            self._block.close()
            self._block = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class CarlaServer:
    """A server that somebody else started; attaching checks that it listens, stopping leaves it running.

    Args:
        host: its host.
        port: its RPC port.
        timeout: seconds to wait for the connection.

    """

    def __init__(self, host: str = "127.0.0.1", port: int = 2000, timeout: float = 5.0) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self.pid = None

    def start(self) -> Self:
        """Check that the server accepts connections.

        Raises:
            CraftError: nobody listens there.

        """
        require_listener(self.host, self.port, self.timeout)
        return self

    def stop(self) -> None:
        """Leave the server alone: it is not ours."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def require_listener(host: str, port: int, timeout: float = 5.0) -> None:
    """Check that somebody accepts TCP connections at host:port.

    Raises:
        CraftError: nobody does.

    """
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        raise CraftError(
            f"no CARLA server answers at {host}:{port} ({error}); start one there, correct host and port, "
            "or leave the host empty for an embedded server"
        ) from error


@contextlib.contextmanager
def serve(town: str, host: str = "", port: int = 2000) -> Iterator[EmbeddedServer | CarlaServer]:
    """Give a server for ``town``: an embedded one where ``host`` is empty, else the one at host:port."""
    server = CarlaServer(host, port) if host else EmbeddedServer(town)
    with server:
        yield server
