import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from craft_lightning.errors import CraftError
from craft_lightning.metrics.comfort import comfortable, savgol, smoothness
from craft_lightning.metrics.motion import Motion


def drive(seed: int, count: int, turn: float = 0.3, jitter: float = 0.5) -> Motion:
    """A drive with random accelerations, so that about half of its pieces are comfortable."""
    generator = np.random.default_rng(seed)
    time = 0.05 * np.arange(count)
    rate = turn * np.sin(0.3 * time + seed)
    yaw = np.cumsum(rate) * 0.05
    along = jitter * np.cumsum(generator.normal(size=count)) * 0.15
    acceleration = along[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], 1) + generator.normal(0, 0.02, (count, 2))
    return Motion.from_world(np.zeros((count, 2)), yaw, rate, acceleration)


def circle(speed: float, radius: float, count: int = 60) -> Motion:
    """A steady turn to the left."""
    rate = speed / radius
    yaw = rate * 0.05 * np.arange(count)
    inward = speed * rate * np.stack([-np.sin(yaw), np.cos(yaw)], 1)
    place = radius * np.stack([np.sin(yaw), 1 - np.cos(yaw)], 1)
    return Motion.from_world(place, yaw, np.full(count, rate), inward)


def official(motion: Motion) -> list[bool]:
    """The published procedure with scipy's filter, a piece at a time."""
    size = 20 if len(motion) > 20 else len(motion)
    found = []
    for start in range(0, len(motion) - size + 1, size):
        part = slice(start, start + size)
        acceleration = motion.acceleration[part, :2]
        rate = motion.angular_velocity[part, 2].copy()
        rate[1:] -= 2 * np.pi * np.cumsum(np.round(np.diff(rate) / (2 * np.pi)))
        window = {"window_length": min(7, size), "polyorder": 2}
        lon = savgol_filter(np.einsum("ij,ij->i", acceleration, motion.forward_vector[part, :2]), **window)
        lat = savgol_filter(np.einsum("ij,ij->i", acceleration, motion.right_vector[part, :2]), **window)
        size_of = savgol_filter(np.hypot(*acceleration.T), **window)
        jerk, lon_jerk = (savgol_filter(item, deriv=1, delta=0.1, **window) for item in (size_of, lon))
        rate = savgol_filter(rate, **window)
        limits = ((lat, 4.89), (jerk, 8.37), (lon_jerk, 4.13), (rate, 1.93), (rate, 0.95))
        fine = ((lon > -4.05) & (lon < 2.40)).all() and all((np.abs(item) < top).all() for item, top in limits)
        found.append(bool(fine))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 60), st.integers(0, 1), st.sampled_from([0.05, 0.1, 1.0]))
def test_the_filter_equals_scipy(seed, count, derivative, delta):
    values = np.random.default_rng(seed).normal(size=(2, count))
    window = min(7, count)
    if window % 2 == 0 and window != count:
        return
    expected = savgol_filter(values, window_length=window, polyorder=2, deriv=derivative, delta=delta, axis=-1)
    np.testing.assert_allclose(savgol(values, derivative, delta), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("count", [3, 4, 6, 7, 20, 21, 39, 40, 45, 200])
def test_strict_equals_the_published_procedure(count):
    seen = set()
    for seed in range(12):
        motion = drive(seed, count, turn=0.002 if seed % 3 else 0.3, jitter=0.2 + 0.1 * (seed % 5))
        expected = official(motion)
        assert comfortable(motion, strict=True).tolist() == expected
        seen |= set(expected)
    if count > 20:
        assert seen == {True, False}


def test_a_gentle_turn_fails_in_degrees_and_passes_in_radians():
    motion = circle(6.0, 20.0)
    assert smoothness(motion, strict=True) == 0.0
    assert smoothness(motion, strict=False) == 1.0


def test_repaired_bounds_hold_where_strict_ones_do_not():
    # 5.3 m/s2 sideways, and 1.2 rad/s: each beyond one bound.
    assert smoothness(circle(14.0, 37.0), strict=False) == 0.0
    assert smoothness(circle(3.0, 2.5), strict=False) == 0.0
    # Braking that grows by 6 m/s3 is rough at its true rate and passes at half of it.
    yaw = np.zeros(20)
    motion = Motion.from_world(np.zeros((20, 2)), yaw, yaw, np.stack([-6.0 * 0.05 * np.arange(20) + 2.0, yaw], 1))
    assert smoothness(motion, strict=True) == 1.0
    assert smoothness(motion, strict=False) == 0.0
    # A yaw rate that swings quickly within its bound.
    swing = 0.5 * np.sin(2 * np.pi * np.arange(20) * 0.05)
    motion = Motion.from_world(np.zeros((20, 2)), yaw, swing, np.zeros((20, 2)))
    assert smoothness(motion, strict=False) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.floats(-3.1, 3.1), st.floats(-500, 500), st.booleans())
def test_comfort_does_not_depend_on_where_and_whither(seed, angle, shift, strict):
    count = 60
    generator = np.random.default_rng(seed)
    rate = 0.2 * generator.normal(size=count).cumsum() * 0.05
    yaw = rate.cumsum() * 0.05
    acceleration = generator.normal(0, 0.3, (count, 2)).cumsum(axis=0) * 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = generator.normal(size=(count, 2))
    here = Motion.from_world(place, yaw, rate, acceleration)
    there = Motion.from_world(place @ turn.T + shift, yaw + angle, rate, acceleration @ turn.T)
    assert comfortable(here, strict).tolist() == comfortable(there, strict).tolist()


def test_two_samples_are_too_few():
    with pytest.raises(CraftError, match="at least 3 samples"):
        smoothness(drive(0, 2))
