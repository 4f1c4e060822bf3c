"""Our criteria beside the official ones: the same ticks of the same drive, judged twice."""

import json
from pathlib import Path
from typing import Any

import carla

from craft_lightning.metrics.protocols import protocol_rules
from craft_lightning.official.route_driver import RouteDriver
from craft_lightning.rollouts.rules import judging
from craft_lightning.simulation.criteria import Criteria, CriteriaParameters
from craft_lightning.simulation.criteria_collision import CollisionSensor
from craft_lightning.simulation.criteria_speed import BackgroundSpeed
from craft_lightning.simulation.lookout import nearby
from craft_lightning.simulation.view import ViewReader

_LOOK = 10  # ticks between two looks at who is there


class Referee:
    """Judges a drive that somebody else judges, too, and writes what it finds.

    What only a scenario can say of the ego (scenario time-outs, emergency vehicles) is left to the evaluator, whose
    scenarios these are.

    Args:
        driver: drives; its town, route and lines are judged by.
        world: the ``carla.World``.
        ego: the ego's ``carla.Actor``.
        protocol: whose limits hold.

    """

    def __init__(self, driver: RouteDriver, world: Any, ego: Any, protocol: str = "bench2drive") -> None:
        place = driver.place
        parameters = CriteriaParameters(**judging(protocol_rules(protocol)).criteria)
        self.criteria = Criteria(place.grid, driver.route, driver.lines, place.zones, parameters, place.lanes)
        self._world, self._town = world, place.town.name
        self._reader = ViewReader(world, ego)
        self._background = BackgroundSpeed()
        self._roles: dict[int, str] = {}
        blueprint = world.get_blueprint_library().find("sensor.other.collision")
        self._sensor = CollisionSensor(world.spawn_actor(blueprint, carla.Transform(), attach_to=ego))

    def tick(self) -> None:
        """Judge the newest tick."""
        if self.criteria.ticks % _LOOK == 0:
            view = self._reader.read()
            self._reader.watch = nearby(view)
            fresh = [int(actor) for actor in view.ids if int(actor) not in self._roles]
            for actor in self._world.get_actors(fresh):
                self._roles[actor.id] = actor.attributes.get("role_name", "")
            self._background.watch(actor for actor, role in self._roles.items() if role == "background")
        self._reader.watch_signals = self.criteria.lights.near(self.criteria.progress.s)
        view = self._reader.read_light()
        pace = self._background.mean(self._world.get_snapshot())
        self.criteria.tick(view, self._sensor.take(view.frame), False, pace)

    def close(self) -> dict[str, Any]:
        """Take the sensor away and return the fields of a ``RouteRecord``, with the incidents in order."""
        sensor = self._sensor.actor
        if sensor.is_alive:
            sensor.stop()
            sensor.destroy()
        incidents = [
            [one.kind, round(one.time, 2), round(one.x, 1), round(one.y, 1), one.actor]
            for one in self.criteria.incidents
        ]
        return {"town": self._town, **self.criteria.record(), "incidents": incidents}


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line of JSON to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
