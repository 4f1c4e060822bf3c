"""Branches of a running episode: 4 s of closed loop from one state, and what of their cost is forking and ticking.

The client runs in a process of its own and measures all arms in turns from one state, by the clock and by the processor
time of both processes: one waits while the other works, so that a world keeps one core busy, and processor time is what
remains comparable on a machine that others use.
"""

import json
import statistics
import subprocess
import sys

from benchmarks.table import Row
from craft_lightning.conventions import TICK_SECONDS

SECONDS = 4.0
CLIENT = """
import json, os, sys, time
import psutil
from craft_lightning.roads.routes import read_routes
from craft_lightning.roads.towns import load_town, suite_path
from craft_lightning.simulation.branching import Branching
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.launcher import EmbeddedServer
from craft_lightning.simulation.session import Session

count, rounds, seconds, tick = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
town, routes = load_town("craftville"), read_routes(suite_path("craftville_eval"))
with EmbeddedServer("craftville") as server:
    session = Session(server.host, server.port, town, delta=tick)
    episode = RouteEpisode(session, town)
    branching = Branching(episode)
    # A route without a scenario, so that the numbers are the world's.
    route = next(route for route in routes if not route.scenarios)
    episode.reset(EpisodeSpec(route, seed=1, end_on_collision=False))
    for _ in range(12):
        episode.expert_step()
    plan, process = episode.expert_plan(), psutil.Process(server.pid)
    decisions = round(2 * seconds)

    def spent():
        own = process.cpu_times()
        return time.process_time() + own.user + own.system + own.children_user + own.children_system

    def branches():
        branching.run([plan] * count, seconds)

    def empty():
        with branching.moment() as moment:
            for _ in range(count - 1):
                moment.restore()

    def ticks():
        with branching.moment():
            # A control holds for a tenth of a second.
            for _ in range(count // 4 * 5 * decisions):
                session.ticks(session.ticks_per_step)

    arms = {"branches": (branches, count), "ticks": (ticks, count // 4)}
    arms["empty"] = (empty, count)
    found = {name: [] for name in arms}
    branches()
    for _ in range(rounds):
        for name, (arm, times) in arms.items():
            wall, cpu = time.perf_counter(), spent()
            arm()
            wall = time.perf_counter() - wall
            # A process counts among its parent's children once it was waited for, which the next branch does.
            with branching.moment():
                pass
            found[name].append((wall / times, (spent() - cpu) / times))
    session.close()
print(json.dumps(found), flush=True)
os._exit(0)
"""


def measure(count: int, rounds: int, tick_seconds: float = TICK_SECONDS) -> dict[str, tuple[float, float]]:
    """Return the median (seconds, processor seconds) of one branch, of its ticks alone, of a fork alone."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(count), str(rounds), str(SECONDS), str(tick_seconds)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        name: (statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows))
        for name, rows in json.loads(done.stdout.splitlines()[-1]).items()
    }


def run(quick: bool) -> list[Row]:
    """Return the rows of the benchmark table."""
    found = measure(*((12, 2) if quick else (40, 5)))
    wall, cpu = found["branches"]
    coarse, _ = measure(*((12, 2) if quick else (40, 5)), 0.1)["branches"]
    titles = {
        "ticks": "their 80 ticks alone",
        "empty": "a fork and its way back alone",
    }
    rows = [
        Row(
            "branches of 4 s, 20 vehicles + 10 walkers",
            1.0 / wall,
            "branches/s",
            "a goal of 20 a core",
            1.0 / wall / 20,
        ),
        Row("the same in ticks of 0.1 s", 1.0 / coarse, "branches/s", "a goal of 20 a core", 1.0 / coarse / 20),
        Row("in ticks of 0.05 s by processor time", 1.0 / cpu, "branches/core-s", "a goal of 20", 1.0 / cpu / 20),
    ]
    rows += [
        Row(title, 1.0 / found[name][1], "a core-s", "a branch's processor time", found[name][1] / cpu)
        for name, title in titles.items()
    ]
    return rows
