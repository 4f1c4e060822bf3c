"""What is wrong with an input is told in one sentence that names the field."""

import types

import pytest
import torch

from craft_lightning.counterfactual import CounterfactualWorld, DecayParameters, RewardParameters
from craft_lightning.errors import CraftError
from craft_lightning.testing.straight_road import add_agent, constant_acceleration_plans, empty_scene, straight_road


def call(scene=None, plans=None, mask=None, grids=None):
    plans = constant_acceleration_plans(6.0, [0.0, -2.0])[None].repeat(2, 1, 1, 1) if plans is None else plans
    mask = torch.ones(2, 2, dtype=torch.bool) if mask is None else mask
    world = CounterfactualWorld(threads=1)
    scene = empty_scene(2) if scene is None else scene
    return world.rollout(scene, plans, mask, grids or [straight_road()])


def plans_with(value):
    plans = constant_acceleration_plans(6.0, [0.0, -2.0])[None].repeat(2, 1, 1, 1)
    plans[1, 0, 7, 1] = value
    return plans


def test_good_input_passes():
    assert torch.isfinite(call().returns).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: {"plans": plans_with(torch.nan)}, r"trajectories holds NaN or infinity at index \[1, 0\]"),
        (lambda: {"plans": plans_with(torch.inf)}, r"trajectories holds NaN or infinity at index \[1, 0\]"),
        (lambda: {"plans": torch.zeros(2, 40, 3)}, r"trajectories has the shape \[2, 40, 3\]"),
        (lambda: {"plans": torch.zeros(2, 2, 40, 2)}, "trajectories has the shape"),
        (lambda: {"plans": torch.zeros(2, 2, 0, 3)}, "trajectories has the shape"),
        (lambda: {"plans": torch.zeros(3, 2, 40, 3)}, "trajectories has 3 states but the scene has 2"),
        (lambda: {"plans": torch.zeros(2, 2, 40, 3, dtype=torch.int64)}, "trajectories is of type torch.int64"),
        (lambda: {"mask": torch.ones(2, 2)}, "mask is torch.float32"),
        (lambda: {"mask": torch.ones(2, 3, dtype=torch.bool)}, r"mask is torch.bool of shape \[2, 3\]"),
    ],
)
def test_candidates(arguments, message):
    with pytest.raises(CraftError, match=message):
        call(**arguments())


def spoil(field, index, value):
    scene = add_agent(empty_scene(2), 3, 20.0)
    tensor = getattr(scene, field)
    tensor[index] = value
    return scene


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("ego_pose", (1, 0), torch.nan, r"scene.ego_pose holds NaN or infinity at index \[1\]"),
        ("ego_motion", (0, 0), torch.inf, "scene.ego_motion holds NaN"),
        ("ego_size", (0, 2), torch.nan, "scene.ego_size holds NaN"),
        ("ego_size", (0, 2), 0.0, "scene.ego_size holds a length, width or wheelbase of 0"),
        ("agents", (1, 3, 0), torch.nan, r"scene.agents holds NaN or infinity at index \[1, 3\]"),
        ("agents", (1, 3, 4), 0.0, "scene.agents holds a length or width of 0"),
        ("route", (1, 4, 1), torch.nan, "scene.route holds NaN"),
        ("route", (1,), 0.0, "scene.route holds a route of a single point"),
        ("town", (1,), 4, "scene.town holds 0 .. 4 but 1 grids"),
        ("route_lanes", (1, 0), 9, "scene.route_lanes holds lane 9"),
    ],
)
def test_scene(field, index, value, message):
    with pytest.raises(CraftError, match=message):
        call(spoil(field, index, value))


def test_absent_rows_may_hold_anything():
    scene = spoil("agents", (1, 5), torch.nan)
    scene.stop_lines[:, 2] = torch.nan
    assert torch.isfinite(call(scene).returns).all()


def test_misshapen_scene_and_grid():
    scene = empty_scene(2)
    scene.route = scene.route[..., :1]
    with pytest.raises(CraftError, match=r"scene.route has the shape \[2, 110, 1\]: give \[2, any, 2\]"):
        call(scene)
    with pytest.raises(CraftError, match=r"grids\[0\] has no field origin"):
        call(grids=[types.SimpleNamespace()])


def test_parameters():
    for horizon in (0.0, 0.25, -1.0):
        with pytest.raises(CraftError, match="horizon is"):
            CounterfactualWorld(horizon)
    with pytest.raises(CraftError, match=r"backend is 'gpu'"):
        CounterfactualWorld(backend="gpu")
    with pytest.raises(CraftError, match=r"RewardParameters.discount is 1.2"):
        RewardParameters(discount=1.2)
    with pytest.raises(CraftError, match=r"RewardParameters.collision is nan"):
        RewardParameters(collision=float("nan"))
    with pytest.raises(CraftError, match=r"DecayParameters.ramp is 0"):
        DecayParameters(ramp=0.0)


def test_cuda_backend_refuses_tensors_of_the_cpu():
    world = CounterfactualWorld(backend="cuda")
    plans = constant_acceleration_plans(6.0, [0.0])[None]
    with pytest.raises(CraftError, match="backend is cuda but trajectories are on the CPU"):
        world.rollout(empty_scene(1), plans, torch.ones(1, 1, dtype=torch.bool), [straight_road()])
