"""Drive a car around a block with ``apply_control`` alone, on any CARLA 0.9.16 server.

Start a world in one terminal, ``python -m craft_lightning.simulation.embedded --port 2000 --town craftville``, and run
this in another: ``python notebooks/drive_around_the_block.py [port]``. It needs nothing but the ``carla`` wheel.
"""

import math
import sys

import carla

TICK = 0.05  # s
SPEED = 7.0  # m/s on straights
CORNER_SPEED = 4.0  # m/s where the way bends
LOOK_AHEAD = 6.0  # m at least
WHEELBASE = 2.85  # m
STEP = 1.0  # m between the points of the way
LONGEST_BLOCK = 700.0  # m
LIMIT = 300.0  # s of simulated time


def turn(a: float, b: float) -> float:
    """Return the angle from yaw a to yaw b, degrees, clockwise positive."""
    return (b - a + 180.0) % 360.0 - 180.0


def way_around_the_block(start: carla.Waypoint) -> "list[carla.Waypoint] | None":
    """Follow the road, turning right at every junction, until it comes back to where it began; None if it does not."""
    way, current, length = [start], start, 0.0
    while length < LONGEST_BLOCK:
        options = current.next(STEP)
        if not options:
            return None
        if len(options) > 1:
            # Several ways through the junction: look to their ends and take the one that turns right the most.
            exits = [option.next_until_lane_end(STEP)[-1].transform.rotation.yaw for option in options]
            turns = [turn(current.transform.rotation.yaw, yaw) for yaw in exits]
            current = options[turns.index(max(turns))]
        else:
            current = options[0]
        way.append(current)
        length += STEP
        if length > 100.0 and current.transform.location.distance(start.transform.location) < 1.5 * STEP:
            return way
    return None


def find_block(town: carla.Map) -> "tuple[carla.Transform, list[carla.Waypoint]]":
    """Return the shortest closed way around a block that begins at a spawn point, and that spawn point."""
    ways = []
    for pose in town.get_spawn_points():
        way = way_around_the_block(town.get_waypoint(pose.location))
        if way is not None:
            ways.append((len(way), pose, way))
    if not ways:
        raise SystemExit("no block to drive around in " + town.name)
    _, pose, way = min(ways, key=lambda entry: entry[0])
    return pose, way


def control(ego: carla.Vehicle, way: "list[carla.Waypoint]", nearest: int) -> "tuple[carla.VehicleControl, int]":
    """Return the control by pure pursuit of the way, and the index of its nearest point."""
    pose, velocity = ego.get_transform(), ego.get_velocity()
    speed = math.hypot(velocity.x, velocity.y)
    window = range(nearest, min(nearest + 20, len(way)))
    nearest = min(window, key=lambda k: way[k].transform.location.distance(pose.location))
    goal = way[min(nearest + round((LOOK_AHEAD + 0.3 * speed) / STEP), len(way) - 1)].transform
    far = way[min(nearest + round((8.0 + speed) / STEP), len(way) - 1)].transform

    dx, dy = goal.location.x - pose.location.x, goal.location.y - pose.location.y
    distance = max(math.hypot(dx, dy), 1.0)
    aside = turn(pose.rotation.yaw, math.degrees(math.atan2(dy, dx)))
    angle = math.atan(2.0 * WHEELBASE * math.sin(math.radians(aside)) / distance)

    bend = max(abs(turn(pose.rotation.yaw, goal.rotation.yaw)), abs(turn(pose.rotation.yaw, far.rotation.yaw)))
    wanted = CORNER_SPEED if bend > 20.0 else SPEED
    if nearest > len(way) - 5:
        wanted = 0.0
    pull = 0.5 * (wanted - speed)
    return (
        carla.VehicleControl(
            throttle=min(max(pull, 0.0), 0.75),
            brake=min(max(-pull, 0.0), 1.0),
            steer=min(max(angle / 0.6, -1.0), 1.0),
        ),
        nearest,
    )


def main() -> int:
    """Connect, drive once around, and tell how it went."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    world = client.get_world()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
    world.apply_settings(settings)
    pose, way = find_block(world.get_map())
    ego = world.spawn_actor(world.get_blueprint_library().filter("vehicle.*mkz*")[0], pose)
    try:
        world.tick()
        start = ego.get_location()
        driven, nearest, farthest, last, off = 0.0, 0, 0.0, start, 0.0
        ticks = 0
        while ticks * TICK < LIMIT:
            order, nearest = control(ego, way, nearest)
            ego.apply_control(order)
            world.tick()
            ticks += 1
            here = ego.get_location()
            driven += here.distance(last)
            last = here
            farthest = max(farthest, here.distance(start))
            off = max(
                off, min(point.transform.location.distance(here) for point in way[max(0, nearest - 5) : nearest + 6])
            )
            if nearest > len(way) - 5 and ego.get_velocity().length() < 0.1:
                break
        home = ego.get_location().distance(start)
        print(f"the block: {len(way) * STEP:.0f} m, farthest corner {farthest:.0f} m away")
        print(f"driven: {driven:.0f} m in {ticks * TICK:.0f} s, never more than {off:.1f} m off the lane's centre")
        print(f"back home: {home:.1f} m from where it began" if home < 10.0 else f"lost: {home:.1f} m from home")
        return 0 if home < 10.0 else 1
    finally:
        ego.destroy()
        world.apply_settings(before)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"the CARLA server does not answer ({error}); start one as the head of this file says")
