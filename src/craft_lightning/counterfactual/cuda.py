"""Runs the kernels on a GPU: what the CPU runs in lanes, compiled by ``numba.cuda``, a thread a candidate.

Tensors stay where they are; nothing is copied between devices but the road grids, once. With NUMBA_ENABLE_CUDASIM=1
numba interprets the kernels on the CPU instead, which is how machines without a GPU test them.
"""

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from craft_lightning.control_parameters import BicycleParameters, TrackerParameters
from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.counterfactual.grids import GridArrays, grid_frames
from craft_lightning.counterfactual.parameters import FLAGS, DecayParameters, RewardParameters
from craft_lightning.counterfactual.rollout import Rollout
from craft_lightning.errors import CraftError
from craft_lightning.structures import Scene

THREADS_A_BLOCK = 64


class WorldSettings(Protocol):
    """What the GPU backend reads of a ``CounterfactualWorld``."""

    steps: int
    reward: RewardParameters
    tracker: TrackerParameters
    bicycle: BicycleParameters
    others: DecayParameters


def simulated() -> bool:
    """Whether numba interprets CUDA kernels on the CPU."""
    from numba import config

    return bool(getattr(config, "ENABLE_CUDASIM", False))


def rollout(
    world: WorldSettings,
    scene: Scene,
    trajectories: Tensor,
    mask: Tensor,
    grids: Sequence[GridArrays],
    keep_rewards: bool,
    keep_states: bool = False,
) -> Rollout:
    """Score all candidates of all states; arguments and answer as in ``CounterfactualWorld.rollout``.

    Raises:
        CraftError: if ``trajectories`` are not on a GPU, or numba cannot use it.

    """
    from numba import cuda

    device = trajectories.device
    if not simulated():
        if device.type != "cuda":
            raise CraftError(
                "backend is cuda but trajectories are on the CPU: move them to the GPU or take backend numba."
            )
        if not cuda.is_available():
            raise CraftError("numba finds no usable GPU: install craft-lightning[cuda] or take backend numba.")
    batch, count = mask.shape
    steps, dt = world.steps, np.float32(TRACKER_SECONDS)

    def view(tensor: Tensor, dtype: torch.dtype) -> Any:
        ready = tensor.detach().to(device=device, dtype=dtype).contiguous()
        return ready.numpy() if simulated() else cuda.as_cuda_array(ready)

    single, integer = torch.float32, torch.int64
    summary = torch.zeros(batch, count, 3, device=device)
    collision = torch.full((batch, count), -1, dtype=integer, device=device)
    flags = torch.zeros(batch, count, len(FLAGS), dtype=torch.bool, device=device)
    final = torch.zeros(batch, count, 4, device=device)
    rewards = torch.zeros((batch, count, steps) if keep_rewards else (1, 1, 1), device=device)
    states = torch.zeros((batch, count, steps + 1, 4) if keep_states else (1, 1, 1, 4), device=device)
    agents, points, lines = scene.agents.shape[1], scene.route.shape[1], scene.stop_lines.shape[1]
    prepared = [
        torch.empty(batch, agents, steps, 4, device=device),
        torch.empty(batch, agents, 7, device=device),
        torch.empty(batch, points - 1, 6, device=device),
        torch.empty(batch, lines, 5, device=device),
        torch.empty(batch, 4, dtype=integer, device=device),
    ]
    poses, boxes, route, stops, counts = (view(tensor, tensor.dtype) for tensor in prepared)
    town = scene.town.cpu().numpy()
    frame = grid_frames(scene.ego_pose.double().cpu().numpy(), town, grids)
    parameters = [_there(p.as_array(), device) for p in (world.others, world.tracker, world.bicycle, world.reward)]
    from craft_lightning.counterfactual.cuda_kernels import compiled

    prepare, score = compiled(trajectories.shape[2] + 1, steps)
    stream = 0 if simulated() else cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
    inputs = (
        view(trajectories, single),
        view(mask, torch.bool),
        view(scene.ego_motion[:, 0], single),
        view(scene.ego_size, single),
        _there(frame, device),
        view(scene.route_lanes, integer),
    )
    visited = (
        view(scene.agents, single),
        view(scene.agent_kind, integer),
        view(scene.agent_junction, torch.bool),
        view(scene.route, single),
        view(scene.stop_lines, single),
        view(scene.stop_kind, integer),
    )
    outputs = tuple(view(tensor, tensor.dtype) for tensor in (summary, collision, flags, final, rewards, states))
    for index in np.unique(town):
        grid = grids[int(index)]
        members = np.flatnonzero(town == index)
        rows = _there(members, device)
        ready = (poses, boxes, route, stops, counts)
        _launch(prepare, len(members), stream, rows, *visited, dt, steps, parameters[0], *ready)
        _launch(
            score,
            len(members) * count,
            stream,
            rows,
            *inputs,
            counts,
            poses,
            boxes,
            route,
            stops,
            *_placed(grid, device),
            np.float32(1.0 / grid.resolution),
            dt,
            steps,
            *parameters[1:],
            keep_rewards,
            keep_states,
            *outputs,
        )
    return Rollout(
        returns=summary[..., 0].contiguous(),
        first_returns=summary[..., 1].contiguous(),
        progress=summary[..., 2].contiguous(),
        collision_step=collision,
        flags=flags,
        final=final,
        mask=mask,
        rewards=rewards if keep_rewards else None,
        states=states if keep_states else None,
    )


def _there(values: np.ndarray, device: torch.device) -> Any:
    """An array as the kernels read it: a copy on the device, or itself where they are interpreted."""
    from numba import cuda

    return values if simulated() else cuda.as_cuda_array(torch.from_numpy(values).to(device))


_copies: "weakref.WeakKeyDictionary[GridArrays, dict[torch.device, tuple[Any, ...]]]" = weakref.WeakKeyDictionary()


def _placed(grid: GridArrays, device: torch.device) -> tuple[Any, ...]:
    """The arrays of a grid on the device, copied there once."""
    copies = _copies.setdefault(grid, {})
    if device not in copies:
        copies[device] = tuple(_there(values, device) for values in grid.arrays())
    return copies[device]


def _launch(kernel: Any, threads: int, stream: Any, *arguments: Any) -> None:
    """Launch a kernel on so many threads at least; it is compiled at its first launch."""
    with warnings.catch_warnings():
        # Numba advises to keep a GPU busier; there are as many candidates as there are.
        warnings.filterwarnings("ignore", message=r".*Grid size \d+ will likely")
        try:
            kernel[-(-threads // THREADS_A_BLOCK), THREADS_A_BLOCK, stream](*arguments)
        except AttributeError as error:
            raise CraftError(
                f"numba-cuda does not work with numpy {np.__version__} ({error}): install craft-lightning[cuda], which "
                "chooses versions that fit, or take backend numba."
            ) from error
