"""Endurance of the wheel's Traffic Manager on the embedded server.

``python -m benchmarks.traffic_manager [--town TOWN] [--vehicles 50] [--ticks 12000]`` lets it drive for ten simulated
minutes and says what went wrong: a client that died, ticks that hung, vehicles that jumped, went away or never moved.
The client runs in a process of its own, since whatever is wrong with the protocol ends it.
"""

import argparse
import json
import subprocess
import sys

from craft_lightning.errors import CraftError
from craft_lightning.simulation.launcher import EmbeddedServer

CLIENT = """
import collections, json, math, os, sys, time
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.session import Session
from craft_lightning.simulation.traffic_manager import fill_with_traffic_manager

port, town, vehicles, ticks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
session = Session("127.0.0.1", port, load_town(town))
placed = fill_with_traffic_manager(session, 0, vehicles, clear=8.0)
session.tick()
watched = {actor.id for actor in session.world.get_actors().filter("vehicle.*")}
last, metres = {}, collections.Counter()
jumps, hung, slowest, began = 0, 0, 0.0, time.perf_counter()
for _ in range(ticks):
    asked = time.perf_counter()
    session.tick()
    waited = time.perf_counter() - asked
    slowest, hung = max(slowest, waited), hung + (waited > 2.0)
    snapshot, now = session.world.get_snapshot(), {}
    for actor_id in watched:
        actor = snapshot.find(actor_id)
        if actor is None:
            continue
        place, velocity = actor.get_transform().location, actor.get_velocity()
        now[actor_id] = place.x, place.y, math.hypot(velocity.x, velocity.y)
        if actor_id in last:
            x, y, before = last[actor_id]
            moved = math.hypot(place.x - x, place.y - y)
            metres[actor_id] += moved
            # Farther than it can drive in a tick: it was put there.
            jumps += moved > session.delta * max(before, now[actor_id][2]) + 0.5
    last = now
seconds = time.perf_counter() - began
print("ANSWER " + json.dumps({
    "placed": placed, "left": len(last), "kilometres": sum(metres.values()) / 1000.0, "jumps": jumps, "hung": hung,
    "slowest": slowest, "rate": ticks * session.delta / seconds, "idle": sum(metres[one] < 50.0 for one in watched),
}), flush=True)
session.close()
os._exit(0)
"""


def endure(town: str, vehicles: int, ticks: int) -> dict[str, float]:
    """Let the Traffic Manager drive and return what was seen.

    Args:
        town: built-in town or OpenDRIVE file.
        vehicles: how many it drives.
        ticks: of 0.05 s.

    Returns:
        placed, left (vehicles), kilometres, jumps, hung (ticks of more than 2 s), slowest (s), rate (x real time),
        idle (vehicles that drove less than 50 m).

    Raises:
        CraftError: the client died.

    """
    with EmbeddedServer(town) as server:
        words = [sys.executable, "-c", CLIENT, str(server.port), town, str(vehicles), str(ticks)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    if not answers:
        raise CraftError(
            f"the client ended with status {done.returncode}: {(done.stderr or done.stdout)[-500:].strip()}"
        )
    found: dict[str, float] = json.loads(answers[0].removeprefix("ANSWER "))
    return found


def main() -> None:
    """Run it once and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traffic_manager", description=__doc__.split("\n")[0])
    parser.add_argument("--town", default="craftville", help="built-in town or OpenDRIVE file")
    parser.add_argument("--vehicles", type=int, default=50)
    parser.add_argument("--ticks", type=int, default=12_000)
    options = parser.parse_args()
    seen = endure(options.town, options.vehicles, options.ticks)
    print(
        ", ".join(
            f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}" for name, value in seen.items()
        )
    )


if __name__ == "__main__":
    main()
