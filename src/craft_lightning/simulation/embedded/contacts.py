"""What happens when bodies touch: they are pushed apart, lose their closing speed, and collision sensors hear of it."""

import math
from typing import TYPE_CHECKING

import msgpack
import numpy as np

from craft_lightning.simulation.embedded.collisions import Contact, find_contacts
from craft_lightning.simulation.embedded.state import VEHICLE, VX, VY, WALKER, YAW, Actor, ActorTable, X, Y

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.world import World

# A vehicle of SUMO's that was hit stands this long [s].
HIT_SECONDS = 8.0
SensorEvent = tuple[int, list[float], bytes]
"""Sensor id, its pose, the message's payload."""


def resolve(world: "World") -> list[SensorEvent]:
    """Find the contacts of all client-controlled bodies, separate them, and return what collision sensors have to say.

    Props and vehicles of SUMO's do not give way; a client's vehicle or walker does. Contacts are inelastic and without
    friction: along the normal the two move on with the velocity of their common centre of mass. Rows are up to date
    afterwards.
    """
    state = world.state
    actors = state.actors
    asked = [actors.index[actor_id] for actor_id in state.driven]
    contacts = find_contacts(asked, actors.rows["motion"], actors.extents, actors.reach, actors.centre_z, actors.solid)
    events: list[SensorEvent] = []
    for contact in contacts:
        first, second = actors.order[contact.first], actors.order[contact.second]
        actors.refresh(first)
        actors.refresh(second)
        impulse = _separate(first, second, contact)
        for actor in (first, second):
            if actor.driven:
                actors.write(actor)
            elif actor.sumo:
                world.traffic.hit(actor, HIT_SECONDS)
        for actor, other, sign in ((first, second, 1.0), (second, first, -1.0)):
            for sensor in state.sensors.get(actor.id, ()):
                push = [sign * impulse * contact.normal[0], sign * impulse * contact.normal[1], 0.0]
                events.append((sensor, actor.pose, msgpack.packb([actor.wire(), other.wire(), push])))
    return events


def _separate(first: Actor, second: Actor, contact: Contact) -> float:
    """Move both apart and return the impulse on the first along the normal [N s], from the masses and closing speed."""
    nx, ny = contact.normal
    give_first, give_second = _yielding(first), _yielding(second)
    give = give_first + give_second
    if give == 0.0:
        return 0.0
    for actor, share, sign in ((first, give_first / give, 1.0), (second, give_second / give, -1.0)):
        if share:
            actor.motion[X] += sign * share * contact.depth * nx
            actor.motion[Y] += sign * share * contact.depth * ny
    closing = -(
        (first.motion[VX] - second.motion[VX]) * nx + (first.motion[VY] - second.motion[VY]) * ny
    )  # positive when they approach
    if closing <= 0.0:
        return 0.0
    for actor, share, sign in ((first, give_first / give, 1.0), (second, give_second / give, -1.0)):
        if share:
            _change_velocity(actor, sign * share * closing * nx, sign * share * closing * ny)
    return closing * first.mass * second.mass / max(first.mass + second.mass, 1.0)


def _yielding(actor: Actor) -> float:
    """Return how readily a body gives way, 1/kg; zero for what the server does not move."""
    return 1.0 / max(actor.mass, 1.0) if actor.driven and actor.physics else 0.0


def _change_velocity(actor: Actor, dvx: float, dvy: float) -> None:
    """Add to an actor's velocity; a vehicle keeps only what points along its heading."""
    vx, vy = actor.motion[VX] + dvx, actor.motion[VY] + dvy
    if actor.kind == VEHICLE:
        yaw = math.radians(actor.motion[YAW])
        actor.speed = vx * math.cos(yaw) + vy * math.sin(yaw)
        vx, vy = actor.speed * math.cos(yaw), actor.speed * math.sin(yaw)
    elif actor.kind == WALKER:
        actor.speed = math.hypot(vx, vy)
    actor.motion[VX], actor.motion[VY] = vx, vy


def occupied(actors: ActorTable, actor: Actor) -> bool:
    """Tell whether an actor that is not in the table yet would overlap a solid body of it."""
    motion = np.vstack([actors.rows["motion"], np.array(actor.motion, np.float32)[None]])
    extents = np.vstack([actors.extents, np.array(actor.extent, np.float32)[None]])
    reach = np.append(actors.reach, np.float32(np.hypot(*actor.extent[:2])))
    centre = np.append(actors.centre_z, np.float32(actor.box_centre[2]))
    solid = np.append(actors.solid, True)
    return bool(find_contacts([len(actors)], motion, extents, reach, centre, solid))
