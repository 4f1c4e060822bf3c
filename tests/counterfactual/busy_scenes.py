"""Random scenes in two towns with everything in them: traffic, walkers, lights, stop signs, bends, shoulders."""

import math

import numpy as np
import torch

from craft_lightning.testing.straight_road import empty_scene, straight_road


def towns():
    first = straight_road(2, opposite=1, shoulder=2.5)
    second = straight_road(3, width=3.2, resolution=0.4, x_start=-40.0, y_start=7.0)
    second.lane_junction[1] = 1
    return [first, second]


def busy_scenes(states=6, candidates=40, agents=12, poses=40, seed=0):
    """Scene, plans [states, candidates, poses, 3], mask and grids; no two numbers are alike."""
    rng = np.random.default_rng(seed)

    def uniform(low, high, *shape):
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))

    scene = empty_scene(states)
    scene.town = torch.arange(states) % 2
    scene.ego_pose[:, 0] = uniform(0.0, 60.0, states).double()
    scene.ego_pose[:, 1] = (uniform(-0.6, 0.6, states) + 7.0 * scene.town).double()
    scene.ego_pose[:, 2] = uniform(-0.15, 0.15, states).double()
    scene.ego_motion[:, 0] = uniform(0.0, 14.0, states)
    scene.ego_size = torch.stack([uniform(3.8, 5.4, states), uniform(1.6, 2.2, states), uniform(2.4, 3.1, states)], -1)
    scene.agents = torch.zeros(states, agents, 8)
    ahead = uniform(-40.0, 50.0, states, agents)
    scene.agents[..., 0] = torch.where(ahead.abs() < 8.0, ahead + 16.0, ahead)
    scene.agents[..., 1] = uniform(-5.0, 8.0, states, agents)
    scene.agents[..., 2] = uniform(-math.pi, math.pi, states, agents)
    scene.agents[..., 3] = uniform(-1.0, 12.0, states, agents)
    scene.agents[..., 4] = uniform(0.5, 6.0, states, agents)
    scene.agents[..., 5] = uniform(0.4, 2.3, states, agents)
    scene.agents[..., 6] = uniform(-6.0, 3.0, states, agents)
    scene.agents[..., 7] = uniform(-0.5, 0.5, states, agents)
    scene.agent_kind = torch.from_numpy(rng.integers(0, 5, (states, agents)))
    scene.agent_junction = torch.from_numpy(rng.random((states, agents)) < 0.3)
    # A route that bends away from the road.
    bend = uniform(-0.02, 0.02, states)[:, None]
    arc = torch.arange(scene.route.shape[1]) - 10.0
    scene.route[..., 0] = arc
    scene.route[..., 1] = 0.5 * bend * arc.clamp(min=0.0) ** 2 + uniform(-0.5, 0.5, states)[:, None]
    scene.route_lanes[::3, 0] = 0
    scene.route_lanes[::3, 1] = 1
    for line in range(3):
        x = uniform(3.0, 20.0, states)
        scene.stop_lines[:, line] = torch.stack([x, uniform(-6, -2, states), x + 0.3, uniform(2, 6, states)], -1)
        scene.stop_kind[:, line] = torch.from_numpy(rng.integers(0, 3, states))

    speed = (scene.ego_motion[:, :1] + uniform(-2.0, 2.0, states, candidates)).clamp(min=0.0)[..., None]
    time = torch.arange(1, poses + 1) * 0.1
    speeds = (speed + uniform(-6.0, 3.0, states, candidates)[..., None] * time).clamp(min=0.0)
    yaw = uniform(-0.06, 0.06, states, candidates)[..., None] * (0.1 * speeds).cumsum(-1)
    plans = torch.stack([(0.1 * speeds * yaw.cos()).cumsum(-1), (0.1 * speeds * yaw.sin()).cumsum(-1), yaw], -1)
    plans[:, 0] = 0.0  # the stop plan
    plans[:, 1] = plans[:, 1, :1]  # one pose again and again
    mask = torch.from_numpy(rng.random((states, candidates)) < 0.85)
    mask[:, :2] = True
    return scene, plans, mask, towns()
