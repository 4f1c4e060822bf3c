"""Plays scenarios on sites that their finders find, through the real client; prints what happened as JSON.

Run in a process of its own: ``python play_sites.py TOWN PORT CASES`` with CASES a JSON list of
{"type", "draw", "drivers": ["expert", "blind"], "seed", "picture"}.
"""

import dataclasses
import json
import os
import sys
from typing import Any

import numpy as np

from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.sites import Site, finders
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.view import WorldView

TRIES = 600
FAILURES = ("collisions_vehicle", "red_light", "stop_sign")
EXTRA = 6  # decisions watched after the scenario has ended


def find(network: RoadNetwork, kind: str, draw: int) -> Site | None:
    """The first site that a seed draws."""
    rng = np.random.default_rng([7, draw])
    for _ in range(TRIES):
        site = finders()[kind](network, rng)
        if site is not None:
            return site
    return None


def alone(view: WorldView, lights: bool) -> WorldView:
    """What a driver sees that looks at nobody, and at no light either unless ``lights``."""
    arrays = {
        field.name: getattr(view, field.name)[[view.ego]]
        for field in dataclasses.fields(view)
        if isinstance(getattr(view, field.name), np.ndarray)
    }
    return dataclasses.replace(view, ego=0, **({} if lights else {"signals": {}}), **arrays)


def waypoints(site: Site) -> np.ndarray:
    """The way of a site as a route file keeps it."""
    points = np.column_stack([site.route.xy, site.route.z])
    return np.round(np.concatenate([points[:-4:8], points[-1:]]), 2)


def play(episode: RouteEpisode, site: Site, case: dict[str, Any], driver: str) -> dict[str, Any]:
    """Drive one site to the end of its scenario."""
    route = RouteConfig(case["type"], episode.town.name, waypoints(site), (site.scenario,))
    traffic = case.get("vehicles", 0)
    spec = EpisodeSpec(route, seed=case.get("seed", 0), vehicles=traffic, walkers=0, end_on_collision=False)
    result = episode.reset(spec)
    blind = Expert(episode.network, episode.route)
    scenario = episode._scenarios[0]
    ids, incidents, views, reasons = set(), [], [], []
    most, ended, lowest = 0, None, np.inf
    for decision in range(case.get("decisions", 240)):
        ids |= scenario.actor_ids
        most = max(most, len(scenario.actor_ids))
        views.append(episode.view)
        if scenario.finished and ended is None:
            ended = decision
        if result.done or (ended is not None and decision > ended + EXTRA and not case.get("through")):
            break
        if driver == "expert":
            result = episode.expert_step()
            reasons.append(episode._expert.reason)
        else:
            result = episode.step(blind.plan(alone(episode.view, case.get("lights", True))))
        if scenario.triggered:
            lowest = min(lowest, episode.view.ego_speed)
            incidents += [incident.kind for incident in result.incidents]
        if driver == "blind" and case.get("short") and set(incidents) & set(FAILURES):
            break
    episode.session.tick()  # carries out what a scenario asked for when the route ended under it
    present = {actor.id for actor in episode.session.world.get_snapshot()}
    lights = episode.session.world.get_actors().filter("traffic.traffic_light*")
    answer = {
        "type": case["type"],
        "driver": driver,
        "triggered": scenario.triggered,
        "finished": scenario.finished,
        "actors": len(ids),
        "most": most,
        "slowest": float(lowest),
        "seconds": float(views[-1].time - views[0].time),
        "incidents": incidents,
        "status": episode.criteria.status,
        "left_behind": len(ids & present) if scenario.finished else -1,
        "frozen": any(light.is_frozen() for light in lights),
    }
    if case.get("reasons"):
        answer["reasons"] = reasons
    if case.get("picture"):
        from craft_lightning.reports.birdseye import Extent, episode_strip

        path = case["picture"].replace("DRIVER", driver)
        first = next((i for i in range(len(views)) if len(views[i]) > 1), 0) if ids else len(views) // 3
        episode_strip(
            episode.network, views[first:], episode.route, path=path, frames=7, extent=Extent(25.0, 50.0, 30.0)
        )
    episode.clear()
    return answer


def main() -> None:
    """Play the cases that the command line names."""
    town = load_town(sys.argv[1])
    with Session("127.0.0.1", int(sys.argv[2]), town) as session:
        episode = RouteEpisode(session, town)
        answers = []
        for case in json.loads(sys.argv[3]):
            site = find(town.network, case["type"], case.get("draw", 0))
            if site is None:
                answers.append({"type": case["type"], "missing": True})
                continue
            answers += [play(episode, site, case, driver) for driver in case["drivers"]]
        print(json.dumps(answers))


if __name__ == "__main__":
    main()
    # The client of the wheel now and then aborts while the interpreter tears it down; the answer is out by then.
    sys.stdout.flush()
    os._exit(0)
