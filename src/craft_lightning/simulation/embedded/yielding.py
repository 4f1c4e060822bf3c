"""Traffic that brakes for what SUMO cannot see: walkers, props and vehicles that are not where a lane is.

For every pair of a traffic vehicle and such a body, the body is carried on at its velocity until the vehicle would
reach it; if it then lies in the vehicle's corridor (its width, bent with its present curvature), the vehicle may go no
faster than it can brake before the body. SUMO's own rules hold on top of that.

Frame: CARLA's (y right, yaw clockwise); metres, seconds; angles here in radians.
"""

import numpy as np

LOOK_AHEAD = 45.0  # m
LONGEST_LOOK = 3.0  # s that a body is carried on
SIDE_MARGIN = 0.4  # m beside the vehicle
STOP_BEFORE = 2.0  # m that are left at standstill
COMFORT_BRAKE = 3.5  # m/s2
HARD_BRAKE = 8.0  # m/s2, what a vehicle can do when something appears late
INTERVAL = 0.1  # s between two calls
SLOWEST_REACH = 2.0  # m/s assumed for when a vehicle reaches a body
_REACH = LOOK_AHEAD + 10.0  # m in x and in y beyond which a body is out of sight


def within_look(traffic: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Return [N] bool, which vehicles at [N, 2] have any body at [M, 2] so near that it may matter to them."""
    near: np.ndarray = (np.abs(traffic[:, None] - bodies[None]).max(-1) < _REACH).any(1)
    return near


def speed_caps(traffic: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Return how fast each vehicle may go.

    Args:
        traffic: [N, 7] x, y, yaw, half length, half width, speed, curvature [1/m, right positive].
        bodies: [M, 7] x, y, yaw, half length, half width, vx, vy.

    Returns:
        [N] m/s, infinite where nothing is in the way.

    """
    # Most pairs are far apart: only those within reach of each other are looked at.
    apart = np.abs(traffic[:, None, :2] - bodies[None, :, :2]).max(-1)
    rows, columns = np.nonzero(apart < _REACH)
    caps = np.full(len(traffic), np.inf)
    if len(rows) == 0:
        return caps
    x, y, yaw, half_length, half_width, speed, curvature = traffic[rows].T
    body_x, body_y, body_yaw, body_length, body_width, vx, vy = bodies[columns].T
    cos, sin = np.cos(yaw), np.sin(yaw)
    dx, dy = body_x - x, body_y - y
    ahead, aside = cos * dx + sin * dy, cos * dy - sin * dx
    along, across = cos * vx + sin * vy, cos * vy - sin * vx
    turned = body_yaw - yaw
    reach_ahead = body_length * np.abs(np.cos(turned)) + body_width * np.abs(np.sin(turned))
    reach_aside = body_length * np.abs(np.sin(turned)) + body_width * np.abs(np.cos(turned))

    gap = ahead - half_length - reach_ahead
    time = np.minimum(np.maximum(gap / np.maximum(speed - along, SLOWEST_REACH), 0.0), LONGEST_LOOK)
    bend = 0.5 * curvature * np.square(np.minimum(np.maximum(ahead, 0.0), LOOK_AHEAD))
    room = half_width + reach_aside + SIDE_MARGIN
    now, then = aside - bend, aside + across * time - bend
    # In the corridor now, when it is reached, or crossing it in between.
    conflict = (np.abs(now) < room) | (np.abs(then) < room) | (now * then < 0.0)
    # Of what is beside the vehicle only the part in front of its middle counts: it can no longer be avoided by braking.
    conflict &= (ahead > 0.0) & (gap > -half_length) & (gap < LOOK_AHEAD)
    # Walking out of the corridor before the vehicle arrives is no conflict.
    conflict &= ~((np.abs(then) > room) & (now * across > 0.0) & (gap > 8.0))
    space = np.maximum(gap - STOP_BEFORE, 0.0)
    # Stops in time even if the cap only takes effect one interval later.
    late = COMFORT_BRAKE * INTERVAL
    cap = np.sqrt(late**2 + np.square(np.maximum(along, 0.0)) + 2.0 * COMFORT_BRAKE * space) - late
    np.minimum.at(caps, rows[conflict], cap[conflict])
    return caps
