"""Plays scenarios on a straight road through the real client; prints what happened as JSON.

Run in a process of its own (a dying server or a protocol mistake ends the interpreter that holds the client):
``python play.py PORT CASES`` with CASES a JSON list of {"type", "driver", "seed", "decisions", "parameters"}.
"""

import dataclasses
import json
import math
import os
import sys
from typing import Any

import numpy as np

from craft_lightning.conventions import AGENT_STATIC
from craft_lightning.roads.routes import RouteConfig, ScenarioConfig
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.expert import Expert
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.view import WorldView

TRIGGER = 45.0


def straight_route(town: Any, case: dict[str, Any]) -> RouteConfig:
    """A route along the longest lane of the town that is straight, with one scenario."""
    network = town.network
    bend = [np.ptp(np.unwrap(network.heading[network.lane_slice(lane)])) for lane in range(network.num_lanes)]
    fitting = (network.lane_kind == 1) & ~network.lane_junction & (np.array(bend) < 0.05)
    lane = int(np.where(fitting, network.lane_length, 0.0).argmax())
    points = network.lane_at(lane, np.array([4.0, float(network.lane_length[lane]) - 4.0]))[:, :3]
    x, y, z, yaw, _ = network.lane_at(lane, 4.0 + TRIGGER)
    kind = case["type"]
    scenario = ScenarioConfig(f"{kind}_1", kind, (x, y, z, yaw), case.get("parameters", {}))
    return RouteConfig(id="straight", town="craftville", waypoints=points, scenarios=(scenario,))


def alone(view: WorldView) -> WorldView:
    """What a driver sees that looks at nobody."""
    rows = [view.ego]
    arrays = {
        field.name: getattr(view, field.name)[rows]
        for field in dataclasses.fields(view)
        if isinstance(getattr(view, field.name), np.ndarray)
    }
    return dataclasses.replace(view, ego=0, **arrays)


def play(episode: RouteEpisode, case: dict[str, Any]) -> dict[str, Any]:
    """Drive one case and return its trace."""
    spec = EpisodeSpec(
        straight_route(episode.town, case), seed=case.get("seed", 0), vehicles=0, walkers=0, end_on_collision=False
    )
    result = episode.reset(spec)
    expert = Expert(episode.network, episode.route)
    scenario = episode._scenarios[0]
    ids: set[int] = set()
    trace, incidents = [], []
    for _ in range(case.get("decisions", 70)):
        view = episode.view
        ids |= scenario.actor_ids
        actors = []
        for actor in sorted(scenario.actor_ids):
            row = view.row(actor)
            if row >= 0:
                _, s, left = episode.route.project(float(view.x[row]), float(view.y[row]), window=len(episode.route.s))
                moving = math.hypot(float(view.vx[row]), float(view.vy[row]))
                size = [float(view.length[row]), float(view.width[row])]
                actors.append({"kind": int(view.kind[row]), "s": s, "left": left, "speed": moving, "size": size})
        trace.append(
            {
                "time": view.time,
                "s": scenario.stage.ego_s if hasattr(scenario.stage, "view") else 0.0,
                "speed": view.ego_speed,
                "triggered": scenario.triggered,
                "finished": scenario.finished,
                "actors": actors,
            }
        )
        if result.done:
            break
        result = episode.step(expert.plan(view if case["driver"] == "expert" else alone(view)))
        incidents += [incident.kind for incident in result.incidents]
    present = {actor.id for actor in episode.session.world.get_snapshot()}
    left_while_driving = len(ids & present) if scenario.finished else -1
    episode.clear()
    present = {actor.id for actor in episode.session.world.get_snapshot()}
    return {
        "trace": trace,
        "incidents": incidents,
        "actors": len(ids),
        "props": sum(actor["kind"] == AGENT_STATIC for actor in trace[0]["actors"]),
        "left_while_driving": left_while_driving,
        "left_after_clear": len(ids & present),
        "place": getattr(scenario, "place", None),
        "start": getattr(scenario, "start", None),
    }


def main() -> None:
    """Play the cases that the command line names."""
    town = load_town("craftville")
    with Session("127.0.0.1", int(sys.argv[1]), town) as session:
        episode = RouteEpisode(session, town)
        print(json.dumps([play(episode, case) for case in json.loads(sys.argv[2])]))


if __name__ == "__main__":
    main()
    # The client of the wheel now and then aborts while the interpreter tears it down; the answer is out by then.
    sys.stdout.flush()
    os._exit(0)
