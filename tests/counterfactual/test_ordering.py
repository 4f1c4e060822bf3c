"""Braking outscores ramming; where it does not is the documented blind zone."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import torch

from craft_lightning.conventions import AGENT_STATIC
from craft_lightning.counterfactual import CounterfactualWorld, RewardParameters
from craft_lightning.testing.straight_road import add_agent, constant_acceleration_plans, empty_scene, straight_road

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"


def _program():
    """The module benchmarks/blind_zone.py, which is no part of the installed package."""
    spec = importlib.util.spec_from_file_location("blind_zone_program", ROOT / "benchmarks" / "blind_zone.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


blind_zone = _program()


def sweep(horizon, speeds, decelerations, gaps, **options):
    return blind_zone.sweep_blind_zone(horizon, np.array(speeds), np.array(decelerations), np.array(gaps), **options)


@pytest.mark.parametrize("speed", [9.0, 10.0, 11.0, 12.0])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_braking_at_five_outscores_ramming_at_one_second(speed, backend):
    """The documented setting: an obstacle that is hit at t = 1 s, 9 to 12 m/s, braking at 5 m/s2."""
    scene = add_agent(empty_scene(speed=speed), 0, 4.6 + speed, kind=AGENT_STATIC)
    plans = constant_acceleration_plans(speed, [0.0, -5.0])[None]
    world = CounterfactualWorld(backend=backend, threads=1)
    answer = world.rollout(scene, plans, torch.ones(1, 2, dtype=torch.bool), [straight_road()])
    assert 8 <= answer.collision_step[0, 0].item() <= 11
    assert answer.returns[0, 1] > answer.returns[0, 0] + 5.0


def test_without_the_cut_after_the_collision_ramming_would_win():
    kept = RewardParameters(reward_after_collision=True)
    lost = sweep(2.0, [9.0], [5.0], [9.0], reward=kept)
    assert lost.rams.all()
    assert (lost.advantage < 0.0).all()
    assert (sweep(2.0, [9.0], [5.0], [9.0]).advantage > 5.0).all()


def test_the_blind_zone_opens_beyond_ten_metres_a_second_at_three():
    """Section 10 of the method: at 3 m/s2, cruising past the point of no return outscores braking above 10 m/s."""
    gaps = np.arange(1.0, 50.0, 0.5)
    slow = sweep(2.0, [5.0, 7.0, 9.0], [3.0], gaps)
    assert slow.too_late.sum() > 20
    assert not slow.blind.any()
    fast = sweep(2.0, [11.0, 13.0, 15.0], [3.0], gaps)
    assert fast.blind.any(axis=(1, 2)).all()


def test_a_longer_horizon_closes_it():
    gaps = np.arange(1.0, 60.0, 1.0)
    shares = []
    for horizon in (2.0, 3.0, 4.0):
        zone = sweep(horizon, [8.0, 10.0, 12.0], [2.0, 3.0, 5.0], gaps)
        shares.append(zone.blind.sum() / zone.too_late.sum())
    assert shares[0] > 2 * shares[1] > 0
    assert shares[2] < 0.02


def test_strong_braking_is_never_blind_where_it_avoids_the_crash():
    zone = sweep(2.0, np.arange(4.0, 15.0), [6.0, 8.0], np.arange(1.0, 40.0, 0.5))
    avoids = zone.gaps >= zone.speeds[:, None, None] ** 2 / (2.0 * zone.decelerations[:, None])
    assert (zone.too_late & avoids).sum() > 50
    assert not (zone.blind & avoids).any()


def test_no_positive_reward_after_a_collision():
    speeds = torch.linspace(2.0, 14.0, 13)
    scene = add_agent(empty_scene(13), 0, 12.0, kind=AGENT_STATIC)
    scene.ego_motion[:, 0] = speeds
    plans = torch.stack([constant_acceleration_plans(speed.item(), [0.0, -2.0, 2.0]) for speed in speeds])
    mask = torch.ones(13, 3, dtype=torch.bool)
    for backend in ("numba", "torch"):
        world = CounterfactualWorld(4.0, backend=backend, threads=1)
        answer = world.rollout(scene, plans, mask, [straight_road()], keep_rewards=True)
        later = torch.arange(40) > answer.collision_step[..., None]
        later &= (answer.collision_step >= 0)[..., None]
        assert later.sum() > 300
        assert (answer.rewards[later] <= 0.0).all()
        assert (answer.rewards[~later] > 0.0).any()


def test_page_and_picture_are_written(tmp_path, monkeypatch):
    small = sweep(2.0, [6.0, 12.0], [3.0, 5.0], np.arange(1.0, 40.0, 2.0))
    monkeypatch.setattr(blind_zone, "sweep_blind_zone", lambda horizon: small)
    blind_zone.main([str(tmp_path)])
    page = (tmp_path / "blind_zone.md").read_text()
    assert "| m/s | 3 m/s2 | 5 m/s2 |" in page
    assert (tmp_path / "images" / "blind_zone.png").stat().st_size > 5000


def test_the_committed_page_is_what_the_code_says():
    """One row of the page, worked out again."""
    row = sweep(2.0, [12.0], [3.0], np.arange(1.0, 60.5, 0.5))
    blind = row.gaps[row.blind[0, 0]]
    text = (DOCS / "blind_zone.md").read_text().split("## Horizon 3")[0]
    cell = next(line for line in text.splitlines() if line.startswith("| 12 |")).split("|")[3].strip()
    assert cell.endswith(f"-{blind[-1]:g}")
