"""Times PDMS, EPDMS and nuPlan's score of every candidate beside the plain counterfactual scorer, in one run.

Work: the busy road of ``benchmarks.counterfactual`` at NAVSIM's horizon of 4 s. A planner score's time is that of the
rollout that keeps its states and of all sub-scores. Arms take turns round by round; the numbers are medians of CPU
seconds with one thread, and of wall seconds on a GPU, where one is.
"""

import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.counterfactual import busy_road
from benchmarks.table import Row
from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.objectives.planner_return import PlannerReturn

REFERENCE = "CRAFT's reward alone"
KEPT = "CRAFT's reward, states kept"
HORIZON = 4.0


def measure(states: int, candidates: int, agents: int, rounds: int, device: str = "cpu") -> dict[str, float]:
    """Return the median seconds of each arm.

    Args:
        states: visited states, B.
        candidates: candidates of a state, G.
        agents: other road users of a state.
        rounds: rounds timed, after one that compiles and fills caches.
        device: where the tensors lie.

    """
    scene, plans, road = busy_road(states, candidates, agents)
    scene, plans = scene.to(device), plans.to(device)
    mask = torch.ones(states, candidates, dtype=torch.bool, device=device)
    world = CounterfactualWorld(HORIZON, threads=1)
    scorers = {"PDMS": PlannerReturn("pdms"), "EPDMS": PlannerReturn("epdms"), "nuPlan": PlannerReturn("nuplan")}

    def planner(scorer: PlannerReturn) -> Tensor:
        rollout = world.rollout(scene, plans, mask, [road], keep_states=True)
        assert rollout.states is not None
        return scorer(scene, rollout.states, mask, [road])

    arms: dict[str, Callable[[], Tensor]] = {
        REFERENCE: lambda: world.rollout(scene, plans, mask, [road]).returns,
        KEPT: lambda: world.rollout(scene, plans, mask, [road], keep_states=True).returns,
        **{name: functools.partial(planner, scorer) for name, scorer in scorers.items()},
    }
    # CPU seconds are steadier than wall seconds where other work runs; a GPU is waited for.
    clock = time.process_time if device == "cpu" else time.perf_counter
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    try:
        for turn in range(rounds + 1):
            for name, arm in arms.items():
                start = clock()
                arm().cpu()
                if turn:
                    seconds[name].append(clock() - start)
    finally:
        torch.set_num_threads(before)
    return {name: statistics.median(times) for name, times in seconds.items()}


def run(quick: bool) -> list[Row]:
    """Return the rows of the benchmark table."""
    setting = (16, 64, 32, 3) if quick else (64, 64, 32, 7)
    rows = []
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        seconds = measure(*setting, device)
        place = "1 thread" if device == "cpu" else "GPU"
        rows += [
            Row(
                f"planner scores, B={setting[0]} G={setting[1]} A={setting[2]} 4 s, {place}: {name}",
                setting[0] * setting[1] / value,
                "trajectories/s",
                f"{REFERENCE}, {place}",
                seconds[REFERENCE] / value,
            )
            for name, value in seconds.items()
        ]
    return rows
