"""The tracker and the bicycle that every world shares."""

import math
import subprocess
import sys

import numpy as np
import pytest

from craft_lightning import control_parameters, elementary
from craft_lightning.control import (
    BicycleParameters,
    Tracker,
    TrackerParameters,
    aim_point,
    bicycle_step,
    measure_plan,
)
from craft_lightning.errors import CraftError

BICYCLE = BicycleParameters().as_array().astype(float).tolist()
FREE = BicycleParameters(drag=0.0).as_array().astype(float).tolist()


def straight_plan(speed, poses=40):
    plan = np.zeros((poses, 3))
    plan[:, 0] = 0.1 * speed * np.arange(1, poses + 1)
    return plan


def drive(tracker, pose, speed, steps, plan_of=None, parameters=BICYCLE):
    """Poses and speeds [steps, 4]; ``plan_of(speed)`` gives a new plan every five steps."""
    out = []
    for step in range(steps):
        if plan_of is not None and step % 5 == 0:
            tracker.plan(plan_of(speed), pose)
        throttle, steer, brake = tracker.control(pose, speed)
        x, y, yaw, speed = bicycle_step(*pose, speed, throttle, steer, brake, 2.8, 0.1, parameters)
        pose = (x, y, yaw)
        out.append((*pose, speed))
    return np.array(out)


def test_elementary_functions_keep_their_errors():
    t = np.linspace(-1.0, 1.0, 2001)
    assert max(abs(elementary.small_sine(x) - math.sin(x)) for x in t) < 3e-6
    assert max(abs(elementary.small_sine(x) - math.sin(x)) for x in 0.4 * t) < 1e-9
    assert max(abs(elementary.small_cosine(x) - math.cos(x)) for x in t) < 3e-7
    assert max(abs(elementary.tangent(x) - math.tan(x)) for x in 1.4 * t) < 2e-6
    assert max(abs(elementary.decaying_exponential(x) - math.exp(-x)) for x in 60.0 * np.abs(t)) < 2e-6
    angles = math.pi * np.linspace(-0.99999, 0.99999, 2001)
    found = [elementary.arctangent(3.0 * math.sin(a), 3.0 * math.cos(a)) for a in angles]
    assert np.abs(np.array(found) - angles).max() < 3e-7
    assert elementary.arctangent(0.0, 0.0) == 0.0


def test_indices_name_the_fields():
    for settings in (TrackerParameters(), BicycleParameters()):
        for position, name in enumerate(settings.__dataclass_fields__):
            assert getattr(control_parameters, name.upper()) == position
            assert settings.as_array()[position] == np.float32(getattr(settings, name))
        assert settings.as_array().dtype == np.float32


def test_bicycle_goes_straight_and_keeps_its_speed_without_drag():
    assert bicycle_step(1.0, 2.0, math.pi / 2, 5.0, 0.0, 0.0, 0.0, 2.8, 0.1, FREE) == pytest.approx(
        (1.0, 2.5, math.pi / 2, 5.0)
    )


def test_bicycle_accelerates_and_never_reverses():
    *_, speed = bicycle_step(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.8, 0.1, BICYCLE)
    assert speed == pytest.approx(0.4)
    x, _, _, speed = bicycle_step(0.0, 0.0, 0.0, 0.3, 0.0, 0.0, 1.0, 2.8, 0.1, BICYCLE)
    assert speed == 0.0
    assert 0.0 < x < 0.03


@pytest.mark.parametrize("steer", [-0.5, 0.2, 1.0])
def test_bicycle_drives_the_circle_of_its_geometry(steer):
    # The centre's radius is wheelbase / (2 sin b), b = atan(tan(d) / 2).
    slip = math.atan(0.5 * math.tan(0.6 * steer))
    radius = 2.8 / (2.0 * math.sin(slip))
    x = y = yaw = 0.0
    speed = 3.0
    for _ in range(50):
        x, y, yaw, speed = bicycle_step(x, y, yaw, speed, 0.0, steer, 0.0, 2.8, 0.1, FREE)
        # Its centre lies at a right angle to the direction of motion yaw + b.
        centre = (-radius * math.sin(slip), radius * math.cos(slip))
        assert math.hypot(x - centre[0], y - centre[1]) == pytest.approx(abs(radius), rel=2e-3)
    assert yaw == pytest.approx(15.0 / radius, rel=1e-5)  # five seconds at 3 m/s
    assert (yaw > 0.0) == (steer > 0.0)


def test_lateral_acceleration_is_limited():
    _, _, yaw, _ = bicycle_step(0.0, 0.0, 0.0, 20.0, 0.0, 1.0, 0.0, 2.8, 0.1, FREE)
    assert yaw / 0.1 * 20.0 == pytest.approx(8.0, rel=1e-5)


def test_aim_point_on_a_bend_and_beyond_the_end():
    plan = [[0.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 3.0]]
    arc, direction = [0.0] * 4, [[0.0, 0.0] for _ in range(4)]
    measure_plan(plan, 4, math.pi, arc, direction)
    assert arc == [0.0, 4.0, 4.0, 7.0]
    for hint in range(4):
        assert aim_point(plan, arc, direction, 3, 0, hint, 1.0, 0.5, 2.0)[:3] == pytest.approx((3.0, 0.0, 0))
        assert aim_point(plan, arc, direction, 3, 0, hint, 1.0, 0.5, 4.0)[:3] == pytest.approx((4.0, 1.0, 0))
    # 7 m of arc, then straight on along the last yaw, pi.
    assert aim_point(plan, arc, direction, 3, 0, 0, 1.0, 0.0, 8.0)[:2] == pytest.approx((2.0, 3.0))
    # Past the corner the projection has moved on, and it never moves back.
    assert aim_point(plan, arc, direction, 3, 0, 0, 4.5, 1.0, 1.0)[:3] == pytest.approx((4.0, 2.0, 2))
    assert aim_point(plan, arc, direction, 3, 2, 0, 1.0, 0.0, 1.0)[:3] == pytest.approx((4.0, 1.0, 2))


def test_first_command_by_hand():
    # Aim 0.5 * 4 + 2.5 -> 5 m ahead, at 0.1 rad to the left; desired 4.1 m/s, so 0.1 m/s too slow.
    plan = straight_plan(4.1)
    cos, sin = math.cos(0.1), math.sin(0.1)
    plan[:, 1] = plan[:, 0] * sin
    plan[:, 0] *= cos
    tracker = Tracker()
    tracker.plan(plan, (0.0, 0.0, 0.0))
    throttle, steer, brake = tracker.control((0.0, 0.0, 0.0), 4.0)
    error = 0.1 / (math.pi / 2)
    assert steer == pytest.approx(1.25 * error + 0.75 * error / 20 + 0.3 * error, abs=1e-6)
    assert throttle == pytest.approx(5.0 * 0.1 + 0.5 * 0.1 / 20 + 1.0 * 0.1, abs=1e-6)
    assert brake == 0.0
    # The second call: the same errors, so no derivative and twice the sum.
    throttle, steer, _ = tracker.control((0.0, 0.0, 0.0), 4.0)
    assert steer == pytest.approx(1.25 * error + 0.75 * 2 * error / 20, abs=1e-6)
    assert throttle == pytest.approx(5.0 * 0.1 + 0.5 * 0.2 / 20, abs=1e-6)


@pytest.mark.parametrize(
    ("desired", "speed", "brakes"), [(0.39, 0.0, True), (0.41, 0.0, False), (5.0, 5.4, False), (5.0, 5.6, True)]
)
def test_braking_thresholds(desired, speed, brakes):
    tracker = Tracker()
    tracker.plan(straight_plan(desired), (0.0, 0.0, 0.0))
    throttle, _, brake = tracker.control((0.0, 0.0, 0.0), speed)
    assert brake == float(brakes)
    assert (throttle > 0.0) == (not brakes and desired > speed)


def test_stop_plan_stands():
    path = drive(Tracker(), (5.0, -3.0, 0.7), 10.0, 40, lambda _: np.zeros((40, 3)))
    assert path[-1, 3] == 0.0
    # Straight on along the heading: the offset to the line through the start.
    across = -math.sin(0.7) * (path[:, 0] - 5.0) + math.cos(0.7) * (path[:, 1] + 3.0)
    assert np.abs(across).max() < 1e-9
    assert np.hypot(path[-1, 0] - 5.0, path[-1, 1] + 3.0) < 7.5


@pytest.mark.parametrize("speed", [3.0, 8.0, 14.0])
def test_returns_to_a_line_beside_it(speed):
    tracker = Tracker()
    plan = straight_plan(speed, 100)
    plan[:, 1] = -0.5
    tracker.plan(plan, (0.0, 0.0, 0.0))
    path = drive(tracker, (0.0, 0.0, 0.0), speed, 90)
    assert np.abs(path[40:, 1] + 0.5).max() < 0.2
    assert np.abs(path[80:, 1] + 0.5).max() < 0.05
    assert path[20:, 3] == pytest.approx(np.full(70, speed), abs=0.35)


def test_reaches_a_desired_speed_from_standing():
    path = drive(Tracker(), (0.0, 0.0, 0.0), 0.0, 60, lambda _: straight_plan(8.0))
    assert path[-1, 3] == pytest.approx(8.0, abs=0.3)
    assert path[:, 3].max() < 8.8


def test_windows_live_across_plans_until_reset():
    plan = straight_plan(6.0)
    plan[:, 1] = 0.3
    first, second = Tracker(), Tracker()
    for _ in range(3):
        first.plan(plan, (0.0, 0.0, 0.0))
        memory = first.control((0.0, 0.0, 0.0), 5.9)
    second.plan(plan, (0.0, 0.0, 0.0))
    assert memory != second.control((0.0, 0.0, 0.0), 5.9)
    first.reset()
    second.reset()
    first.plan(plan, (0.0, 0.0, 0.0))
    second.plan(plan, (0.0, 0.0, 0.0))
    assert first.control((0.0, 0.0, 0.0), 5.9) == second.control((0.0, 0.0, 0.0), 5.9)


def test_errors_name_the_plan():
    tracker = Tracker()
    with pytest.raises(CraftError, match="before Tracker.plan"):
        tracker.control((0.0, 0.0, 0.0), 1.0)
    with pytest.raises(CraftError, match=r"shape \[T, 3\]"):
        tracker.plan(np.zeros((4, 2)), (0.0, 0.0, 0.0))
    with pytest.raises(CraftError, match="NaN"):
        tracker.plan(np.full((4, 3), np.nan), (0.0, 0.0, 0.0))
    with pytest.raises(CraftError, match=r"TrackerParameters.window"):
        TrackerParameters(window=0)
    with pytest.raises(CraftError, match=r"BicycleParameters.max_steer"):
        BicycleParameters(max_steer=1.5)


def test_control_needs_neither_torch_nor_numba():
    code = "import sys, craft_lightning.control; print('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
