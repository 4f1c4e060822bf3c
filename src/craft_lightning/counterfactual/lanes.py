"""Lanes: candidates of one state that a kernel drives side by side, and where their numbers lie.

A kernel keeps everything that its arithmetic loops touch in one flat array ``work``: field f of lane l is
``work[f * LANES + l]``. With LANES a constant, a compiler knows that no two fields overlap and uses vector
instructions. The CUDA kernel is compiled with LANES = 1: there a thread is a lane.
"""

import numpy as np

LANES = 32

# The ego now; the first six are stored at every step, in this order.
POS_X, POS_Y, COS, SIN, SPEED_NOW, YAW_NOW = range(6)

# Tracker: the aim point and how far ahead to look for it, the metres that the plan covers next, the PID windows.
AIM_X, AIM_Y, AHEAD, NEXT_METRES, TURN_SUM, PUSH_SUM, TURN_OLD, PUSH_OLD, TURN_LAST, PUSH_LAST = range(6, 16)

# Bounds of the centre over the rollout.
SWEPT_LOW_X, SWEPT_LOW_Y, SWEPT_HIGH_X, SWEPT_HIGH_Y = range(16, 20)

# What the look-ups of a step find: a segment of the route; one of a lane's centre with what holds there (1 or 0),
# whether its lane is none of the route's; metres to the road's edge, whether the box is beyond it ...
ROUTE_X, ROUTE_Y, ROUTE_COS, ROUTE_SIN, ROUTE_LENGTH, ROUTE_ARC = range(20, 26)
LANE_X, LANE_Y, LANE_COS, LANE_SIN, LANE_SHOULDER, LANE_FREE, FOREIGN = range(26, 33)
EDGE, OUTSIDE = range(33, 35)

# ... and the ego at that step.
X_THEN, Y_THEN, COS_THEN, SIN_THEN, SPEED_THEN = range(35, 40)

# What follows from both: arc length on the route, squared distance from it, distance from the lane's centre, cosine
# of the angle to its heading.
ARC, ROUTE_SQUARE, LANE_OFFSET, LANE_AGREES = range(40, 44)

# Reward: what is carried from step to step or added up; 1 in an EVER field once such an event happened.
START_ARC, LAST_ARC, D_G, D_C, D_H, REWARD, TOTAL = range(44, 51)
EVER_OUTSIDE, EVER_OFFROUTE, EVER_EMERGENCY, EVER_OPPOSITE = range(51, 55)

# First steps of a collision, a red line and an unhonoured stop line.
COLLIDED, RED, STOP = range(55, 58)

# A stop line: on which side of it the bumper is and was (positive left), 1 once a stop was made before it.
SIDE, SIDE_THEN, HONOURED = range(58, 61)

# The lane that was asked for last, and the answer.
LAST_LANE, LAST_FOREIGN = range(61, 63)

FIELDS = 63

# A pose of a lane's plan: x, y, direction to the next pose, metres so far. A row of a table holds those of all lanes.
PLAN_X, PLAN_Y, PLAN_COS, PLAN_SIN, PLAN_ARC = range(5)
PLAN_FIELDS = 5


def copy(source: np.ndarray, target: np.ndarray, number: int) -> None:
    """Copy the first ``number`` values of ``source`` into ``target``.

    A compiler that knows the number writes the loop out in single moves before it thinks of vectors: let it be a
    variable. Nor may an offset be added to the index, since numba then asks whether it counts from the end.
    """
    for i in range(number):
        target[i] = source[i]


def subtract(later: np.ndarray, earlier: np.ndarray, target: np.ndarray, number: int) -> None:
    """Write the first ``number`` differences of ``later`` and ``earlier`` into ``target``."""
    for i in range(number):
        target[i] = later[i] - earlier[i]
