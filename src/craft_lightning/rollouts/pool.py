"""N worlds stepped side by side; a world that dies or freezes is replaced and its rollout is collected again."""

import contextlib
import dataclasses
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import psutil

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.rollouts.worker import WorldOptions

log = logging.getLogger(__name__)

_STALL = 20  # seconds without a byte in the middle of an answer
_LOOK = 1.0  # seconds between two looks at the worlds that have not answered


class WorldProcess:
    """Parent's handle of one world process: start, ask, give up on it by id."""

    def __init__(self, options: WorldOptions) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "craft_lightning.rollouts.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # One thread a world: OpenCV and numpy pools of N worlds would fight over the cores.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        # Pictures make answers that do not fit into the socket: a world that stops in the middle of one is gone.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _STALL, 0))
        self.connection = Connection(ours.detach())
        self.server: psutil.Process | None = None
        self.deadline = 0.0
        self.options = options

    def send(self, command: str, payload: Any, timeout: float) -> None:
        """Send one command; the answer is due within ``timeout`` seconds."""
        self.deadline = time.monotonic() + timeout
        try:
            self.connection.send((command, payload))
        except OSError as error:
            raise WorldError(f"the world process {self.process.pid} is gone ({error})") from error

    def receive(self) -> Any:
        """Return the answer that is ready.

        Raises:
            WorldError: the world died, or says that its server did.
            CraftError: the world refuses its input.

        """
        try:
            status, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            code = self.process.poll()
            state = "stopped in the middle of an answer" if code is None else f"ended (exit code {code})"
            raise WorldError(f"the world process {self.process.pid} {state}") from error
        if status == "world":
            raise WorldError(answer)
        if status == "input":
            raise CraftError(answer)
        return answer

    def server_died(self) -> bool:
        """Whether the server that the world started has ended; its client would wait its whole timeout for it."""
        if self.server is None:
            return False
        try:
            return self.server.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def stop(self, patience: float = 5.0) -> None:
        """Ask the process to end, then end it and its own server by id."""
        try:
            self.connection.send(("close", None))
            self.process.wait(patience)
        except (OSError, subprocess.TimeoutExpired):
            self.kill()
        self.connection.close()

    def kill(self) -> None:
        """End the process and the server it started; both are ours, by id."""
        self.process.kill()
        self.process.wait()
        if self.server is not None:
            with contextlib.suppress(
                psutil.NoSuchProcess
            ):  # psutil refuses a recycled id, so only our server can be hit
                self.server.kill()


@dataclasses.dataclass
class PoolStatistics:
    """What the pool has survived."""

    replaced: int = 0
    last_fault: str = ""


class WorldPool:
    """N supervised worlds.

    Args:
        size: number of worlds.
        options: what each world is.
        start_timeout: seconds a world may take to start (the first start of a town builds its caches).
        reset_timeout: seconds one episode reset may take.
        step_timeout: seconds one decision may take before the world counts as frozen.
        max_replacements: faults of the whole pool after which the run stops with a clear error instead of looping.

    """

    def __init__(
        self,
        size: int,
        options: WorldOptions,
        start_timeout: float = 180.0,
        reset_timeout: float = 60.0,
        step_timeout: float = 20.0,
        max_replacements: int = 50,
    ) -> None:
        self.size = size
        self.options = options
        self.start_timeout = start_timeout
        self.timeouts = {"reset": reset_timeout, "step": step_timeout, "expert_step": step_timeout}
        self.max_replacements = max_replacements
        self.statistics = PoolStatistics()
        self.worlds: list[WorldProcess] = []
        self._pending: set[int] = set()
        self._answers: dict[int, Any] = {}
        self._commands: dict[int, str] = {}
        self._next_look = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start all worlds; the first alone, so that it fills the caches which the others then read."""
        if self.worlds:
            return
        try:
            self.worlds.append(self._open(WorldProcess(self.options)))
            others = [WorldProcess(self.options) for _ in range(self.size - 1)]
            self.worlds.extend(others)
            for world in others:
                world.send("open", self.options, self.start_timeout)
            for world in others:
                self._greet(world)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every world."""
        worlds, self.worlds = self.worlds, []
        self._pending.clear()
        self._answers.clear()
        for world in worlds:
            world.stop()

    def submit(self, index: int, command: str, payload: Any) -> None:
        """Send one command to one world; its answer comes from ``wait``."""
        self._commands[index] = command
        try:
            self.worlds[index].send(command, payload, self.timeouts[command])
        except WorldError as error:
            self._answers[index] = self._replace(index, error)
        else:
            self._pending.add(index)

    def wait(self) -> dict[int, Any]:
        """Return the answers that are there, as soon as one is.

        Returns:
            World index -> answer, or the ``WorldError`` of a world that died or froze; that world has been replaced
            by a fresh one already and its episode must be reset.

        Raises:
            CraftError: a world refused its input, or too many worlds had to be replaced.

        """
        while self._pending and not self._answers:
            nearest = min(self.worlds[index].deadline for index in self._pending)
            by_connection = {self.worlds[index].connection: index for index in self._pending}
            for connection in wait(list(by_connection), min(_LOOK, max(0.0, nearest - time.monotonic()))):
                index = by_connection[connection]  # type: ignore[index]
                self._pending.discard(index)
                try:
                    self._answers[index] = self.worlds[index].receive()
                except WorldError as error:
                    self._answers[index] = self._replace(index, error)
            if time.monotonic() < self._next_look:
                continue
            self._next_look = time.monotonic() + _LOOK
            for index in list(self._pending):
                command, late = self._commands[index], time.monotonic() > self.worlds[index].deadline
                if late or self.worlds[index].server_died():
                    self._pending.discard(index)
                    silent = f"did not answer '{command}' within {self.timeouts[command]:.0f} s"
                    fault = silent if late else "lost its server"
                    self._answers[index] = self._replace(index, WorldError(f"world {index} {fault}"))
        answers, self._answers = self._answers, {}
        return answers

    def _open(self, world: WorldProcess) -> WorldProcess:
        world.send("open", self.options, self.start_timeout)
        self._greet(world)
        return world

    def _greet(self, world: WorldProcess) -> None:
        if not world.connection.poll(max(0.0, world.deadline - time.monotonic())):
            world.kill()
            raise WorldError(
                f"a world did not start within {self.start_timeout:.0f} s; raise data.start_timeout or look at the "
                "messages of the server above"
            )
        server_pid = world.receive()["server_pid"]
        if server_pid is not None:
            world.server = psutil.Process(server_pid)

    def _replace(self, index: int, error: WorldError) -> WorldError:
        self.statistics.replaced += 1
        self.statistics.last_fault = str(error)
        log.warning("world %d is replaced: %s", index, str(error).strip().splitlines()[-1])
        self.worlds[index].kill()
        if self.statistics.replaced > self.max_replacements:
            raise CraftError(
                f"{self.statistics.replaced} worlds died or froze in this run, more than data.max_replacements="
                f"{self.max_replacements}; the last one said: {error}"
            ) from error
        self.worlds[index] = self._open(WorldProcess(self.options))
        return error
