"""``python -m craft_lightning.simulation.drive``: drives one route and prints its record."""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from craft_lightning.conventions import BEV_CHANNELS, EVENTS
from craft_lightning.errors import CraftError
from craft_lightning.roads.routes import RouteConfig, read_routes
from craft_lightning.roads.towns import Town, load_town, suite_path
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec, StepResult
from craft_lightning.simulation.launcher import serve
from craft_lightning.simulation.observation import bev_cells
from craft_lightning.simulation.session import Session

_COLOURS = {  # blue, green, red; painted in the order of the channels
    "drivable": (80, 80, 80),
    "lane_marking": (170, 170, 170),
    "route": (120, 160, 60),
    "vehicle": (230, 150, 60),
    "walker": (60, 220, 250),
    "stop_line_red": (40, 40, 230),
}


def follow_route(scene: dict[str, np.ndarray], poses: int = 40) -> np.ndarray:
    """Return a blind plan [poses, 3] in the ego frame: along the route at its present speed, up to 6 m/s.

    Args:
        scene: a visited state; its route begins ten metres behind the ego.
        poses: number of poses, 0.1 s apart.

    """
    route = scene["route"].astype(np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(route, axis=0).T))])
    start = along[int(np.hypot(*route.T).argmin())]
    speed = min(float(scene["ego_motion"][0]) + 2.0, 6.0)
    wanted = start + speed * 0.1 * np.arange(poses + 1)
    x, y = (np.interp(wanted, along, column) for column in route.T)
    heading = np.arctan2(np.diff(y), np.diff(x))
    return np.stack([x[1:], y[1:], heading], -1).astype(np.float32)


def drive(episode: RouteEpisode, spec: EpisodeSpec, expert: bool = True) -> tuple[StepResult, int]:
    """Drive one episode to its end.

    Args:
        episode: the world.
        spec: which episode.
        expert: let the expert drive, else the blind plan along the route.

    Returns:
        The last result, whose record is complete, and the number of decisions.

    """
    result = episode.reset(spec)
    decisions = 0
    while not result.done:
        result = episode.expert_step() if expert else episode.step(follow_route(result.scene))
        decisions += 1
        for incident in result.incidents:
            print(
                f"{incident.time:6.2f} s  {incident.kind} at ({incident.x:.1f}, {incident.y:.1f}) {incident.actor}",
                file=sys.stderr,
            )
    return result, decisions


def paint(bev: np.ndarray, scale: int = 8) -> np.ndarray:
    """Return a raster of BEV_CHANNELS as a colour picture [96 scale, 96 scale, 3] uint8, blue first, the ego in white.

    Args:
        bev: uint8 [6, 96, 96].
        scale: picture cells a raster cell.

    """
    picture = np.full((*bev.shape[1:], 3), 30, np.uint8)
    for channel, name in enumerate(BEV_CHANNELS):
        picture[bev[channel] > 0] = _COLOURS[name]
    place = bev_cells(np.array([[2.4, 1.0], [-2.4, -1.0]])).round().astype(int)
    (left, front), (right, rear) = place
    picture[front : rear + 1, left : right + 1] = 255
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)


def _route(town: Town, wanted: str, suite: str) -> RouteConfig:
    """Return the route of an id, or a position in its suite; a town without suites gets generated routes."""
    path = suite_path(suite or f"{town.name}_eval") or (Path(suite) if suite else None)
    if path:
        routes = read_routes(path)
    else:
        from craft_lightning.roads.generate import generate_routes  # only towns without suites need it

        routes = generate_routes(town.network, 10, seed=0, town=town.name)
    by_id = {str(route.id): route for route in routes}
    if wanted in by_id:
        return by_id[wanted]
    if wanted.isdigit() and int(wanted) < len(routes):
        return routes[int(wanted)]
    raise CraftError(f"--route is '{wanted}', but {path or town.name} has neither that id nor that many routes")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m craft_lightning.simulation.drive", description=__doc__)
    parser.add_argument("--town", default="craftville", help="built-in town or path of an .xodr file")
    parser.add_argument("--suite", default="", help="route suite or file (default: the town's evaluation suite)")
    parser.add_argument("--route", default="0", help="id of the route, or its position in the suite")
    parser.add_argument("--seed", type=int, default=0, help="seed of traffic and scenario")
    parser.add_argument("--vehicles", type=int, default=20, help="vehicles of the background traffic")
    parser.add_argument("--walkers", type=int, default=10, help="pedestrians of the background traffic")
    parser.add_argument("--blind", action="store_true", help="follow the route's centre line instead of the expert")
    parser.add_argument("--host", default="", help="host of a running CARLA server (default: start an embedded one)")
    parser.add_argument("--port", type=int, default=2000, help="its RPC port")
    parser.add_argument("--picture", default="", help="write the raster of the last moment to this PNG")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(_run(options)))
    except CraftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: Any) -> dict[str, Any]:
    town = load_town(options.town)
    route = _route(town, options.route, options.suite)
    spec = EpisodeSpec(route, seed=options.seed, vehicles=options.vehicles, walkers=options.walkers)
    with serve(options.town, options.host, options.port) as server, contextlib.ExitStack() as stack:
        session = stack.enter_context(Session(server.host, server.port, town))
        episode = RouteEpisode(session, town)
        begin = time.perf_counter()
        result, decisions = drive(episode, spec, expert=not options.blind)
        wall = time.perf_counter() - begin
        if options.picture:
            cv2.imwrite(options.picture, paint(result.observation["bev"]))
        episode.clear()
    incidents = [dataclasses.asdict(incident) for incident in episode.criteria.incidents]
    speeds = {"decisions": decisions, "decisions_per_s": round(decisions / wall, 1), "events": list(EVENTS)}
    return {**(result.record or {}), "incidents": incidents, **speeds}


if __name__ == "__main__":
    sys.exit(main())
