"""Metrics over two processes equal those of one, whatever is seen twice and whoever sees nothing."""

import json
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from craft_lightning.metrics import (
    DrivingEfficiency,
    DrivingScore,
    InfractionScore,
    InfractionsPerKm,
    MultiAbility,
    NuPlanClosedLoopScore,
    PDMScore,
    RouteCompletion,
    RouteRecord,
    SuccessRate,
)


def record(index: int, completion: float = 100.0, **more) -> RouteRecord:
    status = "Completed" if completion == 100.0 else "Failed"
    return RouteRecord(route_id=f"r{index}", index=index, status=status, route_completion=completion, **more)


SUITE = [
    record(0, min_speed=(120.0, 80.0), scenario="T_Junction", length_m=100.0),
    record(1, red_light=1, scenario="T_Junction", length_m=200.0),
    record(2, 50.0, min_speed=(30.0,), scenario="Accident", length_m=100.0),
    record(3, 80.0, collisions_vehicle=2),
]
SCENES = "abcd"
PLANNED = {
    "no_at_fault_collisions": [1.0, 0.5, 0.0, 1.0],
    "drivable_area_compliance": [1.0, 1.0, 1.0, 1.0],
    "ego_progress": [0.6, 1.0, 1.0, 0.0],
    "time_to_collision_within_bound": [1.0, 1.0, 0.0, 0.0],
    "comfort": [1.0, 0.0, 1.0, 1.0],
}
CLOSED_LOOP = {"no_ego_at_fault_collisions": [1.0, 1.0, 0.0, 0.5], "ego_is_comfortable": [1.0, 0.0, 1.0, 1.0]}
# A route and a scene come on both ranks, as a distributed sampler pads; every other metric gets nothing on the second.
ROUTES = ((0, 1), (1, 2, 3)), ((0, 1, 2, 3), ())
PLANS = ((0, 1), (1, 2, 3)), ((0, 1, 2, 3), ())


def numbers(part: int | None) -> list[float]:
    """All numbers of the metrics, fed with the part of one rank or (None) with everything."""
    driving = [DrivingScore(), RouteCompletion(), InfractionScore(), SuccessRate()]
    driving += [DrivingEfficiency(), MultiAbility(), InfractionsPerKm()]
    for number, metric in enumerate(driving):
        if shard := [record for record in SUITE if part is None or record.index in ROUTES[number % 2][part]]:
            metric.update(shard)
    planner = [(PDMScore(version=1), PLANNED), (NuPlanClosedLoopScore(), CLOSED_LOOP)]
    for number, (metric, columns) in enumerate(planner):
        if scenes := [scene for scene in range(4) if part is None or scene in PLANS[number][part]]:
            taken = {name: [values[scene] for scene in scenes] for name, values in columns.items()}
            metric.update(taken, [SCENES[scene] for scene in scenes])
    values = [metric.compute() for metric in (*driving, *(metric for metric, _ in planner))]
    flat = [item for value in values for item in (value.values() if isinstance(value, dict) else [value])]
    return [-1.0 if torch.isnan(item) else float(item) for item in flat]


def test_two_ranks_equal_one_process(tmp_path):
    words = [sys.executable, __file__, f"file://{tmp_path}/meeting"]
    ranks = [subprocess.Popen([*words, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    expected = numbers(None)
    assert len(set(expected)) > 6
    for rank in ranks:
        output, _ = rank.communicate(timeout=240)
        assert rank.returncode == 0
        assert json.loads(output.splitlines()[-1]) == pytest.approx(expected, abs=1e-6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=sys.argv[1], rank=int(sys.argv[2]), world_size=2)
    print(json.dumps(numbers(int(sys.argv[2]))))
    dist.destroy_process_group()
