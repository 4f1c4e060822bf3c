"""What a rig costs: processor milliseconds of a decision (10 ticks) with no, one and six cameras, and with a lidar.

Server and client side are added up, so the numbers are comparable on a machine that others use. The same episode is
driven by its expert in turns. "every tick" is how servers are read whose sensors do not keep exact time.
``python -m benchmarks.rigs`` prints the numbers, ``python -m benchmarks.rigs docs`` writes ``docs/images/rig.png``,
what policies are given at one decision.
"""

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from benchmarks.table import Row
from craft_lightning.policies.released.carla_inputs import cameras_and_lidar, lidar_histogram
from craft_lightning.policies.vision_language.prompts import paint
from craft_lightning.reports.sensor_painting import captioned
from craft_lightning.rig import Rig
from craft_lightning.rigs import RIGS, read_rig
from craft_lightning.roads.towns import load_town
from craft_lightning.rollouts.suites import load_suites
from craft_lightning.simulation import rig_reader
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.launcher import EmbeddedServer
from craft_lightning.simulation.session import Session
from craft_lightning.structures import Observation, stack_numpy

_AROUND = ("FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT")
LIDAR = {"kind": "lidar", "name": "roof", "place": [0.0, 0.0, 2.5]}
ARMS: dict[str, tuple[Rig, bool]] = {
    "no sensor": ((), True),
    "1 camera 256x144": (read_rig("front_camera"), True),
    "6 cameras 256x144": (read_rig("bench2drive@256x144"), True),
    "6 cameras 256x144, lidar 600,000 points/s": (read_rig(["bench2drive@256x144", LIDAR]), True),
    "1 camera 1024x512": (read_rig("simlingo"), True),
    "1 camera 256x144, every tick": (read_rig("front_camera"), False),
    "6 cameras 256x144, every tick": (read_rig("bench2drive@256x144"), False),
}


def measure(decisions: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Return processor milliseconds a decision and decisions a second of every arm, medians over the repeats."""
    town = load_town("craftville")
    routes, _ = load_suites(town, "", "", 4, 4, 0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
    present = rig_reader.SUMO_TRAFFIC
    with EmbeddedServer("craftville") as server, Session("127.0.0.1", server.port, town) as session:
        processes = [psutil.Process(), psutil.Process(server.pid)]
        rig_reader.check_rig(session, ARMS["6 cameras 256x144, lidar 600,000 points/s"][0])
        for repeat in range(repeats):
            for name, (rig, exact) in ARMS.items():
                rig_reader.SUMO_TRAFFIC = present if exact else "no.such.blueprint"
                episode = RouteEpisode(session, town, rig=rig)
                result = episode.reset(EpisodeSpec(routes[repeat % len(routes)], seed=repeat, end_on_collision=False))
                before, begin, driven = _spent(processes), time.perf_counter(), 0
                while driven < decisions and not result.done:
                    result, driven = episode.expert_step(), driven + 1
                cost = 1000.0 * (_spent(processes) - before) / driven
                found[name].append((cost, driven / (time.perf_counter() - begin)))
                episode.clear()
        rig_reader.SUMO_TRAFFIC = present
    return {
        name: (statistics.median(cost for cost, _ in values), statistics.median(rate for _, rate in values))
        for name, values in found.items()
    }


def write_sheet(folder: Path) -> Path:
    """Write what policies are given at one decision: six cameras, a front camera, two lidar histograms, the raster.

    Args:
        folder: where ``rig.png`` goes.

    """
    town = load_town("craftville")
    routes, _ = load_suites(town, "", "", 4, 4, 0)
    rig = read_rig(["bench2drive@256x144", "front_camera", *RIGS["tfv6"][-1:]])
    with EmbeddedServer("craftville") as server, Session("127.0.0.1", server.port, town) as session:
        episode = RouteEpisode(session, town, rig=rig)
        result = episode.reset(EpisodeSpec(routes[1], seed=5, vehicles=60, walkers=60, end_on_collision=False))
        for _ in range(16):
            result = episode.expert_step()
        episode.clear()
    seen = stack_numpy([result.observation], Observation)
    assert seen.sensors is not None
    pictures = {sensor.name: seen.sensors[sensor.name][0].numpy() for sensor in rig[:-1]}
    around = [captioned(pictures[f"CAM_{name}"], name.lower()) for name in _AROUND]
    _, lidar = cameras_and_lidar(rig)
    near = lidar_histogram(seen, lidar, (-32.0, 32.0), (-32.0, 32.0), 0.2)[0, 0].numpy()
    bird = paint(seen.bev)[0].movedim(0, -1).numpy()
    below = [
        captioned(pictures["front"], "front, as CameraScorer sees it"),
        captioned(_upright(near), "lidar, as TransFuser++ sees it"),
        captioned(_squared(bird), "raster, for comparison"),
    ]
    sheet = np.vstack([np.hstack(around[:3]), np.hstack(around[3:]), np.hstack(below)])
    path = folder / "rig.png"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1])
    return path


def _upright(histogram: np.ndarray) -> np.ndarray:
    """Return a histogram (rows to the right, columns ahead) as a picture with the way ahead up."""
    return _squared(np.repeat((255.0 * histogram.T[::-1, :, None]).astype(np.uint8), 3, 2))


def _squared(picture: np.ndarray) -> np.ndarray:
    """Return a square picture in the middle of a tile of 256 x 144."""
    tile = np.zeros((144, 256, 3), np.uint8)
    tile[:, 56:200] = cv2.resize(picture, (144, 144), interpolation=cv2.INTER_AREA)
    return tile


def run(quick: bool) -> list[Row]:
    """Return the rows of the benchmark table."""
    measured = measure(20 if quick else 40, 1 if quick else 5)
    bare = measured["no sensor"][0]
    return [
        Row(f"a decision, {name}", cost, "ms of processor time", "no sensor", cost / bare)
        for name, (cost, _) in measured.items()
    ]


def _spent(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(write_sheet(Path(sys.argv[1]) / "images"))
        sys.exit()
    for arm, (milliseconds, rate) in measure(30, 3).items():
        print(f"{arm:45s} {milliseconds:7.1f} ms {rate:6.1f} decisions/s")
