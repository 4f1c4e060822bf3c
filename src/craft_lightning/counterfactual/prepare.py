"""What all candidates of a state share, worked out once: decay rollouts, route segments, stop lines in force."""

import math

import numpy as np

from craft_lightning.conventions import AGENT_NONE, LINE_NONE
from craft_lightning.counterfactual.motion import decay_rollout
from craft_lightning.counterfactual.roadside import project

# Columns of a prepared state's counters.
AGENTS, SEGMENTS, LINES, START = range(4)

# The ego's first metres of route in which its projection is looked for, so that a later loop cannot catch it.
START_WINDOW = 30

# Metres that no rollout drives.
ENDLESS = 1e9


def prepare_state(
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
    """Do once what every candidate of a state shares; absent agents, lines and empty segments are squeezed out.

    Args:
        agents: [A, 8] of the Scene.
        agent_kind: [A].
        agent_junction: [A].
        route: [R, 2].
        stop_lines: [L, 4].
        stop_kind: [L].
        dt: seconds a step.
        steps: number of steps.
        decay: ``DecayParameters`` as an array.
        poses: [A, steps, 4] out, ``decay_rollout``.
        boxes: [A, 7] out.
        route_rows: [R - 1, 6] out: x, y, cosine, sine, length (ENDLESS of the last), arc length at the start.
        lines: [L, 5] out: x0, y0, x1, y1, kind.
        counts: [4] out: agents, segments, lines, and the segment where the ego stands.

    """
    present = 0
    for a in range(agents.shape[0]):
        if agent_kind[a] != AGENT_NONE:
            decay_rollout(agents[a], agent_kind[a], agent_junction[a], dt, steps, decay, poses[present], boxes[present])
            present += 1
    counts[AGENTS] = present

    rows = 0
    travelled = 0.0
    for i in range(route.shape[0] - 1):
        dx, dy = route[i + 1, 0] - route[i, 0], route[i + 1, 1] - route[i, 1]
        length = math.sqrt(dx * dx + dy * dy)
        if length > 1e-3:
            route_rows[rows, 0], route_rows[rows, 1] = route[i, 0], route[i, 1]
            route_rows[rows, 2], route_rows[rows, 3] = dx / length, dy / length
            route_rows[rows, 4], route_rows[rows, 5] = length, travelled
            travelled += length
            rows += 1
    counts[SEGMENTS] = rows
    if rows > 0:
        # The route goes on straight.
        route_rows[rows - 1, 4] = ENDLESS

    start = 0
    closest = 1e18
    for i in range(min(rows, START_WINDOW)):
        _, offset = project(
            0.0, 0.0, route_rows[i, 0], route_rows[i, 1], route_rows[i, 2], route_rows[i, 3], route_rows[i, 4]
        )
        if offset < closest:
            start, closest = i, offset
    counts[START] = start

    present = 0
    for i in range(stop_lines.shape[0]):
        if stop_kind[i] != LINE_NONE:
            for j in range(4):
                lines[present, j] = stop_lines[i, j]
            lines[present, 4] = stop_kind[i]
            present += 1
    counts[LINES] = present
