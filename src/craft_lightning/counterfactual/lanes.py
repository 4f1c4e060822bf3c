"""Lanes: candidates of one state that a kernel drives side by side, and where their numbers lie.

A kernel keeps everything that its arithmetic loops touch in one flat array ``work``: field f of lane l is
``work[f * LANES + l]``. With LANES a constant, a compiler knows that no two fields overlap and uses vector
instructions. The CUDA kernel is compiled with LANES = 1: there a thread is a lane.
"""

LANES = 32

# The ego now; the first six are stored at every step, in this order.
POS_X, POS_Y, COS, SIN, SPEED_NOW, YAW_NOW = range(6)

# Tracker: the aim point and how far ahead to look for it, the metres that the plan covers next, the PID windows.
AIM_X, AIM_Y, AHEAD, NEXT_METRES, TURN_SUM, TURN_OLD, TURN_LAST, PUSH_SUM, PUSH_OLD, PUSH_LAST = range(6, 16)

# Bounds of the centre over the rollout.
SWEPT_LOW_X, SWEPT_LOW_Y, SWEPT_HIGH_X, SWEPT_HIGH_Y = range(16, 20)

# Reward: what the look-ups of a step found (arc length, offsets, heading of the route, charges), heading and speed ...
ARC, ROUTE_OFFSET, LANE_OFFSET, ROUTE_COS, ROUTE_SIN, CHARGE, COS_THEN, SIN_THEN, SPEED_THEN = range(20, 29)
FIRST_LOOK, LOOKS = 20, 6

# ... and what is carried from step to step or added up; COLLIDED is the step of the first collision.
COLLIDED, START_ARC, LAST_ARC, D_G, D_C, D_H, REWARD, TOTAL = range(29, 37)

FIELDS = 37
