"""The server: two listening sockets on loopback, one world behind them, and a clock where clients do not tick."""

import asyncio
import contextlib
import gc
import logging
import os
import selectors
import socket
import sys
import tempfile
from pathlib import Path

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.batches import Batches
from craft_lightning.simulation.embedded.blueprints import BlueprintLibrary
from craft_lightning.simulation.embedded.branching import SIGNALS, Branches
from craft_lightning.simulation.embedded.engine import SumoEngine
from craft_lightning.simulation.embedded.methods_actors import ActorMethods
from craft_lightning.simulation.embedded.methods_lights import light_methods
from craft_lightning.simulation.embedded.methods_world import world_methods
from craft_lightning.simulation.embedded.rpc import MethodTable, RpcConnection
from craft_lightning.simulation.embedded.streams import StreamHub
from craft_lightning.simulation.embedded.town import TownShelf
from craft_lightning.simulation.embedded.vehicle_types import write_types
from craft_lightning.simulation.embedded.world import World

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Port 0 looks for a free block from here on; a block is the RPC port, the stream port and one in reserve.
FIRST_PORT, LAST_PORT, BLOCK = 20_000, 32_000, 4
PARENT_CHECK_SECONDS = 2.0


def open_sockets(port: int) -> tuple[socket.socket, socket.socket]:
    """Return the bound sockets of the RPC port and of the stream port next to it.

    Args:
        port: RPC port; 0 looks for a free block.

    Raises:
        CraftError: a port is in use.

    """
    if port:
        return _bind_pair(port)
    blocks = range(FIRST_PORT, LAST_PORT, BLOCK)
    # Servers that start together begin at different places.
    start = (os.getpid() * 7) % len(blocks)
    for number in (*blocks[start:], *blocks[:start]):
        with contextlib.suppress(CraftError):
            return _bind_pair(number)
    raise CraftError(f"no free block of ports between {FIRST_PORT} and {LAST_PORT}; stop a server or give --port")


def _bind_pair(port: int) -> tuple[socket.socket, socket.socket]:
    sockets: list[socket.socket] = []
    for number in (port, port + 1):
        # Named, since asyncio sets TCP_NODELAY only then; without it every second answer waits 40 ms for an ACK.
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sockets.append(opened)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((HOST, number))
            opened.listen(64)
        except (OSError, OverflowError) as cause:
            for one in sockets:
                one.close()
            raise CraftError(
                f"port {number} is in use or not allowed (a server takes --port and the next one); "
                "choose another --port, or --port 0 for a free block"
            ) from cause
    return sockets[0], sockets[1]


class EmbeddedServer:
    """One world behind two ports.

    Args:
        town: name of a built-in town or path of an OpenDRIVE file.
        port: RPC port, 0 for any; the stream port is the next one.
        parent: process whose end also ends this server, 0 for none.
        version: protocol version that the server claims; other values than the real one only serve tests of clients.
        maps: folder of further OpenDRIVE files that clients may load by name; "" = the folder of ``town``'s file.

    Raises:
        CraftError: port in use, unknown town or broken files.

    """

    def __init__(self, town: str, port: int, parent: int = 0, version: str = wire.VERSION, maps: str = "") -> None:
        self._rpc_socket, self._stream_socket = open_sockets(port)
        self.port: int = self._rpc_socket.getsockname()[1]
        self._parent = parent
        self._hub = StreamHub()
        self._folder = tempfile.TemporaryDirectory(prefix="craft-embedded-")
        library = BlueprintLibrary()
        types = Path(self._folder.name) / "types.add.xml"
        write_types(library, types)
        self._sumo = SumoEngine(types)
        self.world = World(TownShelf(town, maps), library, self._sumo, self._hub, self.port + 1)
        actors, lights = ActorMethods(self.world), light_methods(self.world)
        methods = world_methods(self.world, version) | actors.table() | lights
        methods["apply_batch"] = Batches(actors, lights).apply_batch
        methods |= Branches(self.world, self._hub, self._unsent, self._wake).table()
        self._table = MethodTable(methods.items())
        self._connections: set[RpcConnection] = set()
        self._done = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or the end of the parent."""
        loop = asyncio.get_running_loop()
        self._loop, done = loop, self._done
        self._mind_signals(loop)
        servers = [
            await loop.create_server(
                lambda: RpcConnection(self._table, self._connections, self._hub.flush), sock=self._rpc_socket
            ),
            await loop.create_server(self._hub.protocol, sock=self._stream_socket),
        ]
        tasks = [asyncio.create_task(self._clock())]
        if self._parent:
            tasks.append(asyncio.create_task(self._watch_parent(done)))
        # What is loaded stays: the collector need not look through it again and again while SUMO's answers come and go.
        gc.collect()
        gc.freeze()
        print(f"ready port={self.port} town={self.world.town.name} version={wire.VERSION}", flush=True)
        await done.wait()
        for task in tasks:
            task.cancel()
        for server in servers:
            server.close()

    def _mind_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, self._done.set)

    def _wake(self) -> None:
        """Go on with the event loop after a fork, in the child, or after a sleep, in the parent."""
        if self._loop is not None:
            # asyncio denies a forked process its loop; here the child goes on with its own copy of everything in it.
            asyncio._set_running_loop(self._loop)
            self._mind_signals(self._loop)

    def _unsent(self) -> int:
        """Return how many bytes still wait to be sent to any client."""
        return self._hub.unsent() + sum(connection.unsent for connection in self._connections)

    def close(self) -> None:
        """End SUMO and remove temporary files."""
        self._sumo.close()
        self._folder.cleanup()

    async def _clock(self) -> None:
        """Tick in real time while no client asked for synchronous mode."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.world.state.settings.synchronous:
                # Not looked at again and again: each look would wake the process and take the core from another.
                await self.world.asynchronous.wait()
                due = loop.time()
            delta = self.world.delta
            # Being late is not made up for: an asynchronous world may run slower than real time, never faster.
            due = max(due + delta, loop.time())
            await asyncio.sleep(due - loop.time())
            if not self.world.state.settings.synchronous:
                self.world.tick()

    async def _watch_parent(self, done: asyncio.Event) -> None:
        while _alive(self._parent):
            await asyncio.sleep(PARENT_CHECK_SECONDS)
        logger.warning("parent process %d is gone; ending", self._parent)
        done.set()


def _alive(process: int) -> bool:
    """Tell whether a process runs; one that ended but was not waited for does not."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def serve(town: str, port: int, parent: int = 0, version: str = wire.VERSION, maps: str = "") -> int:
    """Run a server to its end and return the exit status: 0, or 2 after one sentence about what was wrong."""
    try:
        server = EmbeddedServer(town, port, parent, version, maps)
    except CraftError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    try:
        # Unlike epoll, poll keeps nothing in the kernel, so that a forked branch does not share its parent's list.
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())) as runner:
            runner.run(server.run())
    finally:
        server.close()
    return 0
