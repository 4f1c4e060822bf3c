"""SUMO's vehicle types: one for each blueprint that takes part in traffic, twice (with and without regard for foes)."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from craft_lightning.simulation.embedded.blueprints import Blueprint, BlueprintLibrary

# Share of a blueprint's base type in traffic; within a base type all models are equally likely.
SHARES = {"car": 0.84, "van": 0.08, "truck": 0.04, "motorcycle": 0.04}
RECKLESS = ".reckless"
# Junction behaviour of reckless drivers: they ignore foes slower than this with certainty (no random number a step).
IGNORED_FOE_SPEED = 6.0  # m/s
WALKER_TYPE = "walker"

_CLASS = {"car": "passenger", "van": "passenger", "truck": "passenger", "bus": "passenger", "motorcycle": "passenger"}
# Comfortable acceleration and deceleration, m/s2
_PULL = {"car": (2.6, 4.5), "van": (2.2, 4.5), "truck": (1.5, 4.0), "bus": (1.3, 4.0), "motorcycle": (3.0, 5.0)}
EMERGENCY_DECELERATION = 8.0


def base_type(blueprint: Blueprint) -> str:
    """Return a vehicle blueprint's ``base_type``; bicycles count as motorcycles, since SUMO only needs a class."""
    found = next(attribute.value for attribute in blueprint.attributes if attribute.name == "base_type")
    return "motorcycle" if found == "bicycle" else found


def write_types(library: BlueprintLibrary, path: Path) -> None:
    """Write SUMO's additional file with a type for every vehicle blueprint, named like it, and one for walkers."""
    root = ElementTree.Element("additional")
    for blueprint in library.vehicles(frozenset({"car", "van", "truck", "bus", "motorcycle", "bicycle"})):
        base = base_type(blueprint)
        pull, brake = _PULL[base]
        for reckless in (False, True):
            attributes = {
                "id": blueprint.name + (RECKLESS if reckless else ""),
                "vClass": _CLASS[base],
                "length": f"{2 * blueprint.extent[0]:.3f}",
                "width": f"{2 * blueprint.extent[1]:.3f}",
                "height": f"{2 * blueprint.extent[2]:.3f}",
                "sigma": "0",
                "speedDev": "0",
                "accel": str(pull),
                "decel": str(brake),
                "emergencyDecel": str(EMERGENCY_DECELERATION),
            }
            if reckless:
                attributes |= {"jmIgnoreFoeProb": "1", "jmIgnoreFoeSpeed": str(IGNORED_FOE_SPEED)}
            ElementTree.SubElement(root, "vType", attributes)
    ElementTree.SubElement(
        root,
        "vType",
        {"id": WALKER_TYPE, "vClass": "pedestrian", "length": "0.38", "width": "0.38", "speedDev": "0"},
    )
    ElementTree.ElementTree(root).write(path)
