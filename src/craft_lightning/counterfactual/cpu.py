"""Runs the kernels on the CPU: compiled once, cached on disk, states dealt out to threads that hold no lock."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from craft_lightning.control_parameters import MAX_WINDOW
from craft_lightning.counterfactual.compilation import compile_tree
from craft_lightning.counterfactual.kernels import score_lanes
from craft_lightning.counterfactual.lanes import FIELDS, LANES, PLAN_FIELDS
from craft_lightning.counterfactual.prepare import prepare_state


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
    shape: np.ndarray,
    cells: np.ndarray,
    segments: np.ndarray,
    per_cell: float,
    dt: float,
    steps: int,
    tracker: np.ndarray,
    bicycle: np.ndarray,
    reward: np.ndarray,
    keep_rewards: bool,
    keep_states: bool,
    summary: np.ndarray,
    collision: np.ndarray,
    flags: np.ndarray,
    final: np.ndarray,
    rewards: np.ndarray,
    states: np.ndarray,
    plans: np.ndarray,
    index: np.ndarray,
    places: np.ndarray,
    rings: np.ndarray,
    work: np.ndarray,
    ego: np.ndarray,
) -> None:
    """``score_lanes`` for the blocks begin .. end of LANES candidates; block i is of slot i // blocks a state.

    Masked candidates take no lane and their outputs are left alone.
    """
    blocks = (mask.shape[1] + LANES - 1) // LANES
    for block in range(begin, end):
        slot = block // blocks
        b = rows[slot]
        first = (block - slot * blocks) * LANES
        count = 0
        for k in range(first, min(first + LANES, mask.shape[1])):
            if mask[b, k]:
                index[count] = k
                count += 1
        if count == 0:
            continue
        row = b if keep_rewards else 0
        kept = b if keep_states else 0
        score_lanes(
            candidates[min(b, candidates.shape[0] - 1)],
            index,
            count,
            speed[b],
            size[b],
            frame[b],
            route_lanes[b],
            counts[slot],
            poses[slot],
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


# NaN and infinity are refused before the kernels, yet "no NaN" stays out: a wrong assumption would be undefined
# behaviour.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


@functools.cache
def compiled() -> tuple[Any, Any]:
    """``prepare_range`` and ``score_range`` as machine code, compiled once and then read from numba's cache."""
    import numba

    # Without numba's runtime (_nrt) nothing can be allocated, and no slice of an array costs two atomic reference
    # counts: with them these kernels are ten times slower.
    # numba's stubs do not know _nrt.
    njit: Any = numba.njit
    inner = njit(fastmath=FAST_MATH, error_model="numpy", _nrt=False, forceinline=True)
    outer = njit(fastmath=FAST_MATH, error_model="numpy", _nrt=False, nogil=True, cache=True)
    return compile_tree(prepare_range, inner, outer), compile_tree(score_range, inner, outer)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Threads of our own instead of numba's prange: its default threading layer may not be entered by two threads at
    # once, and its compile time and start-up would be paid where one thread is asked for.
    return ThreadPoolExecutor(threads, thread_name_prefix="craft-kernel")


def lane_buffers(poses: int, steps: int) -> tuple[np.ndarray, ...]:
    """Scratch of one thread for ``score_range``: plans, index, places, rings, work and ego.

    Args:
        poses: poses of a candidate.
        steps: steps of the rollout.

    """
    return (
        np.zeros((poses + 1, PLAN_FIELDS * LANES), np.float32),
        np.zeros(LANES, np.int64),
        np.zeros((2, LANES), np.uint32),
        np.zeros((MAX_WINDOW, 2 * LANES), np.float32),
        np.zeros(FIELDS * LANES, np.float32),
        np.zeros((steps + 1, 6 * LANES), np.float32),
    )


def run_threads(
    kernel: Any,
    rows: np.ndarray,
    total: int,
    threads: int,
    arguments: tuple[Any, ...],
    scratch: Callable[[], tuple[Any, ...]] = tuple,
) -> None:
    """Call ``kernel(rows, begin, end, *arguments, *scratch())`` so that the ranges cover 0 .. total once.

    The result does not depend on the number of threads: every index is computed on its own.
    """
    pieces = min(threads, total)
    if pieces <= 1:
        kernel(rows, 0, total, *arguments, *scratch())
        return
    # A few ranges a thread, so that one with many collisions does not make the others wait.
    pieces = min(4 * threads, total)
    edges = [total * i // pieces for i in range(pieces + 1)]
    pool = _pool(threads)
    futures = [pool.submit(kernel, rows, edges[i], edges[i + 1], *arguments, *scratch()) for i in range(pieces)]
    for future in futures:
        future.result()
