"""Times the counterfactual world's numba kernels against its torch reference, side by side in one run.

    python benchmarks/counterfactual.py [--states 64] [--candidates 64] [--agents 32] [--horizon 2.0] [--rounds 9]

Work: every state has the given number of vehicles, spread over a five-lane road with a shoulder within 60 m of the ego;
candidates accelerate, brake and turn. Backends take turns round by round, so that a busy machine slows both alike; medians.
"""

import argparse
import json
import statistics
import time

import torch

from craft_lightning.counterfactual.world import CounterfactualWorld
from craft_lightning.structures import Scene
from craft_lightning.testing.straight_road import StraightRoad, empty_scene, straight_road


def busy_road(states: int, candidates: int, agents: int, seed: int = 0) -> tuple[Scene, torch.Tensor, StraightRoad]:
    """Random scenes, candidates [states, candidates, 40, 3] and the road they are on."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    scene = empty_scene(states)
    scene.ego_motion[:, 0] = uniform(0.0, 14.0, states)
    scene.ego_pose[:, 0] = uniform(0.0, 60.0, states).double()
    scene.agents = torch.zeros(states, agents, 8)
    scene.agents[..., 0] = uniform(-60.0, 60.0, states, agents)
    lane = torch.randint(0, 5, (states, agents), generator=generator)
    scene.agents[..., 1] = lane * 3.5 + uniform(-0.3, 0.3, states, agents)
    # Not on top of the ego.
    scene.agents[..., 0] += torch.where((lane == 0) & (scene.agents[..., 0].abs() < 8.0), 20.0, 0.0)
    scene.agents[..., 2] = uniform(-0.1, 0.1, states, agents) + torch.pi * (lane >= 3)
    scene.agents[..., 3] = uniform(0.0, 12.0, states, agents)
    scene.agents[..., 4:6] = torch.tensor([4.6, 1.9])
    scene.agents[..., 6] = uniform(-3.0, 2.0, states, agents)
    scene.agents[..., 7] = uniform(-0.1, 0.1, states, agents)
    scene.agent_kind = torch.randint(1, 5, (states, agents), generator=generator)
    scene.agent_junction = torch.zeros(states, agents, dtype=torch.bool)
    scene.stop_lines[:, 0] = torch.tensor([14.0, -2.0, 14.0, 9.0])
    scene.stop_kind[:, 0] = torch.randint(0, 3, (states,), generator=generator)

    # Constant acceleration and curvature, integrated at 0.1 s.
    speed = scene.ego_motion[:, :1] + uniform(-2.0, 2.0, states, candidates)
    acceleration = uniform(-5.0, 3.0, states, candidates)
    curvature = uniform(-0.04, 0.04, states, candidates)
    time_axis = torch.arange(1, 41) * 0.1
    speeds = (speed[..., None] + acceleration[..., None] * time_axis).clamp(min=0.0)
    yaw = curvature[..., None] * (speeds * 0.1).cumsum(-1)
    plans = torch.stack([(speeds * 0.1 * yaw.cos()).cumsum(-1), (speeds * 0.1 * yaw.sin()).cumsum(-1), yaw], -1)
    return scene, plans, straight_road(3, 2, shoulder=2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--horizon", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    options = parser.parse_args()

    scene, plans, road = busy_road(options.states, options.candidates, options.agents)
    mask = torch.ones(options.states, options.candidates, dtype=torch.bool)
    threads = {"torch reference, 1 thread": 1, "numba, 1 thread": 1, "numba, 2 threads": 2}
    worlds = {
        name: CounterfactualWorld(options.horizon, backend="torch" if "torch" in name else "numba", threads=count)
        for name, count in threads.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in worlds}
    for turn in range(options.rounds + 1):
        for name, world in worlds.items():
            torch.set_num_threads(threads[name])
            start = time.perf_counter()
            world.rollout(scene, plans, mask, [road])
            if turn:  # the first round compiles and fills caches
                seconds[name].append(time.perf_counter() - start)

    slowest = statistics.median(seconds["torch reference, 1 thread"])
    rows = {
        name: {
            "milliseconds": 1e3 * statistics.median(times),
            "trajectories_per_s": options.states * options.candidates / statistics.median(times),
            "speed_up": slowest / statistics.median(times),
        }
        for name, times in seconds.items()
    }
    if options.json:
        print(json.dumps({"setting": vars(options), "rows": rows}))
        return
    steps = worlds["numba, 1 thread"].steps
    print(f"B={options.states}, G={options.candidates}, {options.agents} agents, {steps} steps, {options.rounds} rounds")
    print(f"{'backend':<28}{'ms (median)':>12}{'trajectories/s':>16}{'speed-up':>10}")
    for name, row in rows.items():
        print(
            f"{name:<28}{row['milliseconds']:>12.2f}{row['trajectories_per_s']:>16,.0f}{row['speed_up']:>9.1f}x"
        )


if __name__ == "__main__":
    main()
