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

# What the look-ups of a step find, in the order in which they are stored ...
ARC, ROUTE_SQUARE, ROUTE_COS, ROUTE_SIN, LANE_OFFSET, LANE_AGREES, EMERGENCY, FOREIGN, OUTSIDE = range(20, 29)
FIRST_LOOK, LOOKS = 20, 9

# ... and heading and speed at that step.
COS_THEN, SIN_THEN, SPEED_THEN = range(29, 32)

# Reward: what is carried from step to step or added up; 1 in an EVER field once such an event happened.
START_ARC, LAST_ARC, D_G, D_C, D_H, REWARD, TOTAL = range(32, 39)
EVER_OUTSIDE, EVER_OFFROUTE, EVER_EMERGENCY, EVER_OPPOSITE = range(39, 43)

# First steps of a collision, a red line and an unhonoured stop line.
COLLIDED, RED, STOP = range(43, 46)

# A stop line: on which side of it the bumper is and was (positive left), 1 once a stop was made before it.
SIDE, SIDE_THEN, HONOURED = range(46, 49)

FIELDS = 49

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
