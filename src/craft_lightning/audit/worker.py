"""A process of the audit: one world, one copy of the policy, a share of the routes; what it finds is kept at once.

``python -m craft_lightning.audit.worker JSON``: the fields of ``Share``. Results go into one file of JSON lines, a line
a finished episode, so that a worker that was killed goes on with the next episode.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.rig import Rig
from craft_lightning.roads.routes import RouteConfig, read_routes
from craft_lightning.roads.suites import suite_file
from craft_lightning.rollouts.suites import Atlas, load_suite

_END = 70.0  # metres before the end of a route from which no state is taken: a branch must not run out of route


@dataclasses.dataclass(frozen=True)
class Share:
    """What one worker does.

    Args:
        checkpoint: policy checkpoint.
        suite: suite name or route file.
        town: built-in town or OpenDRIVE file; empty = the routes' own.
        maps: folder with the OpenDRIVE files of towns that are not built in.
        total: how many states all workers audit.
        states: how many of them this one.
        branches: candidates drawn a state.
        horizon: seconds of the proxy.
        seconds: seconds of a branch in which the policy takes over.
        vehicles: of the background traffic.
        walkers: of the background traffic.
        seed: base seed.
        worker: number of this worker.
        workers: how many there are.
        output: file of JSON lines.

    """

    checkpoint: str
    suite: str
    town: str
    maps: str
    total: int
    states: int
    branches: int
    horizon: float
    seconds: float
    vehicles: int
    walkers: int
    seed: int
    worker: int
    workers: int
    output: str


def read_suite(suite: str, maps: str = "", town: str = "") -> list[RouteConfig]:
    """Return the routes of a suite, over any number of towns.

    Args:
        suite: a built-in suite, or a route file.
        maps: folder with the OpenDRIVE files of towns that are not built in.
        town: what is driven instead of the routes' own towns, "" for those.

    Raises:
        CraftError: there is none, or it cannot be driven.

    """
    path = suite_file(suite) or Path(suite)
    if town and path.is_file():
        return read_routes(path)
    return load_suite("--suite", suite, Atlas(maps)).routes


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the finished episodes of a worker's file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    episodes = []
    for line in path.read_text().splitlines():
        try:
            episodes.append(json.loads(line))
        except json.JSONDecodeError:  # killed while it wrote; the episode is driven again
            break
    return episodes


def write_lines(path: Path, episodes: Sequence[dict[str, Any]]) -> None:
    """Write a worker's file anew, in one step."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("".join(json.dumps(episode) + "\n" for episode in episodes))
    temporary.replace(path)


def heading(number: int, route: RouteConfig) -> dict[str, Any]:
    """Return what a line says of its episode before it was driven."""
    kind = route.scenarios[0].type if route.scenarios else "none"
    return {"number": number, "route": str(route.id), "town": route.town, "type": kind}


def turns(routes: Sequence[RouteConfig], share: Share) -> Iterator[tuple[int, RouteConfig]]:
    """Give (number, route) in the order in which a worker drives them, over and over with new traffic.

    Of a suite with more routes than there are states to audit, the first ones are driven: suites come in rounds of all
    scenario types. A round goes through one town after the other.
    """
    number = 0
    routes = routes[: max(share.total, 1)]
    towns = np.array([route.town for route in routes])
    while True:
        order = np.random.default_rng([share.seed, number // len(routes)]).permutation(len(routes))
        order = order[np.argsort(towns[order], kind="stable")]
        if number % share.workers == share.worker:
            yield number, routes[order[number % len(routes)]]
        number += 1


def run(share: Share) -> None:
    """Audit this worker's share of states, going on after what its file holds."""
    import torch

    from craft_lightning.audit.states import Pilot
    from craft_lightning.policies.checkpoint import load_policy

    torch.set_num_threads(1)
    path = Path(share.output)
    episodes = read_lines(path)
    write_lines(path, episodes)
    done, states = {episode["number"] for episode in episodes}, sum(len(episode["states"]) for episode in episodes)
    routes = read_suite(share.suite, share.maps, share.town)
    each = max(1, -(-share.total // len(routes)))
    pilot = Pilot(load_policy(share.checkpoint))
    world = _World(share, pilot.policy.rig)
    try:
        for number, route in turns(routes, share):
            if states >= share.states:
                return
            if number in done:
                continue
            found = world.drive(pilot, number, route, min(each, share.states - states))
            states += len(found["states"])
            with path.open("a") as file:
                file.write(json.dumps(found) + "\n")
    finally:
        world.close()


class _World:
    """The world that the worker's routes are driven in; changes its town where the routes do."""

    def __init__(self, share: Share, rig: Rig) -> None:
        self.share, self.rig = share, rig
        self.atlas = Atlas(share.maps)
        self.name = ""
        self._server: Any = None
        self._session: Any = None

    def _enter(self, name: str) -> None:
        """Have a world of a town."""
        from craft_lightning.roads.grid import RoadGrid
        from craft_lightning.roads.towns import load_town
        from craft_lightning.simulation.branching import Branching
        from craft_lightning.simulation.episode import RouteEpisode
        from craft_lightning.simulation.launcher import EmbeddedServer
        from craft_lightning.simulation.rig_reader import check_rig
        from craft_lightning.simulation.session import Session

        if name == self.name:
            return
        self.close()
        source = self.atlas.source(name) or name
        town = load_town(source)
        self._server = EmbeddedServer(source).start()
        self._session = Session(self._server.host, self._server.port, town)
        check_rig(self._session, self.rig)
        self.episode = RouteEpisode(self._session, town, rig=self.rig)
        self.branching = Branching(self.episode)
        self.grids = [RoadGrid.from_network(town.network)]
        self.name = name

    def close(self) -> None:
        """End the world."""
        if self._session is not None:
            self._session.close()
        if self._server is not None:
            self._server.stop()
        self._server = self._session = None
        self.name = ""

    def drive(self, pilot: Any, number: int, route: RouteConfig, count: int) -> dict[str, Any]:
        """Drive one episode as the policy samples it, and audit ``count`` states spread over its route."""
        from craft_lightning.audit.realised import grounded_return
        from craft_lightning.audit.states import StateAuditor
        from craft_lightning.simulation.episode_spec import EpisodeSpec

        share = self.share
        self._enter(share.town or route.town)
        auditor = StateAuditor(self.branching, pilot, self.grids, share.branches, share.horizon, share.seconds)
        seed = int(np.random.SeedSequence([share.seed, number]).generate_state(1)[0] >> 1)
        episode, rng = self.episode, np.random.default_rng([seed, 1])
        result = episode.reset(
            EpisodeSpec(route, number=number, seed=seed, vehicles=share.vehicles, walkers=share.walkers)
        )
        usable = max(float(episode.route.length) - _END, 1.0)
        goals = ((np.arange(count) + rng.random(count)) / count * usable).tolist()
        events: list[np.ndarray] = []
        states: list[tuple[int, Any]] = []
        while not result.done:
            candidates = pilot.propose(result)
            noise = np.random.default_rng([seed, 2, len(events)]).random(candidates.mask.shape[1])
            executed, place = pilot.sample(candidates, noise), episode.criteria.progress.s
            if goals and place >= goals[0]:
                goals = [goal for goal in goals if goal > place]
                states.append((len(events), auditor.audit(result, candidates, executed, rng)))
            result = episode.step(pilot.plans(candidates)[executed])
            events.append(result.events)
        return {
            **heading(number, route),
            "status": episode.criteria.status,
            "states": [
                {"step": step, "return": grounded_return(np.array(events[step:])), **dataclasses.asdict(audit)}
                for step, audit in states
            ],
        }


def main() -> None:
    """Entry point of the process."""
    status = 0
    try:
        run(Share(**json.loads(sys.argv[1])))
    except WorldError as error:  # another world may do better
        print(error, file=sys.stderr)
        status = 1
    except CraftError as error:
        print(error, file=sys.stderr)
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # The client of the wheel now and then aborts while the interpreter tears it down; everything is closed by now.
    os._exit(status)


if __name__ == "__main__":
    main()
