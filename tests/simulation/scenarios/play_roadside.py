"""Plays one site of every type of the roadside family in one town through the real client; prints JSON.

Run in a process of its own: ``python play_roadside.py PORT TOWN TYPES`` with TYPES a JSON object: type -> drivers.
"""

import json
import os
import sys
import types
from typing import Any

import numpy as np
from play import alone

from craft_lightning.roads.generate import _waypoints
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.sites import finders
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.session import Session

SEED = 3
MOST = 170  # decisions


def site_route(town: Any, kind: str) -> RouteConfig:
    """The first site of a type."""
    rng = np.random.default_rng(SEED)
    for _ in range(4000):
        site = finders()[kind](town.network, rng)
        if site is not None:
            return RouteConfig(kind, town.name, _waypoints(site.route), (site.scenario,))
    raise RuntimeError(f"no site for {kind}")


def plain(scenario: Scenario) -> bool:
    """Whether the playing tree keeps its state where a snapshot finds it: in attributes, not in closures."""
    held = [value for node in scenario.root.iterate() for value in vars(node).values()]
    return not any(isinstance(value, types.FunctionType) and value.__closure__ for value in held)


def play(episode: RouteEpisode, kind: str, attentive: bool) -> dict[str, Any]:
    """Drive until the scenario is over, or the blind has failed."""
    spec = EpisodeSpec(site_route(episode.town, kind), seed=SEED, vehicles=0, walkers=0, end_on_collision=False)
    result = episode.reset(spec)
    expert, scenario = Expert(episode.network, episode.route), episode._scenarios[0]
    ids: set[int] = set()
    incidents: list[str] = []
    after, kept = 0, None
    for _ in range(MOST):
        view = episode.view
        ids |= scenario.actor_ids
        after += scenario.finished
        if scenario.triggered and not scenario.finished and kept is None:
            kept = plain(scenario)
        failed = scenario.verdicts or any(one.startswith("collisions") for one in incidents)
        if result.done or after > 2 or (not attentive and failed):
            break
        result = episode.step(expert.plan(view if attentive else alone(view)))
        incidents += [incident.kind for incident in result.incidents]
    episode.session.tick()  # carries out what the scenario asked for last
    present = {actor.id for actor in episode.session.world.get_snapshot()}
    answer = {
        "triggered": scenario.triggered,
        "finished": scenario.finished,
        "incidents": incidents,
        "verdicts": scenario.verdicts,
        "actors": len(ids),
        "plain": kept,
        "left_while_driving": len(ids & present) if scenario.finished else -1,
    }
    episode.clear()
    present = {actor.id for actor in episode.session.world.get_snapshot()}
    return {**answer, "left_after_clear": len(ids & present)}


def main() -> None:
    """Play what the command line names."""
    town = load_town(sys.argv[2])
    with Session("127.0.0.1", int(sys.argv[1]), town) as session:
        episode = RouteEpisode(session, town)
        answers = {
            kind: {name: play(episode, kind, name == "expert") for name in drivers}
            for kind, drivers in json.loads(sys.argv[3]).items()
        }
        print(json.dumps(answers))


if __name__ == "__main__":
    main()
    # The client of the wheel now and then aborts while the interpreter tears it down; the answer is out by then.
    sys.stdout.flush()
    os._exit(0)
