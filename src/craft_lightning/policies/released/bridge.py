"""Our side of the bridge: starts the user's Python, talks to it over loopback, and never waits for ever."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, Self

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.policies.released import bridge_server

_SERVER = Path(bridge_server.__file__)


class _Deadline:
    """A socket to read from whose time runs out once for a whole message, however it trickles in."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self.connection, self.end = connection, time.monotonic() + timeout

    def recv(self, count: int) -> bytes:
        """Read at most ``count`` bytes in the time that is left."""
        self.connection.settimeout(max(1e-3, self.end - time.monotonic()))
        return self.connection.recv(count)


class Bridge:
    """A model in a process of the user's Python; also a context manager.

    The server connects to a loopback port of ours that is open for this one connection, and proves a token that only
    its environment holds. A server that died, froze or answered nonsense costs one ``CraftError`` and is ended; it is
    not started again, since a model with a memory would have lost it.

    Args:
        python: the user's interpreter, e.g. ``~/envs/hipad/bin/python``.
        factory: ``module:function`` of the user's that builds the model there.
        arguments: plain arguments of that function.
        path: folders from which that Python imports beside its own.
        start_timeout: seconds until the model is built.
        timeout: seconds for one answer.

    """

    def __init__(
        self,
        python: str,
        factory: str,
        arguments: Mapping[str, Any] | None = None,
        path: Sequence[str] = (),
        start_timeout: float = 600.0,
        timeout: float = 120.0,
    ) -> None:
        self.python, self.factory, self.arguments = os.path.expanduser(python), factory, dict(arguments or {})
        self.path = [str(Path(folder).expanduser().resolve()) for folder in path]
        self.start_timeout, self.timeout = start_timeout, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._output: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server, None where there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> Self:
        """Start the server and wait until its model is built.

        Raises:
            CraftError: the interpreter, the factory or the model failed, or the time is up.

        """
        token = secrets.token_hex(16)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            listener.settimeout(0.1)
            command = [self.python, "-u", str(_SERVER), "--factory", self.factory]
            command += ["--arguments", json.dumps(self.arguments)]
            for folder in self.path:
                command += ["--path", folder]
            # What this environment put into the variables of Python would confuse the other one.
            environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))}
            environment |= {"CRAFT_BRIDGE_PORT": str(listener.getsockname()[1]), "CRAFT_BRIDGE_TOKEN": token}
            self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.close()
                raise CraftError(
                    f"bridge.python {self.python} cannot be started ({error.strerror}); give your interpreter's path"
                ) from error
            self._connection = self._accept(listener, token)
        header, _ = self._receive(self.start_timeout, "building the model")
        if not header.get("ok"):
            self._fail(f"could not build {self.factory}: {header.get('error')}")
        return self

    def ask(self, request: str, arrays: Mapping[str, np.ndarray] | None = None, **values: Any) -> dict[str, np.ndarray]:
        """Send one request and return the arrays of its answer.

        Raises:
            CraftError: the model failed, the server died, took too long, or answered nonsense.

        """
        if self._connection is None:
            raise CraftError(f"the bridge to {self.python} is not running; start it again")
        try:
            self._connection.settimeout(self.timeout)
            self._connection.sendall(bridge_server.pack({"request": request, **values}, arrays or {}))
        except OSError as error:
            self._fail(f"ended while it was asked for {request} ({error})")
        except bridge_server.ServerFault as error:
            raise CraftError(f"bridge: {error}") from error
        header, found = self._receive(self.timeout, request)
        if not header.get("ok"):
            raise CraftError(f"the model behind {self.python} failed: {header.get('error')}; {self._tail()}")
        return found

    def _accept(self, listener: socket.socket, token: str) -> socket.socket:
        """Wait for the one connection that knows the token; strangers are turned away."""
        end = time.monotonic() + self.start_timeout
        while time.monotonic() < end:
            assert self._process is not None  # start has just made it
            if self._process.poll() is not None:
                self._fail("ended before it connected")
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(10)
            with contextlib.suppress(OSError, EOFError, bridge_server.ServerFault):
                header, _ = bridge_server.receive(connection)
                if secrets.compare_digest(str(header.get("token")), token):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return connection
            connection.close()
        self._fail(f"did not connect within {self.start_timeout:g} s")

    def _receive(self, timeout: float, what: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self._connection is not None
        try:
            return bridge_server.receive(_Deadline(self._connection, timeout))
        except TimeoutError:
            self._fail(f"did not answer within {timeout:g} s ({what}); raise the bridge's timeout if it is only slow")
        except (OSError, EOFError) as error:
            self._fail(f"ended ({what}: {error})")
        except bridge_server.ServerFault as error:
            self._fail(f"answered nonsense ({what}: {error})")

    def _fail(self, what: str) -> NoReturn:
        tail = self._tail()
        self.close()
        raise CraftError(f"the model's process ({self.python}, {self.factory}) {what}; {tail}")

    def _tail(self) -> str:
        """Return the last line that the server wrote."""
        if self._output is None:
            return "it wrote nothing"
        # A moment for its last words to arrive.
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
        # Read beside the file's position, which the server shares.
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), 4000, max(0, size - 4000))
        lines = text.decode(errors="replace").strip().splitlines()
        return f"its last line: {lines[-1]}" if lines else "it wrote nothing"

    def close(self) -> None:
        """End the server's process, by its own id."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
