"""Methods about the server, the episode, settings, the map and the weather."""

import math
from typing import Any

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.rpc import Method
from craft_lightning.simulation.embedded.state import Settings
from craft_lightning.simulation.embedded.town import TownShelf
from craft_lightning.simulation.embedded.world import World


def world_methods(world: World, version: str) -> dict[str, Method]:
    """Return the methods by name; ``version`` is the protocol version that the server claims."""
    # Traffic Managers live in clients; the server only tells them of each other, port -> address.
    managers: dict[int, str] = {}

    def get_map_info() -> Any:
        return wire.value([world.town.name, [wire.transform(pose) for pose in world.town.spawn_points]])

    def set_episode_settings(settings: list[Any]) -> Any:
        return wire.value(world.apply_settings(Settings.from_wire(settings)))

    def load_new_episode(name: str, reset_settings: bool = True, map_layers: int = 0) -> Any:
        world.load(name, reset_settings, at_the_next_tick=bool(managers))
        return wire.VOID

    def copy_opendrive_to_file(text: str, parameters: Any = None) -> Any:
        world.shelf.offer(text)
        # Loaded once here, so that a broken text is refused in this call and the old episode goes on.
        world.shelf.load(TownShelf.CUSTOM)
        return wire.VOID

    def set_weather_parameters(weather: list[float]) -> Any:
        world.state.weather = [float(number) for number in weather]
        return wire.VOID

    def is_weather_enabled() -> Any:
        return wire.value(True)

    def project_point(location: list[float], direction: list[float], reach: float) -> Any:
        point = world.town.project(location, direction, float(reach))
        return wire.value([point is not None, wire.labelled_point(point or (0.0, 0.0, 0.0))])

    def cast_ray(start: list[float], end: list[float]) -> Any:
        way = [b - a for a, b in zip(start, end, strict=True)]
        point = world.town.project(start, way, math.hypot(*way))
        return wire.value([] if point is None else [wire.labelled_point(point)])

    def add_traffic_manager_running(where: list[Any]) -> Any:
        address, port = where
        fresh = int(port) not in managers
        managers.setdefault(int(port), str(address))
        return wire.value(fresh)

    methods: dict[str, Method] = {
        "version": lambda: wire.value(version),
        "ping": lambda: wire.value(True),
        "get_episode_info": lambda: wire.value([world.state.episode, [world.snapshot_token]]),
        "get_episode_settings": lambda: wire.value(world.state.settings.wire()),
        "set_episode_settings": set_episode_settings,
        "get_map_info": get_map_info,
        "get_map_data": lambda: wire.value(world.town.xodr),
        "get_available_maps": lambda: wire.value(world.shelf.names()),
        "get_required_files": lambda folder="", download=True: wire.value([]),
        "load_new_episode": load_new_episode,
        "copy_opendrive_to_file": copy_opendrive_to_file,
        "load_map_layer": lambda layers: wire.VOID,
        "unload_map_layer": lambda layers: wire.VOID,
        "get_weather_parameters": lambda: wire.value(world.state.weather),
        "set_weather_parameters": set_weather_parameters,
        "is_weather_enabled": is_weather_enabled,
        "update_day_night_cycle": lambda active=True: wire.VOID,
        "query_lights_state": lambda client="": wire.value([]),
        "update_lights_state": lambda client, lights, discard=False: wire.VOID,
        "get_level_bbs": lambda tag=0: wire.value([]),
        "get_names_of_all_objects": lambda: wire.value([]),
        "get_environment_objects": lambda tag=0: wire.value([]),
        "enable_environment_objects": lambda objects, enable: wire.VOID,
        "project_point": project_point,
        "cast_ray": cast_ray,
        "draw_debug_shape": lambda shape: wire.VOID,
        "is_traffic_manager_running": lambda port: wire.value(port in managers),
        "get_traffic_manager_running": lambda port: wire.value(
            [managers.get(port, ""), port if port in managers else 0]
        ),
        "add_traffic_manager_running": add_traffic_manager_running,
        "destroy_traffic_manager": lambda port: wire.value(managers.pop(port, None) is not None),
        "tick_cue": lambda: wire.value(world.tick()),
    }
    return methods
