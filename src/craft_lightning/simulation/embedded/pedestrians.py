"""SUMO's pedestrians as walkers: they keep to pavements and crossings and mind the lights."""

import math
from typing import TYPE_CHECKING

import libsumo
import numpy as np
from libsumo import constants

from craft_lightning.simulation.embedded.blueprints import STRING
from craft_lightning.simulation.embedded.state import VX, VY, WALKER, WZ, YAW, Actor, X, Y, Z
from craft_lightning.simulation.embedded.vehicle_types import WALKER_TYPE

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.traffic import Traffic

_PLACE, _ANGLE, _SPEED = constants.VAR_POSITION, constants.VAR_ANGLE, constants.VAR_SPEED
MODELS = 30  # walker blueprints
SPEED_BOUNDS = (0.9, 1.8)  # m/s
MEAN_SPEED, SPEED_SPREAD = 1.35, 0.2
TRIES = 20
# SUMO lets a pedestrian jump where pavements of a converted town do not meet; such a one leaves the world instead [m].
LONGEST_STEP = 1.5


class Pedestrians:
    """The walkers that SUMO moves.

    Args:
        traffic: the traffic they are part of.

    """

    def __init__(self, traffic: "Traffic") -> None:
        self._traffic = traffic
        self._actors: dict[str, Actor] = {}
        self._waiting: list[str] = []  # put into SUMO but not walking yet
        self._count = 0

    def actor_ids(self) -> set[int]:
        """Return the ids of the walkers."""
        return {actor.id for actor in self._actors.values()}

    def clear(self) -> None:
        """Forget all walkers."""
        self._actors.clear()
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
        libsumo.person.subscribe(name, (_PLACE, _ANGLE, _SPEED))
        self._waiting.append(name)

    def _adopt(self, name: str) -> None:
        world = self._traffic.world
        model = f"walker.pedestrian.{1 + int(name.removeprefix('person')) % MODELS:04d}"
        self._actors[name] = world.adopt(model, WALKER, (0.0,) * 6, [["role_name", STRING, "traffic"]], name)

    def read(self, delta: float) -> set[int]:
        """Copy places from SUMO into the actor table; returns the walkers that arrived or jumped."""
        if not self._actors and not self._waiting:
            return set()
        world = self._traffic.world
        results = libsumo.person.getAllSubscriptionResults()
        for name in [name for name in self._waiting if name in results]:
            self._waiting.remove(name)
            self._adopt(name)
        gone: set[int] = set()
        rows, index = world.state.actors.rows, world.state.actors.index
        moved: list[tuple[int, list[float], tuple[float, float, float], float]] = []
        for name, actor in list(self._actors.items()):
            found = results.get(name)
            if found is None:
                gone.add(actor.id)
                continue
            x, y = found[_PLACE]
            fresh = actor.motion[X] == 0.0 and actor.motion[Y] == 0.0
            if not fresh and abs(x - actor.motion[X]) + abs(y + actor.motion[Y]) > LONGEST_STEP:
                gone.add(actor.id)
                continue
            yaw = (found[_ANGLE] + 90.0) % 360.0 - 180.0
            speed = found[_SPEED]
            heading = math.radians(yaw)
            motion = actor.motion
            turned = (yaw - motion[YAW] + 180.0) % 360.0 - 180.0
            motion[X], motion[Y], motion[YAW] = x, -y, yaw
            motion[Z] = world.town.ground(x, -y) + actor.extent[2]
            cos, sin = math.cos(heading), math.sin(heading)
            motion[VX], motion[VY] = speed * cos, speed * sin
            motion[WZ] = turned / delta
            moved.append((index[actor.id], motion, (cos, sin, 0.0), speed))
        if moved:
            places, motions, directions, speeds = zip(*moved, strict=True)
            # All at once: to write a field of a single row takes as long.
            at = np.array(places)
            rows["motion"][at], rows["direction"][at], rows["walk_speed"][at] = motions, directions, speeds
        return gone

    def keep_up(self) -> None:
        """Put pedestrians in for those that arrived."""
        missing = self._traffic.options.walkers - len(self._actors) - len(self._waiting)
        if missing > 0:
            self.put_in(missing)

    def hit(self, actor: Actor) -> None:
        """Let a walker that was hit stand still."""
        libsumo.person.setSpeed(actor.sumo, 0.0)

    def remove(self, actor_id: int) -> None:
        """Take a walker out of SUMO, if it is one of these."""
        name = next((name for name, actor in self._actors.items() if actor.id == actor_id), None)
        if name is None:
            return
        del self._actors[name]
        if name in libsumo.person.getIDList():
            libsumo.person.unsubscribe(name)
            libsumo.person.removeStages(name)
