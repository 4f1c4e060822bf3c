"""Times the counterfactual world's numba kernels against its torch reference, side by side in one run.

    python -m benchmarks.counterfactual [--states 64] [--candidates 64] [--agents 32] [--horizon 2.0] [--rounds 9]

Work: every state has the given number of vehicles, spread over a five-lane road with a shoulder within 60 m of the ego;
candidates accelerate, brake and turn. Backends take turns round by round, so that a busy machine slows both alike; the
numbers are medians. Where there is a GPU, the reference and the kernels run there too, on tensors that lie there.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping

import torch

from benchmarks.table import Row
from craft_lightning.counterfactual.world import Backend, CounterfactualWorld
from craft_lightning.structures import Scene
from craft_lightning.testing.straight_road import StraightRoad, empty_scene, straight_road

REFERENCE = "torch reference, 1 thread"
ARMS = {REFERENCE: 1, "numba, 1 thread": 1, "numba, 2 threads": 2}
GPU_ARMS = {"torch reference, GPU": 1, "numba.cuda, GPU": 1}


def arms() -> dict[str, int]:
    """The arms that this machine can run, with their threads."""
    return {**ARMS, **GPU_ARMS} if torch.cuda.is_available() else ARMS


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


def measure(
    states: int, candidates: int, agents: int, horizon: float, rounds: int, arms: Mapping[str, int]
) -> tuple[dict[str, float], int]:
    """Return the median seconds of each arm, and the number of steps of a rollout.

    Args:
        states: visited states, B.
        candidates: candidates of a state, G.
        agents: other road users of a state.
        horizon: seconds rolled out.
        rounds: rounds timed, after one that compiles and fills caches.
        arms: name -> threads; a name that begins with "torch" is the reference, one that ends with "GPU" runs there.

    """
    scene, plans, road = busy_road(states, candidates, agents)
    mask = torch.ones(states, candidates, dtype=torch.bool)
    worlds = {name: CounterfactualWorld(horizon, backend=_backend(name), threads=count) for name, count in arms.items()}
    work = {name: (scene, plans, mask) for name in arms if not name.endswith("GPU")}
    if len(work) < len(arms):
        there = scene.to("cuda"), plans.to("cuda"), mask.to("cuda")
        work.update(dict.fromkeys([name for name in arms if name.endswith("GPU")], there))
    seconds: dict[str, list[float]] = {name: [] for name in worlds}
    for turn in range(rounds + 1):
        for name, world in worlds.items():
            torch.set_num_threads(arms[name])
            start = time.perf_counter()
            # Reading the answer waits for the GPU.
            world.rollout(*work[name], [road]).returns.cpu()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    steps = next(iter(worlds.values())).steps
    return {name: statistics.median(times) for name, times in seconds.items()}, steps


def _backend(arm: str) -> Backend:
    if arm.startswith("torch"):
        return "torch"
    return "cuda" if arm.endswith("GPU") else "numba"


def run(quick: bool) -> list[Row]:
    """Return the rows of the benchmark table."""
    setting = (16, 64, 32, 2.0, 3) if quick else (64, 64, 32, 2.0, 9)
    seconds, steps = measure(*setting, arms())
    work = setting[0] * setting[1]
    return [
        Row(
            f"counterfactual, B={setting[0]} G={setting[1]} A={setting[2]} T={steps}: {name}",
            work / value,
            "trajectories/s",
            REFERENCE,
            seconds[REFERENCE] / value,
        )
        for name, value in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--horizon", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--arms", nargs="*", default=list(arms()), help="which to time; the first is the reference")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    options = parser.parse_args()

    chosen = {name: arms()[name] for name in options.arms}
    reference = next(iter(chosen))
    seconds, steps = measure(
        options.states, options.candidates, options.agents, options.horizon, options.rounds, chosen
    )
    rows = {
        name: {
            "milliseconds": 1e3 * value,
            "trajectories_per_s": options.states * options.candidates / value,
            "speed_up": seconds[reference] / value,
        }
        for name, value in seconds.items()
    }
    if options.json:
        print(json.dumps({"setting": vars(options), "rows": rows}))
        return
    print(
        f"B={options.states}, G={options.candidates}, {options.agents} agents, {steps} steps, {options.rounds} rounds"
    )
    print(f"{'backend':<28}{'ms (median)':>12}{'trajectories/s':>16}{'speed-up':>10}")
    for name, row in rows.items():
        print(f"{name:<28}{row['milliseconds']:>12.2f}{row['trajectories_per_s']:>16,.0f}{row['speed_up']:>9.1f}x")


if __name__ == "__main__":
    main()
