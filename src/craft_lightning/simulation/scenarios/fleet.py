"""Which blueprints a scenario's vehicles are drawn from."""

from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.scenarios.stage import Spawner

CARS, BICYCLES = "cars", "bicycles"
_CYCLES = ("crossbike", "omafiets", "century", "bicycle")  # models of CARLA's library, where base_type is not given


def models(session: Spawner, fleet: str) -> list[str]:
    """Return the ids of the blueprints of a fleet, in alphabetical order.

    Args:
        session: the session that spawns.
        fleet: ``CARS`` or ``BICYCLES``.

    Raises:
        CraftError: the server has none.

    """
    wanted = is_car if fleet == CARS else is_bicycle
    found = sorted(str(one.id) for one in session.world.get_blueprint_library().filter("vehicle.*") if wanted(one))
    if not found:
        raise CraftError(f"the server's blueprint library has no {fleet}; choose another server or scenario")
    return found


def is_car(blueprint: Any) -> bool:
    """Whether a vehicle blueprint is an ordinary car: four wheels, no bus, truck or emergency vehicle."""
    if _wheels(blueprint) != 4:
        return False
    for name, wanted in (("special_type", ("", "electric", "taxi")), ("base_type", ("", "car"))):
        if blueprint.has_attribute(name) and blueprint.get_attribute(name).as_str().lower() not in wanted:
            return False
    return True


def is_bicycle(blueprint: Any) -> bool:
    """Whether a vehicle blueprint is a pedal cycle."""
    if _wheels(blueprint) == 4:
        return False
    if blueprint.has_attribute("base_type"):
        return str(blueprint.get_attribute("base_type").as_str()).lower() == "bicycle"
    return any(model in blueprint.id for model in _CYCLES)


def _wheels(blueprint: Any) -> int:
    if blueprint.has_attribute("number_of_wheels"):
        return int(blueprint.get_attribute("number_of_wheels").as_int())
    return 4
