"""The process in which clips are played: an embedded server, the real client, one scenario after the other.

Run as ``python -m craft_lightning.reports.clip_process FD``: ``FD`` is an inherited socket on which ``Clip``
fields come as dictionaries, and one answer each goes back.
"""

import functools
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.reports.bird_camera import BirdCamera
from craft_lightning.reports.clips import Clip, Played, write_moving_picture
from craft_lightning.reports.filming import FRAME_SECONDS, FilmingSession, film, find_route
from craft_lightning.rig import Rig
from craft_lightning.roads.towns import BUILT_IN, Town, load_town
from craft_lightning.rollouts.worker import run_child
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.launcher import EmbeddedServer

Decide = Callable[[Any], np.ndarray]


class Set:
    """The world that clips are played in; it changes town as they ask."""

    def __init__(self) -> None:
        self._server: EmbeddedServer | None = None
        self._session: FilmingSession | None = None
        self._episode: RouteEpisode | None = None
        self._atlas: dict[str, str] = {}

    @functools.lru_cache(maxsize=2)  # noqa: B019  (there is one set a process)
    def bird(self, town: str) -> BirdCamera:
        """Return the painter of a town."""
        return BirdCamera(load_town(town).network)

    def play(self, clip: Clip) -> Played:
        """Make one clip."""
        towns = {town.name: town for town in map(load_town, [clip.town] if clip.town else BUILT_IN)}
        route = find_route(clip.kind, towns, clip.seed)
        source = clip.town or route.town
        driver, rig = policy_driver(clip.driver)
        stage = self._stage(towns[route.town], source)
        stage.rig = rig
        made = film(stage, route, clip.seed, self.bird(source), driver, clip.camera)
        write_moving_picture(Path(clip.output), made.frames, FRAME_SECONDS)
        return Played(route.town, made.outcome, len(made.frames))

    def _stage(self, town: Town, source: str) -> RouteEpisode:
        """Return the episode, in a world that knows the town; a foreign town gets a server of its own."""
        if self._episode is None or town.name not in self._atlas:
            self.close()
            self._atlas = {name: name for name in BUILT_IN} if source in BUILT_IN else {town.name: source}
            self._server = EmbeddedServer(source).start()
            self._session = FilmingSession("127.0.0.1", self._server.port, town)
            self._episode = RouteEpisode(self._session, town, atlas=self._atlas)
        return self._episode

    def close(self) -> None:
        """End session and server."""
        self._episode = None
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._server is not None:
            self._server.stop()
            self._server = None


@functools.lru_cache(maxsize=1)
def policy_driver(name: str) -> tuple[Decide | None, Rig]:
    """Return a function that decides greedily by a policy, None for the expert, and what it looks through.

    Raises:
        CraftError: no such policy.

    """
    if name == "expert":
        return None, ()
    from craft_lightning.plugins import load_adapters
    from craft_lightning.policies.checkpoint import load_policy
    from craft_lightning.rollouts.drivers import PolicyDriver

    load_adapters()
    policy = load_policy(name)
    driver = PolicyDriver(policy, worlds=1, seed=0, greedy=True)

    def decide(result: Any) -> np.ndarray:
        return driver.decide_alone(result.observation)

    return decide, policy.rig


def serve(connection: Connection) -> None:
    """Make clips until the parent is gone."""
    world = Set()
    try:
        while True:
            try:
                wanted = connection.recv()
            except (EOFError, OSError):
                return
            try:
                played = world.play(Clip(**wanted))
                connection.send(("played", {"town": played.town, "outcome": played.outcome, "frames": played.frames}))
            except WorldError as error:
                world.close()
                connection.send(("world", str(error)))
            except CraftError as error:
                connection.send(("input", str(error)))
            except Exception:  # a scenario's bug costs its clip, and its traceback travels with it
                world.close()
                connection.send(("world", traceback.format_exc().strip().splitlines()[-1]))
    finally:
        world.close()


if __name__ == "__main__":
    run_child(serve)
