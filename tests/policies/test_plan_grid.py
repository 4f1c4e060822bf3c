"""Composing paths with relative speed profiles, and building a grid that covers what was driven."""

import numpy as np
import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.coverage import coverage_report, nearest_entry
from craft_lightning.policies.grid_building import EMERGENCY, build_plan_grid
from craft_lightning.policies.plan_grid import PlanGrid, follow
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.testing.tiny_hierarchical import fan_grid


@pytest.fixture(scope="module")
def trajectories() -> np.ndarray:
    return sample_trajectories(3000, seed=1)


@pytest.fixture(scope="module")
def grid(trajectories) -> PlanGrid:
    return build_plan_grid(trajectories, paths=12, speeds=8, seed=0)


def test_plans_equal_a_loop_over_states_paths_and_profiles():
    grid = fan_grid(4, 3, num_poses=20, points=15)
    speeds = torch.tensor([0.0, 3.0, 20.0])
    found = grid.compose(speeds)
    assert found.shape == (3, 4, 3, 20, 3)
    for b, v0 in enumerate(speeds.tolist()):
        for p in range(4):
            knots = np.vstack([np.zeros(3), grid.paths[p].numpy()])
            for v in range(3):
                speed = np.minimum(np.maximum(v0 + grid.speeds[v].numpy(), 0.0), max(v0, grid.top_speed))
                s = np.cumsum(speed * 0.1)
                expected = np.stack([np.interp(s, np.arange(16), knots[:, i]) for i in range(3)], -1)
                beyond = np.maximum(s - 15.0, 0.0)[:, None] * (knots[-1] - knots[-2])[:2]
                expected[:, :2] += beyond
                np.testing.assert_allclose(found[b, p, v].numpy(), expected, atol=2e-4)


def test_speed_holds_on_a_straight_path():
    grid = PlanGrid(fan_grid(1, 2).paths, torch.zeros(1, 40), 10.0)
    plan = grid.compose(torch.tensor([7.0]))[0, 0, 0]
    torch.testing.assert_close(plan[:, 0], 0.7 * torch.arange(1, 41))
    assert not plan[:, 1:].any()
    # Beyond the top speed holding is not braking; accelerating is cut off.
    fast = PlanGrid(grid.paths, torch.full((1, 40), 2.0), 10.0).compose(torch.tensor([12.0, 9.0]))
    torch.testing.assert_close(fast[:, 0, 0, -1, 0], torch.tensor([48.0, 40.0]))


def test_nobody_drives_backwards_or_bends_after_the_end():
    grid = fan_grid(5, 4, points=10)
    plans = grid.compose(torch.tensor([0.0, 1.0, 12.0]))
    assert (plans[..., 1:, 0] - plans[..., :-1, 0] >= 0).all()
    far = follow(grid.paths, torch.tensor([10.0, 30.0]))
    torch.testing.assert_close(far[:, 0, 2], far[:, 1, 2])
    step = (far[:, 1] - far[:, 0])[:, :2] / 20.0
    torch.testing.assert_close(step, (grid.paths[:, -1] - grid.paths[:, -2])[:, :2], atol=1e-5, rtol=0)


def test_grid_covers_what_it_was_not_built_from(grid):
    fresh = torch.from_numpy(sample_trajectories(500, seed=9)).float()
    plans = grid.compose(fresh[:, 0, :2].norm(dim=-1) / 0.1).flatten(1, 2)
    report = coverage_report(plans, fresh, 0.1)
    assert report["mean"] < 1.2
    assert grid.report["coverage"]["mean"] < 1.2
    # A fan of the same size that was not built from them is far worse.
    fan = fan_grid(12, 8).compose(fresh[:, 0, :2].norm(dim=-1) / 0.1).flatten(1, 2)
    assert coverage_report(fan, fresh, 0.1)["mean"] > 1.5 * report["mean"]


def test_forced_entries_are_there(grid):
    assert not grid.paths[0, :, 1:].any()
    time = 0.1 * (torch.arange(40) + 0.5)
    torch.testing.assert_close(grid.speeds[0], -EMERGENCY * time)
    assert (grid.speeds == 0).all(1).any()
    assert (grid.speeds.mean(1).diff() > 0).all()
    assert (grid.paths[1:, 20, 1].diff() <= 0).all()


def test_nearest_plan_of_each_state_is_its_own(grid):
    plans = grid.compose(torch.tensor([2.0, 9.0])).flatten(1, 2)
    index, error = nearest_entry(plans, torch.stack([plans[0, 5], plans[1, 40]]), block=1)
    assert index.tolist() == [5, 40]
    assert error.tolist() == [0.0, 0.0]


def test_one_seed_one_grid(trajectories, grid):
    again = build_plan_grid(trajectories, paths=12, speeds=8, seed=0)
    assert again.hash == grid.hash
    assert build_plan_grid(trajectories, paths=12, speeds=8, seed=3).hash != grid.hash
    changed = PlanGrid(grid.paths, grid.speeds, grid.top_speed + 1.0, grid.dt)
    assert changed.hash != grid.hash


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"paths": torch.zeros(3, 40)}, "plan_grid.paths"),
        ({"speeds": torch.zeros(3)}, "plan_grid.speeds"),
        ({"speeds": torch.full((3, 40), torch.nan)}, "NaN"),
        ({"top_speed": 0.0}, "top_speed"),
    ],
)
def test_bad_grids_are_refused(arguments, text):
    with pytest.raises(CraftError, match=text):
        PlanGrid(**{"paths": torch.zeros(2, 40, 3), "speeds": torch.zeros(3, 40), "top_speed": 9.0, **arguments})


def test_too_little_variety_is_refused():
    line = np.zeros((60, 40, 3))
    line[..., 0] = np.arange(1, 41) * 0.5
    with pytest.raises(CraftError, match="different paths"):
        build_plan_grid(line, paths=4, speeds=2)
    with pytest.raises(CraftError, match="no feasible"):
        build_plan_grid(np.full((5, 40, 3), np.nan))
    with pytest.raises(CraftError, match="at least 1 and 2"):
        build_plan_grid(line, paths=4, speeds=1)
