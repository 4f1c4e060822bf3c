"""The kernels and the torch reference, two implementations of one definition, agree on random scenes."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from craft_lightning.counterfactual import CounterfactualWorld


def differences(first, second):
    """Largest difference of each float field, relative to the scale of the field."""
    found = {}
    for name in ("returns", "first_returns", "progress", "final", "rewards", "states"):
        a, b = getattr(first, name).double(), getattr(second, name).double()
        found[name] = ((a - b).abs().max() / b.abs().max().clamp(min=1.0)).item()
    return found


@pytest.mark.parametrize("horizon", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_numba_agrees_with_torch(busy_scenes, horizon, seed):
    scene, plans, mask, grids = busy_scenes(seed=seed)
    kernels = CounterfactualWorld(horizon, backend="numba", threads=1).rollout(
        scene, plans, mask, grids, True, keep_states=True
    )
    oracle = CounterfactualWorld(horizon, backend="torch").rollout(
        scene, plans.double(), mask, grids, True, keep_states=True
    )
    assert oracle.returns.dtype == torch.float64
    gaps = differences(kernels, oracle)
    assert gaps["returns"] < 1e-4, gaps
    # The speed PID circles around its target (a gain of 5 throttle per m/s on 4 m/s2 is stiff for steps of 0.1 s) and
    # makes rounding errors grow about tenfold a second: the reference in single precision leaves its double as far.
    assert max(gaps.values()) < (1e-4 if horizon == 2.0 else 3e-3), gaps
    assert torch.equal(kernels.collision_step, oracle.collision_step)
    assert torch.equal(kernels.flags, oracle.flags)


def test_the_random_scenes_hold_every_event(busy_scenes):
    seen = torch.zeros(7, dtype=torch.int64)
    for seed in range(3):
        scene, plans, mask, grids = busy_scenes(seed=seed)
        answer = CounterfactualWorld(4.0, threads=1).rollout(scene, plans, mask, grids)
        seen += answer.flags.flatten(0, 1).sum(0)
    assert (seen > 5).all(), seen


def test_short_plans_go_on(busy_scenes):
    scene, plans, mask, grids = busy_scenes(poses=6)
    kernels = CounterfactualWorld(2.0, backend="numba", threads=1).rollout(
        scene, plans, mask, grids, True, keep_states=True
    )
    oracle = CounterfactualWorld(2.0, backend="torch").rollout(
        scene, plans.double(), mask, grids, True, keep_states=True
    )
    assert max(differences(kernels, oracle).values()) < 1e-4


def test_a_shared_vocabulary_is_the_same_as_its_copies(busy_scenes):
    scene, plans, mask, grids = busy_scenes()
    world = CounterfactualWorld(threads=1)
    shared = world.rollout(scene, plans[:1], mask, grids)
    for copies in (plans[:1].expand(len(mask), -1, -1, -1), plans[:1].repeat(len(mask), 1, 1, 1)):
        again = world.rollout(scene, copies, mask, grids)
        assert torch.equal(shared.returns, again.returns)


def test_threads_batches_and_padding_do_not_change_a_number(busy_scenes):
    scene, plans, mask, grids = busy_scenes()
    whole = CounterfactualWorld(threads=1).rollout(scene, plans, mask, grids)
    threads = CounterfactualWorld(threads=3).rollout(scene, plans, mask, grids)
    assert torch.equal(whole.returns, threads.returns)
    assert torch.equal(whole.final, threads.final)
    one = CounterfactualWorld(threads=1).rollout(scene[2:3], plans[2:3], mask[2:3], grids)
    assert torch.equal(whole.returns[2:3], one.returns)
    poisoned = torch.where(mask[..., None, None], plans, torch.nan)
    for backend in ("numba", "torch"):
        world = CounterfactualWorld(backend=backend, threads=1)
        clean, padded = world.rollout(scene, plans, mask, grids), world.rollout(scene, poisoned, mask, grids)
        assert torch.equal(clean.returns, padded.returns)
        assert (padded.returns[~mask] == 0).all()
        assert (padded.collision_step[~mask] == -1).all()


def test_moving_the_world_does_not_move_the_scores(busy_scenes):
    scene, plans, mask, grids = busy_scenes()
    here = CounterfactualWorld(threads=1).rollout(scene, plans, mask, grids)
    far = [dataclasses.replace(grid, origin=grid.origin + 1.0e5) for grid in grids]
    scene.ego_pose[:, :2] += 1.0e5
    there = CounterfactualWorld(threads=1).rollout(scene, plans, mask, far)
    assert (here.returns - there.returns).abs().max() < 1e-3


def test_distinct_counts_outcomes(busy_scenes):
    scene, plans, mask, grids = busy_scenes()
    mask[:] = True
    plans[:, 5:] = plans[:, 5:6]
    distinct = CounterfactualWorld(threads=1).rollout(scene, plans, mask, grids).distinct()
    assert ((distinct >= 2) & (distinct <= 6)).all(), distinct


SIMULATOR = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("busy", sys.argv[1])
busy = importlib.util.module_from_spec(spec); spec.loader.exec_module(busy)
from craft_lightning.counterfactual import CounterfactualWorld
scene, plans, mask, grids = busy.busy_scenes(states=3, candidates=4, agents=6)
mask[1, 2] = False
gpu = CounterfactualWorld(1.0, backend="cuda").rollout(scene, plans, mask, grids, True, keep_states=True)
oracle = CounterfactualWorld(1.0, backend="torch").rollout(scene, plans.double(), mask, grids, True, keep_states=True)
assert torch.equal(gpu.flags, oracle.flags) and torch.equal(gpu.collision_step, oracle.collision_step)
for name in ("returns", "first_returns", "progress", "final", "rewards", "states"):
    gap = (getattr(gpu, name) - getattr(oracle, name)).abs().max()
    assert gap < 1e-3, (name, gap)
print("agree", float(gpu.returns.abs().sum()))
"""


def test_cuda_simulator_runs_the_same_functions():
    path = pathlib.Path(__file__).with_name("busy_scenes.py")
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATOR, str(path)], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("agree ")
    assert float(done.stdout.split()[1]) > 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("horizon", [2.0, 4.0])
def test_a_gpu_agrees_with_the_reference(busy_scenes, horizon):
    scene, plans, mask, grids = busy_scenes(seed=1)
    oracle = CounterfactualWorld(horizon, backend="torch").rollout(
        scene, plans.double(), mask, grids, True, keep_states=True
    )
    world = CounterfactualWorld(horizon)
    answer = world.rollout(scene.to("cuda"), plans.cuda(), mask.cuda(), grids, True, keep_states=True)
    assert answer.returns.is_cuda
    gpu = dataclasses.replace(answer, **{f.name: getattr(answer, f.name).cpu() for f in dataclasses.fields(answer)})
    gaps = differences(gpu, oracle)
    assert max(gaps.values()) < (1e-4 if horizon == 2.0 else 3e-3), gaps
    assert torch.equal(gpu.collision_step, oracle.collision_step)
    assert torch.equal(gpu.flags, oracle.flags)
    again = world.rollout(scene.to("cuda"), plans.cuda(), mask.cuda(), grids, True, keep_states=True)
    assert torch.equal(again.returns, answer.returns)
