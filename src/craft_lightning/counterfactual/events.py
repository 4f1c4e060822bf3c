"""What happens to a tracked rollout: collisions, crossed lines, leaving the road or the permitted lanes."""

import numpy as np

from craft_lightning.conventions import LINE_RED, LINE_STOP_SIGN
from craft_lightning.counterfactual.boxes import boxes_overlap, circumradius, crosses_line, distance_before_line
from craft_lightning.counterfactual.lanes import (
    COS,
    LANES,
    POS_X,
    POS_Y,
    SIN,
    SPEED_NOW,
    SWEPT_HIGH_X,
    SWEPT_HIGH_Y,
    SWEPT_LOW_X,
    SWEPT_LOW_Y,
)
from craft_lightning.counterfactual.motion import (
    HALF_LENGTH,
    HALF_WIDTH,
    HIGH_X,
    HIGH_Y,
    LOW_X,
    LOW_Y,
    RADIUS,
)
from craft_lightning.counterfactual.parameters import STOP_SPEED, STOP_ZONE
from craft_lightning.counterfactual.roadside import bilinear, cell_of


def first_collisions(
    ego: np.ndarray,
    count: int,
    steps: int,
    half_length: float,
    half_width: float,
    agents: int,
    poses: np.ndarray,
    boxes: np.ndarray,
    work: np.ndarray,
    collided: np.ndarray,
) -> None:
    """Find the step (1 .. steps) at which each lane's box first overlaps an agent's; steps + 1 if it never does.

    Agents whose swept bounds never meet those of any lane are passed over at once, then those that never meet the
    lane's; then circles, then the separating axis.

    Args:
        ego: [6, steps + 1, LANES] of ``follow_plans``.
        count: number of lanes in use.
        steps: number of steps.
        half_length: of the ego, metres.
        half_width: likewise.
        agents: number of prepared agents.
        poses: [A, steps, 4] of ``prepare_state``.
        boxes: [A, 7] likewise.
        work: [FIELDS * LANES] of ``follow_plans``: the swept bounds.
        collided: [LANES] out.

    """
    own = circumradius(half_length, half_width)
    low_x = low_y = high_x = high_y = 0.0
    for lane in range(count):
        collided[lane] = steps + 1
        low_x, high_x = min(low_x, work[SWEPT_LOW_X * LANES + lane]), max(high_x, work[SWEPT_HIGH_X * LANES + lane])
        low_y, high_y = min(low_y, work[SWEPT_LOW_Y * LANES + lane]), max(high_y, work[SWEPT_HIGH_Y * LANES + lane])
    for a in range(agents):
        # The agent's bounds, grown by both circumradii.
        left, right = boxes[a, LOW_X] - own, boxes[a, HIGH_X] + own
        below, above = boxes[a, LOW_Y] - own, boxes[a, HIGH_Y] + own
        if left > high_x or right < low_x or below > high_y or above < low_y:
            continue
        reach = own + boxes[a, RADIUS]
        reach *= reach
        for lane in range(count):
            if (
                (left > work[SWEPT_HIGH_X * LANES + lane])
                | (right < work[SWEPT_LOW_X * LANES + lane])
                | (below > work[SWEPT_HIGH_Y * LANES + lane])
                | (above < work[SWEPT_LOW_Y * LANES + lane])
            ):
                continue
            for step in range(1, collided[lane]):
                dx = poses[a, step - 1, 0] - ego[POS_X, step, lane]
                dy = poses[a, step - 1, 1] - ego[POS_Y, step, lane]
                if dx * dx + dy * dy < reach and boxes_overlap(
                    ego[POS_X, step, lane],
                    ego[POS_Y, step, lane],
                    ego[COS, step, lane],
                    ego[SIN, step, lane],
                    half_length,
                    half_width,
                    poses[a, step - 1, 0],
                    poses[a, step - 1, 1],
                    poses[a, step - 1, 2],
                    poses[a, step - 1, 3],
                    boxes[a, HALF_LENGTH],
                    boxes[a, HALF_WIDTH],
                ):
                    collided[lane] = step
                    break


def crossed_lines(
    ego: np.ndarray,
    lane: int,
    steps: int,
    bounds: tuple[float, float, float, float],
    half_length: float,
    lines: np.ndarray,
    count: int,
    p: np.ndarray,
) -> tuple[int, int]:
    """First steps (1 .. steps) at which the front bumper crosses a red line and an unhonoured stop sign's line.

    A stop sign is honoured by a speed under ``stop_speed`` while the bumper is within ``stop_zone`` metres before the
    line, now or on the way to it. A sign that was honoured before the visited state must be left out of the Scene.

    Args:
        ego: [6, steps + 1, LANES] of ``follow_plans``.
        lane: which lane of it.
        steps: number of steps.
        bounds: low x, low y, high x, high y that the ego's centre sweeps, grown by its circumradius.
        half_length: of the ego, metres.
        lines: [L, 5] of ``prepare_state``.
        count: number of prepared lines.
        p: ``RewardParameters`` as an array.

    Returns:
        red, stop: steps + 1 where it does not happen.

    """
    low_x, low_y, high_x, high_y = bounds
    red = stop = steps + 1
    for i in range(count):
        x0, y0, x1, y1 = lines[i, 0], lines[i, 1], lines[i, 2], lines[i, 3]
        if max(x0, x1) < low_x or min(x0, x1) > high_x or max(y0, y1) < low_y or min(y0, y1) > high_y:
            continue
        kind = int(lines[i, 4])
        # The front bumper's centre.
        px = ego[POS_X, 0, lane] + half_length * ego[COS, 0, lane]
        py = ego[POS_Y, 0, lane] + half_length * ego[SIN, 0, lane]
        honoured = False
        for step in range(1, steps + 1):
            cos_yaw, sin_yaw = ego[COS, step - 1, lane], ego[SIN, step - 1, lane]
            if kind == LINE_STOP_SIGN and ego[SPEED_NOW, step - 1, lane] < p[STOP_SPEED]:
                ahead = distance_before_line(px, py, cos_yaw, sin_yaw, x0, y0, x1, y1)
                honoured = honoured or 0.0 <= ahead <= p[STOP_ZONE]
            qx = ego[POS_X, step, lane] + half_length * ego[COS, step, lane]
            qy = ego[POS_Y, step, lane] + half_length * ego[SIN, step, lane]
            if crosses_line(px, py, qx, qy, x0, y0, x1, y1):
                if kind == LINE_RED:
                    red = min(red, step)
                elif kind == LINE_STOP_SIGN and not honoured:
                    stop = min(stop, step)
            px, py = qx, qy
    return red, stop


def corner_outside(sdf: np.ndarray, column: float, row: float, safe: float, tolerance: float) -> bool:
    """Whether a corner (in cells) stands outside the drivable area by more than ``tolerance`` metres.

    A signed distance changes by no more than a metre a metre: where the corner's own cell is farther inside than
    ``safe``, the diagonal of a cell, interpolation cannot say "outside" and is left out.
    """
    i, j = cell_of(sdf.shape[1], sdf.shape[0], column, row)
    if i >= 0 and sdf[i, j] > safe:
        return False
    return bilinear(sdf, column, row) < -tolerance


def off_road(
    half_length: float,
    half_width: float,
    cos_yaw: float,
    sin_yaw: float,
    column: float,
    row: float,
    sdf: np.ndarray,
    per_cell: float,
    tolerance: float,
) -> bool:
    """Whether a corner of the ego's box stands outside the drivable area by more than ``tolerance`` metres.

    Args:
        half_length: metres.
        half_width: metres.
        cos_yaw: cosine of the heading in the frame of the grid.
        sin_yaw: sine of it.
        column: of the box centre, in cells.
        row: likewise.
        sdf: [H, W] of the RoadGrid.
        per_cell: cells a metre.
        tolerance: metres.

    """
    safe = 1.4143 / per_cell
    # The same argument for the whole box: its corners are one circumradius away.
    i, j = cell_of(sdf.shape[1], sdf.shape[0], column, row)
    if i >= 0 and sdf[i, j] > safe + circumradius(half_length, half_width):
        return False
    length_x, length_y = half_length * per_cell * cos_yaw, half_length * per_cell * sin_yaw
    width_x, width_y = -half_width * per_cell * sin_yaw, half_width * per_cell * cos_yaw
    return (
        corner_outside(sdf, column + length_x + width_x, row + length_y + width_y, safe, tolerance)
        or corner_outside(sdf, column + length_x - width_x, row + length_y - width_y, safe, tolerance)
        or corner_outside(sdf, column - length_x + width_x, row - length_y + width_y, safe, tolerance)
        or corner_outside(sdf, column - length_x - width_x, row - length_y - width_y, safe, tolerance)
    )


def allowed(route_lanes: np.ndarray, lane: int) -> bool:
    """Whether ``lane`` is one of the -1 padded ``route_lanes``; every lane is, where none is given."""
    given = False
    for i in range(route_lanes.shape[0]):
        if route_lanes[i] == lane:
            return True
        given = given or route_lanes[i] >= 0
    return not given
