"""The CUDA kernels: a thread a state, then a thread a candidate, over the functions that the CPU runs in lanes.

Imported when first used: ``numba.cuda`` takes a while, and its simulator wants the module as a global of the kernels.
"""

# ruff: noqa: ANN001, ANN202 - arguments of kernels are what numba infers; prepare_state and score_lanes describe them.
# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import cuda

from craft_lightning.control_parameters import MAX_WINDOW
from craft_lightning.counterfactual.compilation import compile_tree
from craft_lightning.counterfactual.kernels import score_lanes
from craft_lightning.counterfactual.lanes import FIELDS, PLAN_FIELDS
from craft_lightning.counterfactual.prepare import prepare_state

ONE_LANE: Mapping[str, int] = {"LANES": 1}


@functools.cache
def compiled(poses: int, steps: int) -> tuple[Any, Any]:
    """The two kernels for plans of ``poses`` poses (the current one included) and rollouts of ``steps`` steps."""
    device = cuda.jit(device=True)
    prepare_one = compile_tree(prepare_state, device, device, ONE_LANE)
    score_one = compile_tree(score_lanes, device, device, ONE_LANE)
    single, integer = np.float32, np.int64
    plan_fields, work_size, places_rows, ring_size = PLAN_FIELDS, FIELDS, 2, MAX_WINDOW
    later, ego_fields = steps + 1, 6

    @cuda.jit
    def prepare(
        rows,
        agents,
        kind,
        junction,
        route,
        stop_lines,
        stop_kind,
        dt,
        steps,
        decay,
        poses,
        boxes,
        route_rows,
        lines,
        counts,
    ):
        slot = cuda.grid(1)
        if slot < rows.shape[0]:
            b = rows[slot]
            prepare_one(
                agents[b],
                kind[b],
                junction[b],
                route[b],
                stop_lines[b],
                stop_kind[b],
                dt,
                steps,
                decay,
                poses[slot],
                boxes[slot],
                route_rows[slot],
                lines[slot],
                counts[slot],
            )

    @cuda.jit
    def score(
        rows,
        candidates,
        mask,
        speed,
        size,
        frame,
        route_lanes,
        counts,
        agent_poses,
        boxes,
        route_rows,
        lines,
        shape,
        cells,
        segments,
        per_cell,
        dt,
        steps,
        tracker,
        bicycle,
        reward,
        keep_rewards,
        keep_states,
        summary,
        collision,
        flags,
        final,
        rewards,
        states,
    ):
        plans = cuda.local.array((poses, plan_fields), single)
        index = cuda.local.array(1, integer)
        places = cuda.local.array((places_rows, 1), np.uint32)
        rings = cuda.local.array((ring_size, 2), single)
        work = cuda.local.array(work_size, single)
        ego = cuda.local.array((later, ego_fields), single)
        flat = cuda.grid(1)
        slot = flat // mask.shape[1]
        if slot < rows.shape[0]:
            b = rows[slot]
            k = flat - slot * mask.shape[1]
            if mask[b, k]:
                index[0] = k
                row = b if keep_rewards else 0
                kept = b if keep_states else 0
                score_one(
                    candidates[min(b, candidates.shape[0] - 1)],
                    index,
                    1,
                    speed[b],
                    size[b],
                    frame[b],
                    route_lanes[b],
                    counts[slot],
                    agent_poses[slot],
                    boxes[slot],
                    route_rows[slot],
                    lines[slot],
                    shape,
                    cells,
                    segments,
                    per_cell,
                    dt,
                    steps,
                    tracker,
                    bicycle,
                    reward,
                    plans,
                    places,
                    rings,
                    work,
                    ego,
                    keep_rewards,
                    keep_states,
                    summary[b],
                    collision[b],
                    flags[b],
                    final[b],
                    rewards[row],
                    states[kept],
                )

    return prepare, score
