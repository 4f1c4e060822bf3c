"""The embedded world through the real client: ticks a second, next to the same client ticking an empty world.

The client runs in a process of its own (a dead connection would end the interpreter) and measures all arms in one
session, in turns, so that a change of the machine's load meets all of them.
"""

import json
import statistics
import subprocess
import sys

from craft_lightning.conventions import TICK_SECONDS
from craft_lightning.simulation.launcher import EmbeddedServer

CLIENT = """
import json, sys, time
import carla
port, ticks, repeats = (int(word) for word in sys.argv[1:])
client = carla.Client("127.0.0.1", port)
client.set_timeout(30.0)
world = client.get_world()
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
world.apply_settings(settings)
library = world.get_blueprint_library()
pose = world.get_map().get_spawn_points()[10]
# name -> vehicles of SUMO's, walkers of SUMO's, with an ego that is controlled and read every tick
arms = {
    "empty world": (0, 0, False),
    "ego": (0, 0, True),
    "ego + 20 vehicles": (20, 0, True),
    "ego + 20 vehicles + 10 walkers": (20, 10, True),
    "ego + 50 vehicles": (50, 0, True),
    "ego + 100 vehicles": (100, 0, True),
    "ego + 200 vehicles": (200, 0, True),
}
rates = {name: [] for name in arms}
for repeat in range(repeats):
    for name, (vehicles, walkers, driven) in arms.items():
        actors = []
        if driven:
            ego = world.spawn_actor(library.find("vehicle.lincoln.mkz_2020"), pose)
            actors.append(ego)
            world.tick()
        if vehicles:
            controller = library.find("controller.traffic.sumo")
            for key, value in (("seed", repeat), ("vehicles", vehicles), ("walkers", walkers)):
                controller.set_attribute(key, str(value))
            actors.append(world.spawn_actor(controller, carla.Transform()))
        world.tick()
        control = carla.VehicleControl(throttle=0.4)
        started = time.perf_counter()
        for _ in range(ticks):
            if driven:
                ego.apply_control(control)
            world.tick()
            if driven:
                ego.get_transform(), ego.get_velocity()
        rates[name].append(ticks / (time.perf_counter() - started))
        for actor in reversed(actors):
            actor.destroy()
        world.tick()
print(json.dumps(rates))
"""


def measure(ticks: int, repeats: int) -> dict[str, float]:
    """Return the median ticks a second of each arm."""
    script = CLIENT.replace("TICK\n", f"{TICK_SECONDS}\n")
    with EmbeddedServer("craftville") as server:
        command = [sys.executable, "-c", script, str(server.port), str(ticks), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: statistics.median(values) for name, values in json.loads(done.stdout).items()}


def run(quick: bool) -> list:
    """Return the rows of the benchmark table."""
    from benchmarks.table import Row

    rates = measure(300 if quick else 2000, 1 if quick else 3)
    empty = rates["empty world"]
    return [
        Row(
            f"embedded world, {name}",
            rate,
            f"ticks/s ({rate * TICK_SECONDS:.0f}x real time)",
            "empty world",
            rate / empty,
        )
        for name, rate in rates.items()
    ]


if __name__ == "__main__":
    found = measure(1000, 3)
    for arm, rate in found.items():
        print(
            f"{arm:32s} {rate:7.0f} ticks/s  {rate * TICK_SECONDS:6.0f}x real time at 20 Hz  "
            f"{rate / found['empty world']:5.2f} of the empty world"
        )
