"""Built-in towns, and any other town from its OpenDRIVE file."""

from craft_lightning.roads.towns.loading import BUILT_IN, Town, load_town, suite_path, sumo_net, town_of_map

__all__ = ["BUILT_IN", "Town", "load_town", "suite_path", "sumo_net", "town_of_map"]
