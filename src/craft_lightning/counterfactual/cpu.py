"""Runs the kernels on the CPU: compiled once, cached on disk, states dealt out to threads that hold no lock."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from craft_lightning.control import MAX_WINDOW
from craft_lightning.counterfactual.compilation import compile_tree
from craft_lightning.counterfactual.kernels import prepare_state, score_trajectory
from craft_lightning.counterfactual.motion import EGO_SPEED, EGO_X, EGO_Y, EGO_YAW


def prepare_range(
    rows: np.ndarray,
    begin: int,
    end: int,
    agents: np.ndarray,
    agent_kind: np.ndarray,
    agent_junction: np.ndarray,
    route: np.ndarray,
    stop_lines: np.ndarray,
    stop_kind: np.ndarray,
    dt: float,
    steps: int,
    decay: np.ndarray,
    poses: np.ndarray,
    boxes: np.ndarray,
    route_rows: np.ndarray,
    lines: np.ndarray,
    counts: np.ndarray,
) -> None:
    """``prepare_state`` for the states ``rows[begin:end]``; slot i of the outputs belongs to ``rows[i]``."""
    for slot in range(begin, end):
        b = rows[slot]
        prepare_state(
            agents[b],
            agent_kind[b],
            agent_junction[b],
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


def score_range(
    rows: np.ndarray,
    begin: int,
    end: int,
    candidates: np.ndarray,
    mask: np.ndarray,
    speed: np.ndarray,
    size: np.ndarray,
    frame: np.ndarray,
    route_lanes: np.ndarray,
    counts: np.ndarray,
    poses: np.ndarray,
    boxes: np.ndarray,
    route_rows: np.ndarray,
    lines: np.ndarray,
    sdf: np.ndarray,
    nearest: np.ndarray,
    segments: np.ndarray,
    segment_lane: np.ndarray,
    lane_kind: np.ndarray,
    lane_junction: np.ndarray,
    per_cell: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    reward: np.ndarray,
    keep_rewards: bool,
    summary: np.ndarray,
    collision: np.ndarray,
    flags: np.ndarray,
    final: np.ndarray,
    rewards: np.ndarray,
) -> None:
    """``score_trajectory`` for the flat indices begin .. end of (slot, candidate); masked candidates are left alone."""
    poses_of_plan = candidates.shape[2] + 1
    plan = np.empty((poses_of_plan, 3), np.float32)
    arc = np.empty(poses_of_plan, np.float32)
    memory = np.empty(2 * (MAX_WINDOW + 1), np.float32)
    ego = np.empty((steps + 1, 6), np.float32)
    scratch = np.empty(steps, np.float32)
    count = mask.shape[1]
    for index in range(begin, end):
        slot = index // count
        k = index - slot * count
        b = rows[slot]
        if not mask[b, k]:
            continue
        collision[b, k] = score_trajectory(
            candidates[min(b, candidates.shape[0] - 1), k],
            speed[b],
            size[b],
            frame[b],
            route_lanes[b],
            counts[slot],
            poses[slot],
            boxes[slot],
            route_rows[slot],
            lines[slot],
            sdf,
            nearest,
            segments,
            segment_lane,
            lane_kind,
            lane_junction,
            per_cell,
            dt,
            steps,
            tracker,
            bicycle,
            reward,
            plan,
            arc,
            memory,
            ego,
            scratch,
            flags[b, k],
            summary[b, k],
        )
        final[b, k, 0] = ego[steps, EGO_X]
        final[b, k, 1] = ego[steps, EGO_Y]
        final[b, k, 2] = ego[steps, EGO_YAW]
        final[b, k, 3] = ego[steps, EGO_SPEED]
        if keep_rewards:
            for step in range(steps):
                rewards[b, k, step] = scratch[step]


# NaN and infinity are refused before the kernels, yet "no NaN" stays out: a wrong assumption would be undefined behaviour.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


@functools.cache
def compiled() -> tuple[Any, Any]:
    """``prepare_range`` and ``score_range`` as machine code; compiled at the first call, then read from numba's cache."""
    import numba

    inner = numba.njit(fastmath=FAST_MATH, inline="never", error_model="numpy")
    outer = numba.njit(fastmath=FAST_MATH, error_model="numpy", nogil=True, cache=True)
    return compile_tree(prepare_range, inner, outer), compile_tree(score_range, inner, outer)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Threads of our own instead of numba's prange: its default threading layer may not be entered by two threads at once,
    # and its compile time and start-up would be paid where one thread is asked for.
    return ThreadPoolExecutor(threads, thread_name_prefix="craft-kernel")


def run_threads(kernel: Any, rows: np.ndarray, total: int, threads: int, arguments: tuple[Any, ...]) -> None:
    """Call ``kernel(rows, begin, end, *arguments)`` on ``threads`` threads so that the ranges cover 0 .. total once.

    The result does not depend on the number of threads: every index is computed on its own.
    """
    if min(threads, total) <= 1:
        kernel(rows, 0, total, *arguments)
        return
    # A few ranges a thread, so that one with many collisions does not make the others wait.
    pieces = min(4 * threads, total)
    edges = [total * i // pieces for i in range(pieces + 1)]
    pool = _pool(threads)
    futures = [pool.submit(kernel, rows, edges[i], edges[i + 1], *arguments) for i in range(pieces)]
    for future in futures:
        future.result()
