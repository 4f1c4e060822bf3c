import numpy as np
import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.building import build_vocabulary
from craft_lightning.policies.coverage import coverage_report, mean_speed, nearest_entry
from craft_lightning.policies.feasibility import Limits, braking_entries, feasible
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vocabulary import Vocabulary, load_vocabulary
from craft_lightning.testing.tiny import random_vocabulary


@pytest.fixture(scope="module")
def trajectories() -> np.ndarray:
    return sample_trajectories(4000, seed=1)


@pytest.fixture(scope="module")
def vocabulary(trajectories) -> Vocabulary:
    return build_vocabulary(trajectories, size=64, seed=0)


def straight(speed: np.ndarray, poses: int = 40, dt: float = 0.1) -> np.ndarray:
    """One straight trajectory from speeds [poses]."""
    result = np.zeros((1, poses, 3))
    result[0, :, 0] = np.cumsum(speed * dt)
    return result


def rms(entries: torch.Tensor) -> torch.Tensor:
    gap = entries[:, None, :, :2].double() - entries[None, :, :, :2].double()
    return gap.square().sum(-1).mean(-1).sqrt()


def test_exact_size_and_horizon(vocabulary):
    assert vocabulary.trajectories.shape == (64, 40, 3)
    assert vocabulary.trajectories.dtype == torch.float32


def test_stop_and_emergency_entries_come_first(vocabulary):
    entries = vocabulary.trajectories
    assert not entries[0].any()
    count = vocabulary.report["braking_entries"]
    assert count >= 5
    step = torch.diff(entries[1:count, :, 0], dim=1, prepend=torch.zeros(count - 1, 1)) / 0.1
    first = step[:, 0]
    # Brakes at 6 m/s^2 from 2.5, 5, 7.5 ... m/s and stands at the end: the first step is v - a dt / 2.
    torch.testing.assert_close(first, 2.5 * torch.arange(1, count) - 0.3, atol=1e-4, rtol=0)
    assert (step[:, -1] == 0).all()
    torch.testing.assert_close(entries[2, -1, 0].item(), 5.0**2 / 12.0, atol=1e-5, rtol=0)


def test_no_near_duplicates(vocabulary):
    distance = rms(vocabulary.trajectories).fill_diagonal_(torch.inf)
    assert distance.min() >= 0.1


def test_entries_are_given_trajectories(vocabulary, trajectories):
    given = torch.from_numpy(trajectories.astype(np.float32))
    rest = vocabulary.trajectories[vocabulary.report["braking_entries"] :]
    assert all((given == entry).all((1, 2)).any() for entry in rest)
    speeds = mean_speed(rest.numpy(), 0.1)
    assert (np.diff(speeds) >= -1e-6).all()


def test_same_seed_same_hash(trajectories, vocabulary):
    assert build_vocabulary(trajectories, size=64, seed=0).hash == vocabulary.hash
    assert build_vocabulary(torch.from_numpy(trajectories), size=64, seed=0).hash == vocabulary.hash
    assert build_vocabulary(trajectories, size=64, seed=1).hash != vocabulary.hash


def test_report_is_of_held_out_trajectories(vocabulary):
    coverage = vocabulary.report["coverage"]
    assert coverage["count"] == 400
    assert sum(part["count"] for part in coverage["speed_bins"].values()) == 400
    assert 0 < coverage["mean"] < coverage["p95"] < coverage["max"]
    # 64 entries reach 0.9 m here when built from five times as many trajectories.
    assert coverage["mean"] < 1.3


def test_more_entries_cover_more(trajectories, vocabulary):
    larger = build_vocabulary(trajectories, size=192, seed=0)
    assert larger.report["coverage"]["mean"] < 0.8 * vocabulary.report["coverage"]["mean"]


def test_rare_turns_survive_much_cruising(trajectories):
    cruising = straight(np.full(40, 8.0)) + np.random.default_rng(0).normal(0, 0.02, (6000, 1, 1)) * np.array([1, 1, 0])
    turns = trajectories[np.abs(trajectories[:, -1, 2]) > 0.8][:60]
    found = build_vocabulary(np.concatenate([cruising, turns]), size=32, seed=0)
    assert (found.trajectories[:, -1, 2].abs() > 0.8).sum() >= 15


def test_tail_sampling_lowers_the_worst_case(trajectories):
    bulk = build_vocabulary(trajectories, size=128, seed=0, tail_share=0.0).report["coverage"]
    both = build_vocabulary(trajectories, size=128, seed=0, tail_share=0.5).report["coverage"]
    assert both["max"] < bulk["max"]


def test_nearest_entry_matches_a_plain_loop():
    entries = random_vocabulary(5).trajectories
    goals = random_vocabulary(7, seed=3).trajectories
    index, error = nearest_entry(entries, goals, block=3)
    for goal, i, e in zip(goals, index, error, strict=True):
        distances = [(goal[:, :2] - entry[:, :2]).norm(dim=1).mean().item() for entry in entries]
        assert i == int(np.argmin(distances))
        assert e.item() == pytest.approx(min(distances), abs=1e-5)


def test_coverage_bins_by_speed():
    goals = torch.from_numpy(np.concatenate([straight(np.full(40, v)) for v in (0.0, 4.0, 4.0, 20.0)])).float()
    report = coverage_report(goals[:1], goals, 0.1)
    assert {name: part["count"] for name, part in report["speed_bins"].items()} == {
        "0.0-0.5": 1,
        "3.0-6.0": 2,
        "12.0-inf": 1,
    }
    # Distance to standing still: the mean of v t over t = 0.1 ... 4 s is 2.05 v.
    assert report["speed_bins"]["3.0-6.0"]["mean"] == pytest.approx(8.2, abs=1e-3)


def test_feasibility_limits():
    time = np.arange(1, 41) * 0.1
    circle = np.zeros((2, 40, 3))
    for row, speed in enumerate((6.0, 8.0)):  # v^2 / 10 m = 3.6 and 6.4 m/s^2
        angle = speed * time / 10.0
        circle[row] = np.stack([10 * np.sin(angle), 10 * (1 - np.cos(angle)), angle], 1)
    cases = np.concatenate(
        [
            straight(np.full(40, 10.0)),
            straight(3.9 * time),
            straight(4.2 * time),
            straight(np.maximum(12.0 - 7.8 * time, 0)),
            straight(np.maximum(12.0 - 8.4 * time, 0)),
            straight(np.full(40, -1.0)),
            circle,
            braking_entries(10.0, 40, 0.1)[1:2],
        ]
    )
    found = feasible(cases, 0.1, Limits())
    assert found.tolist() == [True, True, False, True, False, False, True, False, True]


def test_feasibility_is_the_same_past_half_a_turn():
    angle = 3.0 * np.arange(1, 101) * 0.1 / 8.0  # beyond pi, wrapped as headings usually are
    loop = np.stack([8 * np.sin(angle), 8 * (1 - np.cos(angle)), np.arctan2(np.sin(angle), np.cos(angle))], 1)[None]
    assert feasible(loop, 0.1, Limits()).all()


def test_infeasible_and_broken_rows_are_dropped_and_counted(trajectories):
    bad = trajectories[:7].copy()
    bad[:3] = np.nan
    bad[3:, :, 0] *= -1.0
    moving = (trajectories[3:7, -1, 0] > 1).sum()
    report = build_vocabulary(np.concatenate([trajectories, bad]), size=32).report
    assert report["not_finite"] == 3
    assert report["infeasible"] == moving


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.zeros((10, 40, 2)), "give"),
        (np.zeros((10, 40, 3)), "cannot fill"),
        (np.zeros((400, 40, 3)), "differ by"),
    ],
)
def test_useless_trajectories_are_refused(given, text):
    with pytest.raises(CraftError, match=text):
        build_vocabulary(given, size=16)


def test_random_trajectories_are_drivable_and_reproducible():
    first, second = sample_trajectories(500, seed=3), sample_trajectories(500, seed=3)
    assert np.array_equal(first, second)
    assert feasible(first, 0.1, Limits()).all()
    assert (np.abs(first[:, -1, 2]) > 0.8).sum() > 20


def test_file_round_trip(tmp_path, vocabulary):
    path = tmp_path / "folder" / "vocabulary.safetensors"
    vocabulary.save(path)
    loaded = load_vocabulary(path)
    assert loaded.hash == vocabulary.hash
    assert loaded.report == vocabulary.report
    assert torch.equal(loaded.trajectories, vocabulary.trajectories)


def test_hash_sees_order_values_and_time_step():
    entries = random_vocabulary(4).trajectories
    hashes = {
        Vocabulary(entries).hash,
        Vocabulary(entries.flip(0)).hash,
        Vocabulary(entries + 1e-4).hash,
        Vocabulary(entries, 0.2).hash,
        Vocabulary(entries[:, :20]).hash,
    }
    assert len(hashes) == 5
    assert Vocabulary(entries.double()).hash == Vocabulary(entries).hash


def test_broken_entries_are_refused():
    with pytest.raises(CraftError, match="shape"):
        Vocabulary(torch.zeros(3, 40, 2))
    with pytest.raises(CraftError, match="NaN"):
        Vocabulary(torch.full((3, 40, 3), torch.nan))
