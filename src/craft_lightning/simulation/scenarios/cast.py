"""Who plays: blueprints by the part they take, drawn from the stage's random numbers, on any server."""

from typing import Any

import carla

from craft_lightning.simulation.scenarios.stage import Stage

_PARTS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # part: base types, special types
    "car": (frozenset({"", "car"}), frozenset({"", "electric", "taxi"})),
    "large": (frozenset({"van", "truck"}), frozenset({""})),
    "emergency": (frozenset({"", "car", "van", "truck"}), frozenset({"emergency"})),
    "police": (frozenset({"", "car"}), frozenset({"emergency"})),
    "bicycle": (frozenset({"bicycle"}), frozenset({""})),
}
_CYCLES = ("crossbike", "gazelle", "diamondback")
_DOORS = "has_dynamic_doors"


def plays(blueprint: Any, part: str) -> bool:
    """Whether a vehicle blueprint can take a part: "car", "large", "emergency", "police" or "bicycle"."""
    base, special = (_text(blueprint, name) for name in ("base_type", "special_type"))
    if not base and any(name in blueprint.id for name in _CYCLES):
        base = "bicycle"
    bases, specials = _PARTS[part]
    wheels = 2 if part == "bicycle" else 4
    if blueprint.has_attribute("number_of_wheels"):
        if blueprint.get_attribute("number_of_wheels").as_int() != wheels:
            return False
    elif part == "bicycle" and base != "bicycle":
        return False
    return base in bases and special in specials


def draw(stage: Stage, part: str) -> Any:
    """Return a vehicle blueprint for a part; where a server has none for it, a car's."""
    library = sorted(stage.session.world.get_blueprint_library().filter("vehicle.*"), key=_identity)
    found = [blueprint for blueprint in library if plays(blueprint, part)]
    found = found or [blueprint for blueprint in library if plays(blueprint, "car")]
    return found[int(stage.rng.integers(len(found)))]


def stand(stage: Stage, part: str, s: float, left: float, turn: float = 0.0) -> Any | None:
    """Spawn a vehicle that stands with its hand brake on, None where the place is taken."""
    vehicle = stage.spawn(draw(stage, part), s, left, turn)
    if vehicle is not None:
        vehicle.apply_control(carla.VehicleControl(brake=1.0, hand_brake=True))
    return vehicle


def put(stage: Stage, models: tuple[str, ...], s: float, left: float, turn: float = 0.0) -> Any | None:
    """Place a prop, the first of ``models`` that the server has; None where it has none or the place is taken."""
    for model in models:
        if stage.session.has_blueprint(model):
            return stage.spawn(stage.session.blueprint(model), s, left, turn, lift=0.0)
    return None


def flash(vehicle: Any) -> None:
    """Switch a vehicle's blue lights and hazard lamps on."""
    state = carla.VehicleLightState
    lamps = (state.Special1, state.Special2, state.LeftBlinker, state.RightBlinker, state.Position)
    vehicle.set_light_state(state(sum(int(lamp) for lamp in lamps)))


def has_doors(blueprint: Any) -> bool:
    """Whether the doors of a vehicle can be opened on its server."""
    return bool(blueprint.has_attribute(_DOORS)) and bool(blueprint.get_attribute(_DOORS).as_bool())


def _text(blueprint: Any, name: str) -> str:
    return str(blueprint.get_attribute(name).as_str()).lower() if blueprint.has_attribute(name) else ""


def _identity(blueprint: Any) -> str:
    return str(blueprint.id)
