"""Vehicles that clients control, as SUMO's traffic sees them: a SUMO vehicle follows each one that is on a lane.

SUMO maps a vehicle that is moved by ``moveToXY`` onto its network only where there is a lane under it; one without a
lane has no place at all (and reading from it crashes libsumo 1.28). So a vehicle off the lanes has no mirror, and
traffic yields to it by ``yielding`` instead. SUMO takes a mirror's speed from how far it moved. A mirror's route is
only the edge it is on: SUMO cannot know where a client means to turn, so crossing traffic yields once
it is in the junction.

A mirror must not leave the network by its own move: where its front is farther to the side than half its lane and half
itself, SUMO 1.28 takes it off the road but leaves it among those that reach into the lanes it stood on, and reads from
there what is no longer there (a crash, if traffic comes). So it is taken away before.
"""

import math

import libsumo

from craft_lightning.simulation.embedded.state import VEHICLE, VX, VY, YAW, Actor, X, Y, Z
from craft_lightning.simulation.embedded.town import TownAssets

# On a lane: the centre of the box inside the lane (and a bit), heading along it.
LANE_SLACK = 0.3  # m
LANE_TURN = 60.0  # deg
# Aligned enough that SUMO's picture of the vehicle is the truth; else traffic looks at the box as well.
ALIGNED_OFFSET = 0.8  # m
ALIGNED_TURN = 20.0  # deg
MAPPING_REACH = 5.0  # m
CHECK_AFTER = 1.0  # m of travel between two looks at the road map
GROUND_REACH = 3.0  # m of height
LEAVING_MARGIN = 0.8  # m that a front may move to the side in one step


class Mirror:
    """The mirrors of all client-controlled vehicles.

    Args:
        town: for what lies under a vehicle.
        edge: any edge of the network; a mirror needs some route to exist.

    Attributes:
        names: SUMO's vehicle for each mirrored actor.
        loose: actors that traffic must look out for by itself: no mirror, or one that does not fit its lane.

    """

    def __init__(self, town: TownAssets, edge: str) -> None:
        self._town, self._edge = town, edge
        self.names: dict[int, str] = {}
        self.loose: set[int] = set()
        self._checked: dict[int, tuple[float, float, float, bool]] = {}
        self._apart: set[int] = set()  # without a mirror until they are aligned with their lane again
        self._count = 0

    def follow(self, driven: list[Actor], lead: float) -> None:
        """Bring all mirrors to where their vehicles will be in ``lead`` seconds; to be called before every step."""
        for actor in driven:
            if actor.kind != VEHICLE:
                continue
            if self._on_lane(actor) and not self._keeps_apart(actor):
                self._move(actor, lead)
            else:
                self.drop(actor.id)

    def drop(self, actor_id: int) -> None:
        """Take an actor's mirror away, if it has one."""
        name = self.names.pop(actor_id, None)
        if name is not None:
            _remove(name)

    def forget(self, actor_id: int) -> None:
        """Drop all that is known of an actor that left the world."""
        self.drop(actor_id)
        self.loose.discard(actor_id)
        self._apart.discard(actor_id)
        self._checked.pop(actor_id, None)

    def _on_lane(self, actor: Actor) -> bool:
        x, y, yaw = actor.motion[X], actor.motion[Y], actor.motion[YAW]
        last = self._checked.get(actor.id)
        if last is not None and abs(x - last[0]) + abs(y - last[1]) < CHECK_AFTER and abs(yaw - last[2]) < 5.0:
            return last[3]
        distance, half_width, lane_yaw, actor.speed_limit = self._town.lane_at(x, y)
        turn = abs((yaw - lane_yaw + 180.0) % 360.0 - 180.0)
        level = abs(actor.motion[Z] - self._town.ground(x, y)) < GROUND_REACH
        fits = level and distance < half_width + LANE_SLACK and turn < LANE_TURN
        if level and not (fits and distance < ALIGNED_OFFSET and turn < ALIGNED_TURN):
            self.loose.add(actor.id)
        else:
            self.loose.discard(actor.id)
        self._checked[actor.id] = (x, y, yaw, fits)
        return fits

    def _keeps_apart(self, actor: Actor) -> bool:
        """Tell whether SUMO would take an actor's mirror off the road, or did not get it back since."""
        if actor.id not in self.loose:
            self._apart.discard(actor.id)
            return False
        name = self.names.get(actor.id)
        if name is not None and _about_to_leave(name, actor.extent[1]):
            self._apart.add(actor.id)
        return actor.id in self._apart

    def _move(self, actor: Actor, lead: float) -> None:
        name = self.names.get(actor.id)
        if name is None:
            self._count += 1
            # Not named after the actor: SUMO sorts by name, and numbers of actors differ between branches.
            name = f"client{self._count}"
            libsumo.route.add(name, [self._edge])
            libsumo.vehicle.add(name, name, actor.type_id)
            libsumo.vehicle.setSpeedMode(name, 0)
            libsumo.vehicle.setLaneChangeMode(name, 0)
            self.names[actor.id] = name
        x, y, angle = bumper(actor, lead)
        try:
            libsumo.vehicle.moveToXY(name, "", -1, x, y, angle, 2, MAPPING_REACH)
        except libsumo.TraCIException:
            # SUMO found no lane after all, or the vehicle reached the end of the network.
            self.drop(actor.id)
            self.loose.add(actor.id)


def bumper(actor: Actor, lead: float = 0.0) -> tuple[float, float, float]:
    """Return SUMO's x, y [m] of the middle of the front bumper ``lead`` seconds from now, and its angle [deg]."""
    motion, half = actor.motion, actor.extent[0]
    yaw = math.radians(motion[YAW])
    return (
        motion[X] + lead * motion[VX] + half * math.cos(yaw),
        -(motion[Y] + lead * motion[VY] + half * math.sin(yaw)),
        (motion[YAW] + 90.0) % 360.0,
    )


def _about_to_leave(name: str, half_width: float) -> bool:
    """Tell whether one more step to the side could take a mirror off the lane that SUMO has it on."""
    lane = libsumo.vehicle.getLaneID(name)
    if not lane:
        return False
    reach = 0.5 * libsumo.lane.getWidth(lane) + half_width - LEAVING_MARGIN
    return bool(abs(libsumo.vehicle.getLateralLanePosition(name)) > reach)


def _remove(name: str) -> None:
    try:
        libsumo.vehicle.remove(name)
    except libsumo.TraCIException:
        # It left the network by itself: nothing to take away.
        return
