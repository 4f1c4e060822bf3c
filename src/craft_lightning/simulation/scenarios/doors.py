"""VehicleOpensDoorTwoWays: the door of a parked car opens into the ego's lane as the ego comes near."""

from typing import Any

import carla
import py_trees
from py_trees.common import Status

from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Action, Scenario, When
from craft_lightning.simulation.scenarios.movers import EgoPast, Flow, in_turn, until
from craft_lightning.simulation.scenarios.parameters import interval, number, side
from craft_lightning.simulation.scenarios.stage import Stage
from craft_lightning.simulation.scenarios.tracks import against, along, roadside

_DOOR = ("static.prop.streetbarrier", "static.prop.trafficcone01")
_WIDTH = 1.1  # metres that an open door stands out
_REACTION, _BRAKING = 1.2, 5.0  # s and m/s2 that an attentive driver is left


class VehicleOpensDoor(Scenario):
    """A parked car beside the lane opens the door on the ego's side and leaves it open; cars come from ahead.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to the car (50),
    ``frequency`` metres between two oncoming vehicles, from and to, ``direction`` side on which it is parked (right).

    Where the server's cars have doors that open, one does, through the client's ``open_door``. Where they have none
    (the embedded server), a barrier of a door's width stands in the lane at that moment: a body that sensors and
    observations show, too. It opens when the ego is 1.2 s and a braking distance at 5 m/s2 away, drawn to +-0.2 s, so
    that a forecast made before shows a free lane.
    """

    life = 75.0
    permits = frozenset({"opposite_lane", "shoulder"})

    def prepare(self) -> None:
        """Park the car."""
        stage, config, rng = self.stage, self.config, self.stage.rng
        distance = number(config, "distance", 50.0)
        self.gap = interval(config, "frequency", (40.0, 100.0))
        self.side = side(config)
        self.place = min(stage.trigger + distance, stage.end - 20.0)
        self.late = float(rng.uniform(-0.2, 0.2))
        self.lasting = float(rng.uniform(6.0, 12.0))
        self.left = roadside(stage, self.place, self.side)
        library = stage.session.world.get_blueprint_library().filter("vehicle.*")
        doors = sorted(one.id for one in library if cast.plays(one, "car") and cast.has_doors(one))
        self.real = bool(doors)
        if doors:
            blueprint = stage.session.blueprint(doors[int(rng.integers(len(doors)))])
            self.car = stage.spawn(blueprint, self.place, self.left)
        else:
            self.car = cast.stand(stage, "car", self.place, self.left)

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: oncoming traffic at once, the door when the ego is near, until the ego is past."""
        stage = self.stage
        over = When("ego past", stage, EgoPast(stage, min(self.place + 14.0, stage.end - 6.0)))
        near = When("ego near", stage, _StillStops(stage, self.place, self.late))
        parts: list[py_trees.behaviour.Behaviour] = [in_turn("door", near, _Open(stage, self))]
        way = against(stage, self.place, 150.0, 70.0)
        if way is not None:
            first = along(way, *stage.pose(stage.trigger + 60.0)[:2])
            speed = min(float(way.route.speed_limit[0]), 10.0)
            parts.append(Flow(stage, way, self.gap, speed, self.lasting, first))
        return until("door and traffic until the ego is past", over, *parts)


class _StillStops:
    """Condition: the ego, at its present speed, can just still stop before a place."""

    def __init__(self, stage: Stage, s: float, late: float) -> None:
        self.stage, self.s, self.late = stage, s, late

    def __call__(self) -> bool:
        speed = self.stage.ego_speed
        gap = self.s - 2.5 - self.stage.ego_s - 2.5
        return gap <= max(speed * (_REACTION - self.late) + speed * speed / (2.0 * _BRAKING), 6.0)


class _Open(Action):
    """Opens the door and leaves it open; never succeeds, for the open door is there until the end."""

    def __init__(self, stage: Stage, scenario: VehicleOpensDoor) -> None:
        super().__init__("open door", stage)
        self._scenario = scenario
        self._door: Any = None
        self.opened = False

    def update(self) -> Status:
        """Open once; where the place is taken, try again."""
        scenario = self._scenario
        if self.opened:
            return Status.RUNNING
        if scenario.real and scenario.car is not None:
            # The right-hand doors face the ego where the car is parked on the left.
            scenario.car.open_door(carla.VehicleDoor.FR if scenario.side > 0.0 else carla.VehicleDoor.FL)
            self.opened = True
            return Status.RUNNING
        inner = abs(scenario.left) - 0.95
        self._door = cast.put(self.stage, _DOOR, scenario.place + 0.4, scenario.side * (inner - 0.5 * _WIDTH - 0.1))
        self.opened = self._door is not None
        return Status.RUNNING


TYPES: dict[str, type[Scenario]] = {"VehicleOpensDoorTwoWays": VehicleOpensDoor}
