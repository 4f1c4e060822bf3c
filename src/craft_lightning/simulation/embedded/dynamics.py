"""How vehicles and walkers that the client controls move: a kinematic bicycle with sluggish pedals and steering.

Deliberately not the counterfactual world's model: pedals lag and the wheels turn at a finite rate, so that a policy is
tuned against a world it did not plan with. Plain floats, since a handful of such actors is the rule.
"""

import math

from craft_lightning.simulation.embedded.state import (
    AX,
    AY,
    AZ,
    PITCH,
    ROLL,
    VX,
    VY,
    VZ,
    WX,
    WY,
    WZ,
    YAW,
    Actor,
    X,
    Y,
    Z,
)

MAX_STEER_ANGLE = 0.6  # rad of the road wheels at steer = 1
STEER_RATE = 1.2  # rad/s of the road wheels; half a second from straight to full lock
THROTTLE_LAG = 0.2  # s, first order
BRAKE_LAG = 0.1  # s, first order
FULL_THROTTLE = 4.0  # m/s2 from standstill
TOP_SPEED = 50.0  # m/s at which the engine's pull has tapered to nothing
REVERSE_THROTTLE = 2.0  # m/s2
REVERSE_TOP_SPEED = 8.0  # m/s
FULL_BRAKE = 8.0  # m/s2
HAND_BRAKE = 5.0  # m/s2
ROLLING_DRAG = 0.1  # m/s2
ENGINE_DRAG = 0.25  # m/s2 with the throttle released
AIR_DRAG = 0.0004  # 1/m, times speed squared
GRIP = 8.0  # m/s2 of lateral acceleration at most
STANDSTILL = 0.02  # m/s; slower than what the brakes take away is standing
GRAVITY = 9.81  # m/s2
FALL_FROM = 0.02  # m above ground that counts as in the air
UNDERGROUND = 1.0  # m below ground where there is no ground any more (scenarios park actors there)


def drive(actor: Actor, delta: float) -> None:
    """Advance a vehicle by ``delta`` seconds under its VehicleControl; writes its pose, velocities and accelerations.

    The reference point is the centre of the box, half a wheelbase from both axles. Throttle, brake and steer have
    CARLA's meaning: steer is positive to the right, reverse turns the throttle's direction, the hand brake locks.
    """
    motion, control = actor.motion, actor.control
    yaw = math.radians(motion[YAW])
    before_x, before_y, before_speed = motion[VX], motion[VY], actor.speed

    blend = 1.0 - math.exp(-delta / THROTTLE_LAG)
    actor.throttle += blend * (min(max(control.throttle, 0.0), 1.0) - actor.throttle)
    actor.brake += (1.0 - math.exp(-delta / BRAKE_LAG)) * (min(max(control.brake, 0.0), 1.0) - actor.brake)
    wanted = MAX_STEER_ANGLE * min(max(control.steer, -1.0), 1.0)
    turn = STEER_RATE * delta
    actor.steer_angle += min(max(wanted - actor.steer_angle, -turn), turn)

    if actor.constant_velocity is not None:
        speed = actor.constant_velocity[0]
    else:
        speed = _next_speed(before_speed, actor, delta)
    actor.speed = speed

    mean = 0.5 * (before_speed + speed)
    slip = math.atan(0.5 * math.tan(actor.steer_angle))
    rate = mean * math.sin(slip) / (0.5 * max(actor.wheelbase, 0.5))
    if abs(rate * mean) > GRIP:
        rate = math.copysign(GRIP / abs(mean), rate)
    middle = yaw + 0.5 * rate * delta + slip
    step_x, step_y = mean * math.cos(middle) * delta, mean * math.sin(middle) * delta
    yaw += rate * delta
    motion[X] += step_x
    motion[Y] += step_y
    motion[YAW] = _wrap(math.degrees(yaw))
    motion[VX] = speed * math.cos(yaw + slip)
    motion[VY] = speed * math.sin(yaw + slip)
    motion[WX] = motion[WY] = 0.0
    motion[WZ] = math.degrees(rate)
    motion[AX] = (motion[VX] - before_x) / delta
    motion[AY] = (motion[VY] - before_y) / delta
    motion[AZ] = 0.0


def _next_speed(speed: float, actor: Actor, delta: float) -> float:
    """Return the speed after ``delta`` seconds: pull of the engine, then what only ever slows down."""
    control = actor.control
    if control.reverse:
        pull = -REVERSE_THROTTLE * max(0.0, 1.0 - max(-speed, 0.0) / REVERSE_TOP_SPEED)
    else:
        pull = FULL_THROTTLE * max(0.0, 1.0 - max(speed, 0.0) / TOP_SPEED)
    pull *= actor.throttle
    drag = FULL_BRAKE * actor.brake + ROLLING_DRAG + AIR_DRAG * speed * speed + ENGINE_DRAG * (1.0 - actor.throttle)
    if control.hand_brake:
        drag += HAND_BRAKE
    moved = speed + pull * delta
    if abs(moved) <= drag * delta + (STANDSTILL if actor.brake > 0.5 else 0.0):
        return 0.0
    return moved - math.copysign(drag * delta, moved)


def walk(actor: Actor, delta: float) -> None:
    """Advance a walker by ``delta`` seconds: along its WalkerControl, or its target velocity where one was set."""
    motion = actor.motion
    before_x, before_y = motion[VX], motion[VY]
    walking = actor.walk.speed != 0.0
    if walking:
        dx, dy, _ = actor.walk.direction
        length = math.hypot(dx, dy)
        scale = actor.walk.speed / length if length > 1e-6 else 0.0
        vx, vy = dx * scale, dy * scale
    elif actor.target_velocity is not None:
        vx, vy = actor.target_velocity[0], actor.target_velocity[1]
    else:
        vx = vy = 0.0
    before_yaw = motion[YAW]
    if walking and (vx or vy):
        motion[YAW] = math.degrees(math.atan2(vy, vx))
    motion[X] += vx * delta
    motion[Y] += vy * delta
    motion[VX], motion[VY] = vx, vy
    motion[WX] = motion[WY] = 0.0
    motion[WZ] = _wrap(motion[YAW] - before_yaw) / delta
    motion[AX], motion[AY], motion[AZ] = (vx - before_x) / delta, (vy - before_y) / delta, 0.0
    actor.speed = math.hypot(vx, vy)


def settle(actor: Actor, ground: float, delta: float) -> None:
    """Let an actor fall to, or climb with, the ground at height ``ground`` [m]; far below ground it stays put."""
    motion = actor.motion
    if motion[Z] < ground - UNDERGROUND:
        motion[VZ] = 0.0
    elif motion[Z] > ground + FALL_FROM and actor.gravity:
        motion[VZ] -= GRAVITY * delta
        motion[Z] += motion[VZ] * delta
        if motion[Z] <= ground:
            motion[Z], motion[VZ] = ground, 0.0
    elif motion[Z] < ground or actor.gravity:
        motion[Z], motion[VZ] = ground, 0.0
    motion[PITCH] = motion[ROLL] = 0.0


def set_velocity(actor: Actor, velocity: tuple[float, float, float]) -> None:
    """Give an actor a velocity in the world's frame: a vehicle keeps the part along its heading, a walker all of it."""
    if actor.sumo:
        return
    motion = actor.motion
    yaw = math.radians(motion[YAW])
    actor.speed = velocity[0] * math.cos(yaw) + velocity[1] * math.sin(yaw)
    actor.target_velocity = velocity
    motion[VX], motion[VY], motion[VZ] = velocity


def stop(actor: Actor) -> None:
    """Take all speed away, pedals and wheels included."""
    actor.speed = actor.throttle = actor.brake = actor.steer_angle = 0.0
    actor.target_velocity = None
    actor.motion[VX:] = [0.0] * (len(actor.motion) - VX)


def _wrap(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
