"""The blueprint library: what a client can spawn, sizes (rounded) and attributes as in CARLA's catalogue."""

import dataclasses
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded.sensors.attributes import SENSORS

# rpc::ActorAttributeType
BOOL, INT, FLOAT, STRING, COLOR = 1, 2, 3, 4, 5


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One attribute of a blueprint, all values as text like on the wire."""

    name: str
    kind: int
    value: str
    recommended: tuple[str, ...] = ()
    modifiable: bool = True
    restrict: bool = False

    def wire(self) -> list[Any]:
        """Return the ActorAttribute of the protocol."""
        return [self.name, self.kind, self.value, list(self.recommended), self.modifiable, self.restrict]


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """What can be spawned under one name.

    Attributes:
        name: type id, e.g. ``vehicle.tesla.model3``.
        extent: half length, half width, half height of the box in metres; zeros for what has no body.
        mass: kilograms, for the impulses of collisions.
        wheelbase: metres; 0 for what has no wheels.
        attributes: what a client may read or set.

    """

    name: str
    extent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mass: float = 0.0
    wheelbase: float = 0.0
    attributes: tuple[Attribute, ...] = ()

    def wire(self, uid: int) -> list[Any]:
        """Return the ActorDefinition of the protocol."""
        return [uid, self.name, self.name.replace(".", ","), [attribute.wire() for attribute in self.attributes]]


_ROLE = Attribute("role_name", STRING, "default", ("autopilot", "scenario", "ego_vehicle"))
_ROLE_HERO = Attribute("role_name", STRING, "autopilot", ("autopilot", "scenario", "hero"))
PALETTE = ("0,0,0", "17,37,103", "45,95,90", "92,81,74", "137,0,0", "255,255,255", "66,124,164", "198,196,190")

# name, half sizes (m), mass (kg), wheelbase (m), wheels, base type, special type, generation
_VEHICLES: tuple[tuple[str, tuple[float, float, float], float, float, int, str, str, str], ...] = (
    ("vehicle.lincoln.mkz_2020", (2.45, 0.92, 0.75), 2040.0, 2.85, 4, "car", "", "2"),
    ("vehicle.tesla.model3", (2.40, 1.08, 0.74), 1845.0, 2.88, 4, "car", "electric", "2"),
    ("vehicle.audi.tt", (2.09, 0.99, 0.69), 1395.0, 2.51, 4, "car", "", "1"),
    ("vehicle.audi.a2", (1.85, 0.89, 0.77), 1135.0, 2.41, 4, "car", "", "1"),
    ("vehicle.mini.cooper_s", (1.90, 0.99, 0.74), 1265.0, 2.47, 4, "car", "", "1"),
    ("vehicle.citroen.c3", (1.99, 0.93, 0.81), 1160.0, 2.47, 4, "car", "", "1"),
    ("vehicle.seat.leon", (2.10, 0.91, 0.74), 1290.0, 2.58, 4, "car", "", "1"),
    ("vehicle.toyota.prius", (2.26, 1.00, 0.76), 1480.0, 2.70, 4, "car", "electric", "1"),
    ("vehicle.dodge.charger_2020", (2.50, 1.05, 0.80), 2020.0, 3.05, 4, "car", "", "2"),
    ("vehicle.dodge.charger_police_2020", (2.62, 1.05, 0.82), 2020.0, 3.05, 4, "car", "emergency", "2"),
    ("vehicle.ford.crown", (2.68, 0.90, 0.79), 1880.0, 2.91, 4, "car", "taxi", "2"),
    ("vehicle.nissan.patrol_2021", (2.78, 1.08, 1.02), 2750.0, 3.08, 4, "car", "", "2"),
    ("vehicle.mercedes.sprinter", (2.96, 0.99, 1.28), 2350.0, 3.67, 4, "van", "", "2"),
    ("vehicle.volkswagen.t2_2021", (2.22, 0.94, 1.00), 1250.0, 2.40, 4, "van", "", "2"),
    ("vehicle.ford.ambulance", (3.18, 1.18, 1.29), 4200.0, 3.51, 4, "van", "emergency", "2"),
    ("vehicle.carlamotors.carlacola", (2.60, 1.31, 1.24), 4000.0, 3.35, 4, "truck", "", "1"),
    ("vehicle.carlamotors.firetruck", (4.23, 1.45, 1.90), 14000.0, 4.60, 4, "truck", "emergency", "2"),
    ("vehicle.mitsubishi.fusorosa", (5.13, 1.29, 2.13), 7800.0, 4.55, 4, "bus", "", "2"),
    ("vehicle.kawasaki.ninja", (1.02, 0.40, 0.77), 350.0, 1.40, 2, "motorcycle", "", "1"),
    ("vehicle.yamaha.yzf", (1.10, 0.43, 0.77), 330.0, 1.40, 2, "motorcycle", "", "1"),
    ("vehicle.vespa.zx125", (0.90, 0.44, 0.79), 190.0, 1.28, 2, "motorcycle", "", "2"),
    ("vehicle.diamondback.century", (0.82, 0.29, 0.82), 95.0, 1.10, 2, "bicycle", "", "1"),
    ("vehicle.bh.crossbike", (0.74, 0.43, 0.90), 90.0, 1.05, 2, "bicycle", "", "1"),
)


def _vehicle(
    name: str,
    extent: tuple[float, float, float],
    mass: float,
    wheelbase: float,
    wheels: int,
    base: str,
    special: str,
    generation: str,
) -> Blueprint:
    fixed = (
        Attribute("number_of_wheels", INT, str(wheels), (), False),
        Attribute("object_type", STRING, "", (), False),
        Attribute("base_type", STRING, base, (), False),
        Attribute("special_type", STRING, special, (), False),
        Attribute("generation", INT, generation, (), False),
        Attribute("has_dynamic_doors", BOOL, "false", (), False),
        Attribute("has_lights", BOOL, "true" if base != "bicycle" else "false", (), False),
    )
    free = (
        _ROLE_HERO,
        Attribute("color", COLOR, PALETTE[0], PALETTE),
        Attribute("driver_id", INT, "0"),
        Attribute("sticky_control", BOOL, "true"),
        Attribute("terramechanics", BOOL, "false"),
        Attribute("ros_name", STRING, name),
    )
    return Blueprint(name, extent, mass, wheelbase, fixed + free)


def _walker(number: int) -> Blueprint:
    gender = "female" if number % 2 else "male"
    age = "child" if number in (9, 10, 11, 12) else "adult"
    tall = 0.55 if age == "child" else 0.93
    attributes = (
        Attribute("gender", STRING, gender, (), False),
        Attribute("age", STRING, age, (), False),
        Attribute("generation", INT, "1", (), False),
        Attribute("can_use_wheelchair", BOOL, "false", (), False),
        Attribute("use_wheelchair", BOOL, "false"),
        Attribute("speed", FLOAT, "0.0", ("0.0", "1.43", "2.75")),
        Attribute("is_invincible", BOOL, "true"),
        _ROLE,
        Attribute("ros_name", STRING, f"walker.pedestrian.{number:04d}"),
    )
    return Blueprint(f"walker.pedestrian.{number:04d}", (0.19, 0.19, tall), 75.0, 0.0, attributes)


_PROPS: tuple[tuple[str, tuple[float, float, float], float], ...] = (
    ("static.prop.constructioncone", (0.17, 0.17, 0.29), 5.0),
    ("static.prop.trafficcone01", (0.45, 0.45, 0.59), 5.0),
    ("static.prop.trafficcone02", (0.20, 0.20, 0.36), 5.0),
    ("static.prop.streetbarrier", (0.18, 0.61, 0.53), 60.0),
    ("static.prop.trafficwarning", (1.20, 1.15, 1.82), 300.0),
    ("static.prop.warningconstruction", (0.40, 0.55, 0.75), 20.0),
    ("static.prop.warningaccident", (0.40, 0.55, 0.75), 20.0),
    ("static.prop.dirtdebris01", (1.10, 0.90, 0.10), 20.0),
    ("static.prop.dirtdebris02", (0.90, 0.75, 0.08), 20.0),
    ("static.prop.box01", (0.27, 0.30, 0.24), 10.0),
    ("static.prop.box02", (0.30, 0.30, 0.30), 10.0),
    ("static.prop.container", (0.97, 0.53, 0.63), 300.0),
    ("static.prop.vendingmachine", (0.50, 0.62, 1.08), 400.0),
    ("static.prop.busstop", (1.90, 0.95, 1.36), 800.0),
    ("static.prop.barrel", (0.26, 0.25, 0.39), 30.0),
    ("static.prop.mesh", (0.50, 0.50, 0.50), 100.0),
    ("static.prop.chainbarrier", (0.80, 0.15, 0.45), 10.0),
)
# What a prop has beside the common attributes; they change nothing here.
_PROP_ATTRIBUTES = {
    "static.prop.mesh": (
        Attribute("mesh_path", STRING, ""),
        Attribute("mass", FLOAT, "0.0"),
        Attribute("scale", FLOAT, "1.0"),
    )
}

# Attributes of the traffic controller; ``traffic.TrafficOptions`` reads them.
_TRAFFIC = (
    Attribute("seed", INT, "0"),
    Attribute("vehicles", INT, "20"),
    Attribute("walkers", INT, "0"),
    Attribute("warmup", FLOAT, "8.0"),
    Attribute("tau", FLOAT, "1.2"),
    Attribute("tau_spread", FLOAT, "0.3"),
    Attribute("speed_factor", FLOAT, "1.0"),
    Attribute("speed_factor_spread", FLOAT, "0.1"),
    Attribute("min_gap", FLOAT, "2.5"),
    Attribute("min_gap_spread", FLOAT, "0.5"),
    Attribute("ignore_foe_share", FLOAT, "0.02"),
    _ROLE,
)

_KIND_OF = {bool: BOOL, int: INT, float: FLOAT, str: STRING}

_OTHERS = (
    *(
        Blueprint(
            name,
            attributes=(
                *(Attribute(attribute, _KIND_OF[kind], default) for attribute, kind, default in rows),
                _ROLE,
                Attribute("ros_name", STRING, name.rpartition(".")[2]),
            ),
        )
        for name, rows in SENSORS.items()
    ),
    Blueprint("sensor.other.collision", attributes=(_ROLE, Attribute("ros_name", STRING, "collision"))),
    Blueprint("sensor.other.lane_invasion", attributes=(_ROLE, Attribute("ros_name", STRING, "lane_invasion"))),
    Blueprint("controller.ai.walker", attributes=(_ROLE,)),
    Blueprint("controller.traffic.sumo", attributes=_TRAFFIC),
)

# Made by the server alone.
_SERVER_ONLY = tuple(
    Blueprint(name) for name in ("spectator", "traffic.traffic_light", "traffic.stop", "traffic.yield")
)


class BlueprintLibrary:
    """All blueprints by name and by number (``uid``, counted from 1)."""

    def __init__(self) -> None:
        spawnable = (
            tuple(_vehicle(*row) for row in _VEHICLES)
            + tuple(_walker(number) for number in range(1, 31))
            + tuple(
                Blueprint(
                    name,
                    extent,
                    mass,
                    0.0,
                    (_ROLE, Attribute("size", STRING, "medium", (), False), *_PROP_ATTRIBUTES.get(name, ())),
                )
                for name, extent, mass in _PROPS
            )
            + _OTHERS
        )
        self._all = spawnable + _SERVER_ONLY
        self._uid = {blueprint.name: number for number, blueprint in enumerate(self._all, 1)}
        self.definitions = [blueprint.wire(self._uid[blueprint.name]) for blueprint in spawnable]

    def get(self, name: str) -> Blueprint:
        """Return the blueprint called ``name``.

        Raises:
            CraftError: there is none.

        """
        uid = self._uid.get(name)
        if uid is None:
            raise CraftError(f"blueprint '{name}' is not in the embedded server's library")
        return self._all[uid - 1]

    def uid(self, name: str) -> int:
        """Return the number of the blueprint called ``name``."""
        return self._uid[name]

    def vehicles(self, base_types: frozenset[str]) -> list[Blueprint]:
        """Return the vehicles whose ``base_type`` is one of the given, in the order of the library."""
        return [self._all[self._uid[row[0]] - 1] for row in _VEHICLES if row[5] in base_types]
