"""What happens to a tracked rollout: collisions, crossed lines, leaving the road or the permitted lanes."""

import numpy as np

from craft_lightning.conventions import LINE_RED, LINE_STOP_SIGN
from craft_lightning.counterfactual.boxes import (
    boxes_overlap,
    circumradius,
    crosses_between,
    distance_before_line,
    side_of_line,
)
from craft_lightning.counterfactual.grids import SDF
from craft_lightning.counterfactual.lanes import (
    COLLIDED,
    COS,
    HONOURED,
    LANES,
    POS_X,
    POS_Y,
    RED,
    SIDE,
    SIDE_THEN,
    SIN,
    SPEED_NOW,
    STOP,
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


def swept_bounds(count: int, work: np.ndarray) -> tuple[float, float, float, float]:
    """Low x, low y, high x, high y of the centres of the ``count`` lanes in use over all steps."""
    low_x, low_y = work[SWEPT_LOW_X * LANES], work[SWEPT_LOW_Y * LANES]
    high_x, high_y = work[SWEPT_HIGH_X * LANES], work[SWEPT_HIGH_Y * LANES]
    for lane in range(1, count):
        low_x, high_x = min(low_x, work[SWEPT_LOW_X * LANES + lane]), max(high_x, work[SWEPT_HIGH_X * LANES + lane])
        low_y, high_y = min(low_y, work[SWEPT_LOW_Y * LANES + lane]), max(high_y, work[SWEPT_HIGH_Y * LANES + lane])
    return low_x, low_y, high_x, high_y


def first_collisions(
    ego: np.ndarray,
    bounds: tuple[float, float, float, float],
    steps: int,
    half_length: float,
    half_width: float,
    agents: int,
    poses: np.ndarray,
    boxes: np.ndarray,
    work: np.ndarray,
) -> None:
    """Find the step (1 .. steps) at which each lane's box first overlaps an agent's; steps + 1 if it never does.

    Agents whose swept bounds never meet those of any lane are passed over at once; then circles, all lanes of a step
    together; then, where a lane's circle meets the agent's, the separating axis for all lanes of that step.

    Args:
        ego: [steps + 1, 6 * LANES] of ``follow_plans``.
        bounds: of ``swept_bounds``.
        steps: number of steps.
        half_length: of the ego, metres.
        half_width: likewise.
        agents: number of prepared agents.
        poses: [A, steps, 4] of ``prepare_state``.
        boxes: [A, 7] likewise.
        work: [FIELDS * LANES]: COLLIDED is written.

    """
    own = circumradius(half_length, half_width)
    low_x, low_y, high_x, high_y = bounds
    for lane in range(LANES):
        work[COLLIDED * LANES + lane] = np.float32(steps + 1)
    for a in range(agents):
        # The agent's bounds, grown by both circumradii.
        left, right = boxes[a, LOW_X] - own, boxes[a, HIGH_X] + own
        below, above = boxes[a, LOW_Y] - own, boxes[a, HIGH_Y] + own
        if left > high_x or right < low_x or below > high_y or above < low_y:
            continue
        reach = own + boxes[a, RADIUS]
        reach *= reach
        for step in range(1, steps + 1):
            x, y = poses[a, step - 1, 0], poses[a, step - 1, 1]
            if any_within(ego[step], x, y, reach):
                collide_lanes(
                    ego[step],
                    np.float32(step),
                    half_length,
                    half_width,
                    poses[a, step - 1],
                    boxes[a, HALF_LENGTH],
                    boxes[a, HALF_WIDTH],
                    work,
                )


def any_within(now: np.ndarray, x: float, y: float, square: float) -> bool:
    """Whether the squared distance from (x, y) to any lane's ego is below ``square`` at a step ``now`` of ``ego``."""
    found = False
    for lane in range(LANES):
        dx, dy = now[POS_X * LANES + lane] - x, now[POS_Y * LANES + lane] - y
        found = found | (dx * dx + dy * dy < square)
    return found


def collide_lanes(
    now: np.ndarray,
    step: float | np.floating,
    half_length: float,
    half_width: float,
    pose: np.ndarray,
    other_half_length: float,
    other_half_width: float,
    work: np.ndarray,
) -> None:
    """Lower COLLIDED to ``step`` in the lanes whose box overlaps the one of ``pose`` [4] x, y, cosine, sine."""
    x, y, cos_yaw, sin_yaw = pose[0], pose[1], pose[2], pose[3]
    for lane in range(LANES):
        hit = boxes_overlap(
            now[POS_X * LANES + lane],
            now[POS_Y * LANES + lane],
            now[COS * LANES + lane],
            now[SIN * LANES + lane],
            half_length,
            half_width,
            x,
            y,
            cos_yaw,
            sin_yaw,
            other_half_length,
            other_half_width,
        )
        before = work[COLLIDED * LANES + lane]
        work[COLLIDED * LANES + lane] = min(before, step) if hit else before


def crossed_lines(
    ego: np.ndarray,
    bounds: tuple[float, float, float, float],
    steps: int,
    half_length: float,
    radius: float,
    lines: np.ndarray,
    count: int,
    p: np.ndarray,
    work: np.ndarray,
) -> None:
    """First steps (1 .. steps) at which the front bumpers cross a red line and an unhonoured stop sign's line.

    A stop sign is honoured by a speed under ``stop_speed`` while the bumper is within ``stop_zone`` metres before the
    line, now or on the way to it. A sign that was honoured before the visited state must be left out of the Scene.

    Args:
        ego: [steps + 1, 6 * LANES] of ``follow_plans``.
        bounds: of ``swept_bounds``.
        steps: number of steps.
        half_length: of the ego, metres.
        radius: of the circle around the ego, metres.
        lines: [L, 5] of ``prepare_state``.
        count: number of prepared lines.
        p: ``RewardParameters`` as an array.
        work: [FIELDS * LANES]: RED and STOP are written, steps + 1 where it does not happen.

    """
    low_x, low_y, high_x, high_y = bounds
    for lane in range(LANES):
        work[RED * LANES + lane] = np.float32(steps + 1)
        work[STOP * LANES + lane] = np.float32(steps + 1)
    for i in range(count):
        line = lines[i]
        if (
            max(line[0], line[2]) < low_x - radius
            or min(line[0], line[2]) > high_x + radius
            or max(line[1], line[3]) < low_y - radius
            or min(line[1], line[3]) > high_y + radius
        ):
            continue
        kind = int(line[4])
        for lane in range(LANES):
            work[HONOURED * LANES + lane] = 0.0
        bumper_sides(ego[0], half_length, line, work)
        for step in range(1, steps + 1):
            if kind == LINE_STOP_SIGN and any_slower(ego[step - 1], p[STOP_SPEED]):
                honour_lanes(ego[step - 1], half_length, line, p[STOP_SPEED], p[STOP_ZONE], work)
            if bumper_sides(ego[step], half_length, line, work):
                if kind == LINE_RED:
                    cross_lanes(ego[step - 1], ego[step], np.float32(step), half_length, line, False, work)
                elif kind == LINE_STOP_SIGN:
                    cross_lanes(ego[step - 1], ego[step], np.float32(step), half_length, line, True, work)


def any_slower(now: np.ndarray, limit: float) -> bool:
    """Whether any lane's ego is slower than ``limit`` at a step ``now`` of ``ego``."""
    found = False
    for lane in range(LANES):
        found = found | (now[SPEED_NOW * LANES + lane] < limit)
    return found


def bumper_sides(now: np.ndarray, half_length: float, line: np.ndarray, work: np.ndarray) -> bool:
    """Move SIDE to SIDE_THEN and find on which side the front bumpers are now; whether that of any lane changed."""
    x0, y0, x1, y1 = line[0], line[1], line[2], line[3]
    changed = False
    for lane in range(LANES):
        before = work[SIDE * LANES + lane]
        after = side_of_line(
            now[POS_X * LANES + lane] + half_length * now[COS * LANES + lane],
            now[POS_Y * LANES + lane] + half_length * now[SIN * LANES + lane],
            x0,
            y0,
            x1,
            y1,
        )
        work[SIDE_THEN * LANES + lane], work[SIDE * LANES + lane] = before, after
        changed = changed | ((before < 0.0) != (after < 0.0))
    return changed


def honour_lanes(
    then: np.ndarray, half_length: float, line: np.ndarray, stop_speed: float, stop_zone: float, work: np.ndarray
) -> None:
    """Set HONOURED in the lanes that stand before the line at a step ``then`` of ``ego``."""
    x0, y0, x1, y1 = line[0], line[1], line[2], line[3]
    for lane in range(LANES):
        cos_yaw, sin_yaw = then[COS * LANES + lane], then[SIN * LANES + lane]
        x, y = then[POS_X * LANES + lane] + half_length * cos_yaw, then[POS_Y * LANES + lane] + half_length * sin_yaw
        ahead = distance_before_line(x, y, cos_yaw, sin_yaw, x0, y0, x1, y1)
        honours = (then[SPEED_NOW * LANES + lane] < stop_speed) & (ahead >= 0.0) & (ahead <= stop_zone)
        work[HONOURED * LANES + lane] = 1.0 if honours else work[HONOURED * LANES + lane]


def cross_lanes(
    then: np.ndarray,
    now: np.ndarray,
    step: float | np.floating,
    half_length: float,
    line: np.ndarray,
    stop_sign: bool,
    work: np.ndarray,
) -> None:
    """Lower RED or STOP to ``step`` in the lanes whose bumper crosses the line between ``then`` and ``now``."""
    x0, y0, x1, y1 = line[0], line[1], line[2], line[3]
    for lane in range(LANES):
        crosses = crosses_between(
            then[POS_X * LANES + lane] + half_length * then[COS * LANES + lane],
            then[POS_Y * LANES + lane] + half_length * then[SIN * LANES + lane],
            now[POS_X * LANES + lane] + half_length * now[COS * LANES + lane],
            now[POS_Y * LANES + lane] + half_length * now[SIN * LANES + lane],
            work[SIDE_THEN * LANES + lane],
            work[SIDE * LANES + lane],
            x0,
            y0,
            x1,
            y1,
        )
        red, stop = work[RED * LANES + lane], work[STOP * LANES + lane]
        stops = crosses & stop_sign & (work[HONOURED * LANES + lane] == 0.0)
        work[RED * LANES + lane] = min(red, step) if crosses & (not stop_sign) else red
        work[STOP * LANES + lane] = min(stop, step) if stops else stop


def corner_outside(
    shape: np.ndarray, cells: np.ndarray, column: float, row: float, safe: float, tolerance: float
) -> bool:
    """Whether a corner (in cells) stands outside the drivable area by more than ``tolerance`` metres.

    A signed distance changes by no more than a metre a metre: where the corner's own cell is farther inside than
    ``safe``, interpolation cannot say "outside" and is left out.
    """
    if cells[cell_of(shape, column, row), SDF] > safe:
        return False
    return bilinear(shape, cells, column, row) < -tolerance


def safe_distance(per_cell: float) -> float:
    """Metres inside the road at a cell's centre above which interpolation around the cell is never outside."""
    return 1.4143 / per_cell


def off_road(
    half_length: float,
    half_width: float,
    cos_yaw: float,
    sin_yaw: float,
    column: float,
    row: float,
    shape: np.ndarray,
    cells: np.ndarray,
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
        shape: [2] rows and columns of the grid.
        cells: [H * W + 1, 2] of GridArrays.
        per_cell: cells a metre.
        tolerance: metres.

    """
    safe = safe_distance(per_cell)
    length_x, length_y = half_length * per_cell * cos_yaw, half_length * per_cell * sin_yaw
    # Corners are half a width from the middle of the front or rear.
    front = cells[cell_of(shape, column + length_x, row + length_y), SDF]
    rear = cells[cell_of(shape, column - length_x, row - length_y), SDF]
    if min(front, rear) > safe + half_width:
        return False
    width_x, width_y = -half_width * per_cell * sin_yaw, half_width * per_cell * cos_yaw
    return (
        corner_outside(shape, cells, column + length_x + width_x, row + length_y + width_y, safe, tolerance)
        or corner_outside(shape, cells, column + length_x - width_x, row + length_y - width_y, safe, tolerance)
        or corner_outside(shape, cells, column - length_x + width_x, row - length_y + width_y, safe, tolerance)
        or corner_outside(shape, cells, column - length_x - width_x, row - length_y - width_y, safe, tolerance)
    )


def allowed(route_lanes: np.ndarray, lane: int) -> bool:
    """Whether ``lane`` is one of the -1 padded ``route_lanes``; every lane is, where none is given."""
    given = False
    for i in range(route_lanes.shape[0]):
        if route_lanes[i] == lane:
            return True
        given = given or route_lanes[i] >= 0
    return not given
