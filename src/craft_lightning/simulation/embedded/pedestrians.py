"""SUMO's pedestrians as walkers: they keep to pavements and crossings and mind the lights."""

from typing import TYPE_CHECKING

import libsumo
import numpy as np

from craft_lightning.simulation.embedded.blueprints import STRING
from craft_lightning.simulation.embedded.moved_rows import follow_walker
from craft_lightning.simulation.embedded.state import WALKER, Actor
from craft_lightning.simulation.embedded.vehicle_types import WALKER_TYPE

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.traffic import Traffic

MODELS = 30  # walker blueprints
SPEED_BOUNDS = (0.9, 1.8)  # m/s
MEAN_SPEED, SPEED_SPREAD = 1.35, 0.2
TRIES = 20


class Pedestrians:
    """The walkers that SUMO moves.

    Args:
        traffic: the traffic they are part of.

    """

    def __init__(self, traffic: "Traffic") -> None:
        self._traffic = traffic
        self._waiting: list[str] = []  # put into SUMO but not walking yet
        self._count = 0

    def clear(self) -> None:
        """Forget those that SUMO has not put on a pavement yet."""
        self._waiting.clear()
        self._count = 0

    def call_off(self) -> None:
        """Take those back that SUMO has not put on a pavement yet."""
        for name in self._waiting:
            if name in libsumo.person.getIDList():
                libsumo.person.unsubscribe(name)
                libsumo.person.removeStages(name)
        self._waiting.clear()

    def put_in(self, count: int) -> None:
        """Put pedestrians on pavements drawn at random; towns without pavements have none."""
        streets, random = self._traffic.streets, self._traffic.random
        if not streets.pavements:
            return
        for _ in range(count):
            for _ in range(TRIES):
                start, goal = random.integers(len(streets.pavements), size=2).tolist()
                at, to = random.random(2).tolist()
                speed = random.standard_normal()
                walk = libsumo.simulation.findIntermodalRoute(streets.pavements[start], streets.pavements[goal])
                if len(walk) == 1 and walk[0].edges:
                    self._add(
                        list(walk[0].edges),
                        at * streets.pavement_length[start],
                        to * streets.pavement_length[goal],
                        float(np.clip(MEAN_SPEED + SPEED_SPREAD * speed, *SPEED_BOUNDS)),
                    )
                    break

    def _add(self, edges: list[str], at: float, to: float, speed: float) -> None:
        self._count += 1
        name = f"person{self._count}"
        libsumo.person.add(name, edges[0], at, typeID=WALKER_TYPE)
        libsumo.person.appendWalkingStage(name, edges, to, speed=speed)
        follow_walker(name)
        self._waiting.append(name)

    def adopt(self) -> None:
        """Make actors of those that SUMO put on a pavement in this step."""
        if not self._waiting:
            return
        walking = libsumo.person.getAllSubscriptionResults()
        world = self._traffic.world
        for name in [name for name in self._waiting if name in walking]:
            self._waiting.remove(name)
            model = f"walker.pedestrian.{1 + int(name.removeprefix('person')) % MODELS:04d}"
            actor = world.adopt(model, WALKER, (0.0,) * 6, [["role_name", STRING, "traffic"]], name)
            self._traffic.rows.add(name, actor)

    def keep_up(self) -> None:
        """Put pedestrians in for those that arrived."""
        missing = self._traffic.options.walkers - self._traffic.rows.walkers - len(self._waiting)
        if missing > 0:
            self.put_in(missing)

    def hit(self, actor: Actor) -> None:
        """Let a walker that was hit stand still."""
        libsumo.person.setSpeed(actor.sumo, 0.0)
