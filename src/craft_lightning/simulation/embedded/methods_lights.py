"""Methods about traffic lights."""

from typing import Any

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.rpc import Method
from craft_lightning.simulation.embedded.world import World

HEAD_EXTENT = (0.15, 0.2, 0.5)  # half sizes of a signal head [m]
HEAD_HEIGHT = 5.0  # m above ground


def light_methods(world: World) -> dict[str, Method]:
    """Return the methods by name; orders to actors that are no lights are ignored."""

    def force(actor_id: int, state: int) -> Any:
        if actor_id in world.board.lights:
            world.board.force(actor_id, int(state))
        return wire.VOID

    def timed(state: int) -> Method:
        def set_time(actor_id: int, seconds: float) -> Any:
            if actor_id in world.board.lights:
                world.board.set_time(actor_id, state, float(seconds))
            return wire.VOID

        return set_time

    def freeze_all(frozen: bool) -> Any:
        world.board.freeze(bool(frozen))
        return wire.VOID

    def reset_all() -> Any:
        world.board.reset()
        return wire.VOID

    def reset_group(actor_id: int) -> Any:
        if actor_id in world.board.lights:
            world.board.reset_group(actor_id)
        return wire.VOID

    def group(actor_id: int) -> Any:
        return wire.value(world.board.group(actor_id) if actor_id in world.board.lights else [])

    def boxes(actor_id: int) -> Any:
        light = world.board.lights.get(actor_id)
        if light is None:
            return wire.value([])
        x, y, z = light.place.pose[:3]
        return wire.value([wire.box((x, y, z + HEAD_HEIGHT), HEAD_EXTENT, actor_id)])

    return {
        "set_traffic_light_state": force,
        "set_traffic_light_green_time": timed(wire.GREEN),
        "set_traffic_light_yellow_time": timed(wire.YELLOW),
        "set_traffic_light_red_time": timed(wire.RED),
        "freeze_traffic_light": lambda actor_id, frozen: freeze_all(frozen),
        "freeze_all_traffic_lights": freeze_all,
        "reset_all_traffic_lights": reset_all,
        "reset_traffic_light_group": reset_group,
        "get_group_traffic_lights": group,
        "get_light_boxes": boxes,
    }
