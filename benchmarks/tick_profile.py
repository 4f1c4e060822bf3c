"""Where the processor time of the embedded server's ticks goes: with few and many vehicles, and with a camera.

The server samples itself: a timer of its own processor time interrupts it a thousand times a second, and the innermost
file of the stack that is known below says what it was at. (Code in C is charged when it returns.)

``python -m benchmarks.tick_profile PORT`` is that server.
"""

import collections
import json
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from benchmarks.cameras import client
from benchmarks.table import Row
from craft_lightning.errors import WorldError
from craft_lightning.simulation.launcher import PortBlock

SAMPLE_SECONDS = 0.001
# Vehicles, walkers, cameras of 256 x 144.
ARMS = ((20, 10, 0), (200, 10, 0), (20, 10, 1))
OTHER = "the rest"
PARTS = {
    "SUMO": ("libsumo",),
    "reading and turning what SUMO says": ("traffic", "moved_rows", "mirror", "pedestrians", "drivers", "yielding"),
    "bodies and contacts": ("dynamics", "contacts", "collisions", "geometry", "town"),
    "lights": ("lights",),
    "sensors and pictures": ("sensors", "rendering"),  # folders
    OTHER: ("world",),
    "snapshots": ("wire", "streams", "state"),
    "sockets and event loop": ("asyncio", "selectors", "rpc", "batches", "methods_actors"),
}
_BY_NAME = {name: part for part, names in PARTS.items() for name in names}

_CLIENT = """
import os, signal
arms, server, ticks = json.loads(sys.argv[2])
for vehicles, walkers, cameras in arms:
    ego = spawn("vehicle.lincoln.mkz_2020", points[10])
    world.tick()
    traffic = spawn("controller.traffic.sumo", seed=1, vehicles=vehicles, walkers=walkers)
    pose = carla.Transform(carla.Location(1.0, 0.0, 1.7))
    rig = [camera(ego, 256, 144, pose) for _ in range(cameras)]

    def drive(count):
        for _ in range(count):
            ego.apply_control(carla.VehicleControl(throttle=0.4))
            world.tick()
            for _, told in rig:
                told.get(timeout=120.0)

    drive(100)
    os.kill(server, signal.SIGUSR1)
    drive(ticks)
    os.kill(server, signal.SIGUSR2)
    for sensor, _ in rig:
        sensor.stop()
        sensor.destroy()
    traffic.destroy()
    ego.destroy()
    world.tick()
"""


class Sampler:
    """Counts what this process is at: SIGUSR1 begins anew, SIGUSR2 prints what was found since."""

    def __init__(self) -> None:
        self._found: collections.Counter[str] = collections.Counter()
        self._began = 0.0

    def start(self) -> None:
        """Listen to both signals; the timer runs between them."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._tell)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            path = frame.f_code.co_filename
            stem = os.path.basename(path).removesuffix(".py")
            folder = os.path.basename(os.path.dirname(path))
            part = _BY_NAME.get(stem) or _BY_NAME.get(folder)
            if part is not None:
                self._found[part] += 1
                return
            frame = frame.f_back
        self._found[OTHER] += 1

    def _begin(self, number: int, frame: FrameType | None) -> None:
        self._found.clear()
        self._began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        found = {"seconds": time.process_time() - self._began, "samples": dict(self._found)}
        print(json.dumps(found), flush=True)


def measure(ticks: int) -> list[dict[str, float]]:
    """Return, for each of ``ARMS``, the milliseconds of the server's processor time a tick, part by part."""
    block = PortBlock()
    command = [sys.executable, "-m", "benchmarks.tick_profile", str(block.first), str(os.getpid())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            if not server.stdout.readline().startswith("ready"):
                raise WorldError("the server that samples itself did not start: python -m benchmarks.tick_profile 0")
            argument = json.dumps([ARMS, server.pid, ticks])
            subprocess.run([sys.executable, "-c", client(_CLIENT), str(block.first), argument], check=True)
            told = [json.loads(server.stdout.readline()) for _ in ARMS]
        finally:
            server.terminate()
            block.close()
    found = []
    for one in told:
        share = 1000.0 * one["seconds"] / ticks / sum(one["samples"].values())
        found.append({part: count * share for part, count in one["samples"].items()})
    return found


def run(quick: bool) -> list[Row]:
    """Return the rows of the benchmark table: the whole tick, and its parts, the dearest first."""
    found = measure(500 if quick else 8000)
    few = sum(found[0].values())
    rows = []
    for (vehicles, _, cameras), parts in zip(ARMS, found, strict=True):
        name = f"a tick's processor time, {vehicles} vehicles" + (", a camera 256x144" if cameras else "")
        whole = sum(parts.values())
        rows.append(Row(name, whole, "ms", f"{ARMS[0][0]} vehicles", whole / few))
        rows += [
            Row(f"... {part}", milliseconds, "ms", "this tick", milliseconds / whole)
            for part, milliseconds in sorted(parts.items(), key=lambda pair: -pair[1])
        ]
    return rows


if __name__ == "__main__":
    from craft_lightning.simulation.embedded.server import serve

    Sampler().start()
    sys.exit(serve("craftville", int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
