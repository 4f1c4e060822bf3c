"""Frames and points a second of every sensor of the embedded world, through the real client, frames matched.

``python -m benchmarks.sensors`` prints the numbers.
"""

import json
import statistics

from benchmarks.cameras import ask
from craft_lightning.conventions import TICK_SECONDS

KINDS = ("rgb", "semantic_segmentation", "depth", "instance_segmentation")
SIZES = ((256, 144), (1024, 512), (1600, 900))
LIDAR_POINTS = 600_000  # a second, 64 channels

_RUN = """
rigs, ticks, repeats = json.loads(sys.argv[2])
ego = spawn("vehicle.lincoln.mkz_2020", points[10])
traffic = spawn("controller.traffic.sumo", seed=1, vehicles=30, walkers=10)
world.tick()
# Place, heading and field of view of the six cameras of Bench2Drive's agents.
around = ((0.8, 0.0, 0.0, 70), (0.27, -0.55, -55.0, 70), (0.27, 0.55, 55.0, 70), (-2.0, 0.0, 180.0, 110),
          (-0.32, -0.55, -110.0, 70), (-0.32, 0.55, 110.0, 70))
roof = carla.Transform(carla.Location(-0.39, 0.0, 1.84))
beams = dict(channels=64, range=85, points_per_second=POINTS, rotation_frequency=10, upper_fov=10, lower_fov=-30)
rates = {}

def run(name, cameras, others, count):
    rig = [
        camera(ego, width, height, carla.Transform(carla.Location(x, y, 1.6), carla.Rotation(yaw=yaw)), fov, kind)
        for kind, width, height, number in cameras for x, y, yaw, fov in around[:number]
    ]
    for other in others:
        rig.append(listen(ego, other, roof, **(beams if "lidar" in other else {})))
    world.tick()
    for _, told in rig:
        told.get(timeout=120.0)
    begin = time.perf_counter()
    for _ in range(count):
        ego.apply_control(carla.VehicleControl(throttle=0.3))
        frame = world.tick()
        for _, told in rig:
            data = told.get(timeout=30.0)
            if data.frame != frame:
                raise RuntimeError(f"frame {data.frame} instead of {frame}")
    rates.setdefault(name, []).append(count / (time.perf_counter() - begin))
    for sensor, _ in rig:
        sensor.stop()
        sensor.destroy()
    world.tick()

for _ in range(repeats):
    for name, cameras, others, share in rigs:
        run(name, cameras, others, max(round(share * ticks), 5))
print(json.dumps(rates), flush=True)
"""


def _short(kind: str) -> str:
    return kind.removesuffix("_segmentation")


def rigs() -> list[tuple[str, list[tuple[str, int, int, int]], list[str], float]]:
    """Return name, cameras (kind, width, height, number), other sensors and share of the ticks of every rig."""
    found: list[tuple[str, list[tuple[str, int, int, int]], list[str], float]] = [("no sensor", [], [], 1.0)]
    for kind in KINDS:
        for width, height in SIZES:
            for number in (1, 6):
                if width < 1600 or (kind == "rgb" and number == 6):
                    name = f"{number} x {_short(kind)} {width}x{height}"
                    found.append((name, [(kind, width, height, number)], [], 200.0 * 144 / (width * height) / number))
    found += [(other, [], [other], 0.5) for other in ("lidar.ray_cast", "lidar.ray_cast_semantic", "other.radar")]
    for width, height in SIZES[:2]:
        found.append(
            (
                f"6 x rgb {width}x{height}, lidar, radar, IMU, GNSS",
                [("rgb", width, height, 6)],
                ["lidar.ray_cast", "other.radar", "other.imu", "other.gnss"],
                0.1 if width < 1000 else 0.03,
            )
        )
    return found


def measure(ticks: int, repeats: int) -> dict[str, float]:
    """Return the median ticks a second of each rig; every measurement's frame is checked."""
    answer = ask(_RUN.replace("POINTS", str(LIDAR_POINTS)), json.dumps([rigs(), ticks, repeats]))
    return {name: statistics.median(values) for name, values in json.loads(answer).items()}


def _unit(name: str, cameras: list[tuple[str, int, int, int]], others: list[str]) -> tuple[float, str]:
    """Return what of a rig comes a tick, and its unit."""
    if cameras and not others:
        return float(cameras[0][3]), "frames/s"
    if others and "lidar" in others[0] and not cameras:
        return LIDAR_POINTS * TICK_SECONDS, "beams/s"
    return 1.0, "ticks/s"


def run(quick: bool) -> list:
    """Return the rows of the benchmark table; each camera's is compared with the RGB camera of its size."""
    from benchmarks.table import Row

    rates = measure(200 if quick else 600, 1 if quick else 3)
    rows = []
    for name, cameras, others, _ in rigs():
        times, unit = _unit(name, cameras, others)
        reference = name.replace(_short(cameras[0][0]), "rgb") if cameras and not others else "no sensor"
        rows.append(Row(f"sensors, {name}", times * rates[name], unit, reference, rates[name] / rates[reference]))
    return rows


if __name__ == "__main__":
    measured = measure(200, 2)
    for arm, kinds, more, _ in rigs():
        factor, what = _unit(arm, kinds, more)
        print(f"{arm:48s} {factor * measured[arm]:12,.0f} {what:9s} {measured[arm]:8.0f} ticks/s")
