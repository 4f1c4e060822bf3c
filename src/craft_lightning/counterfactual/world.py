"""The counterfactual world: every candidate of every visited state, rolled out and scored."""

import math
import threading
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from craft_lightning.control import BicycleParameters, TrackerParameters
from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.counterfactual import cpu, cuda, reference
from craft_lightning.counterfactual.grids import GridArrays, grid_frames
from craft_lightning.counterfactual.inputs import check_candidates, check_grids, check_scene
from craft_lightning.counterfactual.lanes import LANES
from craft_lightning.counterfactual.parameters import FLAGS, DecayParameters, RewardParameters, rollout_steps
from craft_lightning.counterfactual.rollout import Rollout
from craft_lightning.errors import CraftError
from craft_lightning.structures import Scene

Backend: TypeAlias = Literal["auto", "numba", "torch", "cuda"]

# States prepared at once; their decay rollouts (32 agents x 20 steps) then fit into a second-level cache a few times
# over.
CHUNK = 64

# Scratch memory of the CPU backend is kept between calls, so calls take turns.
_LOCK = threading.Lock()


class CounterfactualWorld:
    """Rolls every candidate of every visited state out for ``horizon`` seconds and adds up CRAFT's reward.

    The ego tracks the candidate (``control.tracker_step``, PID windows empty at the visited state) on a kinematic
    bicycle; the others decay (``DecayParameters``); light states stay as they are. A candidate shorter than the
    horizon goes on straight at its last speed; of a longer one, only what the tracker reaches counts.

    Args:
        horizon: seconds to look ahead, a multiple of 0.1 s: 2 in the paper; 3 and 4 see late collisions.
        reward: constants of the reward.
        tracker: constants of the tracker.
        bicycle: constants of the ego's bicycle.
        others: constants of the other vehicles' rollout.
        backend: "numba" (CPU threads), "cuda" (numba on the GPU where the tensors are), "torch" (the vectorised
        reference),
            or "auto": cuda for tensors on a GPU, else numba.
        threads: CPU threads; None asks ``torch.get_num_threads()`` at every call.

    Raises:
        CraftError: if the horizon is not a positive multiple of 0.1 s.

    """

    def __init__(
        self,
        horizon: float = 2.0,
        reward: RewardParameters | None = None,
        tracker: TrackerParameters | None = None,
        bicycle: BicycleParameters | None = None,
        others: DecayParameters | None = None,
        backend: Backend = "auto",
        threads: int | None = None,
    ) -> None:
        self.steps = rollout_steps(horizon)
        if backend not in ("auto", "numba", "torch", "cuda"):
            raise CraftError(f"backend is {backend!r}: give auto, numba, torch or cuda.")
        self.horizon = horizon
        self.reward = reward or RewardParameters()
        self.tracker = tracker or TrackerParameters()
        self.bicycle = bicycle or BicycleParameters()
        self.others = others or DecayParameters()
        self.backend = backend
        self.threads = threads
        self._grids: dict[int, tuple[Any, GridArrays]] = {}
        self._scratch: dict[str, np.ndarray] = {}
        self._constants: tuple[tuple[Any, ...], list[np.ndarray]] | None = None

    @torch.no_grad()
    def rollout(
        self,
        scene: Scene,
        trajectories: Tensor,
        mask: Tensor,
        grids: Sequence[Any],
        keep_rewards: bool = False,
        others: Tensor | None = None,
        keep_states: bool = False,
    ) -> Rollout:
        """Score all candidates of all states.

        Args:
            scene: the B visited states, in their ego frames.
            trajectories: [B, K, T, 3] or [1, K, T, 3] x, y, yaw every 0.1 s in the ego frame, the first pose 0.1 s
            ahead.
            mask: [B, K] bool; False entries are not rolled out and may hold anything.
            grids: ``RoadGrid`` of every town index in the scene.
            keep_rewards: fill ``Rollout.rewards`` as well.
            others: [B, A, steps, 4] x, y, cosine and sine of every agent of the scene after each step, in the ego
                frames: another forecast instead of the decay. The reference scores it, whatever the backend: forecasts
                are compared on few candidates.
            keep_states: fill ``Rollout.states`` as well.

        Returns:
            The scores, on the device of ``trajectories``.

        Raises:
            CraftError: naming the field that is misshapen, NaN or infinite.

        """
        check_scene(scene)
        check_candidates(trajectories, mask, scene.town.shape[0])
        check_grids(scene.town, scene.route_lanes, grids)
        if trajectories.shape[0] > 1 and trajectories.stride(0) == 0:
            trajectories = trajectories[:1]
        if others is not None:
            wanted = (*scene.agents.shape[:2], self.steps, 4)
            if tuple(others.shape) != wanted or not bool(torch.isfinite(others).all()):
                raise CraftError(f"others has the shape {list(others.shape)}: give finite poses {list(wanted)}.")
            return reference.rollout(self, scene, trajectories, mask, grids, keep_rewards, others, keep_states)
        backend = self.backend
        if backend == "auto":
            backend = "cuda" if trajectories.is_cuda else "numba"
        if backend == "torch":
            return reference.rollout(self, scene, trajectories, mask, grids, keep_rewards, None, keep_states)
        if backend == "cuda":
            return cuda.rollout(self, scene, trajectories, mask, self._arrays(grids), keep_rewards, keep_states)
        with _LOCK:
            return self._rollout_cpu(scene, trajectories, mask, self._arrays(grids), keep_rewards, keep_states)

    def _arrays(self, grids: Sequence[Any]) -> list[GridArrays]:
        """The grids as contiguous arrays; each is converted once and kept with the grid that it came from."""
        for grid in grids:
            if id(grid) not in self._grids:
                self._grids[id(grid)] = (grid, GridArrays.of(grid))
        return [self._grids[id(grid)][1] for grid in grids]

    def _parameters(self) -> list[np.ndarray]:
        """Constants of the others, the tracker, the bicycle and the reward as arrays."""
        sources = (self.others, self.tracker, self.bicycle, self.reward)
        if self._constants is None or any(a is not b for a, b in zip(self._constants[0], sources, strict=True)):
            self._constants = (sources, [source.as_array() for source in sources])
        return self._constants[1]

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        size = math.prod(shape)
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.empty(max(size, 1), dtype)
        return self._scratch[name][:size].reshape(shape)

    def _rollout_cpu(
        self,
        scene: Scene,
        trajectories: Tensor,
        mask: Tensor,
        grids: list[GridArrays],
        keep_rewards: bool,
        keep_states: bool,
    ) -> Rollout:
        device = trajectories.device
        batch, count = mask.shape
        steps, dt = self.steps, np.float32(TRACKER_SECONDS)
        threads = self.threads or torch.get_num_threads()
        candidates = _array(trajectories, torch.float32)
        valid = _array(mask, torch.bool)
        fields = {
            name: _array(getattr(scene, name), kind)
            for name, kind in (
                ("ego_size", torch.float32),
                ("agents", torch.float32),
                ("agent_kind", torch.int64),
                ("agent_junction", torch.bool),
                ("route", torch.float32),
                ("route_lanes", torch.int64),
                ("stop_lines", torch.float32),
                ("stop_kind", torch.int64),
            )
        }
        speed = _array(scene.ego_motion[:, 0], torch.float32)
        town = _array(scene.town, torch.int64)
        frame = grid_frames(_array(scene.ego_pose, torch.float64), town, grids)

        summary = np.zeros((batch, count, 3), np.float32)
        collision = np.full((batch, count), -1, np.int64)
        flags = np.zeros((batch, count, len(FLAGS)), np.bool_)
        final = np.zeros((batch, count, 4), np.float32)
        rewards = np.zeros((batch, count, steps) if keep_rewards else (1, 1, 1), np.float32)
        states = np.zeros((batch, count, steps + 1, 4) if keep_states else (1, 1, 1, 4), np.float32)

        agents, points, lines = (fields[name].shape[1] for name in ("agents", "route", "stop_lines"))
        slots = min(CHUNK, batch)
        poses = self._buffer("poses", (slots, agents, steps, 4))
        boxes = self._buffer("boxes", (slots, agents, 7))
        route = self._buffer("route", (slots, points - 1, 6))
        stops = self._buffer("lines", (slots, lines, 5))
        counts = self._buffer("counts", (slots, 4), np.int64)
        prepare, score = cpu.compiled()
        decay, tracker, bicycle, reward = self._parameters()
        for index in np.unique(town):
            grid = grids[int(index)]
            members = np.flatnonzero(town == index)
            for begin in range(0, len(members), CHUNK):
                rows = members[begin : begin + CHUNK]
                cpu.run_threads(
                    prepare,
                    rows,
                    len(rows),
                    threads,
                    (
                        *(fields[name] for name in ("agents", "agent_kind", "agent_junction")),
                        *(fields[name] for name in ("route", "stop_lines", "stop_kind")),
                        *(dt, steps, decay, poses, boxes, route, stops, counts),
                    ),
                )
                cpu.run_threads(
                    score,
                    rows,
                    len(rows) * (-(-count // LANES)),
                    threads,
                    (
                        *(candidates, valid, speed, fields["ego_size"], frame, fields["route_lanes"]),
                        *(counts, poses, boxes, route, stops),
                        *grid.arrays(),
                        *(np.float32(1.0 / grid.resolution), dt, steps, tracker, bicycle, reward),
                        *(keep_rewards, keep_states, summary, collision, flags, final, rewards, states),
                    ),
                    lambda: cpu.lane_buffers(candidates.shape[2], steps),
                )
        returned = torch.from_numpy(summary).to(device)
        return Rollout(
            returns=returned[..., 0].contiguous(),
            first_returns=returned[..., 1].contiguous(),
            progress=returned[..., 2].contiguous(),
            collision_step=torch.from_numpy(collision).to(device),
            flags=torch.from_numpy(flags).to(device),
            final=torch.from_numpy(final).to(device),
            mask=mask,
            rewards=torch.from_numpy(rewards).to(device) if keep_rewards else None,
            states=torch.from_numpy(states).to(device) if keep_states else None,
        )


def _array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray:
    """A view of a CPU tensor wherever type and layout allow, else a copy."""
    return tensor.detach().to(device="cpu", dtype=dtype).contiguous().numpy()
