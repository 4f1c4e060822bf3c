"""The decay rollout of the others against motion worked out by hand, in both implementations."""

import math

import numpy as np
import pytest
import torch

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.counterfactual import DecayParameters, reference
from craft_lightning.counterfactual.motion import decay_rollout
from craft_lightning.testing.straight_road import add_agent, empty_scene

STEPS = 20


def roll(junction=False, parameters=None, **agent):
    """x, y and yaw after every step, [STEPS, 3], from the kernel; checked against the reference."""
    parameters = parameters or DecayParameters()
    scene = add_agent(empty_scene(), 0, **agent)
    scene.agent_junction[:] = junction
    poses, box = np.zeros((STEPS, 4)), np.zeros(7)
    row = scene.agents[0, 0].double().numpy()
    decay_rollout(
        row, int(scene.agent_kind[0, 0]), junction, 0.1, STEPS, parameters.as_array().astype(float), poses, box
    )
    motion = reference.decay_rollout(scene, STEPS, parameters, torch.float64)
    assert np.allclose(motion.x[0, 0].numpy(), poses[:, 0], atol=1e-5)
    assert np.allclose(motion.y[0, 0].numpy(), poses[:, 1], atol=1e-5)
    assert np.allclose(motion.cos[0, 0].numpy(), poses[:, 2], atol=1e-5)
    radius = math.hypot(scene.agents[0, 0, 4] / 2, scene.agents[0, 0, 5] / 2)
    assert box[0] <= poses[:, 0].min() - radius + 1e-6
    assert box[3] >= poses[:, 1].max() + radius - 1e-6
    return np.stack([poses[:, 0], poses[:, 1], np.arctan2(poses[:, 3], poses[:, 2])], -1)


def travelled(speed, acceleration, ramp, brake=4.952, hold=0.5):
    """Metres after every step: accelerations at the middle of each step, speeds never below 0."""
    metres, out = 0.0, []
    for step in range(STEPS):
        fade = min(max(((step + 0.5) * 0.1 - hold) / ramp, 0.0), 1.0)
        pedal, braking = max(acceleration, 0.0), max(-acceleration, 0.0)
        change = pedal * (1 - fade) - (braking + (max(brake, braking) - braking) * fade)
        faster = max(speed + 0.1 * change, 0.0)
        metres += 0.05 * (speed + faster)
        speed = faster
        out.append(metres)
    return out


@pytest.mark.parametrize(("junction", "ramp"), [(False, 1.0), (True, 0.5)])
@pytest.mark.parametrize("acceleration", [0.0, 2.0, -3.0, -7.0])
def test_vehicle_holds_then_brakes(junction, ramp, acceleration):
    path = roll(junction, x=5.0, y=1.0, speed=8.0, acceleration=acceleration)
    assert path[:, 0] - 5.0 == pytest.approx(np.array(travelled(8.0, acceleration, ramp)), abs=1e-5)
    assert path[:, 1] == pytest.approx(np.ones(STEPS))


def test_hold_is_exact():
    # For 0.5 s: 8 m/s and 2 m/s2 make 8 * 0.5 + 0.25 m.
    assert roll(x=0.0, speed=8.0, acceleration=2.0)[4, 0] == pytest.approx(4.25, abs=1e-5)


def test_stops_and_stays():
    path = roll(x=0.0, speed=2.0)
    assert path[-1, 0] == pytest.approx(path[-5, 0])


def test_reversing_vehicle_decays_too():
    path = roll(x=0.0, speed=-3.0, acceleration=0.0)
    assert path[:, 0] == pytest.approx(-np.array(travelled(3.0, 0.0, 1.0)), abs=1e-5)


def test_curvature_is_kept():
    # 5 m/s at 0.5 rad/s: a circle of 10 m; after the hold the radius stays while the speed falls.
    path = roll(x=0.0, speed=5.0, yaw_rate=0.5, parameters=DecayParameters(wheelbase_share=0.0))
    arc = np.array(travelled(5.0, 0.0, 1.0))
    assert path[:, 2] == pytest.approx(arc / 10.0, abs=1e-5)
    assert path[:, 0] == pytest.approx(10.0 * np.sin(arc / 10.0), abs=2e-3)
    assert path[:, 1] == pytest.approx(10.0 * (1.0 - np.cos(arc / 10.0)), abs=2e-3)


def test_a_standing_vehicle_with_a_yaw_rate_stays():
    assert roll(x=3.0, speed=0.3, yaw_rate=1.0)[:, 2] == pytest.approx(np.zeros(STEPS))


@pytest.mark.parametrize("kind", [AGENT_WALKER, AGENT_CYCLIST])
def test_walkers_and_cyclists_keep_their_velocity(kind):
    path = roll(x=1.0, y=2.0, yaw=math.pi / 2, speed=1.5, acceleration=-3.0, yaw_rate=0.3, kind=kind)
    assert path[:, 1] == pytest.approx(2.0 + 0.15 * np.arange(1, STEPS + 1), abs=1e-5)
    assert path[:, 0] == pytest.approx(np.ones(STEPS), abs=1e-5)


def test_static_objects_stay():
    assert roll(x=1.0, y=2.0, speed=5.0, kind=AGENT_STATIC)[:, :2] == pytest.approx(np.tile([1.0, 2.0], (STEPS, 1)))


def test_every_kind_is_one_of_these():
    assert {AGENT_VEHICLE, AGENT_WALKER, AGENT_CYCLIST, AGENT_STATIC} == {1, 2, 3, 4}
