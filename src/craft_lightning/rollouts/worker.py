"""The supervised child process that owns one world: an embedded server (or a user's), the real client and one episode.

Run as ``python -m craft_lightning.rollouts.worker FD``: ``FD`` is an inherited socket on which the parent sends
``(command, payload)`` pairs and gets one answer each. A dead server aborts this process (the client cannot be
caught), a frozen one hangs it; the parent sees either and starts a new world, so no such fault reaches the run.
"""

import dataclasses
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.rig import Rig


@dataclasses.dataclass(frozen=True)
class WorldOptions:
    """What a world process needs to know once.

    Args:
        town: built-in town or path of an OpenDRIVE file, where the world begins.
        host: host of a running CARLA server; empty starts an embedded server for this world.
        port: RPC port of the running server; ignored for an embedded one.
        timeout: seconds the client waits for one answer of the server.
        episode: constructor arguments of ``simulation.episode_options.EpisodeOptions``.
        atlas: towns between which routes may change: name -> built-in name or path; their order is that of the road
            grids. Empty = all routes are in ``town``.
        maps: folder with further OpenDRIVE files that an embedded server can load.
        rig: sensors that the ego carries.

    """

    town: str = "craftville"
    host: str = ""
    port: int = 2000
    timeout: float = 20.0
    episode: dict[str, Any] = dataclasses.field(default_factory=dict)
    atlas: dict[str, str] = dataclasses.field(default_factory=dict)
    maps: str = ""
    rig: Rig = ()


class _World:
    """One episode at a time in one world; the methods are the commands of the protocol."""

    def __init__(self, options: WorldOptions) -> None:
        from craft_lightning.roads.towns import load_town
        from craft_lightning.simulation.episode import RouteEpisode
        from craft_lightning.simulation.episode_options import EpisodeOptions
        from craft_lightning.simulation.launcher import EmbeddedServer
        from craft_lightning.simulation.rig_reader import check_rig
        from craft_lightning.simulation.session import Session

        self.server = None
        host, port = options.host, options.port
        if not host:
            self.server = EmbeddedServer(options.town, maps=options.maps)
            self.server.start()
            host, port = "127.0.0.1", self.server.port
        town = load_town(options.town)
        episode = EpisodeOptions(**options.episode)
        self.session = Session(host, port, town, timeout=options.timeout, delta=episode.tick_seconds)
        check_rig(self.session, options.rig)
        self.episode = RouteEpisode(self.session, town, episode, atlas=options.atlas, rig=options.rig)

    def hello(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "server_pid": self.server.pid if self.server else None}

    def reset(self, spec: Any) -> Any:
        return self.episode.reset(spec)

    def step(self, trajectory: Any) -> Any:
        return self.episode.step(trajectory)

    def expert_step(self, _: Any = None) -> Any:
        return self.episode.expert_step()

    def close(self) -> None:
        try:
            self.session.close()
        finally:
            if self.server is not None:
                self.server.stop()


def serve(connection: Connection) -> None:
    """Answer commands until ``close`` or until the parent is gone."""
    world: _World | None = None
    try:
        while True:
            try:
                command, payload = connection.recv()
            except (EOFError, OSError):  # the parent is gone
                return
            try:
                if command == "open":
                    world = _World(payload)
                    # Networks and rasters stay: the collector need not look through them again and again.
                    gc.collect()
                    gc.freeze()
                    answer = world.hello()
                elif command == "close":
                    return
                elif world is None:
                    raise CraftError(f"world process got '{command}' before 'open'")
                else:
                    answer = {"reset": world.reset, "step": world.step, "expert_step": world.expert_step}[command](
                        payload
                    )
                connection.send(("ok", answer))
            except WorldError as error:
                connection.send(("world", str(error)))
            except CraftError as error:
                connection.send(("input", str(error)))
            except Exception:  # anything unforeseen costs the episode, and its traceback travels with it
                connection.send(("world", "the world process failed:\n" + traceback.format_exc()))
    finally:
        if world is not None:
            world.close()


def run_child(answer: Callable[[Connection], None]) -> None:
    """Run a supervised child process to its end: ``answer`` serves the socket whose number is the first argument."""
    # Ctrl-C reaches the whole group; the parent alone decides, and closes the connection when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer(Connection(int(sys.argv[1])))
    # The client of the wheel now and then aborts while the interpreter tears it down; everything is closed by now.
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    run_child(serve)
